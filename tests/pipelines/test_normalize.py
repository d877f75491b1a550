"""Normalise: what is derived from what was read, for any mixture of nulls."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.holding import Content
from pipelines.normalize import ExtractedPayload, ExtractedRecording, ExtractedResult, normalize
from pipelines.records.dates import utc_day
from pipelines.records.rows import parse_add_on_result, parse_payload, parse_recording
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, RECORDINGS

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
AC, RE, XR, XH = (kind + "a" * 32 for kind in ("AC", "RE", "XR", "XH"))
OTHER = "AC" + "b" * 32
RECORDING = ExtractedRecording(parse_recording(f'{{"sid":"{RE}"}}'.encode()), AC, NOW, 0, NOW)
RESULT = ExtractedResult(parse_add_on_result(f'{{"sid":"{XR}"}}'.encode()), RE, AC, 1, whole=True, observed_at=NOW)
PAYLOAD = ExtractedPayload(parse_payload(f'{{"sid":"{XH}"}}'.encode()), RESULT.result, RE, AC, None, NOW)

times = st.none() | st.datetimes(
    min_value=datetime(1960, 1, 1),  # noqa: DTZ001  # hypothesis wants naive bounds
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001  # as above
    timezones=st.just(timezone(timedelta(hours=-5))),
)


@given(st.lists(st.tuples(times, times, st.booleans()), max_size=5))
def test_partition_deadline_and_export_time_follow_from_the_dates(
    rows: list[tuple[datetime | None, datetime | None, bool]],
) -> None:
    """The UTC day of completion; 30 days after the earliest known date; exported when all contents are there."""
    values = [
        replace(RESULT, result=replace(RESULT.result, date_created=created, date_completed=completed), whole=whole)
        for created, completed, whole in rows
    ]
    landed = normalize(values, now=NOW)[ADD_ON_RESULTS.name].to_pylist()
    known = [[at for at in (created, completed) if at] for created, completed, _ in rows]
    assert [row["completed_date"] for row in landed] == [utc_day(completed) for _, completed, _ in rows]
    assert [row["expires_at"] for row in landed] == [min(k) + timedelta(days=30) if k else None for k in known]
    assert [row["exported_at"] for row in landed] == [NOW if whole else None for _, _, whole in rows]


def test_a_record_that_names_no_account_belongs_to_the_one_it_was_found_in() -> None:
    """An account it names itself is kept: it may be a subaccount."""
    named = replace(RECORDING, recording=replace(RECORDING.recording, account_sid=OTHER))
    tables = normalize([RECORDING, named, RESULT, PAYLOAD], now=NOW)
    assert tables[RECORDINGS.name]["account_sid"].to_pylist() == [AC, OTHER]
    assert tables[ADD_ON_RESULTS.name]["account_sid"].to_pylist() == [AC]
    assert tables[ADD_ON_PAYLOADS.name]["account_sid"].to_pylist() == [AC]


@pytest.mark.parametrize(("status", "deleted"), [("deleted", True), ("completed", False), (None, False)])
def test_a_recording_is_soft_deleted_when_its_status_says_so(status: str | None, *, deleted: bool) -> None:
    """A recording without a status is not."""
    value = replace(RECORDING, recording=replace(RECORDING.recording, status=status))
    assert normalize([value], now=NOW)[RECORDINGS.name]["soft_deleted"].to_pylist() == [deleted]


def test_a_payload_without_content_has_no_hash_and_no_row_in_contents() -> None:
    """It is landed all the same, and its content comes with a later export."""
    content = Content(b"hello", "0" * 64)
    tables = normalize([PAYLOAD, replace(PAYLOAD, content=content, fetched_at=NOW)], now=NOW)
    assert tables[ADD_ON_PAYLOADS.name]["content_sha256"].to_pylist() == [None, "0" * 64]
    assert tables[ADD_ON_PAYLOADS.name]["content_length"].to_pylist() == [None, 5]
    assert tables[CONTENTS.name]["content"].to_pylist() == [b"hello"]
