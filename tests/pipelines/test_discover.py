"""Which recordings are listed again, and in which order."""

from datetime import date, datetime, timedelta

import pytest

from pipelines.discover import Scope, listing_days, must_list, next_listed_at
from pipelines.records import Recording, parse_recording
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from tests.pipelines.conftest import NOW, Exporter
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
    ],
)
def test_a_recording_is_listed_until_it_is_settled_and_owes_nothing(
    landed: LandedRecording | None, expected: bool
) -> None:
    """Never listed, open results, or listed before it settled: again. Otherwise not, unless everything is wanted."""
    assert must_list(_recording(), landed, scope=Scope()) is expected
    assert must_list(_recording(), landed, scope=Scope(full=True))


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


def test_recordings_are_worked_on_earliest_deadline_first(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """With one worker the lists are asked for in the order in which the results expire; Twilio lists newest first."""
    created = [NOW - timedelta(days=day, hours=hour) for day in range(20) for hour in (1, 5, 9)]
    by_sid = {}
    for at in created:
        recording = world.add_recording(sandbox.account_sid, at)
        world.add_payload(world.add_result(recording), b"{}")
        by_sid[recording.sid] = at
    exporter(workers=1)
    lists = [e.path.split("/")[5] for e in sandbox.journal.entries if e.operation == "ListRecordingAddOnResult"]
    order = [by_sid[sid] for sid in lists]
    assert order == sorted(created)


def test_a_server_that_ignores_the_date_filter_is_listed_once(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Its first answer gives it away; asking day by day would list everything forty times."""
    for day in range(30):
        recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=day, hours=1))
        world.add_payload(world.add_result(recording), b"{}")
    intercepted: list[str] = []

    def ignore_filter(request: Request) -> Reply | None:
        if request.operation != "ListRecording" or "DateCreated>" not in request.query:
            return None
        intercepted.append(request.query["DateCreated>"])
        request.query.clear()  # type: ignore[attr-defined]  # the sandbox's own dictionary
        return None

    sandbox.settings.intercept = ignore_filter
    report = exporter()
    assert report.progress.landed["add_on_results"] == 30
    assert len(intercepted) == 1


def test_recordings_outside_the_range_asked_for_are_left_alone(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """The source's filter is not trusted: what it returns is filtered again here."""
    early = world.add_recording(sandbox.account_sid, NOW - timedelta(days=80))
    world.add_recording(sandbox.account_sid, NOW - timedelta(days=1))
    days = (NOW - timedelta(days=2)).date(), NOW.date()

    def ignore_filter(request: Request) -> Reply | None:
        if request.operation == "ListRecording":
            request.query.clear()  # type: ignore[attr-defined]  # as above
        return None

    sandbox.settings.intercept = ignore_filter
    report = exporter(Scope(*days))
    assert report.progress.discovery.outside == 1
    assert early.sid not in {e.path.split("/")[5] for e in sandbox.journal.entries if "AddOnResults" in e.path}
