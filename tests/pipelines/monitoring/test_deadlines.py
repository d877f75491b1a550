"""What is waiting, how long it has, and what is lost, from the warehouse alone."""

from datetime import timedelta

import pytest

from pipelines.accounts.listings import Listing
from pipelines.errors import IncompleteExport
from pipelines.monitoring.deadlines import Deadlines, deadlines, silent_for
from pipelines.sandbox.exchange import Reply
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from tests.pipelines.conftest import NOW, Exporter

WEEK = timedelta(days=7)


def now_at_risk(exporter: Exporter, sandbox: Sandbox, *, within: timedelta = WEEK) -> Deadlines:
    """What the warehouse says at the sandbox's time."""
    return deadlines(exporter.archive, now=sandbox.now, within=within, settle=timedelta(hours=48))


def test_an_empty_warehouse_has_nothing_waiting_and_has_never_listed(exporter: Exporter, sandbox: Sandbox) -> None:
    """Nothing is at risk that is known, and the silence is said."""
    found = now_at_risk(exporter, sandbox)
    assert (found.at_risk, found.nearest, found.backlog, found.lost, found.silent_for) == ((), None, 0, (), None)


def test_what_waits_is_named_nearest_deadline_first(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """Within the window; what has more time is counted in the backlog, and what is whole is not waiting."""
    results = {}
    for day in (20, 26, 24, 2):
        recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=day))
        results[day] = world.add_result(recording, takes=timedelta(minutes=5))
        world.add_payload(results[day], b"{}")
    exporter(Scope(NOW.date() - timedelta(days=2), NOW.date())).verdict()
    found = now_at_risk(exporter, sandbox)
    assert [risk.sid for risk in found.at_risk] == [results[26].sid, results[24].sid]
    assert {(risk.kind, risk.reason) for risk in found.at_risk} == {("result", "pending")}
    assert found.backlog == 3
    assert found.nearest == found.at_risk[0].expires_at
    assert found.slack_hours == found.at_risk[0].hours_left == pytest.approx(96, abs=0.2)
    assert found.silent_for == timedelta(0)
    sandbox.advance(timedelta(days=5))
    found = now_at_risk(exporter, sandbox)
    assert found.lost == (results[26].sid,)
    assert found.silent_for == timedelta(days=5)
    exporter().verdict()
    found = now_at_risk(exporter, sandbox)
    assert (found.at_risk, found.backlog, found.lost) == ((), 0, (results[26].sid,))


def test_a_recording_that_was_never_listed_is_at_risk(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """Its results are not known, so its own age counts."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=25))
    sandbox.settings.intercept = lambda request: Reply(503, b"{}") if recording.sid in request.sids else None
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    (risk,) = now_at_risk(exporter, sandbox).at_risk
    assert (risk.kind, risk.sid, risk.reason, risk.hours_left) == ("recording", recording.sid, "not listed", 120.0)


def test_an_unfinished_result_waits_too(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """It may finish at any moment, and its deadline does not wait for that."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=24))
    result = world.add_result(recording, outcome=None)
    exporter().verdict()
    (risk,) = now_at_risk(exporter, sandbox).at_risk
    assert (risk.sid, risk.reason, risk.reference_sid) == (result.sid, "unfinished", recording.sid)


def test_the_account_that_was_read_longest_ago_is_the_silence() -> None:
    """One account that is never listed again must not hide behind another."""
    assert silent_for([read(account="AC1"), read(WEEK, account="AC2")], now=NOW) == WEEK
    assert silent_for([], now=NOW) is None


def read(ago: timedelta = timedelta(0), *, first: int = 40, last: int = -1, account: str = "AC1") -> Listing:
    """A list of recordings that were made from `first` to `last` days before it was read."""
    at = NOW - ago
    return Listing(account, at.date() - timedelta(days=first), at.date() - timedelta(days=last), at)


@pytest.mark.parametrize(
    ("listings", "silence"),
    [
        ([read(WEEK), read(first=40, last=9)], WEEK),
        ([read(WEEK), read(first=7, last=-1)], timedelta(0)),
        ([read(WEEK), read(first=2, last=-1)], WEEK),
        ([read(first=40, last=1)], timedelta(hours=12)),
        ([read(first=5, last=-1)], timedelta(days=30)),
        ([read(timedelta(days=100))], timedelta(days=30)),
        ([read(timedelta(days=1)), read(timedelta(days=2))], timedelta(days=1)),
    ],
)
def test_only_a_list_that_reaches_the_recordings_nobody_has_seen_breaks_the_silence(
    listings: list[Listing], silence: timedelta
) -> None:
    """A backfill of old days, or of the last few after a week without any, does not. NOW is noon."""
    assert silent_for(listings, now=NOW) == silence


def test_a_backfill_of_old_days_breaks_no_silence(sandbox: Sandbox, exporter: Exporter) -> None:
    """What was recorded since then is still unseen."""
    exporter().verdict()
    sandbox.advance(timedelta(days=9))
    old = NOW.date() - timedelta(days=9)
    exporter(Scope(old, old)).verdict()
    assert now_at_risk(exporter, sandbox).silent_for == timedelta(days=9)


def test_a_result_without_any_date_is_at_risk_from_when_it_was_first_seen(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """It cannot live longer than that: warned of before, lost after."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(hours=1))
    result = world.add_result(recording, overrides={"date_created": None, "date_completed": None})
    world.add_payload(result, b"{}")
    sandbox.settings.intercept = lambda request: (
        Reply(503, b"{}") if request.operation == "FetchRecordingAddOnResultPayloadData" else None
    )
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    sandbox.advance(timedelta(days=25))
    (risk,) = now_at_risk(exporter, sandbox, within=timedelta(days=6)).at_risk[:1]
    assert (risk.kind, risk.reason) == ("recording", "not listed")
    assert result.sid in {risk.sid for risk in now_at_risk(exporter, sandbox).at_risk}
    sandbox.advance(timedelta(days=6))
    assert now_at_risk(exporter, sandbox).lost == (result.sid,)


def test_an_open_result_hides_no_recording_that_may_have_more(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Listed once before it had settled, with an item that could not be read: what came after nobody has seen."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(hours=2))
    world.add_result(recording, overrides={"sid": None})
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    sandbox.advance(timedelta(days=24))
    (risk,) = now_at_risk(exporter, sandbox).at_risk
    assert (risk.sid, risk.reason, risk.hours_left) == (recording.sid, "not listed", 6 * 24.0)
