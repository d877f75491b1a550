"""Sealed files: the rows of one partition of one table as Parquet, written, read back checked, and read in SQL."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.schema import Column, Table, quote, sql_type
from warehouse.store.commit import LiveFile
from warehouse.store.footers import check_rows
from warehouse.store.names import CHUNKED, NULL_DAY
from warehouse.store.stamp import OURS, stored

ROW_GROUP_BYTES = 4 << 20
"""Whoever writes or reads a content holds its row group; 4 MB cost 10 % more CPU than 16 MB and far less memory."""

ROW_GROUP_ROWS = 122_880


def read(root: Path, file: LiveFile, table: Table, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """The rows of a file, or only `columns` of them, checked against the pages' checksums.

    The partition column is not in the file. Comes in row groups: no more than ROW_GROUP_BYTES and one row.

    Raises:
        OSError, ArrowException: the file is missing or damaged, or gives other rows than were committed.
    """
    names = columns or table.file_schema.names
    reader = pq.ParquetFile(root / file.path, page_checksum_verification=True)
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


def relation(
    root: Path, table: Table, files: Iterable[str], *, filename: bool = False, json: Literal["text", "typed"] = "text"
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
        kinds = (relation(root, table, those, filename=filename, json=json) for those in (whole, chunked))
        return f"(FROM {' UNION ALL FROM '.join(kinds)})"
    listed = ", ".join(quote(str(root / path)) for path in paths)
    hive = "hive_partitioning = false"
    if table.partition is not None:
        hive = f"hive_partitioning = true, hive_types = {{'{table.partition}': VARCHAR}}"
    columns = ", ".join(_column(table, column, json) for column in table.columns)
    source = f"read_parquet([{listed}], union_by_name = true, filename = true, {hive})"
    if late := [f"NULL::{_type(c, 'text')} AS {c.name}" for c in table.columns if c.late]:
        source = f"(SELECT {', '.join(late)} WHERE false UNION ALL BY NAME FROM {source})"
    return f"(SELECT {columns}{', filename' if filename else ''} FROM {source})"


def partition_day(file: LiveFile) -> date | None:
    """The partition day of a live file; None for the null partition."""
    value = file.folder.partition("=")[2]
    return None if value in ("", NULL_DAY) else date.fromisoformat(value)


def _type(column: Column, json: Literal["text", "typed"]) -> str:
    return "VARCHAR" if column.json and json == "text" else sql_type(column)


def _column(table: Table, column: Column, json: Literal["text", "typed"]) -> str:
    if column.name == table.partition:
        # typed by DuckDB itself, the null partition is an error in 1.4; folders are skipped all the same
        return f"TRY_CAST({column.name} AS DATE) AS {column.name}"
    if column.json and json == "typed":
        return f"TRY_CAST({column.name} AS JSON) AS {column.name}"
    return column.name


def by_day(table: Table, rows: pa.Table) -> Mapping[date | None, pa.Table]:
    """Split rows by their partition column; one group, None, for a table without partitions."""
    if table.partition is None:
        return {None: rows} if rows.num_rows else {}
    column = rows[table.partition].combine_chunks()
    days: dict[date | None, pa.Table] = {}
    for entry in column.value_counts():
        day = entry["values"].as_py()
        mask = pc.is_null(column) if day is None else pc.equal(column, entry["values"])
        days[day] = rows.filter(mask)
    return days


def write(stream: object, table: Table, batches: Iterable[pa.RecordBatch]) -> int:
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
