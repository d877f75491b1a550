"""The contents inside a published `addons.duckdb` with native tables: inner tables bounded by bytes.

`_contents.part_000001` and so on hold whole contents, `_contents.chunks_000001` and so on the chunks of large ones;
the views `_contents.whole` and `_contents.chunks` put them together. DuckDB holds a whole row group of large values
in memory at a checkpoint; measured on 300 MB of contents, one table peaked at 587-672 MB, tables of 16 MB at 198 MB.
Planning a query takes time for each table, so small contents, which need less, share larger ones: a million of 3 KB
in 190 tables took 0.26 s of CPU to find one, in 48 tables 0.1 s.
"""

from collections.abc import Collection, Iterable, Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from warehouse.pieces import PART_BYTES
from warehouse.schema import CONTENTS, sql_type
from warehouse.store.archive import Archive
from warehouse.store.commit import LiveFile
from warehouse.store.sealed import partition_day

SMALL_PART_BYTES = 64 << 20
"""PART_BYTES while the contents in it are no longer than SMALL_MEAN on average."""

SMALL_MEAN = 16 << 10

MEMORY_MB = 128
"""What DuckDB may have while contents are inserted. With 64 a checkpoint failed now and then and took more CPU."""

SLICE_BYTES = 4 << 20
"""Inserted at once; 8 rows of 3 KB at once cost ten times the CPU."""

ZSTD_FROM_BYTES = 512
"""Mean length from which contents are compressed. DuckDB's own 4096 left JSON of 3 KB as it was: four times the file,
which every publication copies and hashes."""

KINDS = {"whole": "part", "chunks": "chunks"}
"""Inner views, and how the names of the inner tables behind them begin."""


def kinds(files: Iterable[LiveFile]) -> dict[str, list[LiveFile]]:
    """Files of contents by the inner view that shows them."""
    together: dict[str, list[LiveFile]] = {name: [] for name in KINDS}
    for file in sorted(files, key=lambda f: f.path):
        together["chunks" if file.chunked else "whole"].append(file)
    return together


def create(db: duckdb.DuckDBPyConnection) -> None:
    """The first, empty part of each kind."""
    for name in KINDS:
        _open_part(db, name, 1)


def insert(
    db: duckdb.DuckDBPyConnection,
    archive: Archive,
    files: Iterable[LiveFile],
    *,
    only: pa.Array | None = None,
    memory_times: int = 1,
) -> None:
    """Append the contents of `files`, or those whose payload is in `only`; opens further parts as needed.

    `memory_times` MEMORY_MB may be used.
    """
    memory = MEMORY_MB * memory_times
    db.execute(f"SET zstd_min_string_length = {ZSTD_FROM_BYTES}; SET memory_limit = '{memory}MB'")
    for name, those in kinds(files).items():
        last = _parts(db, name)[-1]
        number = int(last[-6:])
        size = count = -1  # not looked up until something is appended
        for rows in _slices(archive, those, only):
            length = pc.sum(pc.binary_length(rows["content"])).as_py()
            if size < 0:
                held = f"SELECT coalesce(sum(octet_length(content)), 0), count(*) FROM _contents.{last}"
                size, count = map(int, db.execute(held).fetchall()[0])
            small = size + length <= SMALL_MEAN * (count + rows.num_rows)
            if size and size + length > (SMALL_PART_BYTES if small else PART_BYTES):
                db.execute("CHECKPOINT")
                number, size, count = number + 1, 0, 0
                last = _open_part(db, name, number)
            size += length
            count += rows.num_rows
            if length > SLICE_BYTES:  # one content that was landed whole; DuckDB needs it several times over
                db.execute(f"SET memory_limit = '{memory + 4 * (length >> 20)}MB'")
            db.register("slice", rows)
            db.execute(f"INSERT INTO _contents.{last} SELECT {', '.join(CONTENTS.names)} FROM slice")
            db.unregister("slice")


def delete(db: duckdb.DuckDBPyConnection, stale: str) -> None:
    """Delete the contents of the payloads in the table `stale`."""
    for name in KINDS:
        for part in _parts(db, name):
            db.execute(f"DELETE FROM _contents.{part} WHERE payload_sid IN (SELECT payload_sid FROM {stale})")


def rows(db: duckdb.DuckDBPyConnection) -> int:
    """Contents there are."""
    whole = sum(_count(db, part) for part in _parts(db, "whole"))
    large = db.execute("SELECT count(DISTINCT payload_sid) FROM _contents.chunks").fetchall()
    return whole + int(large[0][0])


def show(db: duckdb.DuckDBPyConnection) -> None:
    """The inner views over all parts there are now."""
    for name in KINDS:
        union = " UNION ALL ".join(f"FROM _contents.{part}" for part in _parts(db, name))
        db.execute(f"CREATE OR REPLACE VIEW _contents.{name} AS {union}")


def _parts(db: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    found = db.execute(
        "SELECT table_name FROM duckdb_tables() WHERE schema_name = '_contents' AND starts_with(table_name, ?)",
        [KINDS[name]],
    ).fetchall()
    return sorted(part for (part,) in found)


def _count(db: duckdb.DuckDBPyConnection, part: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM _contents.{part}").fetchall()[0][0])


def _open_part(db: duckdb.DuckDBPyConnection, name: str, number: int) -> str:
    part = f"{KINDS[name]}_{number:06d}"
    columns = ", ".join(f"{column.name} {sql_type(column)}" for column in CONTENTS.columns)
    db.execute(f"CREATE TABLE _contents.{part} ({columns})")
    return part


def _slices(archive: Archive, files: Collection[LiveFile], only: pa.Array | None) -> Iterator[pa.Table]:
    """Rows of files with their partition day, SLICE_BYTES at once unless a single row has more."""
    for file in files:
        day = pa.scalar(partition_day(file), pa.date32())
        for batch in archive.read(file, CONTENTS):
            found = pa.table(batch)
            if only is not None:
                found = found.filter(pc.is_in(found["payload_sid"], value_set=only))
            found = found.append_column(CONTENTS.partition, pa.repeat(day, found.num_rows))
            start = size = 0
            for position, length in enumerate(pc.binary_length(found["content"]).to_pylist()):
                if size and size + length > SLICE_BYTES:
                    yield found.slice(start, position - start)
                    start, size = position, 0
                size += length
            if start < found.num_rows:
                yield found.slice(start)
