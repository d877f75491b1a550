"""What is waiting, how long it has, and what is lost, from the warehouse alone."""

from datetime import datetime, timedelta

import pytest

from pipelines.completeness import Listing
from pipelines.deadlines import Deadlines, deadlines, silent_for
from pipelines.discover import Scope
from pipelines.errors import IncompleteExport
from pipelines.sandbox.exchange import Reply
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
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


def listing(account: str, at: datetime, *, first: int = 40, last: int = 0) -> Listing:
    """A list of recordings, from `first` days before `at` to `last` days before it."""
    return Listing(account, at.date() - timedelta(days=first), at.date() - timedelta(days=last), at)


def test_the_account_that_was_read_longest_ago_is_the_silence() -> None:
    """One account that is never listed again must not hide behind another."""
    assert silent_for([listing("AC1", NOW), listing("AC2", NOW - WEEK)], now=NOW) == WEEK
    assert silent_for([], now=NOW) is None


@pytest.mark.parametrize("partial", [{"first": 29}, {"last": 1}])
def test_an_export_of_some_days_does_not_end_the_silence(partial: dict[str, int]) -> None:
    """It has seen no recording of the others."""
    read = [listing("AC1", NOW - WEEK), listing("AC1", NOW, **partial)]
    assert silent_for(read, now=NOW) == WEEK
    assert silent_for(read[1:], now=NOW) is None
