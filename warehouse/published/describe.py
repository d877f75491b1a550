"""What analysts find in `addons.duckdb`, as Markdown: every table and view, every column, its type and meaning.

It is read back from a file that was published for this, so it says what the COMMENTs in every published file say.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from warehouse.published.macros import MACROS
from warehouse.published.publish import publish
from warehouse.published.views import RELATIONS
from warehouse.schema import TABLES
from warehouse.store.names import PUBLISHED
from warehouse.store.opening import open_archive

HEAD = """\
# Tables

<!-- made by `make docs`; the same texts are COMMENTs in every published addons.duckdb -->

All names, columns and answers are the same with both destinations. Times are UTC. A *table* holds what was landed, a
*view* is computed from it when it is asked (with `EXPORT_DESTINATION=parquet` the tables are views of the files);
`_commit`, `add_on_names` and `transcript_shapes` are about the file itself. Macros are at the end.
"""


def tables_markdown() -> str:
    """The whole page."""
    with tempfile.TemporaryDirectory() as folder:
        archive = open_archive(Path(folder) / "empty")
        publish(archive, "duckdb", now=datetime.now(UTC))
        with contextlib.closing(duckdb.connect(str(archive.root / PUBLISHED), read_only=True)) as db:
            comments = dict(
                db.execute(
                    "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = 'main' "
                    "UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main'"
                ).fetchall()
            )
            columns: dict[str, list[str]] = {}
            for name, column, kind, comment in db.execute(
                "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
                "WHERE schema_name = 'main' AND NOT internal ORDER BY table_name, column_index"
            ).fetchall():
                columns.setdefault(name, []).append(f"| `{column}` | {_short(kind)} | {_cell(comment)} |")
    names = dict.fromkeys([*TABLES, *(relation.name for relation in RELATIONS)])
    views = {relation.name for relation in RELATIONS if relation.sql} | {"contents"}
    sections = [
        f"## `{name}`\n\n{'View' if name in views else 'Table'}. {comments[name]}\n\n"
        "| column | type | meaning |\n|---|---|---|\n" + "\n".join(columns[name]) + "\n"
        for name in names
    ]
    return "\n".join([HEAD, *sections, *_macros()])


def _macros() -> Iterator[str]:
    for macro in MACROS:
        kind = "Table macro" if macro.columns is not None else "Macro"
        yield f"## `{macro.call}`\n\n{kind}. {macro.description}\n"
        yield from _meanings("argument", macro.arguments)
        if macro.columns is not None:
            yield from _meanings("column", macro.columns)


def _meanings(what: str, said: Mapping[str, str]) -> Iterator[str]:
    rows = "\n".join(f"| `{name}` | {_cell(text)} |" for name, text in said.items())
    yield f"| {what} | meaning |\n|---|---|\n{rows}\n"


def _short(kind: str) -> str:
    return kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ").replace('"', "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
