"""Publish `addons.duckdb`: build it beside, then swap a link to it into place.

The published file is a projection of one commit. Nobody ever writes to it, so an analyst can open it read-only
at any moment, and a reader that stays open keeps its old file and holds nobody up. With destination "parquet"
it holds views over the live files; with "duckdb" native tables, brought up to date from a copy of the closed
previous file, so the cost grows with what is new plus one file copy.
"""

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from warehouse.errors import FixWarehouse, RepairWarehouse
from warehouse.published import parts
from warehouse.published.calls import SCHEMA, inner
from warehouse.published.catalog import LAYOUT, Shown
from warehouse.published.delta import show_in_delta
from warehouse.published.shown import Published, digests, published, stray_logs
from warehouse.schema import CONTENTS, TABLES, Table, quote, sql_type
from warehouse.store import commits, opens
from warehouse.store.archive import Archive
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.damage import no_memory, reading_errors
from warehouse.store.files import copy_and_hash, sha256_of, storage_errors, sync_folder
from warehouse.store.footers import refuse_any_newer
from warehouse.store.lock import lock, make_lock, shared
from warehouse.store.names import PUBLISH_LOCK, PUBLISHED, SHELF, Destination, Made
from warehouse.store.sealed import ROW_GROUP_ROWS
from warehouse.store.strangers import published_under, remove_published

STORAGE_VERSION = {"duckdb": "v1.2.0", "parquet": "v1.0.0"}
"""Oldest DuckDB that can open the file; v1.2.0 is the first that compresses long strings."""

TABLE_MEMORY_MB = 256
"""For tables of rows. DuckDB compresses ROWS_TOGETHER at once, `raw` included, and fails where it cannot."""

ROWS_TOGETHER = 8192
"""Rows that DuckDB compresses at once. By itself it would take 122,880: of transcripts with their words some 700 MB."""

MEMORY_TIMES = (1, 2, 4, 8)
"""DuckDB's need follows from the values themselves, and nothing foretells it: where it has too little the file is built
once more with so many times the memory. Very repetitive contents of 3 KB were such a case."""


def publish(archive: Archive, destination: Destination, *, now: datetime, afresh: bool = False) -> Published:
    """Bring `addons.duckdb` up to the newest commit; a no-op when it is there already.

    Args:
        archive: what to publish.
        destination: native tables ("duckdb") or views over the archive ("parquet").
        now: time of publication (UTC).
        afresh: build from nothing even when the previous file could be brought up to date.

    Raises:
        FixWarehouse: the root cannot be written.
        RepairWarehouse: a live file is missing or damaged.
        UpdateProgram: a newer version wrote what is here; built afresh by this one, the file would show less of it.
    """
    target = archive.root / PUBLISHED
    with shared(archive.root), storage_errors(target), _publisher_lock(archive):
        head = archive.head_to_change()
        # an instance open in this process may outlive its file
        usable = target.exists() and not stray_logs(archive.root)
        before = published(archive) if usable else None
        shown = Shown(archive, destination)
        after = Published(head.number, head.at, destination, LAYOUT, shown.fingerprint)
        if before == after and not afresh:
            return after
        if afresh:
            refuse_any_newer(archive.root, head)
        # a folder of its own: DuckDB makes files as open as the umask lets it, and leaves logs and spill beside them
        workshop = archive.root / f".{uuid.uuid4().hex}.tmp"
        workshop.mkdir(mode=0o700)
        temporary = workshop / PUBLISHED
        try:
            with reading_errors(archive.root):
                if destination == "parquet" or afresh or not _refresh(archive, before, head, temporary, shown, now=now):
                    temporary.unlink(missing_ok=True)
                    if afresh or destination == "duckdb":  # DuckDB reads damaged pages without a word
                        for files in head.tables.values():
                            for file in files.values():
                                archive.sound(file)
                    _build_with_enough_memory(archive, head, temporary, shown, now=now)
            show_in_delta(archive, head, afresh=afresh)  # first: with the file that shows a commit there are its logs
            _swap(archive, temporary, target)
        finally:
            shutil.rmtree(workshop)
        return after


@contextlib.contextmanager
def _publisher_lock(archive: Archive) -> Iterator[None]:
    """One publisher at a time; the lock goes with the process, so a kill leaves none behind."""
    make_lock(archive.root, PUBLISH_LOCK, archive.access)
    handle = lock(archive.root, PUBLISH_LOCK, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _swap(archive: Archive, temporary: Path, target: Path) -> None:
    handle = os.open(temporary, os.O_RDONLY)
    try:
        opens.set_mode(handle, archive.access.published)
        os.fsync(handle)
    finally:
        os.close(handle)
    digest = sha256_of(temporary)
    for stray in stray_logs(archive.root):
        stray.unlink(missing_ok=True)
    # a link, not the file itself: DuckDB opens a path three times, and a rename in between mixes two files
    earlier = {path for path, kind in published_under(archive.root) if kind is Made.SHOWN}
    shown = str(target.readlink()) if target.is_symlink() else None
    shelf = f"{SHELF}/{uuid.uuid4().hex}-{digest}"
    path = f"{shelf}/{PUBLISHED}"
    link = archive.root / f".{uuid.uuid4().hex}.tmp"
    try:
        make = archive.access.folder
        with opens.folder(archive.root, shelf, writers=archive.access.writers, make=make) as (above, folder):
            temporary.rename(folder / PUBLISHED)
            opens.sync(above)
        _point(archive, link, path)
        sync_folder(archive.root)  # names may reach the disk in any order: never the link before what it leads to
        link.rename(target)
    except IsADirectoryError as error:
        link.unlink(missing_ok=True)
        remove_published(archive.root, path)
        raise FixWarehouse(
            f"{target} is a folder, as Docker makes one for a file that is to be mounted, so nothing is published; "
            "remove it and run `addon-export rebuild`. What was exported is landed."
        ) from error
    except OSError:
        link.unlink(missing_ok=True)
        remove_published(archive.root, path)
        raise
    sync_folder(archive.root)
    for old in earlier - {shown}:  # the one shown until now stays for whoever is just opening it
        remove_published(archive.root, old)


def _point(archive: Archive, link: Path, path: str) -> None:
    """Make `link` lead to a published file; where the file system knows no links, a copy of it."""
    try:
        link.symlink_to(path)
    except OSError as error:
        if error.errno not in opens.UNKNOWN:
            raise
        copy_and_hash(archive.root / path, link)
        with link.open("rb") as copy:
            opens.set_mode(copy.fileno(), archive.access.published)
            os.fsync(copy.fileno())


@contextlib.contextmanager
def _database(path: Path, destination: Destination, *, memory_times: int = 1) -> Iterator[duckdb.DuckDBPyConnection]:
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{TABLE_MEMORY_MB * memory_times}MB",
        "threads": "1",
        "async_threads": "0",
        "preserve_insertion_order": "false",
        "temp_directory": f"{path}.spill",
    }
    with contextlib.closing(duckdb.connect(config=config)) as db:
        db.execute(
            f"ATTACH {quote(str(path))} AS addons (STORAGE_VERSION {quote(STORAGE_VERSION[destination])}, "
            f"ROW_GROUP_SIZE {ROWS_TOGETHER})"
        )
        db.execute("USE addons; SET TimeZone = 'UTC'")
        yield db


def _build_with_enough_memory(archive: Archive, head: Commit, path: Path, shown: Shown, *, now: datetime) -> None:
    for times in MEMORY_TIMES:
        try:
            _build(archive, head, path, shown, now=now, memory_times=times)
            return
        except duckdb.Error as error:
            if times == MEMORY_TIMES[-1] or not no_memory(error):
                raise
            for left in (path, path.with_name(f"{PUBLISHED}.wal")):
                left.unlink(missing_ok=True)


def _build(archive: Archive, head: Commit, path: Path, shown: Shown, *, now: datetime, memory_times: int) -> None:
    """The whole file from nothing."""
    destination = shown.destination
    with _database(path, destination, memory_times=memory_times) as db:
        db.execute(f"CREATE SCHEMA {SCHEMA}")
        for table in TABLES.values():
            relation = archive.relation(table, head.tables[table.name], json="typed")
            if destination == "parquet":
                if table is not CONTENTS:
                    db.execute(f"CREATE VIEW {inner(table)} AS SELECT * FROM {relation}")
            elif table is not CONTENTS:
                columns = ", ".join(f"{c.name} {sql_type(c)}" for c in table.columns)
                db.execute(f"CREATE TABLE {inner(table)} ({columns})")
                _insert_rows(db, archive, table, head.tables[table.name].values())
        db.execute("CREATE SCHEMA _contents")
        contents = head.tables[CONTENTS.name].values()
        if destination == "duckdb":
            parts.create(db)
            parts.insert(db, archive, contents, memory_times=memory_times)
        else:
            for name, files in parts.kinds(contents).items():
                source = archive.relation(CONTENTS, [file.path for file in files])
                db.execute(f"CREATE VIEW _contents.{name} AS FROM {source}")
        shown.finish(db, head, now=now)


def _insert_rows(db: duckdb.DuckDBPyConnection, archive: Archive, table: Table, files: Iterable[LiveFile]) -> None:
    """Insert files by about a row group: each statement writes the group it does not fill again.

    At once, and sorted, a million rows need more memory than there is.
    """
    group: list[str] = []
    rows = 0
    for file in [*sorted(files, key=lambda f: f.path), None]:
        if file is not None:
            group.append(file.path)
            rows += file.rows
        if group and (file is None or rows >= ROW_GROUP_ROWS):
            db.execute(f"INSERT INTO {inner(table)} SELECT * FROM {archive.relation(table, group, json='typed')}")
            group, rows = [], 0


def _refresh(
    archive: Archive, before: Published | None, head: Commit, path: Path, shown: Shown, *, now: datetime
) -> bool:
    """Bring a copy of the previous file up to date; False when only building afresh gives a sure result."""
    if before is None or before.destination != "duckdb" or before.layout != LAYOUT or before.commit > head.number:
        return False
    if before.commit not in commits.numbers(archive.root):
        return False
    try:
        base = commits.load(archive.root, before.commit)
    except RepairWarehouse:
        return False
    if base.at != before.committed_at:
        return False  # the file shows a commit of another history, such as one from before a restored backup
    if copy_and_hash(archive.root / PUBLISHED, path) not in digests(archive.root):
        return False  # damaged since it was published: what is not touched now would stay damaged
    path.chmod(archive.access.file)
    try:
        with _database(path, "duckdb") as db:
            for table in TABLES.values():
                _refresh_table(archive, db, table, base, head)
            if any(_rows(db, table) != head.rows(table.name) for table in TABLES.values()):
                raise RepairWarehouse("row counts differ from the commit")
            shown.finish(db, head, now=now, is_defined=before.definitions == shown.fingerprint)
    except (duckdb.Error, pa.ArrowException, UnicodeDecodeError, OSError, RepairWarehouse):
        # superseded files may be collected already, or the previous file is damaged: the archive decides
        path.with_name(f"{PUBLISHED}.wal").unlink(missing_ok=True)
        return False
    return True


def _refresh_table(archive: Archive, db: duckdb.DuckDBPyConnection, table: Table, base: Commit, head: Commit) -> None:
    """Replace the rows that differ between two commits."""
    old, new = base.tables[table.name], head.tables[table.name]
    added, removed = new.keys() - old.keys(), old.keys() - new.keys()
    if not added and not removed:
        return
    version = "completed_date" if table is CONTENTS else "load_id" if "load_id" in table.names else table.key
    names = ", ".join(dict.fromkeys([table.key, version]))
    for path in added:
        archive.sound(new[path])
    for name, files in (("added", added), ("removed", removed)):
        db.execute(f"CREATE TEMP TABLE {name} AS SELECT {names} FROM {archive.relation(table, files)}")
    db.execute(
        f"CREATE TEMP TABLE fresh AS SELECT a.{table.key} FROM added a WHERE NOT EXISTS (SELECT 1 FROM removed r "
        f"WHERE r.{table.key} = a.{table.key} AND r.{version} IS NOT DISTINCT FROM a.{version})"
    )
    db.execute(
        f"CREATE TEMP TABLE stale AS SELECT r.{table.key} FROM removed r WHERE NOT EXISTS (SELECT 1 FROM added a "
        f"WHERE r.{table.key} = a.{table.key} AND r.{version} IS NOT DISTINCT FROM a.{version})"
    )
    any_stale = db.execute("SELECT count(*) FROM stale").fetchall()[0][0]
    if table is CONTENTS:
        if any_stale:
            parts.delete(db, "stale")
        keys = pa.array([row[0] for row in db.execute("SELECT payload_sid FROM fresh").fetchall()], pa.string())
        with_them = archive.keys.holding(archive.root, {path: new[path] for path in added}, table.key, keys)
        parts.insert(db, archive, [new[path] for path in with_them], only=keys)
    else:
        if any_stale:
            db.execute(f"DELETE FROM {inner(table)} WHERE {table.key} IN (SELECT {table.key} FROM stale)")
        db.execute(
            f"INSERT INTO {inner(table)} SELECT * FROM {archive.relation(table, added, json='typed')} a "
            f"WHERE a.{table.key} IN (SELECT {table.key} FROM fresh)"
        )
    for name in ("added", "removed", "fresh", "stale"):
        db.execute(f"DROP TABLE {name}")


def _rows(db: duckdb.DuckDBPyConnection, table: Table) -> int:
    if table is CONTENTS:
        return parts.rows(db)
    return int(db.execute(f"SELECT count(*) FROM {inner(table)}").fetchall()[0][0])
