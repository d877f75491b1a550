"""A source that refuses everything is given up by those who wait for a place too, not only by those who have one."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from pipelines.errors import SourceUnavailable
from pipelines.records.sids import RecordingSid
from tests.pipelines.twilio.made_up import client, page, problem
from tests.pipelines.twilio.virtual import run_virtually

WORKERS = 50


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("delay", [0.2, 5.0])
def test_a_storm_ends_for_everybody_in_the_time_one_request_may_take(status: int, delay: float) -> None:
    """One place is left after many refusals; one after the other they would wait for hours."""

    async def refuse(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(delay)
        return problem(status)

    async def storm() -> float:
        began = asyncio.get_running_loop().time()
        async with client(refuse) as twilio:
            await asyncio.gather(*(_unavailable(twilio.add_on_results(_recording(n))) for n in range(WORKERS)))
        return asyncio.get_running_loop().time() - began

    assert run_virtually(storm()) < 150


def test_whoever_asks_while_a_source_is_away_is_answered_once_it_is_back() -> None:
    """What has failed for others is no reason not to ask."""
    times = iter([problem(503)] * 40)

    async def flaky(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5.0)
        return next(times, None) or page("add_on_results", ["here"])

    async def asking() -> list[object]:
        async with client(flaky, max_concurrency=1) as twilio:
            await _unavailable(twilio.add_on_results(_recording(1)))
            for _ in times:
                pass
            return [item async for items in twilio.add_on_results(_recording(2)) for item in items]

    assert run_virtually(asking()) == [b'"here"']


def _recording(number: int) -> RecordingSid:
    return RecordingSid(f"RE{number:032x}")


async def _unavailable(pages: AsyncIterator[object]) -> None:
    with pytest.raises(SourceUnavailable):
        async for _ in pages:
            pass
