"""The Parquet archive: the truth in both destinations.

Sealed files are immutable. What is live is said by the newest commit only, so everything else in the folders
(leftovers of a kill, superseded files) is invisible. Knows Arrow tables, never Twilio.
"""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.clock import APART
from warehouse.errors import CommitRace, FixWarehouse, RepairWarehouse, WarehouseError
from warehouse.schema import Column, Table, sql_type
from warehouse.store import commits
from warehouse.store.abilities import missing
from warehouse.store.commits import CHUNKED, FOLDER, Commit, LiveFile
from warehouse.store.damage import DAMAGED, check_rows, reading_errors
from warehouse.store.files import (
    ACCESS,
    Access,
    cannot,
    make_root,
    refuse_links,
    sha256_of,
    storage_errors,
    sync_and_hash,
    sync_folder,
    unnamed,
)
from warehouse.store.keys import Keys
from warehouse.store.lock import shared
from warehouse.store.locks import make_lock
from warehouse.store.marker import read_marker, update_marker
from warehouse.store.names import ARCHIVE_LOCK
from warehouse.store.names import NULL_DAY as NULL_DAY
from warehouse.store.root import check_root
from warehouse.store.seal import SealKey, check_sealed, seal_of
from warehouse.store.sharing import follow, sharing
from warehouse.store.stamp import OURS, stored
from warehouse.store.strangers import leftovers, refuse_others, remove
from warehouse.store.trust import NOBODY_ELSE, Writers

ROW_GROUP_BYTES = 4 << 20
"""Whoever writes or reads a content holds its row group; 4 MB cost 10 % more CPU than 16 MB and far less memory."""

ROW_GROUP_ROWS = 122_880

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
    seal_key: SealKey | None = field(default=None, compare=False, repr=False)
    """What commits are sealed with, and must have been; None: they need no seal."""
    notices: tuple[str, ...] = field(default=(), compare=False)
    """What opening it changed or found missing: sentences for the operator."""

    def head(self) -> Commit:
        """The newest commit; EMPTY when nothing has landed."""
        return commits.head(self.root)

    def head_to_change(self) -> Commit:
        """The newest commit, for whoever commits, publishes, collects or erases: all of that goes through here.

        Raises:
            UpdateProgram: a newer version wrote what is here.
        """
        return _writable(self.root, self.head())

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
            rows = _write_parquet(stream, table, batches)
            sha256 = sync_and_hash(stream)
            file = LiveFile(f"{name}/{uuid.uuid4().hex}{ending}", rows, stream.tell(), sha256)
            unsealed.become(PurePosixPath(file.path).name)
            if (sealed := _SEALED.get()) is not None:
                sealed.append(file)
        return file

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        """Remove the files that the block has sealed if it fails before it commits: they would fill a full disk."""
        sealed: list[LiveFile] = []
        token = _SEALED.set(sealed)
        try:
            yield
        except BaseException:
            for file in sealed:
                (self.root / file.path).unlink(missing_ok=True)
            raise
        finally:
            _SEALED.reset(token)

    def read(self, file: LiveFile, table: Table, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a file, or only `columns` of them, checked against the pages' checksums.

        The partition column is not in the file. Comes in row groups: no more than ROW_GROUP_BYTES and one row.

        Raises:
            OSError, ArrowException: the file is missing or damaged, or gives other rows than were committed.
        """
        names = columns or table.file_schema.names
        reader = pq.ParquetFile(self.root / file.path, page_checksum_verification=True)
        read = without_key = 0
        with contextlib.closing(reader):
            for group in range(reader.num_row_groups):
                rows = reader.read_row_group(group, columns=names, use_threads=False)
                for name in set(names) - set(rows.column_names):  # the file was sealed before there was this column
                    rows = rows.append_column(name, pa.nulls(rows.num_rows, table.file_schema.field(name).type))
                read += rows.num_rows
                without_key += rows[table.key].null_count if table.key in names else 0
                yield from rows.select(names).to_batches()
        check_rows(file, read, without_key=without_key)

    def sound(self, file: LiveFile) -> LiveFile:
        """`file`, if its bytes are those that were committed: damage must not be rewritten under a new hash.

        Raises:
            RepairWarehouse: they are not.
            Untrusted: it is a link.
        """
        refuse_links(self.root, file.path)
        try:
            same = sha256_of(self.root / file.path) == file.sha256
        except (FileNotFoundError, IsADirectoryError):
            same = False
        if not same:
            raise RepairWarehouse(DAMAGED.format(file.path))
        return file

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
        _writable(self.root, before)
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
            sealed = [*add, *undoable]
            try:
                if any(not (self.root / file.path).exists() for file in add):
                    # whoever is stopped for longer than the grace time has its files collected as leftovers
                    raise CommitRace("Sealed files were collected before they were committed; run again.")
                undoable.clear()  # from here on they may be live
                after = commits.save(self.root, after, self.access, sealed=self.sealed)
            except BaseException:
                if not self._may_be_durable(after):
                    for file in sealed:
                        (self.root / file.path).unlink(missing_ok=True)
                raise
        self.keys.forget_all_but(path for files in tables.values() for path in files)
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

    def relation(
        self, table: Table, files: Iterable[str], *, filename: bool = False, json: Literal["text", "typed"] = "text"
    ) -> str:
        """SQL that reads `files` (paths relative to the root) with all columns of `table`, in order.

        JSON columns come as the text that was landed; "typed" makes them JSON for analysts, null where DuckDB
        does not accept the text (half a surrogate pair, for one). The chunks of large contents are rows of their own.
        """
        paths = sorted(files)
        if not paths:
            nulls = ", ".join(f"CAST(NULL AS {_type(c, json)}) AS {c.name}" for c in table.columns)
            return f"(SELECT {nulls}{', NULL::VARCHAR AS filename' if filename else ''} WHERE false)"
        chunked = [path for path in paths if path.endswith(CHUNKED)]
        if 0 < len(chunked) < len(paths):
            whole = [path for path in paths if not path.endswith(CHUNKED)]
            kinds = (self.relation(table, those, filename=filename, json=json) for those in (whole, chunked))
            return f"(FROM {' UNION ALL FROM '.join(kinds)})"
        listed = ", ".join(quote(str(self.root / path)) for path in paths)
        hive = "hive_partitioning = false"
        if table.partition is not None:
            hive = f"hive_partitioning = true, hive_types = {{'{table.partition}': VARCHAR}}"
        columns = ", ".join(_read(table, column, json) for column in table.columns)
        source = f"read_parquet([{listed}], union_by_name = true, filename = true, {hive})"
        if late := [f"NULL::{_type(c, 'text')} AS {c.name}" for c in table.columns if c.late]:
            source = f"(SELECT {', '.join(late)} WHERE false UNION ALL BY NAME FROM {source})"
        return f"(SELECT {columns}{', filename' if filename else ''} FROM {source})"

    @contextlib.contextmanager
    def reading(self) -> Iterator[Commit]:
        """The newest commit; its files stay as long as the block lasts.

        Raises:
            RepairWarehouse: what the block reads is missing or damaged.
        """
        with shared(self.root), reading_errors(self.root):
            yield self.head()

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

    def collect(self, *, now: datetime, grace: timedelta, keep: int = 50) -> int:
        """Remove files that no commit younger than `grace` names, and commits older than that.

        Readers may hold a superseded file for `grace`. The newest `keep` commits and their files always stay.

        `now` must be a time that `warehouse.clock.trusted_now` gives: files have times by the clock of this machine,
        and one that is a year ahead must make none of them old.

        Returns:
            Number of files removed.
        """
        with shared(self.root):
            return self._collect(now=now, grace=grace, keep=keep)

    def _collect(self, *, now: datetime, grace: timedelta, keep: int) -> int:
        self.head_to_change()
        known = self._readable_commits()
        at = _made_at(known.values())
        young = [n for n in known if at[n] > now - grace]
        # a reader may have opened what was newest when the grace time began
        opened = [n for n in known if not young or n < young[0]][-1:]
        kept = {*opened, *young, *list(known)[-keep:]}
        live = {path for n in kept for files in known[n].tables.values() for path in files}
        removed = 0
        with storage_errors(self.root):
            for number in known.keys() - kept:
                commits.commit_path(self.root, number).unlink(missing_ok=True)
            for name in leftovers(self.root, live):  # superseded, or of killed processes
                if _older_than(self.root / name, grace, now=now):
                    remove(self.root / name)
                    removed += 1
        return removed

    def _readable_commits(self) -> dict[int, Commit]:
        """All commits but damaged ones: those name nothing that a neighbour or the age of the file does not keep.

        A file that only a damaged commit names was sealed for it, so it is as young as that commit.
        """
        known = {}
        for number in commits.numbers(self.root):
            with contextlib.suppress(RepairWarehouse):
                known[number] = commits.load(self.root, number)
        return known


def _made_at(commits: Iterable[Commit]) -> dict[int, datetime]:
    """When each commit was made, by number: as it says, but no later than any that came after it.

    A clock that was ahead once would keep what it stamped young for as long as it was ahead.
    """
    made: dict[int, datetime] = {}
    latest = datetime.max.replace(tzinfo=UTC)
    for commit in sorted(commits, key=lambda commit: commit.number, reverse=True):
        made[commit.number] = latest = min(latest, commit.at)
    return made


def _older_than(path: Path, age: timedelta, *, now: datetime) -> bool:
    """Whether a file was last written longer than `age` ago; one that another process has just removed was not.

    One that says it was written later than now, by a clock that was ahead, counts as written now.
    """
    try:
        written = path.lstat().st_mtime
        if written > (now + APART).timestamp():
            os.utime(path, (now.timestamp(), now.timestamp()), follow_symlinks=False)
        return written < (now - age).timestamp()
    except FileNotFoundError:
        return False


def open_archive(
    root: Path,
    *,
    shared_read: str | None = None,
    add_on_names: Mapping[str, str] = MappingProxyType({}),
    writers: Writers = NOBODY_ELSE,
) -> Archive:
    """Open or create the archive at `root` and prove that it can be written.

    Who may read it (`shared_read`: "none", "group" or "all") is as it is unless it is given; then all that is there
    follows.

    Raises:
        Untrusted: somebody else made it, may change it, or put a link in it.
        FixWarehouse: the folder cannot be made or written.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100  # resolve() would follow links out of the chosen folder
    if set("*?[]=") & set(str(root)):
        # DuckDB expands wildcards, and takes `name=value` folders for partitions, anywhere in a path
        raise FixWarehouse(f"EXPORT_ROOT {root} holds one of * ? [ ] = in its path; choose another folder.")
    with storage_errors(root):
        check_root(root, writers)
        shared_by = sharing(root, shared_read)
        access = replace(ACCESS[shared_by], writers=writers)
        archive = Archive(root, access, add_on_names=dict(add_on_names))
        _refuse(root)
        make_root(root, archive.access)
        with unnamed(root, FOLDER, archive.access) as (stream, file):
            stream.write(b"writable?")
            lacking = missing(file.folder, file.name)
        make_lock(root, ARCHIVE_LOCK, archive.access)
    _mark(archive)
    with storage_errors(root):
        said = follow(archive, shared_by)
    return replace(archive, notices=(*lacking, *([said] if said else ())))


def _refuse(root: Path) -> None:
    """Refuse a root that others use, or that a newer version has written to, before anything is written there.

    A damaged commit or marker is left to whoever needs it.
    """
    refuse_others(root)
    with contextlib.suppress(RepairWarehouse):
        _writable(root, commits.head(root))


def _writable(root: Path, head: Commit) -> Commit:
    """`head`, if this program may write to the archive; the marker may be newer than it."""
    marker = read_marker(root)
    if marker is not None and not marker.stamp.writable:
        raise marker.stamp.refusal(root)
    if head.number and not head.stamp.writable:
        raise head.stamp.refusal(root)
    return head


def _mark(archive: Archive) -> None:
    """Make the root ours, if it has no marker that says so."""
    committed = bool(commits.numbers(archive.root))
    with contextlib.suppress(RepairWarehouse):  # of a damaged one, which is left as it is
        marker = read_marker(archive.root)
        if marker is None or (committed and not marker.committed):
            update_marker(archive, lambda found: replace(found, committed=found.committed or committed))


def existing_archive(root: Path, *, add_on_names: Mapping[str, str] = MappingProxyType({})) -> Archive:
    """The archive at `root` for reading only: nothing is made or tried out there.

    Raises:
        FixWarehouse: there is none.
    """
    root = Path(os.path.abspath(root))  # noqa: PTH100  # as open_archive does
    try:
        there = (root / FOLDER).is_dir()
        if there:
            os.listdir(root / FOLDER)  # noqa: PTH208  # a listing is all that is wanted
    except OSError as error:
        raise cannot("read", root, error) from error
    if not there:
        raise FixWarehouse(f"Nothing has been exported to {root}; check EXPORT_ROOT.")
    with contextlib.suppress(RepairWarehouse):  # `verify` says it; the commits decide what can be read
        read_marker(root)
    return Archive(root, ACCESS["none"], add_on_names=dict(add_on_names))


def partition_day(file: LiveFile) -> date | None:
    """The partition day of a live file; None for the null partition."""
    value = file.folder.partition("=")[2]
    return None if value in ("", NULL_DAY) else date.fromisoformat(value)


def _type(column: Column, json: Literal["text", "typed"]) -> str:
    return "VARCHAR" if column.json and json == "text" else sql_type(column)


def _read(table: Table, column: Column, json: Literal["text", "typed"]) -> str:
    if column.name == table.partition:
        # typed by DuckDB itself, the null partition is an error in 1.4; folders are skipped all the same
        return f"TRY_CAST({column.name} AS DATE) AS {column.name}"
    if column.json and json == "typed":
        return f"TRY_CAST({column.name} AS JSON) AS {column.name}"
    return column.name


def quote(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def by_day(table: Table, rows: pa.Table) -> Mapping[date | None, pa.Table]:
    """Split rows by their partition column; one group, None, for a table without partitions."""
    if table.partition is None:
        return {None: rows} if rows.num_rows else {}
    column = rows[table.partition].combine_chunks()
    days: dict[date | None, pa.Table] = {}
    for entry in column.value_counts():
        day = entry["values"].as_py()
        mask = pa.compute.is_null(column) if day is None else pa.compute.equal(column, entry["values"])
        days[day] = rows.filter(mask)
    return days


def _write_parquet(stream: object, table: Table, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches in row groups bounded by bytes and rows; returns the number of rows."""
    schema = table.file_schema
    rows = 0
    with pq.ParquetWriter(
        stream,
        schema,
        compression="zstd",
        use_dictionary=not table.append_only,
        write_page_checksum=True,
        store_schema=True,
    ) as writer:
        writer.add_key_value_metadata(stored(OURS))
        group: list[pa.RecordBatch] = []
        size = count = 0
        for batch in batches:
            group.append(batch.select(schema.names))
            size += batch.nbytes
            count += batch.num_rows
            rows += batch.num_rows
            if size >= ROW_GROUP_BYTES or count >= ROW_GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(group).cast(schema), row_group_size=1 << 30)
                group, size, count = [], 0, 0
        if group or not rows:
            writer.write_table(pa.Table.from_batches(group, schema=None if group else schema).cast(schema))
    return rows
