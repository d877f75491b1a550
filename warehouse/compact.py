"""Compact: the small files of one partition become one, as an ordinary commit.

Every landing adds a file to each day it touches. Readers pay for the number of files, so an export ends with
this. The rows are the same before, during and after; superseded files stay for readers until they are collected.
"""

from datetime import datetime

from warehouse.archive import Archive, partition_day, reading_errors
from warehouse.commits import LiveFile
from warehouse.errors import CommitRace, RepairWarehouse
from warehouse.schema import TABLES, Table

MOST_FILES = 8
"""Small files a partition may have before they are joined."""

SMALL_BYTES = 16 << 20
"""Files from this size on are left as they are: reading one is not cheaper in company."""


def compact(archive: Archive, *, now: datetime, run_id: str, most_files: int = MOST_FILES) -> int:
    """Join the small files of every partition that has `most_files` or more of them.

    Returns:
        Number of files that were replaced; 0 also when another process committed meanwhile, whose next export
        compacts.

    Raises:
        RepairWarehouse: a file to be joined is damaged; nothing is changed.
    """
    head = archive.head()
    drop: list[LiveFile] = []
    add: list[LiveFile] = []
    for table in TABLES.values():
        folders: dict[str, list[LiveFile]] = {}
        for file in head.tables[table.name].values():
            if file.bytes < SMALL_BYTES and not file.chunked:
                folders.setdefault(file.folder, []).append(file)
        for files in folders.values():
            if len(files) >= most_files:
                drop += files
                add.append(_join(archive, table, files))
    if not drop:
        return 0
    try:
        archive.commit(head, drop=drop, add=add, at=now, run_id=run_id)
    except CommitRace:
        return 0
    return len(drop)


def _join(archive: Archive, table: Table, files: list[LiveFile]) -> LiveFile:
    with reading_errors(archive.root):
        for file in files:
            archive.sound(file)
        rows = (batch for file in sorted(files, key=lambda f: f.path) for batch in archive.read(file, table))
        joined = archive.seal(table, partition_day(files[0]), rows)
    if joined.rows != sum(file.rows for file in files):
        raise RepairWarehouse(f"Joining files of {table.name} would change the number of rows; nothing was changed.")
    return joined
