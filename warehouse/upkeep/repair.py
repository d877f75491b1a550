"""Repair: put back what a damaged archive file held, from whatever copy there is, and say honestly what is gone.

An operator's command, never run by itself. Rows come from `addons.duckdb` if it has the SHA-256 in its name, else from
the row groups of the damaged file that still read. What is gone leaves the live set in a way that makes the next export
fetch it again. The new files and the new state are one commit, so a kill leaves the state before or after; damaged
files are set aside in `_damaged`, never deleted and never rewritten. Nothing damaged gets a new hash: rows count only
if pages, counts, keys and the SHA-256 of contents agree.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import RepairWarehouse
from warehouse.schema import CONTENTS, DELETIONS, DERIVED, TABLES, Table
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.damage import is_sound
from warehouse.store.files import refuse_links, storage_errors, sync_folder
from warehouse.store.footers import refuse_any_newer
from warehouse.store.lock import shared
from warehouse.store.marker import read_marker, update_marker
from warehouse.store.names import ASIDE as ASIDE
from warehouse.store.names import MARKER, set_aside
from warehouse.store.opens import folder, make_private, sync
from warehouse.store.sealed import partition_day
from warehouse.upkeep.repair_head import broken_commits, newest
from warehouse.upkeep.repair_rest import settle
from warehouse.upkeep.repair_sources import as_received, copied, copy_of, seal_groups
from warehouse.upkeep.repair_twice import keys, twice, without
from warehouse.upkeep.repair_work import Repair, label


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


def repair(archive: Archive, *, now: datetime) -> RepairReport:
    """Restore what can be restored of damaged or missing live files; a no-op when there are none.

    Running it again after a kill finishes what was begun.

    Raises:
        RepairWarehouse: the newest commit is damaged and nothing else says which files were live.
        FixWarehouse: the root cannot be written.
        Untrusted: a live file is a link.
        UpdateProgram: a newer version wrote what is here; nothing was changed.
        CommitRace: another process committed meanwhile; run again.
    """
    with shared(archive.root), archive.undone():
        return _repair(archive, now=now)


def _repair(archive: Archive, *, now: datetime) -> RepairReport:
    broken = broken_commits(archive)
    _mend_marker(archive)
    head = newest(archive, broken)
    refuse_any_newer(archive.root, head)
    files = [*head.files()]
    for file in files:
        refuse_links(archive.root, file.path)
    work = Repair(archive, head, now, frozenset(file.path for file in files if not is_sound(archive.root, file)))
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(copy_of(archive, head))
        _drop_derived(work)
        for table in (table for table in TABLES.values() if not table.derived):
            folders: dict[str, list[LiveFile]] = {}
            for file in head.tables[table.name].values():
                if file.path in work.damaged:
                    folders.setdefault(file.folder, []).append(file)
            for damaged in folders.values():
                if copy is None or not _restore(work, table, damaged, *copy):
                    _salvage(work, table, damaged)
    settle(work)
    aside = [file.path for file in work.drop if file.path in work.damaged]
    aside += [str(commits.commit_path(Path(), number)) for number in broken]
    with storage_errors(archive.root):
        # before the commit: after it nobody who finishes this would know them for damaged
        kept = tuple(name for path in aside if (name := _set_aside(archive, path)))
    after = head
    if work.add or work.drop or head.number in broken:
        after = archive.commit(head, drop=work.drop, add=work.add, at=now, run_id="repair")
        # what the lists held may be among what is gone
        update_marker(archive, lambda marker: replace(marker, listed_at={}, exported_at=None))
    with storage_errors(archive.root):
        for path in map(archive.root.joinpath, aside):
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)
    return RepairReport(after.number, work.restored, work.again, work.gone, kept, tuple(work.left))


def _mend_marker(archive: Archive) -> None:
    """Set a damaged marker aside and make a new one; what it said beside the format must be set again."""
    try:
        read_marker(archive.root)
    except RepairWarehouse:
        with storage_errors(archive.root):
            _set_aside(archive, MARKER)
            (archive.root / MARKER).unlink(missing_ok=True)
        update_marker(
            archive,
            lambda fresh: replace(fresh, committed=bool(commits.numbers(archive.root))),
        )


def _set_aside(archive: Archive, path: str) -> str | None:
    """Give a damaged file a second name in `_damaged` (a folder in its place: another one); None when there is none."""
    source = archive.root / path
    if not os.path.lexists(source):
        return None
    name = PurePosixPath(set_aside(path)).name
    with folder(archive.root, ASIDE, writers=archive.access.writers, make=0o700) as (aside, _):
        if source.is_dir() or source.is_symlink():
            os.rename(source, name, dst_dir_fd=aside)
            sync_folder(source.parent)
        else:
            with contextlib.suppress(FileExistsError):  # by one who was killed before the commit
                os.link(source, name, dst_dir_fd=aside, follow_symlinks=False)
            make_private(aside, name)
        sync(aside)
    return f"{ASIDE}/{name}"


def _restore(work: Repair, table: Table, damaged: list[LiveFile], db: duckdb.DuckDBPyConnection, base: Commit) -> bool:
    """Seal the rows of the damaged files of one partition anew from the published ones; False when that is not exact.

    The rows are those of the partition that no sound file of it holds; there must be as many as the commit says. Those
    that were landed a second time since, while the damage hid them, are there already.
    """
    archive, day = work.archive, partition_day(damaged[0])
    live = base.tables[table.name]
    if any(file.path not in live for file in damaged):
        return False  # landed after the publication
    done: list[LiveFile] = []
    for chunked in sorted({file.chunked for file in damaged}):
        those = [file for file in damaged if file.chunked == chunked]
        others = [f for f in live.values() if f.folder == damaged[0].folder and f.chunked == chunked and f not in those]
        if not all(is_sound(archive.root, file) for file in others):
            return _undo(archive, done)
        held = {key for f in others for batch in archive.read(f, table, [table.key]) for key in keys(batch, table)}
        missing = (without(batch, table, held) for batch in copied(db, table, day, chunked=chunked))
        again = twice(work, table, but=live)
        rows = map(again.dropped, missing)
        sealed = seal_groups(archive, table, day, (b for b in rows if b.num_rows), chunked=chunked)
        done += sealed
        if again.rows + sum(f.rows for f in sealed) != sum(f.rows for f in those) or len(sealed) > len(those):
            return _undo(archive, done)
        if table is CONTENTS and not as_received(db, archive, sealed):
            return _undo(archive, done)
    work.add += done
    work.drop += damaged
    work.restored[label(table, damaged[0])] += sum(file.keys for file in done)
    return True


def _drop_derived(work: Repair) -> None:
    """Leave out whatever was derived of a day of which some of it is damaged: it is derived again from its contents."""
    folders = {f.folder for table in DERIVED for f in work.head.tables[table.name].values() if f.path in work.damaged}
    for table in DERIVED:
        work.drop += [file for file in work.head.tables[table.name].values() if file.folder in folders]


def _undo(archive: Archive, sealed: Iterable[LiveFile]) -> bool:
    for file in sealed:
        (archive.root / file.path).unlink()
    return False


def _salvage(work: Repair, table: Table, damaged: list[LiveFile]) -> None:
    """Seal the row groups that still read, without what is landed again; count the rest.

    The ledger of deletions is all or nothing.
    """
    if table is DELETIONS:
        work.left += [file.path for file in damaged]
        return
    name = label(table, damaged[0])
    for file in damaged:
        again = twice(work, table, but={})
        groups = [] if file.chunked else [again.dropped(batch) for batch in _readable(work.archive, table, file)]
        kept = sum(batch.num_rows for batch in groups)
        if kept:
            work.add.append(work.archive.seal(table, partition_day(file), groups))
            work.restored[name] += kept
        work.drop.append(file)
        if (lost := file.keys - kept - again.rows) and table is not CONTENTS:  # of contents, the payloads tell more
            work.gone[name] += lost


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
