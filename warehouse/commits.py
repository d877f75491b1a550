"""Numbered commits: each names every live file of every table, so one number is one consistent state.

A commit file is created only if its number is free (`link` of a finished file), which makes two processes
landing at once safe: the loser reads the winner's commit, merges again and takes the next number.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from warehouse.errors import CommitRace, RepairWarehouse
from warehouse.files import Access, cannot, sync_folder, unnamed
from warehouse.schema import TABLES

FOLDER = "_commits"

CHUNKED = ".chunks.parquet"
"""How the name of a file ends whose rows are the chunks of one large content."""

_NAME = re.compile(r"(\d{12})\.json", re.ASCII)


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

    def rows(self, table: str) -> int:
        """Rows of one table; the chunks of a content count as one."""
        return sum(file.keys for file in self.tables[table].values())


EMPTY = Commit(0, datetime(1970, 1, 1, tzinfo=UTC), "", {name: {} for name in TABLES})


def commit_path(root: Path, number: int) -> Path:
    """Where commit `number` is stored."""
    return root / FOLDER / f"{number:012d}.json"


def numbers(root: Path) -> list[int]:
    """The commits there are, ascending.

    Raises:
        FixWarehouse: the folder cannot be read.
    """
    try:
        names = [path.name for path in (root / FOLDER).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise cannot("read", root / FOLDER, error) from error
    return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))


def head(root: Path) -> Commit:
    """The newest commit, or EMPTY.

    Raises:
        RepairWarehouse, FixWarehouse: as `load`.
    """
    found = numbers(root)
    while found:
        try:
            return load(root, found[-1])
        except FileNotFoundError:
            # an erasure removes what is superseded at once: there must be a newer one
            before, found = found, numbers(root)
            if found[-1:] == before[-1:]:
                raise
    return EMPTY


def load(root: Path, number: int) -> Commit:
    """Read one commit.

    Raises:
        RepairWarehouse: the commit file does not hold what was committed.
        FixWarehouse: it cannot be read.
        FileNotFoundError: there is none.
    """
    path = commit_path(root, number)
    try:
        body = json.loads(path.read_bytes())
        if body.pop("sha256") != _fingerprint(body) or body["commit"] != number:
            raise ValueError("does not hold what was committed")
        tables = {
            name: {p: LiveFile(p, f["rows"], f["bytes"], f["sha256"]) for p, f in body["tables"].get(name, {}).items()}
            for name in {**EMPTY.tables, **body["tables"]}
        }
        return Commit(body["commit"], datetime.fromisoformat(body["at"]), body["run_id"], tables)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, IsADirectoryError) as error:
        name = path.relative_to(root)
        raise RepairWarehouse(
            f"Commit file {name} is damaged; run `addon-export rebuild --archive` or restore it from a backup."
        ) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot("read", path, error) from error


def _fingerprint(body: Mapping[str, object]) -> str:
    return hashlib.sha256(_dump(body)).hexdigest()


def _dump(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def save(root: Path, commit: Commit, access: Access) -> None:
    """Make `commit` durable under its number.

    Raises:
        CommitRace: another process has taken the number.
    """
    body = {
        "commit": commit.number,
        "at": commit.at.isoformat(),
        "run_id": commit.run_id,
        "tables": {
            name: {f.path: {"rows": f.rows, "bytes": f.bytes, "sha256": f.sha256} for f in files.values()}
            for name, files in commit.tables.items()
        },
    }
    path = commit_path(root, commit.number)
    with unnamed(path.parent, access) as (stream, name):
        stream.write(_dump({**body, "sha256": _fingerprint(body)}))
        stream.flush()
        os.fsync(stream.fileno())
        try:
            os.link(name, path)  # put-if-absent: fails when the number is taken
        except FileExistsError as error:
            raise CommitRace(f"Commit {commit.number} was taken by another process; run again.") from error
    sync_folder(path.parent)
