"""When the list was last read to its end: also by exports that find nothing new, and by none that read a part of it."""

from datetime import date, timedelta

import pytest

from pipelines.accounts.listings import Listing, is_whole, whole_reads
from pipelines.errors import IncompleteExport, SourceUnavailable
from pipelines.monitoring.status import Status, status
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from tests.pipelines.conftest import NOW, Exporter
from warehouse.states import RETENTION
from warehouse.store.marker import read_marker

HOUR = timedelta(hours=1)
TODAY = NOW.date()


def shown(exporter: Exporter) -> Status:
    """What `status` says now."""
    return status(exporter.archive, now=exporter.sandbox.now, settle=timedelta(hours=48))


def test_an_export_that_finds_nothing_new_says_that_the_list_was_read(sandbox: Sandbox, exporter: Exporter) -> None:
    """Nothing is landed: rows would say it only once a day."""
    for hours in range(3):
        sandbox.now = NOW + hours * HOUR
        exporter().verdict()
        assert shown(exporter).listed_at == sandbox.now
        marker = read_marker(exporter.archive.root)
        assert marker is not None
        assert marker.exported_at == sandbox.now
    assert exporter.archive.head().number == 1


def test_an_export_of_a_few_old_days_or_of_a_part_of_the_list_says_nothing(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Of what it did not see nobody knows; a range with a look-back over all that there is is as good as everything."""
    world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    exporter().verdict()
    sandbox.now = NOW + HOUR
    exporter(Scope(TODAY - timedelta(days=20), TODAY - timedelta(days=19)))
    assert shown(exporter).listed_at == NOW
    sandbox.settings.intercept = lambda request: Reply(500) if "/Recordings" in request.path else None
    with pytest.raises(SourceUnavailable):
        exporter()
    assert shown(exporter).listed_at == NOW
    sandbox.settings.intercept = None
    exporter(Scope(TODAY, TODAY, look_back=RETENTION)).verdict()
    assert shown(exporter).listed_at == NOW + HOUR
    marker = read_marker(exporter.archive.root)
    assert marker is not None
    assert marker.exported_at == NOW


def test_an_export_that_leaves_something_behind_has_read_the_list_and_is_not_whole(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Two questions, two times."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    world.add_payload(world.add_result(recording), b"{}")

    def no_contents(request: Request) -> Reply | None:
        return Reply(404) if request.path.endswith("/Data.json") else None

    sandbox.settings.intercept = no_contents
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    marker = read_marker(exporter.archive.root)
    assert marker is not None
    assert (marker.exported_at, list(marker.listed_at.values())) == (None, [NOW])


@pytest.mark.parametrize(
    ("first", "last", "whole"),
    [
        (TODAY - timedelta(days=30), TODAY, True),
        (TODAY - timedelta(days=40), TODAY + timedelta(days=1), True),
        (TODAY - timedelta(days=29), TODAY, False),
        (TODAY - timedelta(days=40), TODAY - timedelta(days=1), False),
    ],
)
def test_a_list_is_whole_that_reaches_from_what_twilio_keeps_to_today(first: date, last: date, *, whole: bool) -> None:
    """By the UTC days of its beginning and end."""
    assert is_whole(first, last, at=NOW) is whole


def test_the_last_whole_list_of_an_account_is_the_newest_that_was_not_stamped_ahead() -> None:
    """Of rows and marker; an account whose list was never whole is left out."""
    first, last = TODAY - timedelta(days=40), TODAY + timedelta(days=1)
    read = [
        Listing("AC1", first, last, NOW - 2 * HOUR),
        Listing("AC1", TODAY, last, NOW - HOUR),
        Listing("AC2", TODAY, last, NOW - HOUR),
        Listing("AC3", first, last, NOW - HOUR),
    ]
    kept = {"AC1": NOW, "AC3": NOW + timedelta(days=9)}
    assert whole_reads(read, kept, now=NOW) == {"AC1": NOW, "AC3": NOW - HOUR}
