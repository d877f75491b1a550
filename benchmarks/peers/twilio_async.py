"""Twilio's own package with its asynchronous client: all recordings side by side, requests up to the cap."""

import asyncio
import os
from operator import attrgetter
from typing import Any

import aiohttp
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

from benchmarks.peers.landing import COLUMNS, Landing

_FIELDS = {table: attrgetter(*names) for table, names in COLUMNS.items() if table != "contents"}


class _Elsewhere(AsyncTwilioHttpClient):  # type: ignore[misc]  # twilio ships no types
    """Sends to the benchmark's server what is meant for api.twilio.com, never more than the cap; 429 is tried again."""

    def __init__(self, cap: int) -> None:
        super().__init__(pool_connections=False)
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=cap))  # its own stops at 100
        self._places = asyncio.Semaphore(cap)

    async def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        url = url.replace("https://api.twilio.com", os.environ["TWILIO_BASE_URL"])
        wait = 0.1
        while True:
            async with self._places:
                reply = await super().request(method, url, *args, **kwargs)
            if reply.status_code != 429:
                return reply
            await asyncio.sleep(wait)
            wait = min(2 * wait, 10)


async def _export() -> None:
    cap = int(os.environ["BENCH_CAP"])
    async with (
        _Elsewhere(cap) as http,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=cap)) as storage,
    ):
        client = Client(os.environ["TWILIO_ACCOUNT_SID"], os.environ["TWILIO_AUTH_TOKEN"], http_client=http)
        with Landing(os.environ["BENCH_DATABASE"]) as landing:
            async with asyncio.TaskGroup() as group:
                async for recording in await client.recordings.stream_async(page_size=1000, include_soft_deleted=True):
                    landing.add("recordings", _FIELDS["recordings"](recording))
                    group.create_task(_recording(recording, storage, landing))


async def _recording(recording: Any, storage: aiohttp.ClientSession, landing: Landing) -> None:
    for result in await recording.add_on_results.list_async():
        landing.add("add_on_results", _FIELDS["add_on_results"](result))
        for payload in await result.payloads.list_async():
            landing.add("add_on_payloads", _FIELDS["add_on_payloads"](payload))
            data = await payload.data().fetch_async()
            async with storage.get(data.redirect_to) as reply:
                reply.raise_for_status()
                landing.add("contents", (payload.sid, await reply.read()))


if __name__ == "__main__":
    asyncio.run(_export())
