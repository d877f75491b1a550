"""Connections are shared fairly, bounded, and given back whatever happens to who had them."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from pipelines.twilio.certificates import tls_context
from pipelines.twilio.pool import Pool, open_transport
from tests.pipelines.twilio.sockets import CUT, RawServer, reply, serving
from tests.pipelines.twilio.test_dial import trusting
from tests.pipelines.twilio.test_http1 import Patient, whole

FINE = reply(b"fine")


async def _ask(pool: Pool, server: RawServer, path: str = "/") -> bytes:
    return await whole(await pool.send("GET", server.url + path, {}, waiter=Patient()))


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110  # what the server sees sets no event
            await asyncio.sleep(0)


def test_no_more_connections_than_allowed_and_who_waits_is_served_in_turn() -> None:
    """Twenty ask over two connections."""

    async def asking() -> None:
        async with serving(lambda _: FINE) as server:
            pool = open_transport(connections=2, context=tls_context())
            await asyncio.gather(*(_ask(pool, server, f"/{n}") for n in range(20)))
            assert server.connections == 2
            order = [int(head.split(b" ")[1][1:]) for head in server.heads]
            assert all(abs(place - number) <= 1 for place, number in enumerate(order)), "first come, first served"
            await pool.aclose()

    asyncio.run(asking())


def test_a_connection_kept_for_one_host_makes_room_for_another() -> None:
    """Kept ones count against the ceiling, and none of them keeps anybody waiting."""

    async def asking() -> None:
        async with serving(lambda _: FINE) as one, serving(lambda _: FINE) as other:
            pool = open_transport(connections=1, context=tls_context())
            for _ in range(3):
                assert await _ask(pool, one) == await _ask(pool, other) == b"fine"
            await asyncio.gather(*(_ask(pool, server) for _ in range(5) for server in (one, other)))
            await pool.aclose()

    asyncio.run(asking())


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
def test_whoever_is_cancelled_holds_nothing(turns: int) -> None:
    """While waiting for a connection, making it, sending, or reading: the next one has it."""

    async def asking() -> None:
        async with serving(lambda _: FINE) as server:
            pool = open_transport(connections=1, context=tls_context())
            tasks = [asyncio.create_task(_ask(pool, server)) for _ in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            async with asyncio.timeout(5):
                assert await _ask(pool, server) == b"fine"
            await pool.aclose()

    asyncio.run(asking())


def test_a_reply_that_was_not_read_to_its_end_costs_its_connection() -> None:
    """What is left of it is nobody's answer."""

    async def asking() -> None:
        async with serving(lambda _: reply(b"x" * 1_000_000)) as server:
            pool = open_transport(connections=1, context=tls_context())
            for _ in range(2):
                incoming = await pool.send("GET", server.url, {}, waiter=Patient())
                await incoming.aclose()
            assert server.connections == 2
            await pool.aclose()

    asyncio.run(asking())


@pytest.mark.parametrize("loop", [None, "uvloop"])
@pytest.mark.parametrize("tls", [False, True])
def test_closing_closes_what_is_kept_and_what_is_in_use(loop: str | None, *, tls: bool) -> None:
    """Nothing is left for the garbage collector to complain of."""
    factory = pytest.importorskip(loop).new_event_loop if loop else None

    async def asking() -> None:
        async with serving(lambda _: FINE, tls=tls) as server:
            pool = open_transport(connections=5, context=trusting())
            await asyncio.gather(*(_ask(pool, server) for _ in range(5)))
            server.answer = lambda _: b""
            hanging = asyncio.create_task(_ask(pool, server))
            await _until(lambda: len(server.heads) == 6)
            async with asyncio.timeout(5):
                await pool.aclose()
            with pytest.raises(httpx.TransportError):
                await hanging

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asking())


def test_what_fails_to_connect_gives_its_place_back() -> None:
    """Else a host that is away would use up the places of all others."""

    async def asking() -> None:
        async with serving(lambda _: CUT) as gone:
            url = gone.url
        async with serving(lambda _: FINE) as server:
            pool = open_transport(connections=2, context=tls_context())
            for _ in range(5):
                with pytest.raises(httpx.ConnectError, match="refused"):
                    await pool.send("GET", url, {})
            assert await asyncio.gather(*(_ask(pool, server) for _ in range(3))) == [b"fine"] * 3
            await pool.aclose()

    asyncio.run(asking())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "http://user:word@127.0.0.1/",
        "http://127.0.0.1:1/a b",
        "http://127.0.0.1:1/a\r\nX: y",
        "http://127.0.0.1:1/\u00e4",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "http:///x",
        "//127.0.0.1/",
    ],
)
def test_a_url_that_cannot_be_sent_as_it_is_is_not_sent(url: str) -> None:
    """Nothing is escaped, cut or guessed; the error does not repeat it."""

    async def asking() -> None:
        pool = open_transport(connections=1, context=tls_context())
        with pytest.raises(httpx.InvalidURL) as caught:
            await pool.send("GET", url, {})
        assert url not in str(caught.value)

    asyncio.run(asking())


def test_a_header_that_would_begin_another_is_not_sent() -> None:
    """A credential with a line break in it, say."""

    async def asking() -> None:
        pool = open_transport(connections=1, context=tls_context())
        with pytest.raises(httpx.InvalidURL):
            await pool.send("GET", "http://127.0.0.1:1/", {"Authorization": "Basic a\r\nX: y"})

    asyncio.run(asking())
