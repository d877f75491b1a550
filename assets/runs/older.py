"""A history that an older Dagster began, brought up to date after a copy: it must not keep anything from being landed.

Tables and columns that are missing are added as Dagster declares them. `dagster instance migrate` leaves some out where
a history has been through several versions (1.8 to 1.13: `concurrency_limits.using_default_limit`), and takes a third
of a second for each run that there ever was. Only for histories in SQLite, in the places Dagster gives them.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from sqlalchemy import MetaData
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateColumn, CreateTable


def bring_up_to_date(home: Path) -> Path:
    """Copy the databases of a history, and give it what this version of Dagster needs; returns where the copy is.

    A copy that is there already stays: it is the older one.

    Raises:
        sqlite3.Error, OSError: it cannot be copied or changed; the copy stays.
    """
    databases = {path: metadata for path, metadata in _databases(home).items() if path.exists()}
    copies = home / f"before-dagster-{dg.__version__}"
    copies.mkdir(mode=0o700, exist_ok=True)
    for path in databases:
        _copy(path, copies / path.name)
    for path, metadata in databases.items():
        _add_what_is_missing(path, metadata)
    return copies


def _databases(home: Path) -> dict[Path, MetaData]:
    """Where Dagster keeps what is common to all runs; what it declares for each."""
    return {
        home / "history" / "runs" / "index.db": SqlEventLogStorageMetadata,
        home / "history" / "runs.db": RunStorageSqlMetadata,
        home / "schedules" / "schedules.db": ScheduleStorageSqlMetadata,
    }


def _copy(path: Path, copy: Path) -> None:
    """Copy a database whole, also one that is being written to."""
    if copy.exists():
        return
    begun = copy.with_name(f".{copy.name}")
    begun.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(begun)) as into:
        db.backup(into)
    begun.rename(copy)


def _add_what_is_missing(path: Path, metadata: MetaData) -> None:
    """Add the tables and columns that a database lacks."""
    with closing(sqlite3.connect(path)) as db, db:
        for table in metadata.tables.values():
            db.execute(str(CreateTable(table, if_not_exists=True).compile(dialect=sqlite.dialect())))
            there = {row[1] for row in db.execute(f'PRAGMA table_info("{table.name}")')}
            for column in table.columns:
                if column.name not in there:
                    declared = CreateColumn(column).compile(dialect=sqlite.dialect())
                    db.execute(f'ALTER TABLE "{table.name}" ADD COLUMN {declared}')
