"""The analysts' views, run by a real DuckDB over made-up contents: known shapes are read, odd ones stop nothing."""

import atexit
import contextlib
import functools
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.warehouse.made_up import Row, as_read, batch, held, payload, result, sid
from warehouse.derived import payloads_sql
from warehouse.published import views
from warehouse.published.calls import SCHEMA
from warehouse.schema import ADD_ON_PAYLOADS, CONTENTS, DERIVED, RECORDINGS
from warehouse.transcripts.derive import Reader, derive
from warehouse.transcripts.engine import PAYLOADS
from warehouse.transcripts.shapes import built_in
from warehouse.transcripts.texts import of_rows

WATSON = {
    "user_token": sid("XR", 1),
    "results": [
        {
            "results": [
                {
                    "keywords_result": {},
                    "alternatives": [
                        {
                            "timestamps": [["good", 0.04, 0.28], ["morning", 0.28, 0.71]],
                            "confidence": 0.75,
                            "transcript": "good morning ",
                        },
                        {"transcript": "could mourning ", "confidence": 0.2},
                    ],
                    "final": True,
                }
            ],
            "result_index": 0,
        },
        {
            "results": [
                {
                    "alternatives": [
                        {
                            "timestamps": [["how", 1.0, 1.2], ["can", 1.2, 1.3]],
                            "confidence": 0.25,
                            "transcript": "how can ",
                        }
                    ]
                }
            ],
            "result_index": 1,
        },
    ],
    "id": "made up",
    "event": "recognitions.completed_with_results",
}


@functools.cache
def _views() -> duckdb.DuckDBPyConnection:
    """A database with the views over empty tables: to define them takes longer than most questions."""
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'; CREATE SCHEMA _contents")
    db.execute(f"CREATE SCHEMA {SCHEMA}")
    for name, rows in {**batch([]), **{table.name: table.empty() for table in DERIVED}}.items():
        db.register("given", rows)
        db.execute(f"CREATE TABLE {_TABLES.get(name, name)} AS SELECT * FROM given")
        db.unregister("given")
    db.execute("CREATE TABLE _contents.chunks AS FROM _contents.whole LIMIT 0")
    db.execute("CREATE TABLE add_on_names (add_on_sid VARCHAR, name VARCHAR)")
    for statement in views.views():
        db.execute(statement)
    atexit.register(_views.cache_clear)
    return db


_TABLES = {CONTENTS.name: "_contents.whole", **{table.name: f"{SCHEMA}.{table.name}" for table in DERIVED}}


@contextlib.contextmanager
def views_over(*rows: Row) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the views over these rows."""
    db = _views()
    db.begin()
    try:
        tables = batch(rows)
        for name, given in {**tables, **_derived(tables)}.items():
            db.register("given", given)
            db.execute(f"INSERT INTO {_TABLES.get(name, name)} SELECT * FROM given")
            db.unregister("given")
        yield db
    finally:
        db.rollback()


def _derived(tables: Mapping[str, pa.Table]) -> Mapping[str, pa.Table]:
    """What follows from the contents among these rows."""
    if not tables[CONTENTS.name].num_rows:
        return {}
    with _views().cursor() as db:
        db.register("payloads", tables[ADD_ON_PAYLOADS.name])
        db.register("called", tables[RECORDINGS.name])
        facts = db.sql(payloads_sql("payloads", "called")).to_arrow_table().cast(PAYLOADS)
    return derive(of_rows(tables[CONTENTS.name]), facts, Reader((*built_in().values(),)), load_id="load")


def transcripts(*contents: tuple[str, bytes]) -> list[dict[str, Any]]:
    """The rows of `transcripts` and `analyses` for contents given as (content type, bytes), in order."""
    rows: list[Row] = []
    for number, (kind, data) in enumerate(contents):
        rows.append(payload(number, data=data, content_type=kind))
        rows.append(held(number, data, kind))
    with views_over(*rows) as db:
        found = db.execute("FROM transcripts UNION ALL BY NAME FROM analyses ORDER BY payload_sid")
        names = [column[0] for column in found.description or []]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def as_json(value: object) -> tuple[str, bytes]:
    """A JSON content."""
    return "application/json", json.dumps(value).encode()


# Known shapes


def test_watsons_transcript_is_joined_from_all_its_pieces() -> None:
    """The first alternative of every piece, the mean of their confidences, and every word with its times."""
    (row,) = transcripts(as_json(WATSON))
    assert (row["vendor"], row["text"], row["confidence"]) == ("ibm_watson", "good morning how can", 0.5)
    assert [word["word"] for word in row["words"]] == ["good", "morning", "how", "can"]
    assert (row["words"][1]["start_seconds"], row["words"][1]["end_seconds"]) == (0.28, 0.71)
    assert (row["payload_sid"], row["add_on_result_sid"], row["recording_sid"]) == (
        sid("XH", 0),
        sid("XR", 0),
        sid("RE", 0),
    )


@pytest.mark.parametrize(
    ("given_content", "vendor", "text"),
    [
        (
            as_json({"media": {"status": "finished", "transcripts": {"text": "Speaker 1: hello"}}}),
            "voicebase",
            "Speaker 1: hello",
        ),
        (as_json({"media": {"transcripts": [{"text": "hello"}, {"text": "no"}]}}), "voicebase", "hello"),
        (as_json({"transcription": "hello", "intent": "praise", "confidence": 0.9}), "google", "hello"),
        (("text/plain; charset=utf-8", "grüß dich\nhello".encode()), "text", "grüß dich\nhello"),
        (("text/plain", b""), "text", ""),
        (as_json({"something": "else"}), None, None),
        (as_json([]), None, None),
        (as_json({"results": []}), None, None),
        (("application/json", b'{"broken": '), None, None),
        (("application/vnd.made-up+json; v=1", b'{"transcription": "hello"}'), "google", "hello"),
    ],
    ids=["voicebase", "voicebase list", "google", "text", "empty", "unknown", "list", "no results", "broken", "+json"],
)
def test_shapes_are_recognised(given_content: tuple[str, bytes], vendor: str | None, text: str | None) -> None:
    """The vendor and its text; both null where the JSON has a shape nobody knows."""
    (row,) = transcripts(given_content)
    assert (row["vendor"], row["text"]) == (vendor, text)


@pytest.mark.parametrize("text", ["42", '"quoted"', "true", "null", "[1]"])
def test_plain_text_that_happens_to_be_json_is_still_text(text: str) -> None:
    """The content type says text, so the text is the transcript."""
    (row,) = transcripts(("text/plain", text.encode()))
    assert (row["vendor"], row["text"]) == ("text", text)


@pytest.mark.parametrize(
    ("kind", "data"),
    [("audio/x-wav", b"RIFF\x00"), ("application/json", b'{"a": "\xff"}'), ("text/plain", b"\xc3\x28"), ("", b"text")],
    ids=["binary", "invalid UTF-8 in JSON", "invalid UTF-8 in text", "no type"],
)
def test_what_is_not_text_has_no_transcript_and_no_text(kind: str, data: bytes) -> None:
    """The exact bytes stay in `contents`; there is no row in `transcripts`."""
    assert transcripts((kind, data)) == []
    with views_over(payload(0, data=data), held(0, data, kind)) as db:
        assert db.execute("SELECT content, content_text FROM contents").fetchall() == [(data, None)]


# Odd JSON

ODD: dict[str, bytes] = {
    "confidence is a word": json.dumps(WATSON).replace("0.75", '"high"').encode(),
    "confidence is an object": json.dumps(WATSON).replace("0.75", '{"a": 1}').encode(),
    "confidence is a list": json.dumps(WATSON).replace("0.75", "[0.5]").encode(),
    "confidence is null": json.dumps(WATSON).replace("0.75", "null").encode(),
    "confidence is true": json.dumps(WATSON).replace("0.75", "true").encode(),
    "confidence is NaN": json.dumps(WATSON).replace("0.75", "NaN").encode(),
    "confidence is huge": json.dumps(WATSON).replace("0.75", "1e999").encode(),
    "confidence is long": json.dumps(WATSON).replace("0.75", "9" * 400).encode(),
    "transcript is a number": json.dumps(WATSON).replace('"good morning "', "7").encode(),
    "transcript is null": json.dumps(WATSON).replace('"good morning "', "null").encode(),
    "transcript is a list": json.dumps(WATSON).replace('"good morning "', "[[]]").encode(),
    "timestamps are words": json.dumps(WATSON).replace('["good", 0.04, 0.28]', '"good"').encode(),
    "results is an object": b'{"results": {"results": {"alternatives": {}}}}',
    "results is text": b'{"results": "none"}',
    "results are mixed": b'{"results": [1, null, {"results": 2}, {"results": [{"alternatives": "x"}]}]}',
    "half a surrogate": b'{"transcription": "a\\ud800b"}',
    "half a surrogate in Watson": json.dumps(WATSON).replace("good morning ", "\\udc00").encode(),
    "half a surrogate as a name": b'{"\\ud800": 1}',
    "zero in a string": b'{"transcription": "a\\u0000b"}',
    "zero byte": b'{"transcription": "a\x00b"}',
    "NaN": b'{"transcription": NaN}',
    "Infinity": b'{"a": -Infinity, "transcription": "a"}',
    "byte order mark": b'\xef\xbb\xbf{"transcription": "a"}',
    "comma at the end": b'{"transcription": "a",}',
    "comment": b'{"transcription": "a"} // no',
    "two documents": b'{"transcription": "a"}\n{"transcription": "b"}',
    "one name twice": b'{"transcription": "a", "transcription": "b"}',
    "deep list": b"[" * 5000 + b"]" * 5000,
    "deep object": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "deep in Watson": json.dumps(WATSON).replace("0.28", "[" * 900 + "]" * 900).encode(),
    "deep and unfinished": b"[" * 5000,
    "blanks": b" \n\t ",
    "empty": b"",
    "long number": b"1" * 5000,
    "media is a list": b'{"media": [{"transcripts": {"text": "a"}}]}',
    "text is an object": b'{"media": {"transcripts": {"text": {"a": 1}}}}',
    "transcription is a number": b'{"transcription": 7}',
    "transcription is null": b'{"transcription": null}',
    "noncharacters": '{"transcription": "\ufffe\uffff\U0010ffff"}'.encode(),
}


def test_odd_json_never_stops_the_view() -> None:
    """Every row is there, the good ones between them whole, however odd the JSON."""
    rows = transcripts(*(each for data in ODD.values() for each in (("application/json", data), as_json(WATSON))))
    assert [row["payload_sid"] for row in rows] == [sid("XH", number) for number in range(2 * len(ODD))]
    for name, good in zip(ODD, rows[1::2], strict=True):
        assert (good["text"], good["confidence"]) == ("good morning how can", 0.5), name


def test_an_unusable_confidence_does_not_take_the_text_away() -> None:
    """The words are still the transcript, and the mean is over the confidences that are numbers."""
    (row,) = transcripts(("application/json", ODD["confidence is a word"]))
    assert (row["text"], row["confidence"]) == ("good morning how can", 0.25)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["results", "alternatives", "transcript", "confidence", "timestamps", "media", "text", "x"])
            | st.sampled_from(["transcripts", "transcription"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=4, deadline=None)
@given(
    st.lists(
        st.one_of(JSON_VALUES.map(lambda v: json.dumps(v).encode()), st.binary(max_size=20), st.text().map(str.encode)),
        min_size=30,
        max_size=60,
    )
)
def test_no_content_ever_stops_the_views(contents: list[bytes]) -> None:
    """Any JSON, text or bytes: `contents` gives the exact bytes, and their text where they are valid UTF-8."""
    rows: list[Row] = []
    for number, data in enumerate(contents):
        rows += [payload(number, data=data), held(number, data)]
    with views_over(*rows) as db:
        found = db.execute("SELECT content, content_text FROM contents ORDER BY payload_sid").fetchall()
        texts = [text for _, text in found]
        assert [data for data, _ in found] == contents
        assert texts == [as_read(data) for data in contents]
        count = db.execute("SELECT (SELECT count(*) FROM transcripts) + (SELECT count(*) FROM analyses)")
        assert count.fetchall()[0][0] == sum(text is not None for text in texts)


# Retention

NOW = datetime.now(UTC)
"""The view asks the clock itself."""
AHEAD, PAST = NOW + timedelta(hours=10), NOW - timedelta(hours=10)


def retention(*rows: Row) -> dict[str, tuple[str, float | None]]:
    """State and hours left by result SID."""
    with views_over(*rows) as db:
        return {
            key: (state, hours)
            for key, state, hours in db.execute("SELECT sid, state, hours_left FROM retention").fetchall()
        }


@pytest.mark.parametrize(
    ("state", "values"),
    [
        ("exported", {"exported_at": NOW, "expires_at": AHEAD}),
        ("exported", {"exported_at": NOW, "expires_at": PAST}),
        ("exported", {"exported_at": NOW, "status": "in-progress"}),
        ("pending", {"exported_at": None, "expires_at": AHEAD}),
        ("pending", {"exported_at": None, "expires_at": AHEAD, "status": "no such status"}),
        ("pending", {"exported_at": None, "expires_at": AHEAD, "status": None}),
        ("pending", {"exported_at": None, "expires_at": None}),
        ("unfinished", {"exported_at": None, "expires_at": AHEAD, "status": "in-progress"}),
        ("unfinished", {"exported_at": None, "expires_at": AHEAD, "status": "queued"}),
        ("lost", {"exported_at": None, "expires_at": PAST}),
        ("gone", {"exported_at": None, "expires_at": PAST, "gone_at": NOW}),
        ("pending", {"exported_at": None, "expires_at": AHEAD, "gone_at": datetime(2026, 1, 1, tzinfo=UTC)}),
        ("lost", {"exported_at": None, "expires_at": PAST, "status": "in-progress"}),
        ("deleted", {"exported_at": NOW, "expires_at": AHEAD, "deleted_at": NOW}),
        ("deleted", {"exported_at": None, "expires_at": PAST, "deleted_at": NOW}),
    ],
)
def test_retention_says_what_has_become_of_a_result(state: str, values: dict[str, Any]) -> None:
    """Deleted before exported before lost before unfinished before pending."""
    assert retention(result(1, **values))[sid("XR", 1)][0] == state


def test_a_result_with_a_missing_content_is_not_exported() -> None:
    """A payload that turned up later without its content makes the result pending, or lost past the deadline."""
    states = retention(
        result(1, exported_at=NOW, expires_at=AHEAD),
        payload(1, data=b"x"),
        payload(2, of=1),
        result(3, exported_at=NOW, expires_at=PAST),
        payload(3),
        result(4, exported_at=NOW, expires_at=AHEAD),
        payload(4, data=b""),
    )
    assert [states[sid("XR", n)][0] for n in (1, 3, 4)] == ["pending", "lost", "exported"]


def test_hours_left_count_down_to_the_deadline_and_below_zero() -> None:
    """In hours, negative when past, null without a deadline."""
    rows = retention(result(1, expires_at=AHEAD), result(2, expires_at=PAST), result(3, expires_at=None))
    hours = [rows[sid("XR", n)][1] for n in (1, 2, 3)]
    assert hours[2] is None
    passed = (datetime.now(UTC) - NOW).total_seconds() / 3600  # since this module was read, in a long suite
    assert hours[0] == pytest.approx(10 - passed, abs=0.1)
    assert hours[1] == pytest.approx(-10 - passed, abs=0.1)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("application/json; charset=utf-8", b"\xef\xbb\xbf" + b'{"transcription": "gr\xc3\xbc\xc3\x9fe"}'),
        ("text/json", '{"transcription": "grüße"}'.encode()),
        ("text/json; charset=utf-16", '{"transcription": "grüße"}'.encode("utf-16")),
        ("application/vnd.made-up+json; charset=iso-8859-1", '{"transcription": "grüße"}'.encode("latin-1")),
        ("text/plain; charset=windows-1252", "grüße".encode("cp1252")),
        ("text/plain", b"\xef\xbb\xbf" + "grüße".encode()),
    ],
)
def test_a_transcript_is_read_in_whatever_charset_it_came(kind: str, data: bytes) -> None:
    """Its bytes stay as they are; a byte order mark is no part of its text."""
    assert [row["text"] for row in transcripts((kind, data))] == ["grüße"]
    with views_over(payload(0, data=data), held(0, data, kind)) as db:
        ((content, text),) = db.execute("SELECT content, content_text FROM contents").fetchall()
    assert content == data
    assert text.endswith(('grüße"}', "grüße"))
    assert "\ufeff" not in text
