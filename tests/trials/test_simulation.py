"""A small sample of the simulation, and what its judge must see."""

from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from pipelines.errors import FixConfiguration
from pipelines.monitoring.deadlines import deadlines
from pipelines.sandbox.exchange import Reply
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from tests.pipelines.conftest import NOW
from tests.pipelines.conftest import Exporter as Exporting
from tests.trials.feasibility import certain, possible
from tests.trials.hourly import Exporter, newest_first
from tests.trials.replay import Replay
from tests.trials.scenario import HOUR, LISTS, Outage, Recording, Result, Scenario, scenario
from tests.trials.simulation import play, trial

DAY = 24 * HOUR


def _backlog(requests: int, *, count: int = 60, outage: int = 25) -> Scenario:
    """Recordings of one day, then nothing but an outage of many days."""
    recordings = tuple(
        Recording(DAY + n * 600, (Result(DAY + n * 600 + 60, DAY + n * 600 + 120, 1),)) for n in range(count)
    )
    return Scenario("by hand", recordings, (Outage(24, 24 * (1 + outage), True),), LISTS + requests, 6, 40 * 24)


def test_nothing_that_could_be_saved_is_lost() -> None:
    """Of 120 days each; whoever works on the newest first is caught, and where something is lost there is a warning."""
    trials = [trial(f"1 {n}") for n in (0, 59, 37)]
    assert [violation for one in trials for violation in one.violations()] == []
    assert [one.certain for one in trials] == [True, True, False]
    assert any(one.certain and one.control.lost for one in trials)
    assert trials[2].ours.first_loss is not None


def test_the_simulation_does_what_the_product_does() -> None:
    """The product's discovery, client and extraction save the same results at the same hours for as many requests."""
    made_up = scenario("1 24", days=4, per_day=40)
    made_up = replace(made_up, requests=LISTS + 14, outages=(Outage(30, 60, True),))
    exporter, replay = Exporter(made_up), Replay(made_up)
    play(made_up, exporter)
    assert replay.run() == exporter.saved
    assert replay.spent == exporter.spent
    assert len(exporter.saved) > 20


def _refuse_after(sandbox: Sandbox, operation: str, answered: int) -> None:
    """From then on the source refuses everything of the kind."""
    asked = count(1)
    sandbox.settings.intercept = lambda request: (
        Reply(401, b"{}") if request.operation == operation and next(asked) > answered else None
    )


def test_what_waits_to_be_listed_is_in_the_warehouse(world: World, sandbox: Sandbox, exporter: Exporting) -> None:
    """An export that stops in the middle has landed a row of every recording it found: that can be warned of."""
    for hour in range(9):
        world.add_result(world.add_recording(sandbox.account_sid, NOW - timedelta(days=27, hours=hour)))
    _refuse_after(sandbox, "ListRecordingAddOnResult", 2)
    with pytest.raises(FixConfiguration):
        exporter(workers=1)
    risks = deadlines(exporter.archive, now=NOW, within=timedelta(days=7), settle=timedelta(hours=48)).at_risk
    assert [(risk.kind, risk.reason) for risk in risks if risk.kind == "recording"] == [("recording", "not listed")] * 7
    sandbox.settings.intercept = None
    exporter()
    assert exporter.rows("SELECT count(*) FROM recordings WHERE listed_at IS NULL OR open_results IS NULL") == [(0,)]


def test_contents_of_a_recording_that_was_not_finished_are_not_fetched_again(
    world: World, sandbox: Sandbox, exporter: Exporting
) -> None:
    """However many results a recording has, the next export goes on where this one stopped."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=1))
    for number in range(6):
        world.add_payload(world.add_result(recording, add_on=f"add-on {number}"), b"content")
    _refuse_after(sandbox, "FetchRecordingAddOnResultPayloadData", 4)
    with pytest.raises(FixConfiguration):
        exporter(workers=1)
    (landed,) = exporter.rows("SELECT count(*) FROM add_on_results WHERE exported_at IS NOT NULL")[0]
    assert landed > 0
    sandbox.settings.intercept = None
    sandbox.journal.clear()
    exporter()
    assert sandbox.journal.count("Content") <= 6 - landed


def test_what_fits_is_certain_and_what_does_not_is_impossible() -> None:
    """After 25 days there are not quite 130 hours left for 60 recordings of three requests each."""
    assert certain(_backlog(14))
    assert possible(_backlog(2))
    assert not possible(_backlog(1))
    assert not certain(_backlog(1))


def test_certain_counts_the_lists_that_find_nothing() -> None:
    """A result that never finishes is looked at every hour, which one who knew would not do."""
    made_up = _backlog(14)
    stuck = tuple(Recording(n, (Result(n + 60, None, 1),)) for n in range(20))
    made_up = replace(made_up, recordings=(*stuck, *made_up.recordings))
    assert possible(made_up)
    assert not certain(made_up)


def test_newest_first_loses_what_was_there_first() -> None:
    """With requests for a part only, the part must be the oldest."""
    made_up = scenario("1 59")
    ours = play(made_up, Exporter(made_up))
    control = play(made_up, Exporter(made_up, order=newest_first, oldest_day_first=False))
    assert len(control.lost) > len(ours.lost)
