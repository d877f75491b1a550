"""Shapes of an operator's own: what their expressions may say, and that a bad file harms nothing and nobody."""

import os
from pathlib import Path

import duckdb
import pytest

from warehouse.transcripts.rules import EXPRESSION_BYTES, guarded, judge
from warehouse.transcripts.shapes import BUILT_IN, FILE_BYTES, FOLDER, INPUTS, asked, built_in, read_shape, shapes
from warehouse.transcripts.trial import problem, trial

GOOD = b"when = 'true'\ntext = 'content_text'"


@pytest.fixture(scope="module")
def db() -> duckdb.DuckDBPyConnection:
    """An empty database, for its parser."""
    return duckdb.connect()


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_the_built_in_shapes_say_may_be_said(db: duckdb.DuckDBPyConnection, name: str) -> None:
    """Each keeps the rules for files of an operator's own; one that asks for much passes the trial too."""
    expressions = asked(built_in()[name])
    for _, expression, kind, parsed in expressions:
        judge(db, expression, kind, inputs=[*INPUTS, *([] if parsed is None else ["parsed"])])
    assert name != "amazon_transcribe" or trial(expressions, INPUTS) is None


@pytest.mark.parametrize(
    "expression",
    [
        "json -> '$.a' -- a comment",
        "json ->> '$.it''s'",
        "[w ->> '$.word' for w in json_extract(json, '$.words[*]') if w IS NOT NULL][1]",
        "list_filter(json_extract(json, '$[*]'), lambda w, i: i > 1 AND w ->> 'm' NOT IN ('turn'))[-1].x",
        "CASE WHEN label ILIKE '%x%' THEN upper(trim(content_text)) ELSE content_text[2:5] END",
        "CAST(TRY_CAST(json AS STRUCT(a DECIMAL(4, 1), b DATE[])).a * 2 AS VARCHAR) || chr(10)",
        "coalesce(nullif(LABEL, ''), add_on_sid) BETWEEN 'a' AND 'b'",
    ],
)
def test_expressions_over_the_content_may_be_said(db: duckdb.DuckDBPyConnection, expression: str) -> None:
    """JSON, text, lists with lambdas and comprehensions, structs, cases and casts."""
    judge(db, expression, "VARCHAR", inputs=INPUTS)


_ESCAPING = "1) AS VARCHAR){}TRY_CAST(TRY(1"

REFUSED = {
    "query": "(SELECT 1)",
    "query in a list": "label IN (SELECT path FROM glob('/*'))",
    "query in an array": "ARRAY(FROM '/etc/passwd')",
    "exists": "EXISTS (FROM '/etc/passwd')",
    "values": "(VALUES (1))",
    "query in a lambda": "list_transform([1], lambda x: (SELECT x))",
    "query in a case": "CASE WHEN false THEN (SELECT 1) END",
    "query in a comprehension": "[x for x in (SELECT [1])]",
    "second column": _ESCAPING.format(", "),
    "table": _ESCAPING.format(" FROM '/etc/passwd' WHERE "),
    "set operation": "1) AS VARCHAR) UNION SELECT TRY_CAST(TRY(1",
    "statement": _ESCAPING.format("; SELECT "),
    "order": _ESCAPING.format(" ORDER BY "),
    "concatenation": _ESCAPING.format(" || "),
    "outside the guard": "1) + TRY(2",
    "open comment": "1 /* ",
    "open text": "'1",
    "function of files": "read_text('/etc/passwd')",
    "function of the environment": "getenv('HOME')",
    "function of variables": "getvariable('x')",
    "function of settings": "current_setting('temp_directory')",
    "function of the session": "current_database()",
    "value of the session": "current_user",
    "function of the clock": "now()",
    "function of chance": "random()",
    "function of a schema": "main.lower(label)",
    "function of a catalog": "system.main.lower(label)",
    "function of a column": "label.lower()",
    "function by name": "list_aggregate([1], 'histogram')",
    "function deep inside": "lower(list_transform(['a'], lambda x: {'a': getenv(x)})[1].a)",
    "endless range": "len(range(1000000000000))",
    "endless text": "repeat('x', 1000000000000)",
    "endless padding": "lpad('x', 1000000000, 'x')",
    "endless format": "printf('%1000000000d', 1)",
    "aggregate": "sum(1)",
    "filtered": "lower(label) FILTER (true)",
    "window": "row_number() OVER ()",
    "star": "*",
    "columns": "COLUMNS('label')",
    "position": "#1",
    "parameter": "$1",
    "other column": "payload_sid",
    "unknown in a lambda": "list_transform([1], lambda x: y)",
    "collation": "label COLLATE nocase",
    "type of a schema": "label::main.t",
    "other type": "label::ENUM('a')",
    "nothing": "",
    "NUL": "'\0'",
    "many bytes": f"'{'x' * EXPRESSION_BYTES}'",
    "many negations": "NOT " * 600 + "true",
    "many brackets": "(" * 3000 + "1" + ")" * 3000,
    "many lists": "[" * 3000 + "1" + "]" * 3000,
    "many additions": "1" + "+1" * 4000,
    "many casts": "1" + "::INT" * 2000,
}


@pytest.mark.parametrize("expression", REFUSED.values(), ids=REFUSED.keys())
def test_nothing_else_may_be_said(db: duckdb.DuckDBPyConnection, expression: str) -> None:
    """No query, no function that is not listed, nothing that leaves its place, and nothing endless."""
    with pytest.raises(ValueError, match=r"\w"):
        judge(db, expression, "VARCHAR", inputs=INPUTS)


_WORDS = "json_extract(json, '$[*]')"

_CUBE = "len(json)"
for name in "abc":
    _CUBE = f"len(list_transform({_WORDS}, lambda {name}: {_CUBE.replace('json)', 'label)')}))"

_GROWING = "content_text"
for _ in range(20):
    _GROWING = f"replace({_GROWING}, 'a', 'aaaaaaaaaaaaaaaa')"


@pytest.mark.parametrize("expression", [_CUBE, _GROWING], ids=["time", "memory"])
def test_a_trial_ends(expression: str) -> None:
    """What takes too long, or too much, on a call of usual length is not taken, and this process is not harmed."""
    assert problem((("text", expression, "VARCHAR", None),), tuple(INPUTS.items()), cpu_seconds=1) is not None


def test_a_trial_runs_no_code_from_where_the_command_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's folder may hold modules with the names of ours and of Python's own."""
    (tmp_path / "warehouse").mkdir()
    for name in ("warehouse/__init__.py", "json.py", "duckdb.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w'); raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert problem((("text", "content_text || 'elsewhere'", "VARCHAR", None),), tuple(INPUTS.items())) is None
    assert not (tmp_path / "ran").exists()


def test_a_structure_is_read_once_and_used_by_every_part() -> None:
    """It is one line of JSON in a constant of ours; values of another kind are null, and `when` has none of it."""
    structure = '{"it\'s": [{"said": "VARCHAR", "at": "DOUBLE"}]}'
    file = f"when = 'true'\nversion = 3\nstructure = '''{structure}'''\ntext = \"parsed['it''s'][1].said\""
    shape = read_shape("x", file.encode())
    assert (shape.version, shape.parsed) == (
        3,
        f"""from_json({guarded("json", "JSON")}, '{{"it''s":[{{"said":"VARCHAR","at":"DOUBLE"}}]}}')""",
    )
    assert trial(asked(shape), INPUTS) is None
    used = read_shape("x", b"when = 'parsed IS NULL'\nstructure = '{\"a\": \"JSON\"}'")
    assert trial(asked(used), INPUTS) is not None


@pytest.mark.parametrize("text", ["7", '"VARCHAR"', "{}", "[]", '{"a": "INT); x"}', '["JSON", "JSON"]', "[" * 5000])
def test_a_structure_holds_nothing_but_names_and_kinds(text: str) -> None:
    """It ends in the SQL of a function."""
    with pytest.raises(ValueError, match="Its structure"):
        read_shape("x", f"when = 'true'\nstructure = '''{text}'''".encode())


def test_a_bad_file_is_said_and_no_other_suffers(tmp_path: Path) -> None:
    """Pipes, links, folders, large, deep and oddly named files: each has its reason, and none is waited for."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "good.toml").write_bytes(GOOD)
    os.mkfifo(folder / "pipe.toml")
    (folder / "link.toml").symlink_to("/dev/zero")
    (folder / "folder.toml").mkdir()
    (folder / "large.toml").write_bytes(GOOD + b"#" * FILE_BYTES)
    (folder / "deep.toml").write_bytes(b"text = " + b"[" * 20_000)
    (folder / "bytes.toml").write_bytes(b"when = '\xff'")
    (folder / "two\nlines.toml").write_bytes(GOOD)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.toml")).write_bytes(GOOD)
    found = shapes(tmp_path)
    assert [shape.vendor for shape in found.usable[:2]] == ["good", BUILT_IN[0]]
    assert len(found.broken) == 8
    assert all(found.broken.values())
    "".join(found.broken).encode()  # names that DuckDB takes
