"""Repair, the newest commit: which files were live, when its own file is damaged or gone.

Told by the published file if that shows exactly this commit. An older commit is never taken for it: that would look as
if nothing had been lost.
"""

import contextlib
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import RepairWarehouse
from warehouse.published.shown import intact, published
from warehouse.schema import TABLES
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.store.commit import EMPTY, Commit, LiveFile
from warehouse.store.files import sha256_of
from warehouse.store.names import PUBLISHED, sealed_in
from warehouse.upkeep.repair_sources import sealed_anew


def broken_commits(archive: Archive) -> set[int]:
    """Numbers of the commit files that do not hold what was committed."""
    broken = set()
    for number in commits.numbers(archive.root):
        try:
            commits.load(archive.root, number)
        except RepairWarehouse:
            broken.add(number)
    return broken


def newest(archive: Archive, broken: set[int]) -> Commit:
    """The newest commit, or what it named, told by the published file if that shows exactly this commit.

    An older commit is never taken for it: that would look as if nothing had been lost.
    """
    numbers = commits.numbers(archive.root)
    if not numbers:
        return EMPTY
    shown = published(archive) if intact(archive) else None
    newest = numbers[-1]
    if newest not in broken:
        if shown is None or shown.commit <= newest:
            return archive.head_to_change()
        newest = shown.commit  # the file of the newest commit is gone
    name = commits.commit_path(Path(), newest)
    if shown is None or shown.commit != newest:
        raise RepairWarehouse(
            f"Commit file {name} is damaged or gone and {PUBLISHED} does not show commit {newest}, so nothing says "
            "which files were live; restore that one file from a backup."
        )
    if shown.destination == "duckdb":
        live = sealed_anew(archive)
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
        tables[file.table][file.path] = file
    broken.add(newest)
    return Commit(newest, shown.committed_at, "repair", tables)


def _shown_paths(archive: Archive) -> list[str]:
    """Live files as the published views name them."""
    with contextlib.closing(duckdb.connect(str(archive.root / PUBLISHED), read_only=True)) as db:
        views = db.execute("SELECT sql FROM duckdb_views() WHERE NOT internal").fetchall()
    return sorted({path for (sql,) in views for path in sealed_in(sql)})


def _described(archive: Archive, path: str) -> LiveFile:
    """A sealed file as a commit would name it, every page read and checked."""
    try:
        with pq.ParquetFile(archive.root / path, page_checksum_verification=True) as reader:
            rows = sum(reader.read_row_group(n, use_threads=False).num_rows for n in range(reader.num_row_groups))
        return LiveFile(path, rows, (archive.root / path).stat().st_size, sha256_of(archive.root / path))
    except (OSError, pa.ArrowException):
        return LiveFile(path, 0, -1, "")  # damaged too, and how many rows it held is not known
