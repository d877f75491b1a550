"""What an export is asked for, and which recordings must be listed for it: in Python and in SQL by one rule."""

from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records.rows import Recording, parse_recording
from pipelines.scope import (
    MUST_LIST,
    Scope,
    listing_days,
    must_list,
    must_list_values,
    next_listed_at,
    no_longer_kept,
)
from tests.pipelines.conftest import NOW
from warehouse.landed import LandedRecording

OLD = NOW - timedelta(days=10)


def _recording(created: datetime = OLD) -> Recording:
    return parse_recording(f'{{"sid": "RE{"a" * 32}", "date_created": "{created.isoformat()}"}}'.encode())


def _landed(listed_at: datetime | None, open_results: int | None = 0) -> LandedRecording:
    return LandedRecording("completed", listed_at, open_results, {})


@pytest.mark.parametrize(
    ("landed", "expected"),
    [
        (None, True),
        (_landed(None), True),
        (_landed(NOW, 1), True),
        (_landed(OLD + timedelta(hours=47)), True),
        (_landed(OLD + timedelta(hours=48)), False),
        (_landed(NOW + timedelta(days=3)), True),  # by a clock that was ahead
    ],
)
def test_a_recording_is_listed_until_it_is_settled_and_owes_nothing(
    landed: LandedRecording | None, expected: bool
) -> None:
    """Never listed, open results, or listed before it settled: again. Otherwise not, unless everything is wanted."""
    assert must_list(_recording(), landed, scope=Scope(), now=NOW) is expected
    assert must_list(_recording(), landed, scope=Scope(full=True), now=NOW)


def test_a_recording_of_unknown_age_never_counts_as_settled() -> None:
    """It may have been made just now."""
    recording = parse_recording(f'{{"sid": "RE{"a" * 32}"}}'.encode())
    assert must_list(recording, _landed(NOW + timedelta(days=9)), scope=Scope(), now=NOW)


TIMES = st.none() | st.integers(-60 * 24 * 40, 60 * 24 * 2).map(lambda minutes: NOW + timedelta(minutes=minutes))


@given(TIMES, TIMES, st.none() | st.integers(0, 2), st.booleans(), st.integers(0, 96))
def test_sql_says_the_same(
    created: datetime | None, listed_at: datetime | None, open_results: int | None, owes: bool, hours: int
) -> None:
    """What keeps a day waiting is what the next export lists."""
    at = "" if created is None else f', "date_created": "{created.isoformat()}"'
    recording = parse_recording(f'{{"sid": "RE{"a" * 32}"{at}}}'.encode())
    landed = LandedRecording("completed", listed_at, open_results, {}, owes)
    settle = timedelta(hours=hours)
    expected = must_list(recording, landed, scope=Scope(settle=settle), now=NOW)
    row = "SELECT $created::TIMESTAMPTZ AS date_created, $listed::TIMESTAMPTZ AS listed_at, $open AS open_results"
    values = {"created": created, "listed": listed_at, "open": max(open_results or 0, int(owes))}
    asked = f"SELECT {MUST_LIST} FROM ({row})"
    assert duckdb.execute(asked, {**values, **must_list_values(settle=settle, now=NOW)}).fetchall() == [(expected,)]


def test_listed_at_moves_only_when_it_says_something_new() -> None:
    """So that running again at once lands nothing."""
    scope = Scope()
    morning, noon = NOW - timedelta(hours=3), NOW
    assert next_listed_at(_recording(), None, scope=scope, now=noon) == noon
    assert next_listed_at(_recording(), _landed(morning), scope=scope, now=noon) == morning
    assert next_listed_at(_recording(), _landed(morning - timedelta(days=1)), scope=scope, now=noon) == noon
    settles = _recording(noon - timedelta(hours=49))
    assert next_listed_at(settles, _landed(morning), scope=scope, now=noon) == noon


def test_a_range_reaches_back_by_the_look_back_and_not_beyond_tomorrow() -> None:
    """A result completes after its recording was created, and add-ons can be late."""
    days = listing_days(Scope(date(2026, 11, 5), date(2026, 11, 7)), now=NOW)
    assert (days[0], days[-1]) == (date(2026, 9, 26), date(2026, 11, 7))
    days = listing_days(Scope(), now=NOW)
    assert (days[0], days[-1]) == (date(2026, 10, 11), date(2026, 11, 21))
    assert days == sorted(days)


def test_a_range_older_than_twilio_keeps_is_said_in_a_sentence() -> None:
    """The days that are gone, and nothing when there are none."""
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert no_longer_kept(Scope(), now=now) is None
    assert no_longer_kept(Scope(date(2026, 10, 21), date(2026, 11, 1)), now=now) is None
    said = no_longer_kept(Scope(date(2026, 10, 19), date(2026, 11, 1)), now=now)
    assert said is not None
    assert "2026-10-19 to 2026-10-20" in said
    assert "of 2026-10-20;" in str(no_longer_kept(Scope(date(2026, 10, 20), date(2026, 10, 20)), now=now))
