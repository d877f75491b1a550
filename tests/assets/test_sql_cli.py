"""`addon-export sql` and `tables` as an analyst meets them: no account, three formats, one sentence when it fails."""

import csv
import io
import json
from pathlib import Path

import pytest

from assets.questions import EXAMPLES
from tests.assets.conftest import CommandLine
from tests.warehouse.made_up import NOON, land_rows, whole
from warehouse.archive import open_archive
from warehouse.publish import publish

QUESTION = (
    "SELECT payload_sid[-1] AS n, completed_date AS day, TIMESTAMPTZ '2026-11-20 12:00:00+00' AS at, text, "
    "NULL AS nil, [1, 2] AS list, 'NaN'::DOUBLE AS nan, 1.50::DECIMAL(4, 2) AS price, 'a'::BLOB AS bytes, "
    "{'a': DATE '2026-11-20'} AS struct FROM transcripts ORDER BY n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a published warehouse in `data`."""
    folder = tmp_path_factory.mktemp("published")
    archive = open_archive(folder / "data")
    land_rows(archive, [*whole(1, 'grüß, "dich"\n'.encode(), is_text=True), *whole(2, b"two", is_text=True)])
    publish(archive, "parquet", now=NOON)
    return folder


def test_answers_come_as_json(folder: Path) -> None:
    """An array of objects; times in ISO 8601, bytes in hex, what is not a number as null."""
    done = CommandLine(folder)("sql", QUESTION, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    assert rows[0] == {
        "n": "1",
        "day": "2026-11-20",
        "at": "2026-11-20T12:00:00+00:00",
        "text": 'grüß, "dich"\n',
        "nil": None,
        "list": [1, 2],
        "nan": None,
        "price": "1.50",
        "bytes": "61",
        "struct": {"a": "2026-11-20"},
    }
    assert [row["text"] for row in rows] == ['grüß, "dich"\n', "two"]
    assert json.loads(CommandLine(folder)("sql", "SELECT 1 WHERE false", "--format", "json").stdout) == []


def test_answers_come_as_csv(folder: Path) -> None:
    """Quoted where needed, null as nothing, lists and structs as JSON."""
    done = CommandLine(folder)("sql", QUESTION, "--format", "csv")
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows[0] == ["n", "day", "at", "text", "nil", "list", "nan", "price", "bytes", "struct"]
    assert rows[1][:6] == ["1", "2026-11-20", "2026-11-20 12:00:00+00:00", 'grüß, "dich"\n', "", "[1, 2]"]
    assert rows[1][9] == '{"a": "2026-11-20"}'
    assert len(rows) == 3


def test_answers_come_as_a_table_and_the_question_from_standard_input(folder: Path) -> None:
    """Aligned; an empty answer has its head."""
    done = CommandLine(folder)("sql", "SELECT text, length(text) AS letters FROM transcripts ORDER BY letters")
    assert done.stdout.splitlines() == [
        "text           letters",
        "-------------  -------",
        "two            3",
        'grüß, "dich"   13',
    ]
    assert CommandLine(folder)("sql", "SELECT 1 AS a WHERE false").stdout == "a\n-\n"


def test_the_examples_are_printed_and_can_be_asked_by_number(folder: Path) -> None:
    """Each is a question in words with its SQL."""
    done = CommandLine(folder)("sql", "--examples")
    assert done.returncode == 0
    for question in EXAMPLES:
        assert f"{question.text}\n{question.sql};" in done.stdout
    assert "exported" in CommandLine(folder)("sql", "--example", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("sql", "SELECT nothing_like_it FROM transcripts"), 2, "nothing_like_it"),
        (("sql", "DROP VIEW transcripts"), 2, "Only questions"),
        (("sql",), 2, "--examples"),
        (("sql", "SELECT 1", "--examples"), 2, "--examples"),
        (("sql", "--example", "99"), 2, "no example 99"),
        (("sql", "SELECT 1", "--format", "xml"), 2, "--format"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_sentence(
    folder: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    """On stderr, with the exit code for what must be changed; stdout stays empty."""
    done = CommandLine(folder)(*arguments)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_nothing_published_is_exit_code_6(tmp_path: Path) -> None:
    """And nothing is made there."""
    done = CommandLine(tmp_path)("sql", "SELECT 1")
    assert done.returncode == 6
    assert "addon-export export" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_tables_are_printed(tmp_path: Path) -> None:
    """Without a warehouse and without an account."""
    done = CommandLine(tmp_path)("tables")
    assert done.returncode == 0, done.stderr
    assert "## `transcripts`" in done.stdout
