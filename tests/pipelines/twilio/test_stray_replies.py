"""A reply that nobody asked for is not taken for the answer to the next request."""

import asyncio
import json

import pytest

from pipelines.holding import Content
from tests.pipelines.twilio.made_up import RE, XH, XR, collect
from tests.pipelines.twilio.sockets import RawServer, on_sockets, reply, serving

STRAY = reply(b'{"add_on_results": ["stray"], "next_page_uri": null, "redirect_to": "http://127.0.0.1:9/"}')
UNREAD, READ = 0, 5
"""Turns of the event loop between the stray reply and the next request: it is in the kernel still, or was read."""


class Answer:
    """Lists, redirects and contents that say how many of their kind came before."""

    def __init__(self, url: list[str]) -> None:
        self.url = url
        self.lists = self.contents = 0

    def __call__(self, head: bytes) -> bytes:
        """The answer to one request."""
        if b"/Data.json " in head:
            return reply(b"", f"Location: {self.url[0]}/storage?signature", status="307 Temporary Redirect")
        if b"/storage?" in head:
            self.contents += 1
            return reply(b"content %d" % self.contents)
        self.lists += 1
        return reply(json.dumps({"add_on_results": [self.lists], "next_page_uri": None}).encode())


async def send_unasked(server: RawServer, connection: int, *, turns: int) -> None:
    """Write a whole reply to a connection that waits for its next request."""
    list(server.open.values())[connection].write(STRAY)
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", [UNREAD, READ])
def test_a_stray_reply_of_the_api_is_not_the_next_list(turns: int) -> None:
    """The connection it came over is closed, and the next one asks on a new one."""

    async def lists() -> tuple[list[object], int]:
        async with serving(Answer([])) as server, on_sockets(server.url) as twilio:
            found = []
            for _ in range(3):
                found += await collect(twilio.add_on_results(RE))
                await send_unasked(server, -1, turns=turns)
            return found, server.connections

    assert asyncio.run(lists()) == ([1, 2, 3], 3)


@pytest.mark.parametrize("turns", [UNREAD, READ])
def test_a_stray_reply_of_storage_is_not_the_next_content(turns: int) -> None:
    """No content is landed under another payload's SID."""

    async def contents() -> list[bytes]:
        url: list[str] = []
        async with serving(Answer(url)) as server, on_sockets(server.url) as twilio:
            url.append(server.url)
            found: list[Content] = []
            for _ in range(3):
                found.append(await twilio.content(RE, XR, XH))
                await send_unasked(server, -1, turns=turns)
            return [content.data for content in found]

    assert asyncio.run(contents()) == [b"content 1", b"content 2", b"content 3"]


def test_a_connection_that_only_answers_is_used_again() -> None:
    """The check costs no connections."""

    async def lists() -> int:
        async with serving(Answer([])) as server, on_sockets(server.url) as twilio:
            for _ in range(5):
                await collect(twilio.add_on_results(RE))
            return server.connections

    assert asyncio.run(lists()) == 1
