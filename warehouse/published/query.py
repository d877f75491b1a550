"""Answer one question in SQL from the published `addons.duckdb`, changing nothing, whatever the question says.

The file is opened read-only, other files and the network cannot be reached, extensions are not loaded, and the
settings are locked. With destination "parquet" the views must read the live files, which DuckDB then may also write:
from version 2 on even `WITH x AS (COPY ... TO ...) SELECT` does. So only statements made of SELECTs are run, as
DuckDB's own parser takes them apart, and only table functions known to read nothing but the database.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from warehouse.errors import FixQuery, FixWarehouse
from warehouse.published.macros import MACROS
from warehouse.published.moved import reads_elsewhere
from warehouse.published.shown import stray_logs, why_unopened
from warehouse.schema import quote
from warehouse.store import commits
from warehouse.store.files import refuse_links
from warehouse.store.names import PUBLISHED

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

ROWS_AT_ONCE = 1000

_HELD = {
    *("boolean", "tinyint", "smallint", "integer", "bigint", "hugeint", "float", "double", "decimal", "null"),
    *("utinyint", "usmallint", "uinteger", "ubigint", "uhugeint", "varchar", "blob", "uuid", "enum"),
}
"""Types of which Python holds every value as it is."""

_NESTED = {"list", "array", "struct", "map", "union", "variant"}

_QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}

_TABLE_FUNCTIONS = {
    *("range", "generate_series", "unnest", "repeat", "json_each", "json_tree", "histogram", "summary"),
    *("duckdb_columns", "duckdb_tables", "duckdb_views", "duckdb_functions", "duckdb_types", "duckdb_settings"),
    *("pragma_table_info", "pragma_version"),
    *(macro.name for macro in MACROS),
}

_OF_THE_QUERY = {"Parser", "Syntax", "Binder", "Catalog", "Permission", "Not implemented"}
"""Kinds of errors that quote what the query says."""

_QUOTED = re.compile(r"""(?<![a-z])['"](.*['"](?![a-z])|.*)""", re.DOTALL)
"""From the first quote to the last; an apostrophe within a word is none."""

_BARE = re.compile(r"(?<= cast value to numerical: ).+|(?<= but got )([A-Z]+: ).+|(?<!\w)-?[0-9]{5,}[0-9.]*", re.DOTALL)
"""Values without quotes: JSON, and numbers that are long enough to be somebody's."""

_KIND = re.compile(r"([A-Z][A-Za-z ]{1,30}) Error: ")

_PLACE = re.compile(r"\[(\d+), ?(\d+)\]")

LINE = 100
"""Characters shown of the line that holds a mistake."""

_EXPLAIN = re.compile(r"\s*EXPLAIN(\s+ANALYZE)?\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """Names of the columns, no two alike, and the rows as they come.

    Times are text as DuckDB writes it: it has times that Python has not, such as infinity. `moments` says in which
    columns they are.
    """

    columns: Sequence[str]
    rows: Iterator[tuple[object, ...]]
    moments: Collection[int] = ()


@contextlib.contextmanager
def answer(root: Path, sql: str) -> Iterator[Answer]:
    """Ask; the rows are there while the block lasts.

    Raises:
        FixQuery: it is not one question, or DuckDB cannot answer it; the sentence is DuckDB's, without values.
        FixWarehouse: nothing has been published under `root`.
    """
    with read_only(root) as db:
        try:
            if _only_reads(db, sql):
                cursor = db.execute(sql)  # a plan, which is text
                yield Answer([column[0] for column in cursor.description or []], _rows(cursor))
            else:
                yield asked(db, sql)
        except duckdb.Error as error:
            raise FixQuery(_sentence(str(error))) from error


@contextlib.contextmanager
def batches(root: Path, sql: str) -> Iterator[pa.RecordBatchReader]:
    """The answer with DuckDB's own types, as batches of Arrow; columns of one name are told apart.

    Raises:
        FixQuery: as `answer`; or a plan is asked for.
        FixWarehouse: as `answer`.
    """
    with read_only(root) as db:
        try:
            if _only_reads(db, sql):
                raise FixQuery("A plan is text; ask for it as a table.")
            found = db.sql(sql).to_arrow_reader(ROWS_AT_ONCE)
            names = _told_apart(found.schema.names)
            schema = pa.schema([field.with_name(name) for field, name in zip(found.schema, names, strict=True)])
            yield pa.RecordBatchReader.from_batches(schema, (each.rename_columns(names) for each in found))
        except duckdb.Error as error:
            raise FixQuery(_sentence(str(error))) from error


def asked(db: duckdb.DuckDBPyConnection, sql: str) -> Answer:
    """The answer to a question; what Python cannot hold as it is comes as text from DuckDB."""
    relation = db.sql(sql)
    types = list(relation.types)
    written = [_as_written(number, kind) for number, kind in enumerate(types, 1)]
    if any("(" in each for each in written):
        rows = _rows(db.execute(relation.project(", ".join(written)).sql_query()))
    else:
        rows = _rows(db.execute(sql))
    nested = [at for at, each in enumerate(written) if each.startswith("to_json")]
    moments = [at for at, kind in enumerate(types) if kind.id.startswith("timestamp")]
    return Answer(_told_apart(relation.columns), _read(rows, nested) if nested else rows, moments)


def _as_written(number: int, kind: "DuckDBPyType") -> str:
    """SQL for a column of the answer: as it is where Python holds every value of the type, else as DuckDB writes it."""
    if _held(kind):
        return f"#{number}"
    if kind.id in _NESTED:
        return f"to_json(#{number})::VARCHAR"
    return f"CAST(#{number} AS VARCHAR)"


def _held(kind: "DuckDBPyType") -> bool:
    if kind.id in ("list", "array", "struct"):
        return all(_held(part) for _, part in kind.children if not isinstance(part, int | list))
    return kind.id in _HELD


def _read(rows: Iterator[tuple[object, ...]], nested: Collection[int]) -> Iterator[tuple[object, ...]]:
    """Rows with the columns `nested` read from JSON."""
    for row in rows:
        yield tuple(json.loads(v) if at in nested and isinstance(v, str) else v for at, v in enumerate(row))


def _told_apart(names: Sequence[str]) -> list[str]:
    """Names of which a second one gets a number that no other has: sid, sid_1."""
    taken, told = set(names), list[str]()
    for at, name in enumerate(names):
        new, number = name, 0
        while name in names[:at] and new in taken:
            number += 1
            new = f"{name}_{number}"
        taken.add(new)
        told.append(new)
    return told


@contextlib.contextmanager
def read_only(root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The published file, and nothing else, with settings that nobody can change.

    Raises:
        FixWarehouse: nothing has been published under `root`.
        Untrusted: a live file is a link.
    """
    path = root.absolute() / PUBLISHED
    if not path.is_file():  # nor a pipe, which DuckDB waits for
        raise FixWarehouse(f"There is no {path}; run `addon-export export` or `addon-export rebuild` first.")
    if logs := stray_logs(path.parent):
        raise FixWarehouse(
            f"{logs[0].name} was not written by addon-export, and may show what was never landed; "
            "run `addon-export rebuild`."
        )
    number, destination = _shown(path)
    with tempfile.TemporaryDirectory() as spill, contextlib.closing(_open(path)) as db:
        if destination == "parquet" and number:
            tables = commits.load(path.parent, number).tables.values()
            live = [name for files in tables for name in files]
            for name in live:
                refuse_links(path.parent, name)
            paths = ", ".join(quote(str(path.parent / name)) for name in live)
            db.execute(f"SET allowed_paths = [{paths}]")
        db.execute(f"SET temp_directory = {quote(spill)}")
        for setting in (
            "TimeZone = 'UTC'",
            "errors_as_json = true",  # the message apart from the query, which it quotes
            "python_enable_replacements = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            db.execute(f"SET {setting}")
        yield db


def _shown(path: Path) -> tuple[int, str]:
    """The commit that the file shows, and how; read where nothing else can be reached, whoever made the file.

    Raises:
        FixWarehouse: it does not say.
    """
    with contextlib.closing(_open(path, locked=True)) as db:
        try:
            tables = db.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = '_commit'").fetchall()
            rows = db.execute("SELECT number, destination FROM _commit LIMIT 1").fetchall() if tables[0][0] else []
            elsewhere = reads_elsewhere(db, path.parent) if rows else None
        except duckdb.Error:
            rows, elsewhere = [], None
    if elsewhere is not None:
        raise FixWarehouse(
            f"{path} reads the files of {elsewhere}: the folder was moved or copied since; run "
            "`addon-export rebuild` where it may be written."
        )
    match rows:
        case [(int(number), str(destination))]:
            return number, destination
    raise FixWarehouse(f"{path} does not say which commit it shows; run `addon-export rebuild`.")


def _open(path: Path, *, locked: bool = False) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        **({"enable_external_access": "false", "lock_configuration": "true"} if locked else {}),
    }
    try:
        return duckdb.connect(str(path), read_only=True, config=config)
    except duckdb.Error as error:
        raise FixWarehouse(f"{path} {why_unopened(path)}.") from error


def _only_reads(db: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Raise FixQuery unless `sql` is one statement that can do nothing but read; say whether it asks for a plan."""
    explained = _EXPLAIN.match(sql)
    text = sql[explained.end() :] if explained else sql
    try:
        parsed = json.loads(db.execute("SELECT json_serialize_sql($1)", [text]).fetchall()[0][0])
    except RecursionError as error:
        raise FixQuery("The query is nested too deeply; ask it in parts.") from error
    if parsed["error"]:
        message = str(parsed["error_message"])
        raise FixQuery(
            "Only questions are answered: one SELECT (a PIVOT must name its columns with IN)."
            if message.startswith("Only SELECT")
            else _misread(message, str(parsed.get("location", "")), text)
        )
    if len(parsed["statements"]) != 1:
        raise FixQuery(f"One question at a time is answered; these are {len(parsed['statements'])}.")
    for node in _nodes(parsed):
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _QUERIES:
            raise FixQuery("Only questions are answered: no part of a query may write.")
        if kind == "TABLE_FUNCTION":
            name = str(node["function"]["function_name"]).lower()
            if name not in _TABLE_FUNCTIONS:
                raise FixQuery(f"The table function {name} is not among those that can be used here.")
    return explained is not None


def _misread(message: str, location: str, sql: str) -> str:
    """What DuckDB's parser says of a question, with the line and the place in it."""
    said = f"Parser Error: {message}"
    place = _PLACE.fullmatch(location)
    if place is None:
        return said
    start, length = int(place[1]), int(place[2])
    data = sql.encode()
    before = data[:start].decode(errors="replace")
    line = sql.split("\n")[before.count("\n")].replace("\t", " ")
    at = len(before) - (before.rfind("\n") + 1)
    cut = max(0, at - LINE // 2)
    head = f"LINE {before.count(chr(10)) + 1}: {'...' if cut else ''}"
    shown = line[cut : cut + LINE]
    marks = "^" * max(1, min(len(data[start : start + length].decode(errors="replace")), len(shown) - (at - cut)))
    return f"{said}\n{head}{shown}\n{' ' * (len(head) + at - cut)}{marks}"


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """Every object in parsed JSON."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _rows(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[object, ...]]:
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        yield from rows


def _sentence(message: str) -> str:
    """DuckDB's message in one line, without the query it quotes, and without values of rows.

    What is wrong with the query itself quotes names in it. Anything else may quote a value: all from the first quote
    to the last is cut out, and what follows in another line; so are JSON and long numbers without quotes. What a query
    says by `error()`, or has taken for a pattern, stays otherwise.
    """
    try:
        said = json.loads(message.partition(": ")[2])
        kind, text = str(said["exception_type"]), str(said["exception_message"])
    except (ValueError, TypeError, KeyError):
        plain = message.split("\n\nLINE ")[0].split("\nLINE ")[0]
        found = _KIND.match(plain)
        kind, text = (found[1], plain[found.end() :]) if found else ("", plain)
    if kind not in _OF_THE_QUERY:
        text = _BARE.sub(lambda found: f"{found[1] or ''}...", text)
        if quoted := _QUOTED.search(text):
            after = text[quoted.end() :]
            text = f"{text[: quoted.start()]}...{'' if chr(10) in after else after}"
    return " ".join((f"{kind} Error: {text}" if kind else text).split())
