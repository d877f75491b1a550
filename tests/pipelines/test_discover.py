"""Which recordings are listed again, and in which order."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from pipelines.discover import PROOF
from pipelines.errors import FixConfiguration, IncompleteExport, SourceError
from pipelines.monitoring.status import status
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from pipelines.scope import Scope, listing_days
from tests.pipelines.conftest import NOW, Exporter


def _listed(sandbox: Sandbox) -> list[str]:
    """Recordings whose results have been asked for, in that order."""
    return [e.path.split("/")[5] for e in sandbox.journal.entries if e.operation == "ListRecordingAddOnResult"]


def test_what_owes_nothing_is_not_listed_again(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """Each reason to list again alone, in one account; the sweep lists all."""

    def made(days: float, add_on: str = "first", takes: timedelta | None = timedelta(minutes=5)) -> Any:
        recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=days))
        result = world.add_result(recording, add_on=add_on, **({"takes": takes} if takes else {"outcome": None}))
        if takes:
            world.add_payload(result, b"{}")
        return recording

    settled, young, unfinished = made(9), made(1), made(8, takes=None)
    refused, missing = made(7), made(6)

    def broken(request: Request) -> Reply | None:
        fails = refused.sid in request.sids and request.operation == "ListRecordingAddOnResult"
        fails |= missing.sid in request.sids and request.operation == "FetchRecordingAddOnResultPayloadData"
        return Reply(503, b"{}") if fails else None

    sandbox.settings.intercept = broken
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    new = made(0.1)
    sandbox.settings.intercept = None
    sandbox.journal.clear()
    exporter().verdict()
    owing = [unfinished, refused, missing, young, new]
    assert sorted(_listed(sandbox)) == sorted(recording.sid for recording in owing)
    assert _listed(sandbox)[0] == unfinished.sid
    sandbox.advance(timedelta(days=2))
    exporter().verdict()  # the first time after the young ones have settled
    sandbox.journal.clear()
    exporter().verdict()
    assert _listed(sandbox) == [unfinished.sid]
    sandbox.journal.clear()
    exporter(Scope(full=True)).verdict()
    assert sorted(_listed(sandbox)) == sorted(recording.sid for recording in (settled, *owing))


def test_a_result_that_outlived_its_export_is_looked_for_again(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """The sweep finds late results under a settled recording and breaks off before that recording's row is landed.

    The row of the unfinished one is enough for the next export to come back.
    """
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    world.add_payload(world.add_result(recording), b"first")
    exporter().verdict()
    result = world.add_result(recording, NOW - timedelta(hours=2), add_on="late")
    world.add_payload(result, b"second")
    world.add_result(recording, NOW - timedelta(hours=3), add_on="later", outcome=None)

    def revoked(request: Request) -> Reply | None:
        hit = request.operation == "ListRecordingAddOnResultPayload" and result.sid in request.sids
        return Reply(401, b'{"code": 20003}') if hit else None

    sandbox.settings.intercept = revoked
    with pytest.raises(FixConfiguration):
        exporter(Scope(full=True))
    sandbox.settings.intercept = None
    assert exporter.rows("SELECT open_results FROM recordings") == [(0,)]
    assert status(exporter.archive, now=sandbox.now, settle=Scope().settle).recordings_to_list == 1
    sandbox.journal.clear()
    exporter().verdict()
    assert _listed(sandbox) == [recording.sid]
    assert exporter.rows("SELECT count(*) FROM contents") == [(2,)]


def test_a_late_payload_of_a_settled_recording_is_fetched_once_it_is_known(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Only the sweep can find it; when its content fails there, the next export without --full fetches it."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    result = world.add_result(recording)
    world.add_payload(result, b"first")
    exporter().verdict()
    late = world.add_payload(result, b"second", date_created=NOW - timedelta(hours=1))
    exporter().verdict()
    assert exporter.rows("SELECT count(*) FROM contents") == [(1,)]
    sandbox.settings.intercept = lambda request: (
        Reply(503, b"{}")
        if request.operation == "FetchRecordingAddOnResultPayloadData" and late.sid in request.sids
        else None
    )
    with pytest.raises(IncompleteExport):
        exporter(Scope(full=True)).verdict()
    assert exporter.rows("SELECT state FROM retention") == [("pending",)]
    sandbox.settings.intercept = None
    sandbox.journal.clear()
    exporter().verdict()
    assert sandbox.journal.count("Content") == 1
    assert exporter.rows("SELECT state FROM retention") == [("exported",)]
    sandbox.journal.clear()
    exporter().verdict()
    assert _listed(sandbox) == []


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


@pytest.mark.parametrize("capacity", [10, 60, 150])
def test_with_capacity_for_a_part_what_expires_first_is_landed(
    capacity: int, world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """The source dies after so many contents, while several workers are at it: what is landed expires first.

    No more than what the workers had begun may be ahead of something that is not landed. Twilio lists newest first.
    """
    deadlines = {}
    for day in range(20):
        for hour in (1, 7, 13, 19):
            recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=day, hours=hour))
            for number in range(3):
                result = world.add_result(recording, add_on=f"{number}", takes=timedelta(minutes=1 + number))
                world.add_payload(result, b"{}")
                deadlines[result.sid] = result.date_created
    served: list[str] = []

    def dying(request: Request) -> Reply | None:
        if request.operation == "FetchRecordingAddOnResultPayloadData":
            served.append(request.sids[2])
        return Reply(503, b"{}") if len(served) > capacity else None

    sandbox.settings.intercept = dying
    with pytest.raises(SourceError):
        exporter(workers=WORKERS)
    landed = {sid for (sid,) in exporter.rows("SELECT sid FROM add_on_results WHERE exported_at IS NOT NULL")}
    assert 0 < len(landed) <= capacity
    assert _ahead(landed, deadlines) <= 3 * WORKERS
    assert len(landed) >= capacity - 3 * WORKERS
    newest_first = sorted(deadlines, key=deadlines.__getitem__, reverse=True)[: len(landed)]
    assert _ahead(set(newest_first), deadlines) == len(newest_first)  # the control


WORKERS = 3


def _ahead(landed: set[str], deadlines: Mapping[str, datetime]) -> int:
    """How many are landed although something that expires earlier is not."""
    first_missing = min(at for sid, at in deadlines.items() if sid not in landed)
    return sum(deadlines[sid] > first_missing for sid in landed)


def test_what_is_known_to_wait_comes_before_what_is_new_and_expires_later(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Unfinished and pending results of an earlier export; then new recordings, and capacity for a part only."""
    deadlines = {}

    def made(at: datetime, takes: timedelta = timedelta(minutes=1)) -> None:
        result = world.add_result(world.add_recording(sandbox.account_sid, at), takes=takes)
        world.add_payload(result, b"{}")
        deadlines[result.sid] = result.date_created

    for day in range(4, 24):
        made(NOW - timedelta(days=day))  # pending
        made(NOW - timedelta(days=day, hours=3), timedelta(days=day, hours=4))  # unfinished, for another hour
    sandbox.settings.intercept = lambda request: (
        Reply(307, b'{"redirect_to": "http://169.254.169.254/"}')
        if request.operation == "FetchRecordingAddOnResultPayloadData"
        else None
    )
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    sandbox.advance(timedelta(hours=2))
    for day in range(24):
        made(NOW - timedelta(days=day, hours=6))
    served: list[str] = []

    def dying(request: Request) -> Reply | None:
        if request.operation == "FetchRecordingAddOnResultPayloadData":
            served.append(request.sids[2])
        return Reply(503, b"{}") if len(served) > 30 else None

    sandbox.settings.intercept = dying
    with pytest.raises(SourceError):
        exporter(workers=WORKERS)
    landed = {sid for (sid,) in exporter.rows("SELECT sid FROM add_on_results WHERE exported_at IS NOT NULL")}
    assert 30 - 3 * WORKERS <= len(landed) <= 30
    assert _ahead(landed, deadlines) <= 3 * WORKERS


def test_a_backfill_keeps_what_is_landed_of_days_that_are_gone(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """It succeeds, says so, and lists each recording of its look-back once."""
    recordings = [world.add_recording(sandbox.account_sid, NOW - timedelta(days=day)) for day in (1, 3, 20, 29)]
    for recording in recordings:
        world.add_payload(world.add_result(recording), b"{}")
    exporter().verdict()
    before = exporter.rows("SELECT sid, status, exported_at FROM add_on_results ORDER BY ALL")
    sandbox.advance(timedelta(days=60))
    report = exporter(Scope(NOW.date() - timedelta(days=29), NOW.date()))
    report.verdict()
    assert "no longer has those of" in str(report.no_longer_kept)
    assert exporter.rows("SELECT sid, status, exported_at FROM add_on_results ORDER BY ALL") == before
    assert exporter.rows("SELECT count(*) FROM contents") == [(4,)]
    sandbox.advance(timedelta(days=-60))
    sandbox.journal.clear()
    exporter(Scope(NOW.date() - timedelta(days=3), NOW.date(), full=True, look_back=timedelta(days=20))).verdict()
    lists = [e.path.split("/")[5] for e in sandbox.journal.entries if e.operation == "ListRecordingAddOnResult"]
    assert sorted(lists) == sorted(r.sid for r in recordings[:3])


def test_a_server_that_ignores_the_date_filter_is_listed_once(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Its answers for two days give it away; asking day by day would list everything forty times."""
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
    assert len(intercepted) == 2
    assert exporter.rows("SELECT count(*) FROM listings") == [(1,)]


@pytest.mark.parametrize("strays", [1, 15])
def test_rows_of_another_date_in_the_list_of_one_day_do_not_stand_for_the_other_days(
    strays: int, world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """A server that filters is asked for every day, whatever one list of it holds, and what it holds is landed too."""
    for day in range(1, 13):
        world.add_payload(world.add_result(world.add_recording(sandbox.account_sid, NOW - timedelta(days=day))), b"{}")
    oldest = (NOW - timedelta(days=40)).date().isoformat()
    later = [{"sid": f"RE{n:032x}", "date_created": "Mon, 02 Nov 2026 10:00:00 +0000"} for n in range(strays)]

    def stray(request: Request) -> Reply | None:
        if request.operation != "ListRecording" or request.query.get("DateCreated>") != oldest:
            return None
        return Reply(200, json.dumps({"recordings": later, "next_page_uri": None}).encode())

    sandbox.settings.intercept = stray
    with pytest.raises(IncompleteExport):  # there is nothing behind the strays
        exporter().verdict()
    assert exporter.rows("SELECT count(*) FROM contents") == [(12,)]
    assert exporter.rows("SELECT count(*) FROM recordings") == [(12 + strays,)]
    asked = [e.query for e in sandbox.journal.entries if e.operation == "ListRecording"]
    assert len(set(asked)) == len(listing_days(Scope(), now=NOW))
    assert len(asked) - len(set(asked)) == (strays >= PROOF), "a day is asked for again only to prove something"


def test_a_list_of_another_day_leaves_its_own_day_open(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """What it holds is landed; nothing says that the day was listed, and the next export finds what it has."""
    days = [NOW - timedelta(days=n) for n in (3, 10)]
    for day in days:
        world.add_payload(world.add_result(world.add_recording(sandbox.account_sid, day)), b"{}")
    row = {"sid": "RE" + 32 * "5", "date_created": "Mon, 02 Nov 2026 10:00:00 +0000"}

    def stray(request: Request) -> Reply | None:
        if request.operation != "ListRecording" or request.query.get("DateCreated>") != days[0].date().isoformat():
            return None
        return Reply(200, json.dumps({"recordings": [row], "next_page_uri": None}).encode())

    sandbox.settings.intercept = stray
    with pytest.raises(IncompleteExport, match="run again") as caught:
        exporter().verdict()
    assert caught.value.again
    assert any(
        f"{days[0].date()}: the list of another day" in reason for reason in exporter.progress.extraction.reasons
    )
    assert exporter.rows("SELECT count(*) FROM contents") == [(1,)]
    assert exporter.rows("SELECT count(*) FROM recordings") == [(2,)]
    covered = "SELECT count(*) FROM listings WHERE ? BETWEEN first_day AND last_day"
    assert exporter.rows(covered.replace("?", f"DATE '{days[0].date()}'")) == [(0,)]
    assert exporter.rows(covered.replace("?", f"DATE '{days[1].date()}'")) != [(0,)]
    sandbox.settings.intercept = None
    exporter()
    assert exporter.rows("SELECT count(*) FROM contents") == [(2,)]


def test_a_list_that_ignores_the_filter_and_breaks_off_covers_its_own_day_at_most(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """No day is called listed that was neither listed nor proven to be in a list that was read to its end."""
    for hour in range(30):
        world.add_recording(sandbox.account_sid, NOW - timedelta(days=3, hours=hour))
    oldest = (NOW - timedelta(days=40)).date()

    def ignore_filter(request: Request) -> Reply | None:
        if request.operation != "ListRecording":
            return None
        if "Page" in request.query or request.query.get("DateCreated>", "") != oldest.isoformat():
            return Reply(400, b"{}")
        rows = [{"sid": r.sid, "date_created": r.date_created.isoformat()} for r in world.recordings.values()]
        following = f"{request.path}?Page=1&PageToken=x"
        return Reply(200, json.dumps({"recordings": rows, "next_page_uri": following}).encode())

    sandbox.settings.intercept = ignore_filter
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    assert exporter.rows("SELECT count(*) FROM recordings") == [(30,)]
    assert exporter.rows("SELECT * FROM listings") == []


def test_a_false_date_in_the_list_of_another_day_does_not_hide_the_recording(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """The same recording with its true date, in the list of its own day, is exported and overwrites the false date."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=2))
    world.add_payload(world.add_result(recording), b"{}")
    scope = Scope((NOW - timedelta(days=3)).date(), NOW.date())
    oldest = listing_days(scope, now=NOW)[0].isoformat()

    def stray(request: Request) -> Reply | None:
        if request.operation != "ListRecording" or request.query.get("DateCreated>") != oldest:
            return None
        row = {"sid": recording.sid, "date_created": "Mon, 02 Jan 2023 10:00:00 +0000"}
        return Reply(200, json.dumps({"recordings": [row], "next_page_uri": None}).encode())

    sandbox.settings.intercept = stray
    for asked in (scope, Scope()):
        exporter(asked).verdict()
        assert exporter.rows("SELECT count(*) FROM contents") == [(1,)]
        assert exporter.rows("SELECT created_date FROM recordings") == [((NOW - timedelta(days=2)).date(),)]


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
