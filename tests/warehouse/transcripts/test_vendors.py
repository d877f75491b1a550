"""Vendors, right or null: each sample holds a content in the form that its vendor documents, and what it says."""

import json
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from pipelines.sandbox.contents import make_talk
from pipelines.sandbox.vendors import FORMS, spoken
from warehouse.transcripts.rules import guarded
from warehouse.transcripts.shapes import BUILT_IN, PARTS, Shape, recognised, shapes

FOLDER = Path(__file__).parent / "samples"

SAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


SANDBOX = "sandbox: "

TALK = spoken(make_talk(Random(3)))


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the built-in shapes say of all samples, read at once as they are read when they land."""
    usable = shapes(tmp_path_factory.mktemp("none")).usable
    found: dict[str, dict[str, Any]] = {}
    with duckdb.connect(config={"threads": "1"}) as db:
        contents = [[name, json.dumps(sample["content"])] for name, sample in SAMPLES.items()]
        db.execute("CREATE TABLE contents (name VARCHAR, content_text VARCHAR)")
        contents += [[f"{SANDBOX}{name}", json.dumps(form(TALK))] for name, form in FORMS.items()]
        db.executemany("INSERT INTO contents VALUES (?, ?)", contents)
        db.execute(
            f"CREATE TABLE seen AS SELECT *, {recognised(usable)} AS shape FROM (SELECT *, content_text::JSON AS json, "
            "'application/json' AS content_type, 'transcript' AS label FROM contents)"
        )
        for number, shape in [(None, None), *enumerate(usable)]:
            rows = db.execute(_question(shape), [number])
            names = [column[0] for column in rows.description or ()]
            for row in rows.fetchall():
                found[row[0]] = {"vendor": shape and shape.vendor, **dict(zip(names[1:], row[1:], strict=True))}
    return found


def _question(shape: Shape | None) -> str:
    if shape is None:
        return "SELECT name FROM seen WHERE shape IS NOT DISTINCT FROM $1"
    parts = "".join(f", {guarded(sql, PARTS[part])} AS {part}" for part, sql in shape.parts.items())
    parsed = f", {shape.parsed} AS parsed" if shape.parsed else ""
    return f"SELECT name{parts} FROM (SELECT *{parsed} FROM seen WHERE shape = $1)"


@pytest.mark.parametrize("name", SAMPLES)
def test_what_a_vendor_gives_is_read_and_nothing_else_is_said(heard: dict[str, dict[str, Any]], name: str) -> None:
    """Parts that a sample does not list are null; words and turns are listed by their values, in the columns' order."""
    said = {part: _shown(part, value) for part, value in heard[name].items()}
    assert {part: value for part, value in said.items() if value is not None} | {"vendor": said["vendor"]} == (
        SAMPLES[name]["said"]
    )


def _shown(part: str, value: Any) -> Any:
    """A part as samples have it, without words and turns in which nothing is said."""
    match part:
        case "words":
            return [list(word.values()) for word in value or () if word["word"] is not None] or None
        case "turns":
            return [list(turn.values()) for turn in value or () if turn["text"] is not None] or None
        case "confidence" if value is not None:
            return pytest.approx(value)
        case _:
            return None if value == [] else value


@pytest.mark.parametrize("name", FORMS)
def test_what_the_sandbox_says_in_a_vendors_form_is_read_as_it_was_said(
    heard: dict[str, dict[str, Any]], name: str
) -> None:
    """Every word with its times and one of two speakers or channels; every turn that the vendor gives, by its text."""
    said = heard[f"{SANDBOX}{name}"]
    words, turns = said.get("words") or [], said.get("turns") or []
    stretches = [(stretch["start_seconds"], stretch["end_seconds"]) for stretch in turns]
    assert stretches in ([], [(turn.start, turn.end) for turn in TALK])
    assert stretches or words
    if words:
        times = sorted((word["start_seconds"], word["end_seconds"]) for word in words)
        assert times == [(word.start, word.end) for turn in TALK for word in turn.words]
    assert len({(part.get("speaker") or part.get("channel")) for part in (words or turns)}) == 2
    if turns and name != "amazon_contact_lens":  # is redacted
        assert [turn["text"] for turn in turns] == [turn.text for turn in TALK]


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_shape_has_samples(name: str) -> None:
    """One as documented, and one with what is unusual there."""
    assert len([sample for sample in SAMPLES if sample.startswith(f"{name}-")]) > 1 or name in _ELSEWHERE


_ELSEWHERE = ("text",)
"""Its contents are no JSON; they are tried with those of every charset."""
