"""When a partition counts as complete, and what is said to be missing when it does not."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from pipelines.accounts.listings import Listing, last_reads, oldest
from pipelines.errors import IncompleteExport
from pipelines.monitoring.completeness import (
    Completeness,
    DayResults,
    OpenRecording,
    OpenResult,
    assess,
    completeness,
)
from pipelines.monitoring.status import status
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from tests.pipelines.conftest import NOW, Exporter
from warehouse.store import commits

SETTLE = timedelta(hours=48)
DAY = date(2026, 11, 18)
START = datetime(2026, 11, 18, tzinfo=UTC)
END = START + timedelta(days=1)
READ = Listing("AC1", DAY - timedelta(days=40), DAY + timedelta(days=2), END + timedelta(minutes=1))


def assessed(
    *recordings: OpenRecording,
    results: DayResults | None = None,
    unfinished: tuple[OpenResult, ...] = (),
    read: tuple[Listing, ...] = (READ,),
    now: datetime = NOW,
) -> Completeness:
    """DAY as it stands at NOW, two days later, complete but for what is given."""
    return assess(DAY, results or DayResults({"exported": 3}), recordings, unfinished, read, now=now, settle=SETTLE)


def recording(created: datetime, listed: datetime | None, open_results: int = 0) -> OpenRecording:
    """One that the next export lists again."""
    return OpenRecording("RE1", created, listed, open_results)


def test_a_day_is_complete_when_nothing_is_missing_and_nothing_can_come() -> None:
    """Deleted at Twilio by us counts as exported: it is here."""
    whole = assessed(results=DayResults({"exported": 3, "deleted": 2}))
    assert whole.complete
    assert (whole.results, whole.exported, whole.reasons()) == (5, 5, ())


@pytest.mark.parametrize(
    ("created", "listed", "open_results", "blocks"),
    [
        (START, None, 0, True),
        (START, END - timedelta(microseconds=1), 0, True),
        (START, END, 0, False),
        (END, None, 0, False),
        (START - SETTLE + timedelta(seconds=1), END - timedelta(hours=1), 0, True),
        (START - SETTLE, START - timedelta(hours=1), 0, False),
        (START - timedelta(days=9), START, 1, True),
        (START - timedelta(days=31), START - timedelta(days=9), 1, True),
        (START - timedelta(days=39), START - timedelta(days=9), 1, True),
        (START - timedelta(days=40) + timedelta(hours=23), START - timedelta(days=9), 1, False),
    ],
)
def test_a_recording_that_could_still_contribute_must_be_listed_after_the_days_end(
    created: datetime, listed: datetime | None, open_results: int, blocks: bool
) -> None:
    """Not one that came later, had settled before, or is so old that no export lists it after the day's end."""
    found = assessed(recording(created, listed, open_results))
    assert (found.complete, found.unlisted) == ((False, ("RE1",)) if blocks else (True, ()))


@pytest.mark.parametrize(
    ("created", "now", "blocks"),
    [
        (START, START + SETTLE - timedelta(seconds=1), True),
        (START, START + SETTLE, False),
        (END, END + timedelta(hours=2), False),
        (START - SETTLE, START, False),
    ],
)
def test_an_unfinished_result_keeps_its_days_waiting_while_it_is_young(
    created: datetime, now: datetime, blocks: bool
) -> None:
    """One that is still unfinished after the settle time completes on a later day, if ever."""
    found = assessed(unfinished=(OpenResult("XR1", created, None),), now=now)
    assert found.unfinished == (("XR1",) if blocks else ())


@pytest.mark.parametrize(
    "changed",
    [
        {"results": DayResults({"exported": 1, "pending": 1}, missing=("XR1",))},
        {"results": DayResults({"exported": 1, "lost": 1}, lost=("XR1",))},
        {"read": ()},
        {"read": (Listing("AC1", READ.first, READ.last, END - timedelta(minutes=1)),)},
        {"read": (READ, Listing("AC2", READ.first, READ.last, START))},
        {"read": (Listing("AC1", DAY, READ.last, READ.at),)},
        {"read": (Listing("AC1", READ.first, DAY - timedelta(days=1), READ.at),)},
    ],
)
def test_one_thing_that_is_missing_is_enough(changed: dict[str, Any]) -> None:
    """A result, a lost one, or a list of recordings that was not read after the day in every account."""
    found = assessed(**changed)
    assert not found.complete
    assert len(found.reasons()) == 1


def test_a_day_that_is_not_over_is_not_complete_and_misses_nothing() -> None:
    """There is nothing to complain about."""
    found = assessed(now=END - timedelta(seconds=1), read=())
    assert (found.complete, found.over, found.reasons()) == (False, False, ())


def test_every_account_must_have_been_read() -> None:
    """The one that was read longest ago counts."""
    other = Listing("AC2", READ.first, READ.last, READ.at + timedelta(days=1))
    assert oldest(last_reads([READ, other], since=READ.first, day=DAY).values()) == READ.at
    assert oldest(last_reads([], since=READ.first, day=DAY).values()) is None


def days(exporter: Exporter, sandbox: Sandbox, first: date, last: date) -> dict[date, bool]:
    """The completeness of each day as the warehouse has it."""
    found = completeness(exporter.archive, first=first, last=last, now=sandbox.now, settle=SETTLE)
    return {each.day: each.complete for each in found}


def test_days_become_complete_as_exports_go_on(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """A late result keeps its recording's days open until it is landed; a day without any recording is complete too."""
    today = NOW.date()
    early = world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    world.add_payload(world.add_result(early), b"{}")
    late = world.add_recording(sandbox.account_sid, NOW - timedelta(hours=20))
    world.add_payload(world.add_result(late, takes=timedelta(hours=30)), b"{}")
    assert set(days(exporter, sandbox, today - timedelta(days=6), today).values()) == {False}
    exporter().verdict()
    found = days(exporter, sandbox, today - timedelta(days=6), today)
    assert [day for day, complete in found.items() if not complete] == [today - timedelta(days=1), today]
    sandbox.advance(timedelta(hours=24))
    exporter().verdict()
    found = days(exporter, sandbox, today - timedelta(days=6), today + timedelta(days=1))
    assert [day for day, complete in found.items() if not complete] == [today + timedelta(days=1)]
    commits = exporter.archive.head().number
    exporter().verdict()
    assert exporter.archive.head().number == commits


def test_a_list_that_breaks_off_completes_no_day(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """What was not read to its end may hold recordings nobody has seen, whose results complete on that day or later."""
    for day in range(2, 9):
        recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=day))
        world.add_payload(world.add_result(recording), b"{}")
    newest = f"{NOW.date() - timedelta(days=2)}"

    def broken(request: Request) -> Reply | None:
        breaks = request.operation == "ListRecording" and newest in request.query.get("DateCreated>", "")
        return Reply(503, b"{}") if breaks else None

    sandbox.settings.intercept = broken
    with pytest.raises(IncompleteExport, match=newest):
        exporter().verdict()
    assert not any(days(exporter, sandbox, NOW.date() - timedelta(days=2), NOW.date()).values())
    assert exporter.rows(f"SELECT count(*) FROM listings WHERE '{newest}' BETWEEN first_day AND last_day") == [(0,)]
    sandbox.settings.intercept = None
    exporter().verdict()
    assert exporter.rows(f"SELECT count(*) FROM listings WHERE '{newest}' BETWEEN first_day AND last_day") == [(1,)]
    assert sum(days(exporter, sandbox, NOW.date() - timedelta(days=9), NOW.date()).values()) == 9


def test_a_recording_whose_results_cannot_be_listed_is_named(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """The others go on; its days wait for it."""
    bad = world.add_recording(sandbox.account_sid, NOW - timedelta(days=3))
    good = world.add_recording(sandbox.account_sid, NOW - timedelta(days=3))
    world.add_payload(world.add_result(good), b"{}")
    sandbox.settings.intercept = lambda request: Reply(503, b"{}") if bad.sid in request.sids else None
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    (found,) = completeness(
        exporter.archive,
        first=NOW.date() - timedelta(days=3),
        last=NOW.date() - timedelta(days=3),
        now=sandbox.now,
        settle=SETTLE,
    )
    assert (found.complete, found.unlisted, found.exported) == (False, (bad.sid,), 1)
    assert found.reasons() == ("1 recordings were not listed after the day's end.",)


def one_day(exporter: Exporter, sandbox: Sandbox, day: date) -> Completeness:
    """One day as the warehouse has it."""
    (found,) = completeness(exporter.archive, first=day, last=day, now=sandbox.now, settle=SETTLE)
    return found


def test_a_result_whose_status_nobody_knows_may_still_complete(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Without a day it keeps the days open on which it may have completed, all it has being here or not."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(hours=20))
    results = [
        world.add_result(recording, outcome=None, add_on=f"{status}", overrides={"status": status})
        for status in ("pondering", None)
    ]
    exporter().verdict()
    sandbox.advance(timedelta(hours=14))
    exporter().verdict()
    assert sorted(one_day(exporter, sandbox, NOW.date()).unfinished) == sorted(result.sid for result in results)
    sandbox.advance(timedelta(days=2))
    exporter().verdict()
    assert one_day(exporter, sandbox, NOW.date()).complete


def test_a_final_result_without_a_day_is_missing_somewhere_until_it_is_whole(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Its contents cannot be had now: no day on which it may have completed is complete."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=6))
    result = world.add_result(recording, dated=False)
    world.add_payload(result, b"{}")
    sandbox.settings.intercept = lambda request: (
        Reply(503, b"{}") if request.operation == "FetchRecordingAddOnResultPayloadData" else None
    )
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    day = (NOW - timedelta(days=6)).date()
    assert one_day(exporter, sandbox, day).unfinished == (result.sid,)
    sandbox.settings.intercept = None
    exporter().verdict()
    assert one_day(exporter, sandbox, day).complete


@pytest.mark.parametrize(
    ("seen", "blocks"), [(START - timedelta(days=39), True), (START - timedelta(days=41), False), (None, True)]
)
def test_a_recording_of_unknown_age_does_not_block_for_ever(seen: datetime | None, blocks: bool) -> None:
    """When it was first seen stands in for its creation: after the look-back nobody can list it any more."""
    assert bool(assessed(OpenRecording("RE1", None, None, 0, seen)).unlisted) is blocks


def test_an_archive_from_before_there_were_listings_opens(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """Its commits do not name the table: nothing is complete, and the next export goes on from there."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    world.add_payload(world.add_result(recording), b"{}")
    exporter().verdict()
    head = exporter.archive.head()
    older = {name: files for name, files in head.tables.items() if name != "listings"}
    commits.save(exporter.archive.root, replace(head, number=head.number + 1, tables=older), exporter.archive.access)
    day = (NOW - timedelta(days=5)).date()
    found = one_day(exporter, sandbox, day)
    assert (found.complete, found.listed_at, found.results) == (False, None, 1)
    assert status(exporter.archive, now=sandbox.now, settle=SETTLE).listed_at is None
    exporter().verdict()
    assert one_day(exporter, sandbox, day).complete
    assert exporter.rows("SELECT count(*) FROM listings") == [(1,)]


def test_an_export_of_one_day_completes_that_day_only(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """Later recordings were not listed, and the contents of other days were left to another export."""
    for day in (3, 4):
        recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=day))
        world.add_payload(world.add_result(recording), b"{}")
    late = world.add_result(recording, takes=timedelta(days=1), add_on="slow")
    world.add_payload(late, b"{}")
    wanted, other = NOW.date() - timedelta(days=4), NOW.date() - timedelta(days=3)
    exporter(Scope(wanted, wanted)).verdict()
    found = completeness(exporter.archive, first=wanted, last=other, now=sandbox.now, settle=SETTLE)
    assert [day.complete for day in found] == [True, False]
    assert (found[1].listed, found[1].missing) == (False, (late.sid,))
    exporter().verdict()
    assert days(exporter, sandbox, wanted, other) == {wanted: True, other: True}
