"""Questions in SQL: answered alike in both destinations, and nothing a question says changes or reveals anything."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.errors import FixQuery, FixWarehouse
from tests.warehouse.made_up import NOON, land_rows, whole
from warehouse.published.publish import publish
from warehouse.published.query import answer, read_only
from warehouse.store.archive import Archive
from warehouse.store.names import PUBLISHED, Destination
from warehouse.store.opening import open_archive

DESTINATIONS: tuple[Destination, ...] = ("duckdb", "parquet")


def published(destination: Destination, folder: Path) -> Path:
    """The root of a published warehouse."""
    archive: Archive = open_archive(folder / "root")
    land_rows(archive, [row for number in range(3) for row in whole(number, b'{"text": "made up"}', is_text=True)])
    publish(archive, destination, now=NOON)
    return archive.root


@pytest.fixture(scope="module", params=DESTINATIONS)
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root of each destination; in the end every file is as it was, and there is no other."""
    root = published(request.param, tmp_path_factory.mktemp("either"))
    before = _files(root.parent)
    yield root
    assert _files(root.parent) == before


@pytest.fixture(scope="module")
def _open(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published("parquet", tmp_path_factory.mktemp("published"))


@pytest.fixture
def unchanged(_open: Path) -> Iterator[Path]:
    """A root in Parquet, whose live files a question may read, so it has more to abuse; the same holds afterwards."""
    before = _files(_open.parent)
    yield _open
    assert _files(_open.parent) == before


def _files(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def asked(root: Path, sql: str) -> list[tuple[Any, ...]]:
    """All rows of an answer."""
    with answer(root, sql) as found:
        return list(found.rows)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM transcripts",
        "select count(*) from contents -- a comment",
        "FROM (SELECT count(*) FROM add_on_results)",
        "WITH r AS (SELECT * FROM recordings) SELECT count(*) FROM r;",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT max(i) FROM n",
        "SELECT * FROM (VALUES (1), (2), (3)) v(i) ORDER BY i DESC LIMIT 1",
        "SELECT count(*) FROM (SELECT 1 UNION SELECT 2 UNION SELECT 3)",
        "SELECT count(*) FROM range(3)",
        "SELECT (SELECT count(*) FROM retention)",
    ],
)
def test_questions_are_answered(either: Path, sql: str) -> None:
    """Whatever way a SELECT is put."""
    assert asked(either, sql) == [(3,)]


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE transcripts",
        "SHOW TABLES",
        "SUMMARIZE add_on_results",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE FROM days",
    ],
)
def test_the_database_can_be_looked_at(either: Path, sql: str) -> None:
    """Tables, columns and plans."""
    assert asked(either, sql)


def live_file(root: Path) -> Path:
    """A file of the archive that a question could be after."""
    return next(path for path in root.rglob("*.parquet") if "add_on_results" in str(path))


_COPYING = "WITH w AS (COPY (SELECT 1) TO '{live}' (FORMAT parquet, USE_TMP_FILE false))"

WRITING = {
    "copy": "COPY (SELECT 1) TO '{live}' (FORMAT parquet, USE_TMP_FILE false)",
    "copy inside a question": f"{_COPYING} SELECT 1",
    "copy deep inside": f"SELECT ({_COPYING} SELECT 1)",
    "copy in a lateral": f"SELECT * FROM range(1), LATERAL ({_COPYING} SELECT 1)",
    "copy in a plan": "EXPLAIN ANALYZE COPY (SELECT 1) TO '{live}' (FORMAT parquet, USE_TMP_FILE false)",
    "copy in a plan's question": f"EXPLAIN ANALYZE {_COPYING} SELECT 1",
    "a question in text": "FROM query('{copying} SELECT 1')".format(copying=_COPYING.replace("'", "''")),
    "a parsed question": "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "second statement": "SELECT 1; COPY (SELECT 1) TO '{live}' (FORMAT parquet, USE_TMP_FILE false)",
    "new file": "COPY (SELECT 1) TO '{root}/new.csv'",
    "export": "EXPORT DATABASE '{root}/new'",
    "insert": "INSERT INTO add_on_names VALUES ('XB', 'x')",
    "insert inside a question": "WITH w AS (INSERT INTO add_on_names VALUES ('XB', 'x') RETURNING *) FROM w",
    "delete inside a question": "WITH w AS (DELETE FROM add_on_names RETURNING *) FROM w",
    "drop": "DROP VIEW transcripts",
    "attach": "ATTACH '{root}/new.duckdb'",
    "settings": "SET enable_external_access = true",
    "settings by pragma": "PRAGMA enable_external_access = true",
    "reset": "RESET lock_configuration",
    "extension": "INSTALL httpfs",
    "load": "LOAD httpfs",
    "checkpoint": "CHECKPOINT",
    "call": "CALL force_checkpoint()",
    "prepare": "PREPARE p AS SELECT 1",
    "pivot": "PIVOT retention ON state USING count(*)",
}


@pytest.mark.parametrize("sql", WRITING.values(), ids=WRITING.keys())
def test_nothing_can_be_written(unchanged: Path, sql: str) -> None:
    """Refused in one sentence, and every file is as it was: DuckDB itself would overwrite a live file it may read."""
    with pytest.raises(FixQuery) as refused:
        asked(unchanged, sql.format(live=live_file(unchanged), root=unchanged))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "sql",
    [
        "FROM read_text('{secret}')",
        "FROM '{secret}'",
        "FROM read_csv('{secret}')",
        "FROM read_blob('{root}/_commits/*')",
        "FROM glob('{root}/*')",
        "FROM read_parquet('https://example.com/x.parquet')",
        "FROM secret",
        "FROM duckdb_secrets()",
        "SELECT getenv('HOME')",
    ],
)
def test_nothing_else_can_be_read(unchanged: Path, tmp_path: Path, sql: str) -> None:
    """Neither files, the network, the environment, nor this program's own variables."""
    secret = tmp_path / "secret.csv"
    secret.write_text("a\nb\n")
    with pytest.raises(FixQuery):
        asked(unchanged, sql.format(secret=secret, root=unchanged))


def test_the_settings_hold_by_themselves(either: Path, tmp_path: Path) -> None:
    """Without the look at the question, the connection still keeps other files and its settings from everybody."""
    with read_only(either) as db:
        for sql in (
            f"COPY (SELECT 1) TO '{tmp_path}/x.csv'",
            f"ATTACH '{tmp_path}/x.duckdb'",
            "SET enable_external_access = true",
            "SET allowed_paths = ['/']",
            "INSERT INTO add_on_names VALUES ('XB', 'x')",
            "LOAD httpfs",
            f"FROM read_text('{__file__}')",
        ):
            with pytest.raises(duckdb.Error):
                db.execute(sql).fetchall()


def test_a_question_may_need_more_than_memory(unchanged: Path) -> None:
    """It spills to a folder of its own, which is gone afterwards."""
    rows = asked(unchanged, "SELECT count(*) FROM (SELECT DISTINCT md5(i::VARCHAR) FROM range(300_000) t(i))")
    assert rows == [(300_000,)]


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("SELECT no_such FROM transcripts", "no_such"),
        ("SELECT 1; SELECT 2", "One question"),
        ("", "One question"),
        ("SELECT 1/0::INTEGER + 'x'::INTEGER", "INT32"),
        ("SELECT error('made up')", "made up"),
        (f"SELECT {'NOT ' * 600}true", "nested too deeply"),
    ],
)
def test_what_cannot_be_answered_is_said(unchanged: Path, sql: str, sentence: str) -> None:
    """In DuckDB's words, in one line."""
    with pytest.raises(FixQuery, match=sentence) as said:
        asked(unchanged, sql)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"\nLINE 1: SELEC 1\n        ^^^^^'),
        (
            "SELECT 'grüß'\n\tFRO x;",
            'Parser Error: syntax error at or near "x"\nLINE 2:  FRO x;\n             ^',
        ),
        ("EXPLAIN SELECT (1", 'Parser Error: syntax error at or near "1"\nLINE 1:  SELECT (1\n                 ^'),
    ],
)
def test_a_mistake_in_the_syntax_is_shown_with_its_place(unchanged: Path, sql: str, said: str) -> None:
    """As DuckDB shows it: the line, and a caret under the word; all of it is the user's own text."""
    with pytest.raises(FixQuery) as error:
        asked(unchanged, sql)
    assert str(error.value) == said


def test_the_place_in_a_long_line_is_shown_and_no_more(unchanged: Path) -> None:
    """A query of one line of a megabyte is not printed for its mistake."""
    with pytest.raises(FixQuery) as error:
        asked(unchanged, f"SELECT '{'a' * 1_000_000}' + FROM x, '{'b' * 1_000_000}'")
    line, marks = str(error.value).splitlines()[1:]
    assert len(line) < 150
    assert line[marks.index("^") :].startswith("FROM")


def test_columns_of_the_same_name_are_told_apart(unchanged: Path) -> None:
    """By a number that no other column has."""
    with answer(unchanged, "SELECT 1 AS sid, 2 AS sid, 3 AS sid_1, 4 AS sid, 5 AS x") as found:
        assert found.columns == ["sid", "sid_2", "sid_1", "sid_3", "x"]
        assert list(found.rows) == [(1, 2, 3, 4, 5)]


VALUES: dict[str, object] = {
    "'infinity'::TIMESTAMP": "infinity",
    "'-infinity'::DATE": "-infinity",
    "DATE '0044-03-15 (BC)'": "0044-03-15 (BC)",
    "TIMESTAMPTZ '9999-12-31 00:00:00+00' + INTERVAL 10 YEARS": "10009-12-31 00:00:00+00",
    "INTERVAL '14 months 3 days'": "1 year 2 months 3 days",
    "INTERVAL '-1 month'": "-1 month",
    "TIMESTAMP_NS '2026-01-01 00:00:00.123456789'": "2026-01-01 00:00:00.123456789",
    "TIME '24:00:00'": "24:00:00",
    "TIMETZ '12:00:00-03:30'": "12:00:00-03:30",
    "[DATE 'infinity', NULL]": ["infinity", None],
    "{'a': {'b': INTERVAL 1 MONTH}, 'c': 1}": {"a": {"b": "1 month"}, "c": 1},
    "MAP {[DATE '2026-01-01']: 1}": {"[2026-01-01]": 1},
    "(1::UHUGEINT << 127) - 1": (1 << 127) - 1,
    "[1.5::FLOAT]": [1.5],
}


def test_values_are_those_that_duckdb_prints(unchanged: Path) -> None:
    """Also where Python has no such time, or counts a month as 30 days."""
    columns = ", ".join(f"{sql} AS v" for sql in VALUES)
    assert asked(unchanged, f"SELECT {columns}, 1 AS v ORDER BY v") == [(*VALUES.values(), 1)]


TWO_LINES = "('it''s \"' || content_text || chr(10) || 'LINE 3: made up')"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("content_text::INTEGER", "Could not convert string ... to INT32 when casting from source column content_text"),
        (f"{TWO_LINES}::INTEGER", "Could not convert string ... to INT32"),
        ("content_text::DATE", "invalid date field format: ..., expected format"),
        ("content_text::INTEGER[]", "Type VARCHAR with value ... can't be cast to the destination type"),
        (f"strptime({TWO_LINES}, '%Y')", "Could not parse string ..."),
        ("json_extract(content_text[2:], '$.a')", "Malformed JSON at byte"),
        ("date_trunc(content_text, now())", "not recognized"),
    ],
)
def test_what_is_said_of_values_does_not_quote_them(unchanged: Path, value: str, sentence: str) -> None:
    """A content may be asked for; it does not get into what is said of a mistake, and so into a log."""
    with pytest.raises(FixQuery) as said:
        asked(unchanged, f"SELECT {value} FROM contents")
    assert sentence in str(said.value)
    assert "made" not in str(said.value)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    "value",
    [
        "'[491701234567]'::JSON::INTEGER",
        "'{\"a\": 491701234567}'::JSON::INTEGER[]",
        "'491701234567'::JSON::STRUCT(a INTEGER)",
        "json_transform_strict('[491701234567]', '\"INTEGER\"')",
        "491701234567::INTEGER",
        "-491701234567::DOUBLE::DECIMAL(3, 1)",
        "491701234567::BIGINT * 491701234567",
    ],
)
def test_a_value_that_duckdb_says_without_quotes_is_not_said(unchanged: Path, value: str) -> None:
    """A caller's number in JSON, or in a column, is content like any other."""
    with pytest.raises(FixQuery, match=r"Error: .*\.\.\.") as said:
        asked(unchanged, f"SELECT {value}")
    assert "49170" not in str(said.value)


def test_a_file_of_somebody_elses_making_is_asked_nothing_unlocked(tmp_path: Path) -> None:
    """What stands for our own table could read any file, or end never, before the settings are locked."""
    secret = tmp_path / "secret.csv"
    secret.write_text("7\n")
    with duckdb.connect(str(tmp_path / PUBLISHED)) as db:
        db.execute(
            f"CREATE VIEW _commit AS SELECT column0 AS number, 'duckdb' AS destination FROM read_csv('{secret}')"
        )
    with pytest.raises(FixWarehouse, match="rebuild"):
        asked(tmp_path, "SELECT 1")


def test_nothing_published_is_said(tmp_path: Path) -> None:
    """And a file that is no database is too."""
    with pytest.raises(FixWarehouse, match="addon-export export"):
        asked(tmp_path, "SELECT 1")
    (tmp_path / PUBLISHED).write_bytes(b"not a database" * 1000)
    with pytest.raises(FixWarehouse, match="rebuild"):
        asked(tmp_path, "SELECT 1")
