"""Compact: the files of one partition become one, sorted by key, as an ordinary commit.

Every landing adds a file to each day it touches. Readers pay for the number of files, and find a row by its key
without reading the day only where rows are sorted. The rows are the same before, during and after; superseded files
stay for readers until they are collected. A kill leaves the state before or after, and files no commit names.
"""

import bisect
import contextlib
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.errors import CommitRace, RepairWarehouse
from warehouse.schema import TABLES, Table
from warehouse.store.archive import Archive
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.damage import reading_errors
from warehouse.store.files import storage_errors
from warehouse.store.footers import refuse_newer
from warehouse.store.lock import shared
from warehouse.store.sealed import partition_day

MOST_FILES = 8
"""Small files a partition may have before they are joined."""

SMALL_BYTES = 16 << 20
"""Files from this size on are left as they are while their day may still grow."""

WORTH = 4
"""The file of a closed day is written again when what came after is a quarter of it or more."""

CLOSED_AT_ONCE = 14
"""Partitions of closed days joined in one go, so that no export waits long: two days, with their seven tables."""

SORT_BYTES = 8 << 20
"""Rows sorted at once, in bytes; larger partitions are first divided by key into temporary files."""

COMMIT_BYTES = 256 << 20
"""Joined (bytes as stored) before it is committed, so that a long compaction keeps what it has done."""


def compact(
    archive: Archive,
    *,
    now: datetime,
    run_id: str,
    most_files: int = MOST_FILES,
    thorough: bool = False,
    tries: int = 1,
) -> int:
    """Join the files of partitions that have too many.

    A partition with `most_files` or more small files gets one of them. A day that is over gets one file of all that
    it has as soon as that is worth it, no more than CLOSED_AT_ONCE of them in one go. With `thorough` every partition
    gets one file of all that it has.

    Returns:
        Number of files that were replaced. When another process committed meanwhile, up to `tries` times, the rest
        is left for the next time.

    Raises:
        UpdateProgram: a newer version wrote what is here; nothing is changed.
        RepairWarehouse: a file to be joined is damaged; nothing is changed.
    """
    replaced = 0
    while True:
        try:
            with shared(archive.root), archive.undone():
                head = archive.head_to_change()
                crowded = [*_crowded(head, now, most_files, thorough=thorough)]
                refuse_newer(archive.root, (file for _, files in crowded for file in files))
                step = _commit_some(archive, head, crowded, now, run_id)
        except CommitRace:
            tries -= 1
            if not tries:
                return replaced
            continue
        replaced += step
        if not step or not thorough:
            return replaced


def _commit_some(
    archive: Archive, head: Commit, crowded: Iterable[tuple[Table, list[LiveFile]]], now: datetime, run_id: str
) -> int:
    """Join partitions until COMMIT_BYTES and commit; returns how many files that replaced."""
    drop: list[LiveFile] = []
    add: list[LiveFile] = []
    for table, files in crowded:
        drop += files
        add.append(_join(archive, table, files))
        if sum(file.bytes for file in add) >= COMMIT_BYTES:
            break
    if drop:
        archive.commit(head, drop=drop, add=add, at=now, run_id=run_id)
    return len(drop)


def _crowded(head: Commit, now: datetime, most_files: int, *, thorough: bool) -> Iterator[tuple[Table, list[LiveFile]]]:
    """The files to be joined, partition by partition."""
    today = now.astimezone(UTC).date()
    left = CLOSED_AT_ONCE
    for table in TABLES.values():
        folders: dict[str, list[LiveFile]] = {}
        for file in head.tables[table.name].values():
            if not file.chunked:
                folders.setdefault(file.folder, []).append(file)
        for _, files in sorted(folders.items()):
            small = [file for file in files if file.bytes < SMALL_BYTES]
            day = partition_day(files[0])
            sizes = sorted(file.bytes for file in files)
            closed = day is not None and day < today and sum(sizes[:-1]) * WORTH >= sizes[-1]
            if len(files) > 1 and (thorough or (closed and left)):
                left -= 1
                yield table, files
            elif len(small) >= max(2, most_files):
                yield table, small


def _join(archive: Archive, table: Table, files: Sequence[LiveFile]) -> LiveFile:
    with reading_errors(archive.root):
        for file in files:
            archive.sound(file)
        joined = archive.seal(table, partition_day(files[0]), _sorted(archive, table, files))
    if joined.rows != sum(file.rows for file in files):
        raise RepairWarehouse(f"Joining files of {table.name} would change the number of rows; nothing was changed.")
    return joined


def _sorted(archive: Archive, table: Table, files: Sequence[LiveFile]) -> Iterator[pa.RecordBatch]:
    """All rows of `files` by key, holding no more than about SORT_BYTES of them."""
    size = 0
    for file in files:
        data = pq.read_metadata(archive.root / file.path)
        size += sum(data.row_group(group).total_byte_size for group in range(data.num_row_groups))
    batches = (batch for file in files for batch in archive.read(file, table))
    if size <= SORT_BYTES:
        yield from _in_order(table, pa.Table.from_batches(batches, schema=table.file_schema))
        return
    keys = sorted(
        key
        for file in files
        for batch in archive.read(file, table, [table.key])
        for key in batch[table.key].to_pylist()
    )
    ranges = -(-size // SORT_BYTES)
    bounds = [keys[len(keys) * number // ranges] for number in range(1, ranges)]
    del keys
    with _scratch(archive) as folder:
        _divide(table, batches, bounds, folder)
        for number in range(ranges):
            with pa.OSFile(str(folder / str(number))) as source, pa.ipc.open_stream(source) as reader:
                yield from _in_order(table, reader.read_all())


def _divide(table: Table, batches: Iterator[pa.RecordBatch], bounds: Sequence[str], folder: Path) -> None:
    """Write each range of keys to a file of its own."""
    with contextlib.ExitStack() as stack:
        writers = []
        for number in range(len(bounds) + 1):
            sink = stack.enter_context(pa.OSFile(str(folder / str(number)), "wb"))
            writers.append(stack.enter_context(pa.ipc.new_stream(sink, table.file_schema)))
        for batch in batches:
            places: dict[int, list[int]] = {}
            for row, key in enumerate(batch[table.key].to_pylist()):
                places.setdefault(bisect.bisect_right(bounds, key), []).append(row)
            for number, rows in places.items():
                writers[number].write_batch(batch.take(pa.array(rows, pa.int64())).cast(table.file_schema))


def _in_order(table: Table, rows: pa.Table) -> Iterator[pa.RecordBatch]:
    rows = rows.sort_by(table.key)
    keys = rows[table.key].combine_chunks()
    if len(keys) > 1 and pc.any(pc.equal(keys[1:], keys[:-1])).as_py():
        raise RepairWarehouse(f"Files of {table.name} hold a {table.key} twice; nothing was changed.")
    # a row group is closed after the batch that fills it, so one by one where rows are large
    yield from rows.to_batches(max_chunksize=256 if rows.nbytes < rows.num_rows * (16 << 10) else 1)


@contextlib.contextmanager
def _scratch(archive: Archive) -> Iterator[Path]:
    """A private folder beside the tables; what a kill leaves of it is collected with other leftovers."""
    folder = archive.root / f".{uuid.uuid4().hex}.spill"
    with storage_errors(folder):
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
