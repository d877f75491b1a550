"""When an erasure by age goes on, and when it waits for a day or for somebody."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.erase.by_age import confirm, erase_by_age
from pipelines.erase.retention import Kept, Waits, decide, erased
from pipelines.errors import ConfirmErasure
from pipelines.monitoring.deadlines import waiting_erasure as waiting
from pipelines.shown_time import remember
from tests.warehouse.made_up import NOON, land_rows, logical, whole
from warehouse.store.archive import Archive
from warehouse.store.marker import update_marker
from warehouse.store.opening import open_archive
from warehouse.upkeep.erase import Erasure
from warehouse.upkeep.verify import verify

LANDED = {"add_on_results": 1000, "contents": 1000, "add_on_payloads": 1000, "recordings": 1000}
AHEAD = [timedelta(days=400), timedelta(days=4000)]


def _waits(
    kept: Kept,
    *,
    days: int = 365,
    results: int = 0,
    after: timedelta = timedelta(0),
    behind: timedelta = timedelta(0),
    landed: Mapping[str, int] = LANDED,
) -> tuple[Kept, Waits | None]:
    now = NOON + after - behind
    before, shown = (now - timedelta(days=days)).date(), NOON + after
    rows = {"add_on_results": results} if results else {}
    return decide(kept, days=days, before=before, now=now, shown=shown, rows=rows, landed=landed)


def test_a_new_retention_is_announced_a_day_before_it_erases() -> None:
    """However little it would take; the day is the one after the announcement, not after the last export."""
    kept, first = _waits(Kept(), results=1)
    assert first is not None
    assert (first.asks, first.sentence) == (False, kept.waits)
    kept, again = _waits(kept, results=1, after=timedelta(hours=23))
    assert again is not None
    assert _waits(kept, results=1, after=timedelta(hours=24)) == (Kept(days=365), None)


def test_a_shorter_retention_is_announced_and_a_longer_one_is_not() -> None:
    """Going back to the one in force forgets what was announced."""
    kept, waits = _waits(Kept(days=365), days=36, results=1)
    assert waits is not None
    assert _waits(kept, days=365, results=1) == (Kept(days=365), None)
    assert _waits(Kept(days=36), days=365, results=1) == (Kept(days=365), None)


def test_an_announcement_from_the_future_is_made_again() -> None:
    """Trusted time may have been wrong; it must not have passed already, nor lie years ahead."""
    kept, waits = _waits(Kept(announced=(365, NOON + timedelta(days=400))), results=1)
    assert (kept.announced, waits is not None) == ((365, NOON), True)


def test_a_clock_that_was_behind_ends_no_notice() -> None:
    """Announced in 1970 by a clock that is set right an hour later; one that stays behind only makes it longer."""
    kept, waits = _waits(Kept(), behind=timedelta(days=20_000))
    assert waits is not None
    assert f"from {NOON + timedelta(days=1):%Y-%m-%d %H:%M} UTC" in waits.sentence
    assert _waits(kept, results=1, after=timedelta(hours=23))[1] is not None
    assert _waits(kept, results=1, after=timedelta(hours=24))[1] is None
    slow = timedelta(days=3)
    kept, _ = _waits(kept, after=timedelta(hours=1), behind=slow)
    assert _waits(kept, results=1, after=timedelta(days=3), behind=slow)[1] is not None
    assert _waits(kept, results=1, after=timedelta(days=4), behind=slow)[1] is None


@pytest.mark.parametrize("results", [201, 900, 1000])
def test_more_than_its_share_is_a_question(results: int) -> None:
    """36 typed for 365: after the day it is announced, nine tenths of all is not erased without being asked."""
    _, waits = _waits(Kept(days=36), days=36, results=results)
    assert waits is not None
    assert waits.asks
    assert f"--confirm {results}" in waits.sentence


def test_far_more_than_the_time_before_is_a_question_but_the_usual_ups_and_downs_are_none() -> None:
    """A Monday takes more than a Sunday; a tiny archive ages out a few of a few."""
    kept = Kept(days=365, last={"add_on_results": 20})
    assert _waits(kept, results=50)[1] is None
    assert _waits(kept, results=60)[1] is not None
    few = Kept(days=365, last={"add_on_results": 2})
    assert _waits(few, results=4, landed={"add_on_results": 8})[1] is None
    assert _waits(few, results=5, landed={"add_on_results": 8})[1] is not None


def test_what_is_confirmed_goes_on_and_nothing_beyond_it() -> None:
    """The number and the day that were confirmed; more rows or younger ones are asked about again."""
    before = (NOON - timedelta(days=36)).date()
    kept = Kept(days=36, confirmed=(before, 900))
    assert _waits(kept, days=36, results=900)[1] is None
    assert _waits(kept, days=36, results=901)[1] is not None
    assert _waits(kept, days=36, results=900, after=timedelta(days=1))[1] is not None
    assert erased(kept, {"add_on_results": 900}, days=36) == Kept(days=36, last={"add_on_results": 900})


def test_what_is_kept_reads_back_and_anything_else_counts_as_nothing() -> None:
    """A marker that somebody has edited makes an erasure wait, and ends nothing with an error."""
    kept = Kept(365, (36, NOON), {"contents": 3}, (NOON.date(), 3), "It waits.")
    assert Kept.read(kept.value()) == kept
    odd = {"days": "365", "announced": {"days": 1}, "last": [], "confirmed": {"before": "x", "rows": 1}, "waits": 3}
    assert Kept.read(odd) == Kept()
    assert Kept.read({**kept.value(), "announced": {"days": 36, "at": "2026-11-20T12:00:00"}}).announced is None


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty one."""
    return open_archive(tmp_path / "root")


@pytest.fixture
def old(archive: Archive) -> Archive:
    """Ten results of which one is 50 days old, in an archive that knows what time it is."""
    for number in range(1, 11):
        at = NOON - timedelta(days=50 if number == 1 else 2)
        land_rows(archive, whole(number, b"%d" % number * 50, at=at, done=at), now=at)
    remember(archive, NOON, ahead=None)
    return archive


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_clock_that_is_ahead_erases_nothing(old: Archive, ahead: timedelta) -> None:
    """Neither at once nor after it has been announced: Twilio has said what time it is."""
    before = logical(old)
    assert isinstance(erase_by_age(old, "duckdb", days=365, here=NOON), Waits | None)
    assert isinstance(erase_by_age(old, "duckdb", days=365, here=NOON + ahead), Waits | None)
    remember(old, NOON + timedelta(days=2), ahead=ahead)
    assert erase_by_age(old, "duckdb", days=365, here=NOON + ahead) is None
    assert logical(old) == before
    with pytest.raises(ConfirmErasure):
        confirm(old, "duckdb", days=365, here=NOON + ahead, rows=1)
    assert logical(old) == before


def test_by_trusted_time_it_goes_on_the_day_after(old: Archive) -> None:
    """What is old goes, what is not stays whole, and nothing is said any more."""
    assert isinstance(erase_by_age(old, "duckdb", days=40, here=NOON), Waits)
    assert waiting(old) is not None
    remember(old, NOON + timedelta(days=1, minutes=1), ahead=None)
    done = erase_by_age(old, "duckdb", days=40, here=NOON + timedelta(days=1, minutes=1))
    assert isinstance(done, Erasure)
    assert done.rows["add_on_results"] == 1
    assert waiting(old) is None
    assert verify(old).mismatches == ()


def test_without_a_time_that_twilio_has_said_it_is_a_question(archive: Archive) -> None:
    """The duty to erase may outlive the account: who confirms the number is the second clock."""
    land_rows(archive, whole(1, b"old", at=NOON - timedelta(days=50), done=NOON - timedelta(days=50)), now=NOON)
    waits = erase_by_age(archive, "duckdb", days=40, here=NOON)
    assert isinstance(waits, Waits)
    assert waits.asks
    assert waits.sentence.startswith("Only the clock here says"), "whoever confirms must know by which clock"
    rows = int(waits.sentence.rpartition("--confirm ")[2].rstrip("`."))
    assert confirm(archive, "duckdb", days=40, here=NOON, rows=rows).rows["contents"] == 1


def test_a_confirmation_that_was_cut_off_is_made_good_by_the_next_export(old: Archive) -> None:
    """It is in the archive before anything is erased."""
    confirmed = Kept(confirmed=((NOON - timedelta(days=1)).date(), 100))
    update_marker(old, lambda marker: replace(marker, retention=confirmed.value()))
    done = erase_by_age(old, "duckdb", days=40, here=NOON)
    assert isinstance(done, Erasure)
    assert done.rows["contents"] == 1
