"""Plain `httpx.AsyncClient` with its own transport: workers that take a recording each through all levels."""

import asyncio
import os
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from benchmarks.peers.landing import COLUMNS, Landing

_CAP = int(os.environ["BENCH_CAP"])
_LIMITS = httpx.Limits(max_connections=_CAP, max_keepalive_connections=_CAP)


class _Export:
    def __init__(self, api: httpx.AsyncClient, storage: httpx.AsyncClient, landing: Landing) -> None:
        self._api, self._storage, self._landing = api, storage, landing
        self._places = asyncio.Semaphore(_CAP)

    async def run(self) -> None:
        """Export everything."""
        path = f"/2010-04-01/Accounts/{os.environ['TWILIO_ACCOUNT_SID']}/Recordings.json"
        async with asyncio.TaskGroup() as group:
            async for recording in self._items(f"{path}?PageSize=1000&IncludeSoftDeleted=true", "recordings"):
                group.create_task(self._recording(recording))

    async def _recording(self, recording: dict[str, Any]) -> None:
        self._add("recordings", recording)
        async for result in self._items(recording["subresource_uris"]["add_on_results"], "add_on_results"):
            self._add("add_on_results", result)
            async for payload in self._items(result["subresource_uris"]["payloads"], "payloads"):
                self._add("add_on_payloads", payload)
                redirect = await self._get(payload["subresource_uris"]["data"])
                reply = await self._storage.get(redirect.headers["location"])
                reply.raise_for_status()
                self._landing.add("contents", (payload["sid"], reply.content))

    async def _items(self, uri: str | None, key: str) -> AsyncIterator[dict[str, Any]]:
        while uri:
            page = (await self._get(uri)).json()
            for item in page[key]:
                yield item
            uri = page["next_page_uri"]

    async def _get(self, uri: str) -> httpx.Response:
        wait = 0.1
        while True:
            async with self._places:
                reply = await self._api.get(uri)
            if reply.status_code != 429:
                if not reply.is_redirect:
                    reply.raise_for_status()
                return reply
            await asyncio.sleep(wait)
            wait = min(2 * wait, 10)

    def _add(self, table: str, item: dict[str, Any]) -> None:
        self._landing.add(
            table,
            tuple(
                parsedate_to_datetime(item[name]) if name.startswith("date_") and item[name] else item[name]
                for name in COLUMNS[table]
            ),
        )


async def _main() -> None:
    auth = (os.environ["TWILIO_ACCOUNT_SID"], os.environ["TWILIO_AUTH_TOKEN"])
    async with (
        httpx.AsyncClient(base_url=os.environ["TWILIO_BASE_URL"], auth=auth, limits=_LIMITS, timeout=60) as api,
        httpx.AsyncClient(limits=_LIMITS, timeout=60) as storage,
    ):
        with Landing(os.environ["BENCH_DATABASE"]) as landing:
            await _Export(api, storage, landing).run()


if __name__ == "__main__":
    asyncio.run(_main())
