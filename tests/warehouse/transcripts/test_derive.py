"""Deriving: nothing that a content or a shape does stops it, and what made a row is told."""

import json
from collections.abc import Sequence

import pyarrow as pa
import pytest

from warehouse.schema import ANALYSES, TRANSCRIPTS, TURNS
from warehouse.transcripts import derive as module
from warehouse.transcripts.derive import FAILED, Reader, derive
from warehouse.transcripts.engine import PAYLOADS, TEXTS
from warehouse.transcripts.readable import TOO_LARGE
from warehouse.transcripts.shapes import Shape, built_in, read_shape
from warehouse.transcripts.texts import SLICE_BYTES, sliced

SLOW = """
when = "json_exists(json, '$.slow')"
text = '''
CAST(len(list_transform(string_split(content_text, 'x'), lambda a: len(list_filter(string_split(content_text, 'x'),
    lambda b: a < b || 'y')))) AS VARCHAR)
'''
"""
"""Takes a time that grows with the square of the content, and more."""

LARGE = """
when = "json_exists(json, '$.slow')"
text = '''
array_to_string(list_transform(string_split(content_text, 'x'), lambda a: content_text || content_text), '')
'''
"""
"""Takes memory that grows with the square of the content."""


def given(*texts: str | None) -> tuple[pa.Table, pa.Table]:
    """Texts of JSON, and the facts of their payloads."""
    sids = [f"XH{number}" for number in range(len(texts))]
    table = pa.table([sids, pa.nulls(len(sids), pa.date32()), pa.array(texts, pa.string())], schema=TEXTS)
    facts = {"payload_sid": sids, "content_type": ["application/json"] * len(sids), "call_sid": ["CA1"] * len(sids)}
    columns = [facts.get(name, pa.nulls(len(sids), pa.string())) for name in PAYLOADS.names]
    return table, pa.table(columns, schema=PAYLOADS)


def reader(*own: Shape) -> Reader:
    """These shapes before the built-in ones."""
    return Reader((*own, *built_in().values()))


def problems(shapes: Reader, texts: Sequence[str | None]) -> list[tuple[str, str | None, str | None]]:
    """SID, vendor and problem of each row of `analyses`."""
    made = derive(*given(*texts), shapes, load_id="load")
    assert sorted(s for t in (TRANSCRIPTS, ANALYSES) for s in made[t.name]["payload_sid"].to_pylist()) == [
        f"XH{number}" for number in range(len(texts))
    ]
    rows = made[ANALYSES.name].sort_by("payload_sid").to_pylist()
    return [(row["payload_sid"], row["vendor"], row["problem"]) for row in rows]


def test_what_takes_too_long_or_too_much_memory_is_said_and_stops_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem names the shape; contents beside it are read, and so are those of the next call."""
    monkeypatch.setattr(module, "CPU_SECONDS", 0.3)
    good, bad = '{"text": "good"}', json.dumps({"slow": "x" * 20_000})
    for shape in (SLOW, LARGE):
        own = reader(read_shape("acme", shape.encode()))
        ((sid, vendor, problem),) = problems(own, [good, bad, good])
        assert (sid, vendor) == ("XH1", "acme")
        assert problem is not None
        assert problem.startswith(FAILED.format("acme"))
    assert problems(reader(), [good]) == []


def test_what_is_too_large_says_so_and_has_no_vendor() -> None:
    """It was not looked at."""
    assert problems(reader(), [None]) == [("XH0", None, TOO_LARGE)]


def test_a_shape_without_text_is_an_analysis() -> None:
    """With its vendor, and the whole JSON."""
    own = reader(read_shape("moods", b"version = 3\nwhen = \"json_exists(json, '$.mood')\"\nhas = ['$.mood']"))
    made = derive(*given('{"mood": 1}', '{"text": "a"}', '{"other": 1}'), own, load_id="load")
    rows = [(row["vendor"], row["shape_version"], row["json"]) for row in made[ANALYSES.name].to_pylist()]
    assert sorted(rows, key=str) == [("moods", 3, '{"mood": 1}'), (None, None, '{"other": 1}')]
    assert made[TRANSCRIPTS.name]["call_sid"].to_pylist() == ["CA1"]


def test_a_confidence_says_where_it_comes_from() -> None:
    """The vendor's own, else the mean over words, else none."""
    own = reader(
        read_shape(
            "acme",
            b"""
            when = "json_exists(json, '$.said')"
            text = "json ->> '$.said'"
            confidence = "TRY_CAST(json ->> '$.sure' AS DOUBLE)"
            words = "list_transform(json_extract(json, '$.each[*]'), lambda c: {'word': 'a', 'confidence': c::DOUBLE})"
            """,
        )
    )
    texts = '{"said": "a", "sure": 0.5, "each": [1]}', '{"said": "a", "each": [0.25, 0.75]}', '{"said": "a"}'
    made = derive(*given(*texts), own, load_id="load")[TRANSCRIPTS.name].sort_by("payload_sid").to_pylist()
    assert [(row["confidence"], row["confidence_from"]) for row in made] == [
        (0.5, "vendor"),
        (0.5, "words"),
        (None, None),
    ]


def test_rows_are_marked_by_what_made_them() -> None:
    """Another version, another `when` that is tried before, or another place: other marks; no others."""
    one, two = (read_shape(name, f"when = \"label = '{name}'\"\ntext = 'label'".encode()) for name in "ab")
    newer = read_shape("b", b"version = 2\nwhen = \"label = 'b'\"\ntext = 'label'")
    first, second, none = Reader((one, two)).hashes
    assert Reader((one, newer)).hashes[0] == first
    assert Reader((one, newer)).hashes[1] != second
    assert Reader((one, newer)).hashes[2] == none
    assert first not in Reader((two, one)).hashes
    assert Reader((one, two)).mark != Reader((one, newer)).mark


def test_texts_are_derived_in_slices_of_bounded_size() -> None:
    """None is lost, and each keeps its place."""
    texts, _ = given(*["x" * (SLICE_BYTES // 3)] * 7, None)
    parts = [*sliced([texts.slice(0, 3), texts.slice(3)])]
    assert pa.concat_tables(parts).equals(texts)
    assert max(part.num_rows for part in parts) <= 4
    assert derive(*given(), reader(), load_id="load")[TURNS.name].num_rows == 0
