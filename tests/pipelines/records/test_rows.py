"""Reading list items: nothing dropped, nothing guessed, nothing fatal but a missing SID."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records import rows
from pipelines.records.items import LARGEST_ITEM, cut, kept
from pipelines.records.rows import Malformed, parse_add_on_result, parse_payload, parse_recording

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "twilio" / "samples"
RESULT: dict[str, Any] = {
    "sid": "XR" + "a" * 32,
    "status": "completed",
    "date_created": "Wed, 01 Sep 2010 15:15:41 +0000",
}


def _raw(**fields: object) -> bytes:
    return json.dumps({**RESULT, **fields}).encode()


@pytest.mark.skipif(
    not SAMPLES.exists(), reason="Twilio's sample bodies lie beside the project only where it is developed"
)
def test_twilios_sample_bodies_are_read_whole() -> None:
    """Fake and parser cannot drift together: these bodies come from Twilio's own tests."""

    def items(name: str, key: str) -> list[bytes]:
        return [json.dumps(item).encode() for item in json.loads((SAMPLES / name).read_bytes())[key]]

    recording = parse_recording(items("recording_read_full.json", "recordings")[0])
    assert (recording.duration_seconds, recording.price) == (4, Decimal("0.04"))
    assert recording.date_created == datetime(2016, 10, 14, 21, 56, 34, tzinfo=UTC)
    deleted = parse_recording(items("recording_read_include_soft_deleted.json", "recordings")[0])
    assert deleted.soft_deleted
    assert deleted.date_created == datetime(2022, 2, 14, 21, 23, tzinfo=UTC)
    result = parse_add_on_result(items("add_on_result_read_full.json", "add_on_results")[0])
    assert result.date_completed == datetime(2010, 9, 1, 15, 15, 41, tzinfo=UTC)
    payload = parse_payload(items("payload_read_full.json", "payloads")[0])
    assert payload.content_type == "application/json"
    assert not any((recording.problems, deleted.problems, result.problems, payload.problems))


def test_every_field_but_the_sid_may_be_null_or_missing() -> None:
    """Twilio's specification marks every field nullable and none required."""
    for parse, prefix in ((parse_recording, "RE"), (parse_add_on_result, "XR"), (parse_payload, "XH")):
        record = parse(json.dumps({"sid": prefix + "0" * 32}).encode())
        assert record.date_created is None
        assert record.problems == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'"XR"',
        b"{}",
        b'{"sid": null}',
        b'{"sid": 7}',
        b'{"sid": "XR1"}',
        b'{"sid": "RE' + b"a" * 32 + b'"}',
        b'{"sid": "XR' + b"a" * 32 + b'\\n"}',
        b'{"sid": "XR' + b"a" * 32 + b'", "x": NaN}',
        b'{"sid": "XR' + b"a" * 32 + b'", "x": "\xff"}',
        b'{"sid": "XR' + b"a" * 32 + b'", "x": ' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
def test_an_item_without_a_usable_sid_is_refused_with_a_reason(raw: bytes) -> None:
    """It goes to quarantine with its bytes; a SID with a newline is no SID."""
    with pytest.raises(Malformed, match=r"\w"):
        parse_add_on_result(raw)


@pytest.mark.parametrize("field", ["date_created", "date_completed", "date_updated"])
def test_an_unreadable_date_is_a_problem_and_the_rest_is_kept(field: str) -> None:
    """One bad field does not cost the row, and is not mistaken for "unfinished"."""
    result = parse_add_on_result(_raw(**{field: "31 Feb"}))
    assert getattr(result, field) is None
    assert len(result.problems) == 1
    assert field in result.problems[0]
    assert result.status == "completed"


def test_an_item_larger_than_any_of_twilios_is_refused_and_its_beginning_kept() -> None:
    """Hundreds of them, whole, would take all memory; one as large as is accepted is kept as it is."""
    start = b'{"sid": "RE' + 32 * b"a" + b'", "media_url": "'
    largest = start + (LARGEST_ITEM - len(start) - 2) * b"x" + b'"}'
    assert parse_recording(largest).media_url is not None
    assert kept(largest, "Why.") == (largest, "Why.")
    larger = cut(start + 10 * LARGEST_ITEM * b"x" + b'"}')
    with pytest.raises(Malformed, match="larger than 16 KB"):
        parse_recording(larger)
    assert kept(larger, "Why.") == (larger[:LARGEST_ITEM], "Why. Its first 16 KB are kept.")
    assert len(larger) == LARGEST_ITEM + 1


def test_half_a_surrogate_pair_costs_its_field_and_not_the_row() -> None:
    """JSON allows it, Arrow and UTF-8 do not."""
    payload = parse_payload(b'{"sid": "XH' + b"a" * 32 + b'", "label": "\\ud800", "content_type": "text/plain"}')
    assert payload.label is None
    assert payload.content_type == "text/plain"
    assert "label" in payload.problems[0]


def test_the_raw_json_is_kept_to_the_byte() -> None:
    """Fields that nobody knows yet survive in `raw`."""
    raw = b'{ "sid":"XR' + b"a" * 32 + b'",  "new_field" : [1, 2.50], "status":"some-new-word" }'
    result = parse_add_on_result(raw)
    assert result.raw.encode() == raw
    assert result.status == "some-new-word"


@pytest.mark.parametrize(("price", "duration"), [("-0.00250", "4"), (0.04, 4), (None, None), ("", ""), ("0.04", "0")])
def test_numbers_come_as_text_or_as_numbers(price: object, duration: object) -> None:
    """Twilio sends both as text; a mock may not."""
    item = {"sid": "RE" + "a" * 32, "price": price, "duration": duration}
    recording = parse_recording(json.dumps(item).encode())
    assert recording.problems == ()
    assert recording.price == (Decimal(str(price)) if price not in (None, "") else None)


@given(
    st.dictionaries(
        st.sampled_from([*RESULT, "price", "duration", "channels"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(),
            st.lists(st.text()),
            st.dictionaries(st.text(), st.none()),
        ),
    )
)
def test_no_json_object_breaks_a_parser(fields: dict[str, object]) -> None:
    """Whatever the fields hold, the answer is a record or Malformed."""
    parsers: list[Callable[[bytes], object]] = [parse_recording, parse_add_on_result, parse_payload]
    raw = json.dumps(fields).encode()
    for parse in parsers:
        try:
            parse(raw)
        except Malformed as reason:
            assert str(reason)  # noqa: PT017  # both outcomes are right


SID = b'{"sid":"XR' + b"a" * 32 + b'"'
ODD = {
    "a member twice": SID + b',"status":"completed","status":"failed"}',
    "a member twice, deep": SID + b',"a":{"b":1,"b":2}}',
    "an escape": SID + b',"status":"completed\\u0021"}',
    "an escaped name": SID + b',"\\u0073tatus":"completed"}',
    "half a pair": SID + b',"status":"\\ud800"}',
    "no UTF-8": SID + b',"status":"\xff"}',
    "a control character": SID + b',"status":"a\nb"}',
    "NaN": SID + b',"a":NaN}',
    "an endless number": SID + b',"a":1e999}',
    "a huge number": SID + b',"a":' + b"9" * 5000 + b"}",
    "another spelling of a number": SID + b',"a":1.50}',
    "minus nothing": SID + b',"a":-0}',
    "too deep": SID + b',"a":' + b"[" * 70 + b"]" * 70 + b"}",
    "very deep": SID + b',"a":' + b"[" * 7000 + b"]" * 7000 + b"}",
    "something behind": SID + b"}}",
    "a mark before": b"\xef\xbb\xbf" + SID + b"}",
    "a list": b"[1]",
    "nothing": b"",
}


def _both(raw: bytes) -> tuple[object, object]:
    """What an item is read as, and what it is when each is read with care."""

    def read() -> object:
        try:
            return parse_add_on_result(raw), parse_payload(raw)
        except Malformed as reason:
            return str(reason)

    usual = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_plain", lambda raw: None)
        return usual, read()


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD.keys())
def test_what_readers_could_differ_about_is_read_with_care(raw: bytes) -> None:
    """No odd item goes the quick way, which takes the last of two members, say."""
    assert rows._plain(raw) is None
    usual, careful = _both(raw)
    assert usual == careful


@pytest.mark.parametrize("indent", [None, 2])
def test_an_ordinary_item_goes_the_quick_way(indent: int | None) -> None:
    """Compact or with blanks, with letters of any language: what a run spends on reading depends on it."""
    item = {
        **RESULT,
        "label": "pr\u00e4zise \U0001f600",
        "subresource_uris": {"payloads": "/x"},
        "a": [1, 2.5, True, None],
    }
    raw = json.dumps(item, indent=indent, ensure_ascii=False).encode()
    assert rows._plain(raw) is not None
    usual, careful = _both(raw)
    assert usual == careful


@given(
    st.dictionaries(
        st.sampled_from([*RESULT, "account_sid", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    ),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]),
)
def test_the_quick_way_reads_what_the_careful_one_does(
    fields: dict[str, object], ascii_only: bool, separators: tuple[str, str]
) -> None:
    """Whatever is in an item, and however it is written."""
    text = json.dumps({**RESULT, **fields}, ensure_ascii=ascii_only, separators=separators)
    usual, careful = _both(text.encode("utf-8", "surrogatepass"))
    assert usual == careful
