"""Turns: who speaks when, from what a vendor gives, else from words."""

from typing import Any

import pyarrow as pa

from warehouse.schema import WORDS
from warehouse.transcripts.turns import firsts, turns

TURNS = pa.list_(
    pa.struct(
        {
            "speaker": pa.string(),
            "channel": pa.string(),
            "start_seconds": pa.float64(),
            "end_seconds": pa.float64(),
            "text": pa.string(),
        }
    )
)


def word(text: str, start: float | None = None, *, speaker: str | None = None, channel: str | None = None) -> Any:
    """A word that lasts half a second."""
    end = None if start is None else start + 0.5
    return {"word": text, "start_seconds": start, "end_seconds": end, "speaker": speaker, "channel": channel}


def told(*rows: list[Any] | None, given: list[list[Any] | None] | None = None) -> list[tuple[Any, ...]]:
    """The turns of rows of words, or of what a vendor gives, as tuples."""
    own = pa.array(given or [None] * len(rows), TURNS)
    made = turns(own, pa.array(rows, WORDS))
    return [
        (t["row"], t["position"], t["speaker"] or t["channel"], t["start_seconds"], t["end_seconds"], t["text"])
        for t in made.to_pylist()
    ]


def test_words_in_a_row_of_one_speaker_are_a_turn() -> None:
    """From the start of the first to the end of the last; each transcript counts for itself."""
    first = [word("good", 0, speaker="A"), word("day", 0.5, speaker="A"), word("hello", 2, speaker="B")]
    assert told(first, None, [], [word("yes", 0, speaker="B")]) == [
        (0, 1, "A", 0.0, 1.0, "good day"),
        (0, 2, "B", 2.0, 2.5, "hello"),
        (3, 1, "B", 0.0, 0.5, "yes"),
    ]


def test_channels_that_come_one_after_the_other_are_put_in_the_order_of_time() -> None:
    """Vendors give the words of one channel, then those of the next."""
    words = [word("hi", 0, channel="1"), word("fine", 4, channel="1"), word("how", 2, channel="2")]
    assert [(who, text) for _, _, who, _, _, text in told(words)] == [("1", "hi"), ("2", "how"), ("1", "fine")]


def test_where_a_start_is_not_known_the_order_is_the_vendors() -> None:
    """Nothing is guessed; the other transcripts are sorted all the same."""
    words = [word("late", 9, speaker="A"), word("when", None, speaker="B"), word("early", 1, speaker="A")]
    assert [t[5] for t in told(words, [word("b", 2, speaker="A"), word("a", 1, speaker="B")])] == [
        *("late", "when", "early"),
        *("a", "b"),
    ]


def test_without_speakers_and_channels_there_are_no_turns() -> None:
    """A word without one, among words that have one, is a turn of nobody."""
    assert told([word("just", 0), word("words", 1)]) == []
    assert told([word("I", 0, speaker="A"), word("you", 1)])[1][2:] == (None, 1.0, 1.5, "you")


def test_turns_that_the_vendor_gives_are_used() -> None:
    """Words of the same transcript make none then; an empty list gives none."""
    own = {"speaker": "agent", "channel": None, "start_seconds": 1.0, "end_seconds": 2.0, "text": "Well, yes."}
    words = [word("well", 1, speaker="0")]
    assert told(words, words, given=[[own], []]) == [
        (0, 1, "agent", 1.0, 2.0, "Well, yes."),
        (1, 1, "0", 1.0, 1.5, "well"),
    ]


def test_different_values_come_in_the_order_of_their_first_one() -> None:
    """Null where there is none."""
    rows, values = pa.array([0, 0, 0, 2, 2]), pa.array(["b", "a", "b", None, "c"])
    assert firsts(rows, values, 4).to_pylist() == [["b", "a"], None, ["c"], None]
