"""`addon-export sql` and `tables` as an analyst meets them: no account, three formats, one sentence when it fails."""

import csv
import io
import json
import os
import pty
import signal
import stat
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from assets.cli.formats import LINE
from assets.cli.questions import EXAMPLES
from tests.assets.conftest import CommandLine
from tests.warehouse.made_up import NOON, land_rows, sid, whole
from warehouse.published.publish import publish
from warehouse.store.opening import open_archive

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
        (("sql", "SELECT 1", "--format", "parquet"), 2, "--out"),
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


def test_answers_are_markdown(folder: Path) -> None:
    """A row a line, and no cell can leave it or be markup."""
    done = CommandLine(folder)("sql", "SELECT 'a|b\n<b>' AS x, NULL AS \"y_z\", 1 AS n", "--format", "markdown")
    assert done.stdout.splitlines() == ["| x | y\\_z | n |", "| --- | --- | --- |", "| a\\|b &lt;b&gt; |  | 1 |"]


def test_an_answer_is_a_new_private_file(folder: Path, tmp_path: Path) -> None:
    """With DuckDB's types in Parquet; a file that is there is replaced only where that is said, a bad one is none."""
    run, out = CommandLine(folder), tmp_path / "answer"
    sql = "SELECT completed_date, completed_date, text FROM transcripts ORDER BY payload_sid"
    assert run("sql", sql, "--format", "parquet", "--out", str(out)).returncode == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    found = pq.read_table(out)
    assert found.column_names == ["completed_date", "completed_date_1", "text"]
    assert found.to_pylist()[1] == {"completed_date": NOON.date(), "completed_date_1": NOON.date(), "text": "two"}
    before = out.read_bytes()
    again = run("sql", "SELECT 1 AS one", "--format", "csv", "--out", str(out))
    assert (again.returncode, "--overwrite" in again.stderr, out.read_bytes()) == (2, True, before)
    assert run("sql", "SELECT nothing", "--out", str(out), "--overwrite").returncode == 2
    assert out.read_bytes() == before
    assert run("sql", "SELECT 1 AS one", "--format", "csv", "--out", str(out), "--overwrite").returncode == 0
    assert out.read_text() == "one\n1\n"
    assert run("sql", "SELECT 1", "--out", str(tmp_path / "none" / "x")).returncode == 2
    assert list(tmp_path.iterdir()) == [out]


def test_calls_are_found_by_what_was_said(folder: Path) -> None:
    """People get a table, programs every column; a phrase is never SQL."""
    run = CommandLine(folder)
    assert "grüß" in run("search", "GRÜ").stdout
    (row,) = json.loads(run("search", "TWO", "--from", "2026-11-20", "--vendor", "text", "--format", "json").stdout)
    assert (row["recording_sid"], row["around"]) == (sid("RE", 2), "two")
    assert json.loads(run("search", "two') FROM x --", "--format", "json").stdout) == []
    assert run("search", " ").returncode == 2


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


HOSTILE = (
    "SELECT 'a' || chr(27) || ']0;t' || chr(7) || chr(155) || '31m' || chr(8238) || chr(8203) || chr(917569) "
    'AS "n\u202e"'
)
"""A title, a colour, another direction, and two that nobody sees; in the name of the column too."""


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = CommandLine(folder).start(*arguments, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # the other end is closed
        pass
    process.wait(60)
    os.close(ours)
    return said.decode()


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_terminal_obeys_nothing_that_an_answer_says(folder: Path, form: str) -> None:
    """Controls and invisible characters are shown; JSON stays JSON."""
    said = on_a_terminal(folder, "sql", HOSTILE, "--format", form)
    assert "\\u001b]0;t\\u0007\\u009b31m\\u202e\\u200b\\udb40\\udc41" in said
    assert not set(said) - set(map(chr, range(32, 127))) - {"\r", "\n"}
    if form == "json":
        ((name, value),) = json.loads(said)[0].items()
        assert (name, value[0], value[1], value[-1]) == ("n\u202e", "a", "\x1b", "\U000e0041")


def test_files_and_pipes_get_what_an_answer_says(folder: Path) -> None:
    """Byte for byte."""
    said = CommandLine(folder)("sql", HOSTILE, "--format", "csv").stdout
    assert "a\x1b]0;t\x07\x9b31m\u202e\u200b\U000e0041" in said


def test_a_sentence_obeys_nothing_either(folder: Path) -> None:
    """On stderr, wherever that leads: a log is looked at on a terminal."""
    done = CommandLine(folder)("sql", "SELECT error('x' || chr(27) || '[31m' || chr(133) || chr(8297))")
    assert done.returncode == 2
    assert "x\\u001b[31m" in done.stderr
    assert not set(done.stderr) - set(map(chr, range(32, 127))) - {"\n"}


def test_an_encoding_without_the_characters_ends_no_command(folder: Path) -> None:
    """Their escapes are written; JSON reads them back."""
    asked = ("sql", "SELECT 'grüß ' || chr(128512) AS a", "--format", "json")
    done = CommandLine(folder)(*asked, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout.isascii()) == (0, True)
    assert json.loads(done.stdout) == [{"a": "grüß \U0001f600"}]


def test_a_crash_of_the_engine_is_a_sentence(folder: Path) -> None:
    """And leaves nothing behind in the folder for temporary files."""
    deep = "('[' || repeat('[', 400000) || repeat(']', 400000) || ']')::JSON"
    (folder / "tmp").mkdir()
    done = CommandLine(folder)("sql", f"SELECT json_contains({deep}, '7')", TMPDIR=str(folder / "tmp"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("DuckDB crashed on this question (SIG")
    assert list((folder / "tmp").iterdir()) == []


ENDLESS = "SELECT count(*) FROM range(100000000000000) t(i) WHERE i % 7 = 8"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_question_ends_with_its_command(folder: Path, number: signal.Signals) -> None:
    """Whatever ends that; Ctrl-C is one sentence and exit code 130."""
    process = CommandLine(folder).start("sql", f"SELECT 1 UNION ALL ({ENDLESS})", "--format", "csv")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 60
    while not children.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    said = process.communicate(timeout=60)  # waits until nobody has the pipes
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    assert len(said[1].splitlines()) <= 1


def test_a_table_takes_no_more_room_than_what_is_in_it(folder: Path) -> None:
    """Columns share the line; a long one is not indented by the width of another."""
    done = CommandLine(folder)("sql", "SELECT repeat('word ', 100000) AS a, repeat('x', 300000) AS b, 1 AS c")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= LINE
    assert len(done.stdout) < 3 * 800_000
    assert lines[0].split() == ["a", "b", "c"]
    assert "".join(done.stdout.split()).count("x") == 300_000


def test_more_columns_than_a_line_has_room_for_are_lists(folder: Path) -> None:
    """One for each row, with every name and value."""
    many = ", ".join(f"repeat('v', {number}) AS column_{number}" for number in range(1, 40))
    lines = CommandLine(folder)("sql", f"SELECT {many}").stdout.splitlines()
    assert lines[:3] == ["-- row 1", "column_1   v", "column_2   vv"]
    assert max(map(len, lines)) <= LINE
