"""The shapes of transcripts: what is read from contents as their vendors document them, and files of one's own."""

import contextlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.warehouse.made_up import NOON, Row, content, land_rows, payload, sid
from tests.warehouse.published.test_views import as_json, transcripts
from warehouse.published.publish import publish
from warehouse.store.archive import Archive
from warehouse.store.names import PUBLISHED, Destination
from warehouse.transcripts.readable import TOO_DEEP
from warehouse.transcripts.shapes import FOLDER, shapes
from warehouse.upkeep.derive import derive_again
from warehouse.upkeep.verify import verify

SAMPLES = Path(__file__).parent / "samples"

Word = tuple[str, float | None, float | None, float | None, str | None, str | None]


def read(name: str) -> dict[str, Any]:
    """The row of `transcripts` for one sample."""
    (row,) = transcripts(("application/json", (SAMPLES / name).read_bytes()))
    return row


def words(row: dict[str, Any]) -> list[Word]:
    """Its words as tuples: word, start and end in seconds, confidence, speaker, channel."""
    return [tuple(word.values()) for word in row["words"] or []]


DOCUMENTED: dict[str, tuple[str, str, float | None, str | None, list[str] | None, list[Word]]] = {
    "ibm_watson_callback.json": (
        "ibm_watson",
        "I love coding",
        0.782,
        None,
        None,
        [
            ("I", 0.04, 0.28, None, None, None),
            ("love", 0.28, 0.71, None, None, None),
            ("coding", 0.74, 1.25, None, None, None),
        ],
    ),
    "ibm_watson_response.json": (
        "ibm_watson",
        "hello yeah how's Billy",
        0.9,
        None,
        ["2", "1"],
        [
            ("hello", 0.68, 1.19, 0.95, "2", None),
            ("yeah", 1.47, 1.93, 1.0, "1", None),
            ("how's", 2.05, 2.4, 0.8, "2", None),
            ("Billy", 2.4, 2.9, 0.6, "2", None),
        ],
    ),
    "google_response.json": (
        "google",
        "okay so what can I do a furniture order",
        0.95,
        "en-us",
        ["1", "2"],
        [("okay", 0.0, 0.3, None, "1", "1"), ("so", 0.3, 1.4, 0.9, "1", "1"), ("a", 2.0, 2.5, None, "2", "2")],
    ),
    "google_operation.json": (
        "google",
        "okay so what can I do a furniture order",
        0.95,
        "en-us",
        ["1", "2"],
        [("okay", 0.0, 0.3, None, "1", "1"), ("so", 0.3, 1.4, 0.9, "1", "1"), ("a", 2.0, 2.5, None, "2", "2")],
    ),
    "google_flat.json": ("google", "I would like to book a table", None, None, None, []),
    "voicebase_twilio.json": (
        "voicebase",
        "Speaker 1: Hello. Speaker 2: Hi, it's me.\nSpeaker 1: Good.",
        None,
        None,
        ["Speaker 1", "Speaker 2"],
        [],
    ),
    "voicebase_v2.json": (
        "voicebase",
        "Good morning.",
        0.81,
        None,
        None,
        [("Good", 0.1, 0.4, 0.5, None, None), ("morning", 0.45, 0.9, 0.9, None, None)],
    ),
    "voicebase_v3.json": (
        "voicebase",
        "agent: Hello.\ncaller: Hi",
        0.756,
        None,
        ["agent", "caller"],
        [("Hello", 2.2, 2.3, 0.537, "agent", None), ("Hi", 2.4, 2.5, 0.975, "caller", None)],
    ),
    "deepgram.json": (
        "deepgram",
        "Where is my lamp?\nOn its way.",
        0.94,
        "en",
        ["0"],
        [("Where", 0.1, 0.3, 0.99, "0", "0"), ("On", 1.5, 1.7, 0.9, None, "1")],
    ),
    "amazon_transcribe.json": ("amazon_transcribe", "Where is my lamp?", None, "en-US", None, []),
}


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.json")))
def test_documented_contents_are_read(name: str) -> None:
    """Vendor, text, confidence, language, speakers, and every word with what the vendor says of it."""
    row = read(name)
    vendor, text, confidence, language, speakers, spoken = DOCUMENTED[name]
    assert (row["vendor"], row["text"], row["language"], row["speakers"]) == (vendor, text, language, speakers)
    assert row["confidence"] == (None if confidence is None else pytest.approx(confidence))
    assert words(row) == spoken


@pytest.mark.parametrize("part", ["words", "start_seconds", "speaker"])
def test_words_can_be_asked_by_their_parts(archive: Archive, part: str) -> None:
    """`unnest(words)` gives a row for each word, in both destinations."""
    data = (SAMPLES / "ibm_watson_response.json").read_bytes()
    land_rows(archive, [payload(1, data=data, content_type="application/json"), content(1, data, is_text=True)])
    question = {
        "words": "SELECT count(*) FROM spoken",
        "start_seconds": "SELECT max(w.start_seconds) FROM spoken",
        "speaker": "SELECT string_agg(w.word, ' ') FROM spoken WHERE w.speaker = '2'",
    }[part]
    question = f"WITH spoken AS (SELECT unnest(words) AS w FROM transcripts) {question}"
    answers = []
    for destination in ("duckdb", "parquet"):
        publish(archive, destination, now=NOON)
        answers.append(asked(archive, question))
    assert answers[0] == answers[1] == [{"words": 4, "start_seconds": 2.4, "speaker": "hello how's Billy"}[part]]


def asked(archive: Archive, question: str) -> list[Any]:
    """The first column of the answer the published file gives."""
    with contextlib.closing(duckdb.connect(str(archive.root / PUBLISHED), read_only=True)) as db:
        return [row[0] for row in db.execute(question).fetchall()]


# What is not read

_DEEP = '[{"a": ' * 300 + "1" + "}]" * 300


@pytest.mark.parametrize(
    "text",
    [
        _DEEP,
        '{"text": "said", "rest": ' + _DEEP + "}",
        "[" * 200_000 + "]" * 200_000,
        '["]", [], ' * 600 + "1" + "]" * 600,
    ],
    ids=["alone", "inside", "very", "among others"],
)
def test_json_that_is_nested_too_deeply_is_not_read(text: str) -> None:
    """It would end the process of whoever casts it; a column says so, and no shape takes it for plain text."""
    (row,) = transcripts(("application/json", text.encode()))
    assert (row["vendor"], row["text"], row["json"], row["problem"]) == (None, None, None, TOO_DEEP)


def test_many_brackets_are_not_deep() -> None:
    """Beside one another, within strings, or in plain text."""
    beside = as_json({"text": "said", "rest": [[["[" * 900]]] * 900, "deep": json.loads("[" * 400 + "]" * 400)})
    (first, second) = transcripts(beside, ("text/plain", b"[" * 2000))
    assert (first["text"], first["problem"]) == ("said", None)
    assert (second["text"], second["problem"]) == ("[" * 2000, None)


# Shapes of one's own

OWN = """
description = "Acme's transcription"
when = "json_exists(json, '$.acme')"
text = "json_extract_string(json, '$.acme.said')"
words = '''
list_transform(json_extract(json, '$.acme.heard[*]'), lambda w: {'word': json_extract_string(w, '$')})
'''
"""

ACME = as_json({"acme": {"said": "two words", "heard": ["two", "words"]}})


def with_shapes(archive: Archive, **files: str) -> None:
    """Put files into the documented folder."""
    (archive.root / FOLDER).mkdir(exist_ok=True)
    for name, text in files.items():
        (archive.root / FOLDER / f"{name}.toml").write_text(text)


def shown_anew(archive: Archive, destination: Destination = "duckdb") -> None:
    """What an export does at its end: derive what other shapes made, and publish."""
    derive_again(archive, now=NOON, run_id="test")
    publish(archive, destination, now=NOON)


def landed(archive: Archive, *contents: tuple[str, bytes]) -> None:
    """Land contents, each with its payload."""
    rows: list[Row] = []
    for number, (kind, data) in enumerate(contents):
        rows += [payload(number, data=data, content_type=kind), content(number, data, is_text=True)]
    land_rows(archive, rows)


def test_one_file_adds_a_shape(archive: Archive) -> None:
    """It is tried before the built-in ones, shows at once, and what it does not say is null."""
    landed(archive, ACME, as_json({"text": "other"}))
    publish(archive, "duckdb", now=NOON)
    assert asked(archive, "SELECT vendor FROM transcripts ORDER BY payload_sid") == ["generic"]
    with_shapes(archive, acme=OWN)
    shown_anew(archive)
    assert asked(archive, "SELECT vendor FROM transcripts ORDER BY payload_sid") == ["acme", "generic"]
    row = (
        "SELECT [text, language, words[2].word, words[2].start_seconds::VARCHAR] FROM transcripts ORDER BY payload_sid"
    )
    assert asked(archive, row)[0] == ["two words", None, "words", None]
    given = [shape.vendor for shape in shapes(archive.root / "none").usable]
    assert asked(archive, "SELECT vendor FROM transcript_shapes ORDER BY position") == ["acme", *given]
    assert verify(archive).mismatches == ()


def test_a_shape_of_the_same_name_replaces_the_built_in_one(archive: Archive) -> None:
    """So a vendor's new way of saying things needs no new version of this project."""
    landed(archive, as_json({"text": "kept", "body": "wanted"}))
    with_shapes(archive, generic="when = \"json_exists(json, '$.body')\"\ntext = \"json ->> '$.body'\"")
    shown_anew(archive, "parquet")
    assert asked(archive, "SELECT text FROM transcripts") == ["wanted"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("when = ", "not TOML"),
        ("text = 'content_text'", "lacks when"),
        ("when = 'true'\ntext = 'x'\nspeaker = 'x'", "sets speaker"),
        ("when = 'true'\ntext = 7", "must be text"),
        ("when = 'true'\nversion = '2'", "must be a whole number"),
        ("when = 'true'\nhas = ['$.a[*]']", "list of paths"),
        ('when = \'true\'\nstructure = \'{"a": ["VARCHAR", "VARCHAR"]}\'', "must be of objects"),
        ("when = 'true'\ntext = 'parsed.a'", "`text` cannot be used"),
        ("when = 'true'\ntext = 'no_such_column'", "`text` cannot be used"),
        ("when = 'true'\ntext = 'json)'", "`text` cannot be used"),
        ("when = 'true'\ntext = '(SELECT 1)'", "`text` cannot be used"),
        ("when = 'no_such_function(json)'\ntext = 'content_text'", "`when` cannot be used"),
    ],
)
def test_a_broken_shape_is_said_and_keeps_nothing_from_analysts(archive: Archive, text: str, problem: str) -> None:
    """The others work; the broken one is a row of `transcript_shapes` that says why."""
    landed(archive, ACME, as_json({"text": "other"}))
    with_shapes(archive, acme=OWN, zzz=text)
    shown_anew(archive)
    assert asked(archive, "SELECT text FROM transcripts ORDER BY payload_sid") == ["two words", "other"]
    (said,) = asked(archive, "SELECT problem FROM transcript_shapes WHERE position IS NULL AND vendor = 'zzz.toml'")
    assert problem in said


def test_a_shape_that_fails_on_some_contents_is_null_there(archive: Archive) -> None:
    """An expression that raises stops neither the row nor the others."""
    landed(archive, as_json({"acme": "7"}), as_json({"acme": "seven"}))
    shape = "when = \"json_exists(json, '$.acme')\"\ntext = \"CAST(json ->> '$.acme' AS INTEGER)\""
    with_shapes(archive, acme=shape)
    shown_anew(archive)
    assert asked(archive, "SELECT text FROM transcripts ORDER BY payload_sid") == ["7", None]
    assert asked(archive, "SELECT vendor FROM transcripts ORDER BY payload_sid") == ["acme", "acme"]


# Names


def test_add_ons_have_the_names_they_are_given(archive: Archive) -> None:
    """Wherever an add-on is shown; new names show without anything new landed."""
    add_on = sid("XB", 1)
    land_rows(archive, [payload(1, data=b"a", add_on_sid=add_on), content(1, b"a", is_text=True)])
    publish(archive, "duckdb", now=NOON)
    assert asked(archive, "SELECT add_on FROM transcripts") == [None]
    archive.add_on_names[add_on] = "It's Watson"  # type: ignore[index]  # as another environment would give
    publish(archive, "duckdb", now=NOON)
    assert asked(archive, "SELECT add_on FROM transcripts") == ["It's Watson"]
    assert asked(archive, "SELECT name FROM add_ons") == ["It's Watson"]
