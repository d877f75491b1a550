"""The Parquet archive: the truth in both destinations.

Sealed files are immutable. What is live is said by the newest commit only, so everything else in the folders
(leftovers of a kill, superseded files) is invisible. Knows Arrow tables, never Twilio.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.errors import CommitRace, RepairWarehouse, WarehouseError
from warehouse.schema import Table
from warehouse.store import commits, sealed
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.damage import DAMAGED, fault, reading_errors
from warehouse.store.facts import FileFacts
from warehouse.store.files import (
    Access,
    storage_errors,
    sync_and_hash,
    sync_folder,
    unnamed,
)
from warehouse.store.keys import Keys
from warehouse.store.lock import shared
from warehouse.store.marker import read_marker
from warehouse.store.names import CHUNKED
from warehouse.store.names import NULL_DAY as NULL_DAY
from warehouse.store.seal import SealKey, check_sealed, seal_of
from warehouse.store.stamp import OURS

DUCKDB_MEMORY = "64MB"

_SEALED: ContextVar[list[LiveFile] | None] = ContextVar("sealed", default=None)
"""What was sealed and is not committed yet, while somebody wants it undone should that fail."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The folder everything is kept in. Make one with `open_archive`."""

    root: Path
    access: Access
    keys: Keys = field(default_factory=Keys, compare=False, repr=False)
    add_on_names: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Names by add-on SID (XB...), published for analysts."""
    lasting: set[Path] = field(default_factory=set, compare=False, repr=False)
    """Folders whose own names this process has made durable."""
    erased: dict[frozenset[str], frozenset[str]] = field(default_factory=dict, compare=False, repr=False)
    """What `warehouse.erasures` has read: fingerprints, by the files they are in."""
    facts: dict[str, FileFacts] = field(default_factory=dict, compare=False, repr=False)
    """What `warehouse.known` knows of sealed files, by path."""
    seal_key: SealKey | None = field(default=None, compare=False, repr=False)
    """What commits are sealed with, and must have been; None: they need no seal."""
    notices: tuple[str, ...] = field(default=(), compare=False)
    """What opening it changed or found missing: sentences for the operator."""

    def head(self) -> Commit:
        """The newest commit; EMPTY when nothing has landed."""
        return commits.head(self.root)

    def newest(self) -> "Snapshot":
        """The archive as its newest commit has it now."""
        return Snapshot(self, self.head())

    def head_to_change(self) -> Commit:
        """The newest commit, for whoever commits, publishes, collects or erases: all of that goes through here.

        Raises:
            UpdateProgram: a newer version wrote what is here.
        """
        return writable(self.root, self.head())

    def seal(
        self, table: Table, day: date | None, batches: Iterable[pa.RecordBatch], *, ending: str = ".parquet"
    ) -> LiveFile:
        """Write rows of one partition as one durable file, without its partition column.

        Page checksums are on, so a flipped bit is an error and not wrong data. The caller must call `commit`
        with the file before saying that anything is landed. A file of the chunks of one content is named with
        the ending CHUNKED.
        """
        name = table.name if table.partition is None else f"{table.name}/{table.partition}={day or NULL_DAY}"
        folder = self.root / name
        with storage_errors(folder), unnamed(self.root, name, self.access) as (stream, unsealed):
            rows = sealed.write(stream, table, batches)
            sha256 = sync_and_hash(stream)
            file = LiveFile(f"{name}/{uuid.uuid4().hex}{ending}", rows, stream.tell(), sha256)
            unsealed.become(PurePosixPath(file.path).name)
            if (undoable := _SEALED.get()) is not None:
                undoable.append(file)
        return file

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        """Remove the files that the block has sealed if it fails before it commits: they would fill a full disk."""
        undoable: list[LiveFile] = []
        token = _SEALED.set(undoable)
        try:
            yield
        except BaseException:
            for file in undoable:
                (self.root / file.path).unlink(missing_ok=True)
            raise
        finally:
            _SEALED.reset(token)

    def read(self, file: LiveFile, table: Table, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a file, or only `columns` of them: see `sealed.read`."""
        return sealed.read(self.root, file, table, columns)

    def rest(self, table: Table, file: LiveFile, column: str, values: pa.Array) -> list[LiveFile]:
        """Seal anew the rows of a file that have none of `values` in a column; no file for no rows."""

        def rows() -> Iterator[pa.RecordBatch]:
            for batch in self.read(file, table):
                if (left := batch.filter(pc.invert(pc.is_in(batch[column], value_set=values)))).num_rows:
                    yield left

        left, ending = rows(), CHUNKED if file.chunked else ".parquet"
        if (first := next(left, None)) is None:
            return []
        return [self.seal(table, sealed.partition_day(file), itertools.chain([first], left), ending=ending)]

    def relation(
        self, table: Table, files: Iterable[str], *, filename: bool = False, json: Literal["text", "typed"] = "text"
    ) -> str:
        """SQL that reads `files`: see `sealed.relation`."""
        return sealed.relation(self.root, table, files, filename=filename, json=json)

    def sound(self, file: LiveFile) -> LiveFile:
        """`file`, if its bytes are those that were committed: damage must not be rewritten under a new hash.

        Raises:
            RepairWarehouse: they are not.
            Untrusted: it is a link.
        """
        try:
            if fault(self.root, file) is None:
                return file
        except (FileNotFoundError, IsADirectoryError):
            pass
        raise RepairWarehouse(DAMAGED.format(file.path))

    def commit(
        self,
        before: Commit,
        *,
        drop: Collection[LiveFile],
        add: Collection[LiveFile],
        at: datetime,
        run_id: str,
    ) -> Commit:
        """Make a new state durable: `before` without `drop`, with `add`.

        Raises:
            UpdateProgram: a newer version made `before`.
            CommitRace: another process committed since `before`; the added files, and what else an `undone` block has
                sealed, are removed again. Or an added file has been collected meanwhile.
        """
        writable(self.root, before)
        check_sealed(before, self.seal_key)
        gone = {file.path for file in drop}
        tables = {name: {p: f for p, f in files.items() if p not in gone} for name, files in before.tables.items()}
        for file in add:
            tables[file.table][file.path] = file
        after = Commit(before.number + 1, at, run_id, tables)
        with storage_errors(self.root):
            for folder in {(self.root / file.path).parent for file in add}:
                self._sync(folder)
            undoable = _SEALED.get() or []
            made = [*add, *undoable]
            try:
                if any(not (self.root / file.path).exists() for file in add):
                    # whoever is stopped for longer than the grace time has its files collected as leftovers
                    raise CommitRace("Sealed files were collected before they were committed; run again.")
                undoable.clear()  # from here on they may be live
                after = commits.save(self.root, after, self.access, sealed=self.sealed)
            except BaseException:
                if not self._may_be_durable(after):
                    for file in made:
                        (self.root / file.path).unlink(missing_ok=True)
                raise
        live = {path for files in tables.values() for path in files}
        self.keys.forget_all_but(live)
        for path in [path for path in self.facts if path not in live]:
            del self.facts[path]
        return after

    def adopt(self, head: Commit, *, at: datetime) -> int:
        """Commit the state of `head` once more, sealed, whoever made it; returns the number of the new commit.

        Raises:
            CommitRace: another process committed since `head`.
        """
        with storage_errors(self.root):
            after = replace(head, number=head.number + 1, at=at, run_id="seal", stamp=OURS)
            commits.save(self.root, after, self.access, sealed=self.sealed)
        return after.number

    @property
    def sealed(self) -> Callable[[str], str] | None:
        """What makes the seal of a digest; None without a key."""
        key = self.seal_key
        return None if key is None else lambda digest: seal_of(digest, key)

    def _sync(self, folder: Path) -> None:
        """Make the names in a folder durable, and its own name: another process may have made it and not got so far."""
        sync_folder(folder)
        up_to_root = [path for path in (folder, *folder.parents) if path.is_relative_to(self.root)]
        unsure = [path for path in up_to_root if path not in self.lasting]
        for path in unsure:
            # above the root there may be a folder that can be passed through, and not be read
            with contextlib.suppress(*((PermissionError,) if path == self.root else ())):
                sync_folder(path.parent)
        self.lasting.update(unsure)

    def _may_be_durable(self, commit: Commit) -> bool:
        """Whether a commit whose saving failed may still be read by somebody: then its files must stay."""
        try:
            return commits.load(self.root, commit.number).tables == commit.tables
        except FileNotFoundError:
            return False
        except WarehouseError:
            return True

    @contextlib.contextmanager
    def reading(self) -> Iterator["Snapshot"]:
        """The archive as its newest commit has it; the files stay as long as the block lasts.

        Raises:
            RepairWarehouse: what the block reads is missing or damaged.
        """
        with shared(self.root), reading_errors(self.root):
            yield self.newest()

    @contextlib.contextmanager
    def database(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A private DuckDB in memory: UTC, one thread, bounded memory, spilling under the root if it must.

        Where the root can only be read it spills to a private temporary folder.
        """
        spill = self.root / f".{uuid.uuid4().hex}.spill"
        if not os.access(self.root, os.W_OK):
            spill = Path(tempfile.mkdtemp())
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": DUCKDB_MEMORY,
            "threads": "1",
            "async_threads": "0",  # eight, for storage far away, would be started for every database
            "temp_directory": str(spill),
        }
        try:
            with shared(self.root), contextlib.closing(duckdb.connect(config=config)) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
        finally:
            shutil.rmtree(spill, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An archive as one commit has it: whatever is asked of the two together is asked here."""

    archive: Archive
    commit: Commit

    def files(self, table: Table, days: Collection[date | None] | None = None) -> list[LiveFile]:
        """The live files of a table, or of some of its partitions, in the order of their paths."""
        files = sorted(self.commit.tables[table.name].items())
        return [file for _, file in files if days is None or sealed.partition_day(file) in days]

    def relation(
        self,
        table: Table,
        days: Collection[date | None] | None = None,
        *,
        json: Literal["text", "typed"] = "text",
    ) -> str:
        """SQL that reads a table, or some of its partitions: see `sealed.relation`."""
        return self.archive.relation(table, [file.path for file in self.files(table, days)], json=json)

    def to_read(self, table: Table, files: Iterable[LiveFile]) -> str:
        """SQL that reads some files of a table: see `sealed.relation`."""
        return self.archive.relation(table, [file.path for file in files])

    def relations(self, *tables: Table, days: Collection[date | None] | None = None) -> Iterator[str]:
        """The same for several tables."""
        return (self.relation(table, days) for table in tables)

    def read(self, table: Table, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a table, file by file, or only `columns` of them: see `sealed.read`."""
        for file in self.files(table):
            yield from self.archive.read(file, table, columns)

    def holding(self, table: Table, values: Iterable[str], column: str | None = None) -> dict[str, set[str]]:
        """Which of `values` are in a column (the key), by the path of the file that holds them: see `Keys.holding`."""
        given = pa.array(sorted(values), pa.string())
        files = self.commit.tables[table.name]
        return self.archive.keys.holding(self.archive.root, files, column or table.key, given)


def writable(root: Path, head: Commit) -> Commit:
    """`head`, if this program may write to the archive; the marker may be newer than it."""
    marker = read_marker(root)
    if marker is not None and not marker.stamp.writable:
        raise marker.stamp.refusal(root)
    if head.number and not head.stamp.writable:
        raise head.stamp.refusal(root)
    return head
