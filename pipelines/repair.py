"""Repair: put back what a damaged archive file held, from whatever copy there is, and say honestly what is gone.

An operator's command, never run by itself. Rows come from `addons.duckdb` if it has the SHA-256 in its name, else from
the row groups of the damaged file that still read. What is gone leaves the live set in a way that makes the next export
fetch it again. The new files and the new state are one commit, so a kill leaves the state before or after; damaged
files are set aside in `_damaged`, never deleted and never rewritten. Nothing damaged gets a new hash: rows count only
if pages, counts, keys and the SHA-256 of contents agree.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.dates import RECORDING_LOOK_BACK
from pipelines.verify import PIECES, hashed
from warehouse import commits
from warehouse.archive import NULL_DAY, Archive, partition_day
from warehouse.commits import CHUNKED, Commit, LiveFile
from warehouse.errors import RepairWarehouse
from warehouse.files import make_folder, sha256_of, storage_errors, sync_folder
from warehouse.publish import NAME, intact, published
from warehouse.schema import (
    ADD_ON_PAYLOADS,
    ADD_ON_RESULTS,
    CONTENTS,
    DELETIONS,
    RECORDINGS,
    TABLES,
    Table,
)

ASIDE = "_damaged"
"""Folder under the root for damaged files: kept for whoever wants to look, read by nobody."""


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did: rows by table and partition day ("" for tables without), no content.

    Attributes:
        commit: the newest commit afterwards.
        restored: rows that are back exactly as they were.
        again: rows or contents that the next export fetches again while Twilio has them.
        gone: rows that nobody can bring back, or only by a backup.
        aside: damaged files, as they are named in `_damaged`.
        left: live files that are damaged still, because taking them out would hide it.
    """

    commit: int
    restored: Mapping[str, int]
    again: Mapping[str, int]
    gone: Mapping[str, int]
    aside: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(slots=True)
class _Repair:
    archive: Archive
    head: Commit
    now: datetime
    damaged: frozenset[str]
    add: list[LiveFile] = field(default_factory=list)
    drop: list[LiveFile] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    restored: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)


def repair(archive: Archive, *, now: datetime) -> RepairReport:
    """Restore what can be restored of damaged or missing live files; a no-op when there are none.

    Running it again after a kill finishes what was begun.

    Raises:
        RepairWarehouse: the newest commit is damaged and nothing else says which files were live.
        FixWarehouse: the root cannot be written.
        CommitRace: another process committed meanwhile; run again.
    """
    broken = _broken_commits(archive)
    head = _head(archive, broken)
    files = [file for table in head.tables.values() for file in table.values()]
    work = _Repair(archive, head, now, frozenset(file.path for file in files if not _is_sound(archive, file)))
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(_copy(archive, head))
        for table in TABLES.values():
            folders: dict[str, list[LiveFile]] = {}
            for file in head.tables[table.name].values():
                if file.path in work.damaged:
                    folders.setdefault(file.folder, []).append(file)
            for damaged in folders.values():
                if copy is None or not _restore(work, table, damaged, *copy):
                    _salvage(work, table, damaged)
    _settle(work)
    after = head
    if work.add or work.drop or head.number in broken:
        after = archive.commit(head, drop=work.drop, add=work.add, at=now, run_id="repair")
    aside = [file.path for file in work.drop if file.path in work.damaged]
    aside += [str(commits.commit_path(Path(), number)) for number in broken]
    with storage_errors(archive.root):
        kept = tuple(name for path in aside if (name := _set_aside(archive, path)))
    return RepairReport(after.number, work.restored, work.again, work.gone, kept, tuple(work.left))


def _is_sound(archive: Archive, file: LiveFile) -> bool:
    path = archive.root / file.path
    try:
        return path.stat().st_size == file.bytes and sha256_of(path) == file.sha256
    except OSError:
        return False


def _set_aside(archive: Archive, path: str) -> str | None:
    """Move a damaged file to `_damaged`; None when it is not there."""
    source = archive.root / path
    if not source.exists():
        return None
    make_folder(archive.root / ASIDE, replace(archive.access, folder=0o700))
    name = f"{ASIDE}/{path.replace('/', '.')}"
    source.rename(archive.root / name)
    if source.parent != archive.root:
        sync_folder(source.parent)
    sync_folder(archive.root / ASIDE)
    if (archive.root / name).is_file():
        (archive.root / name).chmod(0o600)
    return name


# -- the newest commit --------------------------------------------------------------------------------


def _broken_commits(archive: Archive) -> set[int]:
    broken = set()
    for number in commits.numbers(archive.root):
        try:
            commits.load(archive.root, number)
        except RepairWarehouse:
            broken.add(number)
    return broken


def _head(archive: Archive, broken: set[int]) -> Commit:
    """The newest commit, or what it named, told by the published file if that shows exactly this commit.

    An older commit is never taken for it: that would look as if nothing had been lost.
    """
    numbers = commits.numbers(archive.root)
    if not numbers:
        return commits.EMPTY
    shown = published(archive) if intact(archive) else None
    newest = numbers[-1]
    if newest not in broken:
        if shown is None or shown.commit <= newest:
            return archive.head()
        newest = shown.commit  # the file of the newest commit is gone
    name = commits.commit_path(Path(), newest)
    if shown is None or shown.commit != newest:
        raise RepairWarehouse(
            f"Commit file {name} is damaged or gone and {NAME} does not show commit {newest}, so nothing says which "
            "files were live; restore that one file from a backup."
        )
    if shown.destination == "duckdb":
        live = _sealed_anew(archive)
    else:
        known = {
            path: file
            for number in numbers
            if number not in broken
            for files in commits.load(archive.root, number).tables.values()
            for path, file in files.items()
        }
        live = [known.get(path) or _described(archive, path) for path in _shown_paths(archive)]
    tables: dict[str, dict[str, LiveFile]] = {table: {} for table in TABLES}
    for file in live:
        tables[file.path.split("/")[0]][file.path] = file
    broken.add(newest)
    return Commit(newest, shown.committed_at, "repair", tables)


_PATH = re.compile(rf"(?:{'|'.join(TABLES)})/(?:[a-z_]+=[^/']+/)?[0-9a-f]{{32}}(?:\.chunks)?\.parquet")


def _shown_paths(archive: Archive) -> list[str]:
    """Live files as the published views name them."""
    with contextlib.closing(duckdb.connect(str(archive.root / NAME), read_only=True)) as db:
        views = db.execute("SELECT sql FROM duckdb_views() WHERE NOT internal").fetchall()
    return sorted({path for (sql,) in views for path in _PATH.findall(sql)})


def _described(archive: Archive, path: str) -> LiveFile:
    """A sealed file as a commit would name it, every page read and checked."""
    try:
        with pq.ParquetFile(archive.root / path, page_checksum_verification=True) as reader:
            rows = sum(reader.read_row_group(n, use_threads=False).num_rows for n in range(reader.num_row_groups))
        return LiveFile(path, rows, (archive.root / path).stat().st_size, sha256_of(archive.root / path))
    except (OSError, pa.ArrowException):
        return LiveFile(path, 0, -1, "")  # damaged too, and how many rows it held is not known


def _sealed_anew(archive: Archive) -> list[LiveFile]:
    """Every table of the published file, sealed as archive files."""
    live = []
    with contextlib.closing(_open(archive)) as db:
        for table in TABLES.values():
            for chunked in (False, True) if table is CONTENTS else (False,):
                source = _source(table, chunked=chunked)
                part = table.partition or "NULL::DATE"
                for (day,) in db.execute(f"SELECT DISTINCT {part} FROM {source} ORDER BY 1").fetchall():
                    live += _seal_groups(archive, table, day, _rows(db, table, day, chunked=chunked), chunked=chunked)
    return live


# -- from the published file --------------------------------------------------------------------------


@contextlib.contextmanager
def _copy(archive: Archive, head: Commit) -> Iterator[tuple[duckdb.DuckDBPyConnection, Commit] | None]:
    """The published tables and the commit they show; None when there are none that can be trusted."""
    shown = published(archive) if intact(archive) else None
    if shown is None or shown.destination != "duckdb" or not shown.commit:
        yield None
        return
    try:
        base = head if shown.commit == head.number else commits.load(archive.root, shown.commit)
    except (RepairWarehouse, FileNotFoundError):
        yield None
        return
    if base.at != shown.committed_at:
        yield None  # of another history
        return
    with contextlib.closing(_open(archive)) as db:
        yield db, base


def _open(archive: Archive) -> duckdb.DuckDBPyConnection:
    db = duckdb.connect(str(archive.root / NAME), read_only=True)
    db.execute("SET TimeZone = 'UTC'; SET threads = 1")
    return db


def _source(table: Table, *, chunked: bool) -> str:
    if table is CONTENTS:
        return "_contents.chunks" if chunked else "_contents.whole"
    return table.name


def _rows(db: duckdb.DuckDBPyConnection, table: Table, day: date | None, *, chunked: bool) -> Iterator[pa.RecordBatch]:
    """Published rows of one partition as they are sealed, in order, a few at once where they are large."""
    columns = ", ".join(
        f"CAST({c.name} AS VARCHAR) AS {c.name}" if c.json else c.name
        for c in table.columns
        if c.name != table.partition
    )
    wanted = "true" if table.partition is None else f"{table.partition} IS NOT DISTINCT FROM $day::DATE"
    order = f"{table.key}, chunk" if chunked else table.key
    keys = db.cursor()
    keys.execute("SET TimeZone = 'UTC'")
    query = f"SELECT {columns} FROM {_source(table, chunked=chunked)} WHERE {wanted} ORDER BY {order}"
    rows = keys.sql(query, params={} if table.partition is None else {"day": day})
    for batch in rows.to_arrow_reader(1 if chunked else 256):
        yield from pa.Table.from_batches([batch]).cast(table.file_schema).to_batches()


def _seal_groups(
    archive: Archive, table: Table, day: date | None, batches: Iterator[pa.RecordBatch], *, chunked: bool
) -> list[LiveFile]:
    """One file, or one for the chunks of each content; none for no rows."""
    if not chunked:
        first = next(batches, None)
        return [] if first is None else [archive.seal(table, day, _chain(first, batches))]
    sealed: list[LiveFile] = []
    pending = next(batches, None)
    while pending is not None:
        content = pending[table.key][0].as_py()
        following: list[pa.RecordBatch] = []

        def one(
            first: pa.RecordBatch, content: str = content, rest: list[pa.RecordBatch] = following
        ) -> Iterator[pa.RecordBatch]:
            yield first
            for batch in batches:
                if batch[table.key][0].as_py() != content:
                    rest.append(batch)
                    return
                yield batch

        sealed.append(archive.seal(table, day, one(pending), ending=CHUNKED))
        pending = following[0] if following else None
    return sealed


def _chain(first: pa.RecordBatch, rest: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _restore(work: _Repair, table: Table, damaged: list[LiveFile], db: duckdb.DuckDBPyConnection, base: Commit) -> bool:
    """Seal the rows of the damaged files of one partition anew from the published ones; False when that is not exact.

    The rows are those of the partition that no sound file of it holds; there must be as many as the commit says.
    """
    archive, day = work.archive, partition_day(damaged[0])
    live = base.tables[table.name]
    if any(file.path not in live for file in damaged):
        return False  # landed after the publication
    done: list[LiveFile] = []
    for chunked in sorted({file.chunked for file in damaged}):
        those = [file for file in damaged if file.chunked == chunked]
        others = [f for f in live.values() if f.folder == damaged[0].folder and f.chunked == chunked and f not in those]
        if not all(_is_sound(archive, file) for file in others):
            return _undo(archive, done)
        held = {key for f in others for batch in archive.read(f, table, [table.key]) for key in _keys(batch, table)}
        rows = (_without(batch, table, held) for batch in _rows(db, table, day, chunked=chunked))
        sealed = _seal_groups(archive, table, day, (b for b in rows if b.num_rows), chunked=chunked)
        done += sealed
        if sum(f.rows for f in sealed) != sum(f.rows for f in those) or len(sealed) > len(those):
            return _undo(archive, done)
        if table is CONTENTS and not _as_received(db, archive, sealed):
            return _undo(archive, done)
    work.add += done
    work.drop += damaged
    work.restored[_label(table, damaged[0])] += sum(file.keys for file in done)
    return True


def _undo(archive: Archive, sealed: Iterable[LiveFile]) -> bool:
    for file in sealed:
        (archive.root / file.path).unlink()
    return False


def _keys(batch: pa.RecordBatch, table: Table) -> list[str]:
    return batch[table.key].to_pylist()  # type: ignore[no-any-return]  # Arrow has no types


def _without(batch: pa.RecordBatch, table: Table, held: set[str]) -> pa.RecordBatch:
    return batch.filter(pa.array([key not in held for key in _keys(batch, table)], pa.bool_()))


def _as_received(db: duckdb.DuckDBPyConnection, archive: Archive, sealed: Iterable[LiveFile]) -> bool:
    """Whether restored contents hash to what came off the wire."""
    expected = dict(db.execute("SELECT sid, content_sha256 FROM add_on_payloads").fetchall())
    return all(
        expected.get(sid) in (None, digest)
        for file in sealed
        for sid, digest, _ in hashed(archive.read(file, CONTENTS, PIECES))
    )


def _label(table: Table, file: LiveFile) -> str:
    return f"{table.name} {file.folder.partition('=')[2].replace(NULL_DAY, 'no day')}".strip()


# -- from the damaged file ----------------------------------------------------------------------------


def _salvage(work: _Repair, table: Table, damaged: list[LiveFile]) -> None:
    """Seal the row groups that still read; count the rest. The ledger of deletions is all or nothing."""
    if table is DELETIONS:
        work.left += [file.path for file in damaged]
        return
    label = _label(table, damaged[0])
    for file in damaged:
        groups = [] if file.chunked else _readable(work.archive, table, file)
        kept = sum(batch.num_rows for batch in groups)
        if kept:
            work.add.append(work.archive.seal(table, partition_day(file), groups))
            work.restored[label] += kept
        work.drop.append(file)
        if (lost := file.keys - kept) and table is not CONTENTS:  # of contents, the payloads tell more
            work.gone[label] += lost


def _readable(archive: Archive, table: Table, file: LiveFile) -> list[pa.RecordBatch]:
    """Row groups whose pages pass their checksums; none when the footer, which has none, does not fit the schema."""
    batches: list[pa.RecordBatch] = []
    try:
        with pq.ParquetFile(archive.root / file.path, page_checksum_verification=True) as reader:
            fits = reader.schema_arrow.equals(table.file_schema) and reader.metadata.num_rows == file.rows
            for number in range(reader.num_row_groups if fits else 0):
                with contextlib.suppress(pa.ArrowException, OSError, UnicodeDecodeError):
                    rows = reader.read_row_group(number, use_threads=False)
                    rows.validate(full=True)
                    if rows[table.key].null_count == 0:
                        batches += rows.to_batches()
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return []
    return batches


# -- what the rest must say ---------------------------------------------------------------------------


def _settle(work: _Repair) -> None:
    """Make the remaining rows say what is not there any more, so that the next export asks for it."""
    if not work.drop:
        return
    lost = {file.path.split("/")[0] for file in work.drop} & {label.split()[0] for label in work.gone}
    contents = any(f.path.startswith(f"{CONTENTS.name}/") for f in work.drop)
    if contents or ADD_ON_PAYLOADS.name in lost:
        _settle_payloads(work)
    if contents or {ADD_ON_PAYLOADS.name, ADD_ON_RESULTS.name} & lost:
        _settle_results(work)
    if ADD_ON_RESULTS.name in lost:
        since = (work.now - RECORDING_LOOK_BACK).astimezone(UTC).date() - timedelta(days=1)
        listed = [f for f in _live(work, RECORDINGS) if (partition_day(f) or since) >= since]
        _rewrite(
            work,
            RECORDINGS,
            listed,
            lambda rows: _blank(rows, ["listed_at", "open_results"], set(_column(rows, "sid"))),
        )


def _live(work: _Repair, table: Table) -> list[LiveFile]:
    """Live files of a table as they will be."""
    dropped = {file.path for file in work.drop}
    kept = [file for path, file in work.head.tables[table.name].items() if path not in dropped]
    return kept + [file for file in work.add if file.path.startswith(f"{table.name}/")]


def _settle_payloads(work: _Repair) -> None:
    """Payloads whose content is gone say so; a content whose payload is gone gets a row of what is known of it."""
    archive = work.archive
    there = {
        sid: (digest, length, partition_day(file))
        for file in _live(work, CONTENTS)
        for sid, digest, length in hashed(archive.read(file, CONTENTS, PIECES))
    }
    known: set[str] = set()
    wrong: set[str] = set()
    for file in _live(work, ADD_ON_PAYLOADS):
        for batch in archive.read(file, ADD_ON_PAYLOADS, ["sid", "content_sha256"]):
            for sid, digest in zip(_column(batch, "sid"), _column(batch, "content_sha256"), strict=True):
                known.add(sid)
                if digest is not None and there.get(sid, (None,))[0] != digest:
                    wrong.add(sid)
                    work.again[f"{CONTENTS.name} {file.folder.partition('=')[2]}"] += 1
    facts = ["content_length", "content_sha256", "fetched_at"]
    _rewrite(work, ADD_ON_PAYLOADS, _live(work, ADD_ON_PAYLOADS), lambda rows: _blank(rows, facts, wrong))
    days: dict[date | None, list[dict[str, object]]] = {}
    for sid, (digest, length, day) in there.items():
        if sid not in known:
            days.setdefault(day, []).append({"sid": sid, "content_sha256": digest, "content_length": length})
    for day, rows in days.items():
        made = pa.Table.from_pylist(rows, schema=ADD_ON_PAYLOADS.file_schema)
        work.add.append(archive.seal(ADD_ON_PAYLOADS, day, made.to_batches()))


def _settle_results(work: _Repair) -> None:
    """Results that lack a payload or a content are no longer exported."""
    archive = work.archive
    whole: Counter[str] = Counter()
    for file in _live(work, ADD_ON_PAYLOADS):
        for batch in archive.read(file, ADD_ON_PAYLOADS, ["add_on_result_sid", "content_sha256"]):
            columns = _column(batch, "add_on_result_sid"), _column(batch, "content_sha256")
            whole.update(result for result, digest in zip(*columns, strict=True) if digest is not None)

    def lacking(rows: pa.Table) -> pa.Table:
        columns = _column(rows, "sid"), _column(rows, "payload_count"), _column(rows, "exported_at")
        short = {sid for sid, count, at in zip(*columns, strict=True) if at is not None and whole[sid] < (count or 0)}
        return _blank(rows, ["exported_at"], short)

    _rewrite(work, ADD_ON_RESULTS, _live(work, ADD_ON_RESULTS), lacking)


def _column(rows: pa.Table | pa.RecordBatch, name: str) -> list[Any]:
    return rows[name].to_pylist()  # type: ignore[no-any-return]  # Arrow has no types


def _blank(rows: pa.Table, columns: Iterable[str], sids: set[str]) -> pa.Table:
    """`rows` with nulls in `columns` of the rows with these SIDs."""
    mask = pc.is_in(rows["sid"], value_set=pa.array(sorted(sids), pa.string()))
    for name in columns:
        index = rows.schema.get_field_index(name)
        column = pc.if_else(mask, pa.scalar(None, rows.schema.field(index).type), rows[name])
        rows = rows.set_column(index, rows.schema.field(index), column)
    return rows


def _rewrite(work: _Repair, table: Table, files: list[LiveFile], change: Callable[[pa.Table], pa.Table]) -> None:
    """Seal anew those of `files` that `change` changes."""
    for file in files:
        rows = pa.Table.from_batches(work.archive.read(file, table), schema=table.file_schema)
        changed = change(rows)
        if changed.equals(rows):
            continue
        sealed = work.archive.seal(table, partition_day(file), changed.to_batches())
        if file in work.add:
            work.add.remove(file)
            (work.archive.root / file.path).unlink()
        else:
            work.drop.append(work.archive.sound(file))
        work.add.append(sealed)
