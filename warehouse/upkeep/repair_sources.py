"""Repair, the copy: rows of the published `addons.duckdb`, and sealing them as archive files."""

import contextlib
from collections.abc import Container, Iterable, Iterator
from datetime import date

import duckdb
import pyarrow as pa

from warehouse.errors import RepairWarehouse
from warehouse.pieces import PIECES, hashed
from warehouse.published.calls import inner
from warehouse.published.shown import intact, published
from warehouse.schema import CONTENTS, TABLES, Column, Table, sql_type
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.store.commit import Commit, LiveFile
from warehouse.store.names import CHUNKED, PUBLISHED


@contextlib.contextmanager
def copy_of(archive: Archive, head: Commit) -> Iterator[tuple[duckdb.DuckDBPyConnection, Commit] | None]:
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
    with contextlib.closing(open_copy(archive)) as db:
        yield db, base


def open_copy(archive: Archive) -> duckdb.DuckDBPyConnection:
    """A connection that only reads the published file; the caller closes it."""
    db = duckdb.connect(str(archive.root / PUBLISHED), read_only=True)
    db.execute("SET TimeZone = 'UTC'; SET threads = 1")
    return db


def _source(table: Table, *, chunked: bool) -> str:
    if table is CONTENTS:
        return "_contents.chunks" if chunked else "_contents.whole"
    return inner(table)


def copied(db: duckdb.DuckDBPyConnection, table: Table, day: date | None, *, chunked: bool) -> Iterator[pa.RecordBatch]:
    """Published rows of one partition as they are sealed, in order, a few at once where they are large."""
    source = _source(table, chunked=chunked)
    there = {name for name, *_ in db.execute(f"DESCRIBE {source}").fetchall()}
    columns = ", ".join(_column(c, there) for c in table.columns if c.name != table.partition)
    wanted = "true" if table.partition is None else f"{table.partition} IS NOT DISTINCT FROM $day::DATE"
    order = f"{table.key}, chunk" if chunked else table.key
    keys = db.cursor()
    keys.execute("SET TimeZone = 'UTC'")
    query = f"SELECT {columns} FROM {source} WHERE {wanted} ORDER BY {order}"
    rows = keys.sql(query, params={} if table.partition is None else {"day": day})
    for batch in rows.to_arrow_reader(1 if chunked else 256):
        yield from pa.Table.from_batches([batch]).cast(table.file_schema).to_batches()


def _column(column: Column, there: Container[str]) -> str:
    if column.late and column.name not in there:  # an earlier version published it
        return f"NULL::{sql_type(column)} AS {column.name}"
    return f"CAST({column.name} AS VARCHAR) AS {column.name}" if column.json else column.name


def seal_groups(
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


def sealed_anew(archive: Archive) -> list[LiveFile]:
    """Every table of the published file, sealed as archive files."""
    live = []
    with contextlib.closing(open_copy(archive)) as db:
        for table in TABLES.values():
            for chunked in (False, True) if table is CONTENTS else (False,):
                source = _source(table, chunked=chunked)
                part = table.partition or "NULL::DATE"
                for (day,) in db.execute(f"SELECT DISTINCT {part} FROM {source} ORDER BY 1").fetchall():
                    live += seal_groups(archive, table, day, copied(db, table, day, chunked=chunked), chunked=chunked)
    return live


def as_received(db: duckdb.DuckDBPyConnection, archive: Archive, sealed: Iterable[LiveFile]) -> bool:
    """Whether restored contents hash to what came off the wire."""
    expected = dict(db.execute("SELECT sid, content_sha256 FROM add_on_payloads").fetchall())
    return all(
        expected.get(sid) in (None, digest)
        for file in sealed
        for sid, digest, _ in hashed(archive.read(file, CONTENTS, PIECES))
    )
