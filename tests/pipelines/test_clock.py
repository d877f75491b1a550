"""An export under a clock that is wrong: Twilio's says what exists, how old it is and when it was seen."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.monitoring.deadlines import deadlines
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.values import Step
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from pipelines.shown_time import reading_time, remember, shown_time, trusted_time
from tests.pipelines.conftest import NOW, Exporter
from warehouse.clock import APART
from warehouse.schema import TABLES, UTC_TIME
from warehouse.store.archive import Archive
from warehouse.upkeep.verify import verify

STAMPS = ("listed_at", "observed_at", "first_seen_at", "exported_at", "fetched_at", "loaded_at")


def _fill(world: World, sandbox: Sandbox) -> None:
    """Results of the last hour, of yesterday, and of the oldest that Twilio still keeps."""
    for age in (timedelta(hours=1), timedelta(days=1), timedelta(days=15), timedelta(days=29)):
        result = world.add_result(world.add_recording(sandbox.account_sid, NOW - age))
        world.add_payload(result, b'{"transcription": "hello"}')


def _latest_stamp(archive: Archive) -> datetime:
    """The latest time by which anything is stamped."""
    with archive.reading() as snapshot, archive.database() as db:
        columns = [
            f"SELECT max({column.name}) AS stamp FROM {snapshot.relation(table)}"
            for table in TABLES.values()
            for column in table.columns
            if column.type == UTC_TIME and column.name in STAMPS
        ]
        latest = db.execute(f"SELECT max(stamp) FROM ({' UNION ALL '.join(columns)})").fetchall()[0][0]
    return max(datetime.fromisoformat(str(latest)), snapshot.commit.at)


@pytest.mark.parametrize(
    "ahead",
    [
        timedelta(minutes=6),
        timedelta(days=45),
        timedelta(days=4000),
        -timedelta(days=3),
        -timedelta(days=4000),
    ],
)
def test_a_wrong_clock_costs_nothing(sandbox: Sandbox, world: World, exporter: Exporter, ahead: timedelta) -> None:
    """All that Twilio holds is landed and stamped by Twilio's time; the right clock then finds nothing to do."""
    _fill(world, sandbox)
    exporter.ahead = ahead
    exporter().verdict()
    assert exporter.rows("SELECT count(*) FROM contents") == [(4,)]
    assert NOW <= _latest_stamp(exporter.archive) < NOW + APART
    assert abs((shown_time(exporter.archive) or datetime.max.replace(tzinfo=UTC)) - NOW) < APART
    landed = exporter.archive.head().number
    exporter.ahead = timedelta(0)
    exporter().verdict()
    assert exporter.archive.head().number == landed
    waiting = deadlines(exporter.archive, now=NOW, within=timedelta(days=30), settle=Scope().settle)
    assert (waiting.backlog, waiting.lost) == (0, ())
    assert verify(exporter.archive).mismatches == ()


@pytest.mark.parametrize(
    ("ahead", "full"),
    [(timedelta(hours=20), False), (timedelta(days=3), True), (timedelta(days=20), False)],
)
def test_what_a_clock_that_was_ahead_has_stamped_heals(
    sandbox: Sandbox, world: World, exporter: Exporter, ahead: timedelta, full: bool
) -> None:
    """Of a recording seen as unfinished by a clock that was ahead, the right clock lands the status and the content."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(hours=3))
    begun, done = Step(NOW - timedelta(hours=2), "processing"), Step(NOW + timedelta(hours=1), "completed")
    result = world.add_result(recording, outcome=None, steps=(begun,))
    world.add_payload(result, b"late")
    sandbox.now = NOW + ahead
    exporter()
    assert exporter.rows("SELECT status FROM add_on_results") == [("processing",)]
    world.put(replace(result, steps=(begun, done), date_completed=done.at))
    sandbox.now = NOW + timedelta(hours=2)
    exporter(Scope(full=full)).verdict()
    assert exporter.rows("SELECT status FROM add_on_results") == [("completed",)]
    assert exporter.rows("SELECT count(*) FROM contents") == [(1,)]
    stamps = "SELECT max(greatest(r.listed_at, r.observed_at, r.first_seen_at, a.observed_at, a.exported_at))"
    latest = exporter.rows(f"{stamps}::VARCHAR FROM recordings r, add_on_results a")[0][0]
    assert datetime.fromisoformat(latest) < sandbox.now + APART
    found = deadlines(exporter.archive, now=sandbox.now, within=timedelta(days=30), settle=Scope().settle)
    assert found.silent_for is not None
    assert found.silent_for < APART


def test_deadlines_are_shown_by_twilios_time_while_the_clock_here_is_known_to_be_ahead(exporter: Exporter) -> None:
    """Once it is set right it is believed; one that is behind is at least what Twilio said."""
    ahead = timedelta(days=45)
    remember(exporter.archive, NOW, ahead=ahead)
    hour = timedelta(hours=1)
    for here, time in ((NOW + ahead + hour, NOW + hour), (NOW + hour, NOW + hour), (NOW - ahead, NOW)):
        assert reading_time(exporter.archive, here=here) == time


def test_nothing_is_older_than_twilio_and_the_clock_here_both_say(
    sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """What destroys without asking Twilio goes by the time it said last, kept in the archive."""
    assert trusted_time(exporter.archive, here=NOW) is None
    _fill(world, sandbox)
    exporter()
    found = trusted_time(exporter.archive, here=NOW + timedelta(days=400))
    assert found is not None
    assert NOW <= found < NOW + 2 * APART
    assert trusted_time(exporter.archive, here=NOW - timedelta(days=1)) == NOW - timedelta(days=1)
