"""Vendors, right or null: each sample holds a content in the form that its vendor documents, and what it says."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from pipelines.sandbox.contents import make_talk
from pipelines.sandbox.vendors import FORMS, spoken
from warehouse.schema import ANALYSES, TRANSCRIPTS, TURNS
from warehouse.transcripts.derive import Reader, derive
from warehouse.transcripts.engine import PAYLOADS, TEXTS
from warehouse.transcripts.shapes import BUILT_IN, built_in
from warehouse.transcripts.turns import FACTS

FOLDER = Path(__file__).parent / "samples"

SAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


SANDBOX = "sandbox: "

TALK = spoken(make_talk(Random(3)))


@pytest.fixture(scope="module")
def heard() -> dict[str, dict[str, Any]]:
    """What is derived from all samples at once: rows of `transcripts` with their turns, and of `analyses`."""
    contents = {name: sample["content"] for name, sample in SAMPLES.items()}
    contents |= {f"{SANDBOX}{name}": form(TALK) for name, form in FORMS.items()}
    names, none = list(contents), pa.nulls(len(contents), pa.string())
    texts = [names, pa.nulls(len(names), pa.date32()), pa.array(map(json.dumps, contents.values()))]
    facts = {"payload_sid": names, "content_type": ["application/json"] * len(names)}
    payloads = pa.table([facts.get(column, none) for column in PAYLOADS.names], schema=PAYLOADS)
    reader = Reader(tuple(built_in().values()))
    made = derive(pa.table(texts, schema=TEXTS), payloads, reader, load_id="load")
    found = {row["payload_sid"]: {**row, "turns": []} for row in made[TRANSCRIPTS.name].to_pylist()}
    for turn in made[TURNS.name].sort_by([("payload_sid", "ascending"), ("position", "ascending")]).to_pylist():
        found[turn["payload_sid"]]["turns"].append(turn)
    return found | {row["payload_sid"]: row for row in made[ANALYSES.name].to_pylist()}


@pytest.mark.parametrize("name", SAMPLES)
def test_what_a_vendor_gives_is_read_and_nothing_else_is_said(heard: dict[str, dict[str, Any]], name: str) -> None:
    """What a sample does not list is null; words and turns are listed by their values, in the order of PARTS."""
    row = heard[name]
    said = {
        **{part: row.get(part) or None for part in ("text", "language", "speakers", "channels")},
        "redacted": row.get("redacted"),
        "confidence": None if row.get("confidence") is None else pytest.approx(row["confidence"]),
        "confidence_from": row.get("confidence_from"),
        "words": [list(word.values()) for word in row.get("words") or ()] or None,
        "turns": [[turn[fact] for fact in FACTS] for turn in row.get("turns") or ()] or None,
    }
    told = {part: value for part, value in said.items() if value is not None}
    assert {"vendor": row["vendor"], **told} == SAMPLES[name]["said"]
    assert row.get("problem") is None


@pytest.mark.parametrize("name", FORMS)
def test_what_the_sandbox_says_in_a_vendors_form_is_read_as_it_was_said(
    heard: dict[str, dict[str, Any]], name: str
) -> None:
    """Every word with its times and one of two speakers or channels; every turn that the vendor gives, by its text."""
    said = heard[f"{SANDBOX}{name}"]
    words, turns = said["words"], said["turns"]
    assert [(turn["start_seconds"], turn["end_seconds"]) for turn in turns] == [(turn.start, turn.end) for turn in TALK]
    assert len({turn["speaker"] or turn["channel"] for turn in turns}) == 2
    if words:
        times = sorted((word["start_seconds"], word["end_seconds"]) for word in words)
        assert times == [(word.start, word.end) for turn in TALK for word in turn.words]
    if name not in REWORDED:
        assert [turn["text"] for turn in turns] == [turn.text for turn in TALK]


REWORDED = ("amazon_contact_lens", "amazon_channels", "ibm_watson_speakers")
"""One redacts, the others have turns made of words without marks."""


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_shape_has_samples(name: str) -> None:
    """One as documented, and one with what is unusual there."""
    assert len([sample for sample in SAMPLES if sample.startswith(f"{name}-")]) > 1 or name in _ELSEWHERE


_ELSEWHERE = ("text",)
"""Its contents are no JSON; they are tried with those of every charset."""
