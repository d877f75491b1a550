"""Twilio's time: what its newest replies say, and the seconds that have passed since."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from pipelines.twilio.source_clock import SourceClock
from tests.pipelines.twilio.virtual import run_virtually

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def _said(at: datetime) -> dict[str, str]:
    return {"date": format_datetime(at, usegmt=True)}


def test_it_runs_on_between_replies() -> None:
    """By the clock of the event loop: what happens to the clock of the machine does not matter."""

    async def waiting() -> datetime | None:
        clock = SourceClock()
        clock.hear(_said(NOON))
        await asyncio.sleep(3600)
        clock.hear({"server": "says no time"})
        return clock.now()

    assert run_virtually(waiting()) == NOON + timedelta(hours=1)


def test_one_reply_that_is_wrong_does_not_move_it() -> None:
    """A proxy's old page or the year 2199 among the newest replies is outvoted."""

    async def hearing() -> list[datetime | None]:
        clock, heard = SourceClock(), []
        for said in (NOON, NOON, datetime(2199, 1, 1, tzinfo=UTC), NOON - timedelta(days=3)):
            clock.hear(_said(said))
            heard.append(clock.now())
        return heard

    assert run_virtually(hearing()) == [NOON] * 4


def test_nothing_is_known_before_the_first_reply() -> None:
    """Nor in a thread that has no event loop."""
    assert SourceClock().now() is None
