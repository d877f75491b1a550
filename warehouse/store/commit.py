"""A commit as a value: one consistent state of all tables, as the live files that hold their rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from warehouse.store.names import CHUNKED
from warehouse.store.stamp import OURS, Stamp
from warehouse.tables import PARTITIONS


@dataclass(frozen=True, slots=True)
class LiveFile:
    """One sealed Parquet file: path relative to the root, rows, bytes, and SHA-256 (hex) of the file."""

    path: str
    rows: int
    bytes: int
    sha256: str

    @property
    def table(self) -> str:
        """The name of the table whose rows it holds."""
        return self.path.split("/")[0]

    @property
    def folder(self) -> str:
        """The partition folder, e.g. `completed_date=2026-11-20`; empty for a table without partitions."""
        parts = self.path.split("/")
        return parts[1] if len(parts) == 3 else ""

    @property
    def chunked(self) -> bool:
        """Whether the rows are the chunks of one content."""
        return self.path.endswith(CHUNKED)

    @property
    def keys(self) -> int:
        """Values of the table's key: one for each row, but one for all chunks of a content."""
        return 1 if self.chunked else self.rows


Files = Mapping[str, LiveFile]
"""Live files of one table by path."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One consistent state of all tables."""

    number: int
    at: datetime
    run_id: str
    tables: Mapping[str, Files]
    stamp: Stamp = OURS
    digest: str = field(default="", compare=False)
    """SHA-256 (hex) of all that the commit file says, without its seal; empty until it is saved."""
    seal: str = field(default="", compare=False)
    """What the holder of a key has made of the digest; empty without one: see `warehouse.store.seal`."""

    def files(self) -> Iterator[LiveFile]:
        """Every live file, table by table."""
        return (file for files in self.tables.values() for file in files.values())

    def rows(self, table: str) -> int:
        """Rows of one table; the chunks of a content count as one."""
        return sum(file.keys for file in self.tables[table].values())


EMPTY = Commit(0, datetime(1970, 1, 1, tzinfo=UTC), "", {name: {} for name in PARTITIONS})
