"""What a connection makes of bytes: where a reply ends, what it must not be, and when it may serve again."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from pipelines.twilio.certificates import tls_context
from pipelines.twilio.http1 import WHOLE_BYTES
from pipelines.twilio.pool import Pool, open_transport
from pipelines.twilio.transport import Incoming
from tests.pipelines.twilio.sockets import CUT, RawServer, reply, serving

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b"all of it"


class Patient:
    """A waiter who notes what it is told."""

    def __init__(self, patience: float = 5.0, body: float = 5.0) -> None:
        self.patience, self.body = patience, body
        self.heads: list[int] = []

    def begins(self, status: int, headers: object) -> float:
        """Note the status."""
        self.heads.append(status)
        return self.body


async def whole(incoming: Incoming) -> bytes:
    """The body to its end."""
    parts = []
    try:
        while part := await incoming.read():
            parts.append(part)
    finally:
        await incoming.aclose()
    return b"".join(parts)


def asked(*answers: bytes, times: int = 1, waiter: Callable[[], Patient | None] = Patient) -> tuple[list[bytes], int]:
    """The bodies that a client gets of a server that answers so, and the connections that it took."""

    async def asking(server: RawServer, pool: Pool) -> list[bytes]:
        return [await whole(await pool.send("GET", server.url + "/x", {}, waiter=waiter())) for _ in range(times)]

    async def run() -> tuple[list[bytes], int]:
        left = iter(answers)
        async with serving(lambda _: next(left, answers[-1])) as server:
            pool = open_transport(connections=2, context=tls_context())
            try:
                return await asking(server, pool), server.connections
            finally:
                await pool.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("waiter", [Patient, lambda: None], ids=["whole", "read"])
@pytest.mark.parametrize(
    "answer",
    [
        reply(BODY),
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nall \r\n5;name=value\r\nof it\r\n0\r\nX-Trailer: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\n" + reply(BODY),
        b"HTTP/1.1 200 OK\nContent-Length: 9\n\nall of it",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 9\r\n\r\nall of it",
    ],
    ids=["length", "chunks", "informational", "bare line feeds", "1.0"],
)
def test_a_reply_ends_where_it_says_and_its_connection_serves_again(
    answer: bytes, waiter: Callable[[], Patient | None]
) -> None:
    """Whether it is handed over whole or read."""
    assert asked(answer, times=3, waiter=waiter) == ([BODY] * 3, 1)


@pytest.mark.parametrize("waiter", [Patient, lambda: None], ids=["whole", "read"])
@pytest.mark.parametrize(
    "answer",
    [
        reply(BODY, "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nall of it",
        OK + b"\r\nall of it" + CUT,
        reply(BODY) + b"more",
        reply(BODY) + reply(b"smuggled"),
    ],
    ids=["close", "1.0", "until the end", "more", "a second reply"],
)
def test_a_reply_after_which_the_connection_may_not_serve_is_a_reply(
    answer: bytes, waiter: Callable[[], Patient | None]
) -> None:
    """It is taken as it is, and each request has a connection of its own."""
    assert asked(answer, times=2, waiter=waiter) == ([BODY] * 2, 2)


@pytest.mark.parametrize("waiter", [Patient, lambda: None], ids=["whole", "read"])
@pytest.mark.parametrize(
    "answer",
    [
        reply(BODY)[:-1] + CUT,
        OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n" + CUT,
        OK + b"Transfer-Encoding: gzip\r\n\r\nall of it" + CUT,
        OK + b"Transfer-Encoding:\x0bchunked\r\n\r\n9\r\nall of it" + CUT,
        OK + b"Transfer-Encoding: chunked, identity\r\n\r\nall of it" + CUT,
        OK + b"Content-Length: 9\r\nContent-Length: 8\r\n\r\nall of it",
        OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n",
        OK + b"Content-Length: +9\r\n\r\nall of it",
        OK + b"X: a\0b\r\nContent-Length: 9\r\n\r\nall of it",
        OK + b"X: " + b"a" * 100_000 + b"\r\nContent-Length: 9\r\n\r\nall of it",
        OK + b"".join(b"X%d: a\r\n" % n for n in range(20_000)) + b"Content-Length: 9\r\n\r\nall of it",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        CUT,
    ],
)
def test_what_is_no_reply_is_an_error_in_httpx_words(answer: bytes, waiter: Callable[[], Patient | None]) -> None:
    """Cut, contradictory, endless or another protocol; never a shorter body."""
    with pytest.raises(httpx.TransportError):
        asked(answer, waiter=waiter)


def test_blanks_around_a_value_are_no_part_of_it() -> None:
    """A length, a place to go to or a time would else be none (RFC 9110 5.5)."""
    answer = OK + b"Content-Length:  9 \t \r\nLocation:\t/a?b=c  \r\n\r\nall of it"

    async def run() -> tuple[dict[str, str], bytes]:
        async with serving(lambda _: answer) as server:
            pool = open_transport(connections=1, context=tls_context())
            try:
                incoming = await pool.send("GET", server.url, {})
                return dict(incoming.headers), await whole(incoming)
            finally:
                await pool.aclose()

    assert asyncio.run(run()) == ({"content-length": "9", "location": "/a?b=c"}, BODY)


def test_a_head_is_not_dropped_because_its_body_is_cut() -> None:
    """A refusal is one whatever becomes of its body: reading that raises."""

    async def asking() -> int:
        async with serving(lambda _: reply(BODY, status="429 Too Many Requests")[:-1] + CUT) as server:
            pool = open_transport(connections=1, context=tls_context())
            incoming = await pool.send("GET", server.url, {}, waiter=Patient())
            with pytest.raises(httpx.ReadError):
                await whole(incoming)
            await pool.aclose()
            return incoming.status

    assert asyncio.run(asking()) == 429


@pytest.mark.parametrize(("size", "comes_whole"), [(0, True), (WHOLE_BYTES, True), (16 * WHOLE_BYTES, False)])
def test_small_bodies_come_whole_and_large_ones_are_read(size: int, *, comes_whole: bool) -> None:
    """And the waiter has heard the head once."""

    async def asking() -> None:
        async with serving(lambda _: reply(b"x" * size)) as server:
            pool = open_transport(connections=1, context=tls_context())
            waiter = Patient()
            incoming = await pool.send("GET", server.url, {}, waiter=waiter)
            assert (incoming.whole is not None) is comes_whole
            assert await whole(incoming) == b"x" * size
            assert waiter.heads == [200]
            await pool.aclose()

    asyncio.run(asking())


def test_a_large_body_is_not_read_faster_than_it_is_taken() -> None:
    """The server has to wait, so that memory is bounded."""
    size = 64 << 20

    async def asking() -> None:
        async with serving(lambda _: reply(b"x" * size)) as server:
            pool = open_transport(connections=1, context=tls_context())
            incoming = await pool.send("GET", server.url, {}, waiter=Patient())
            (writer,) = server.open.values()
            for _ in range(50):
                await asyncio.sleep(0)
            held = writer.transport.get_write_buffer_size()
            assert held > size // 2, "most of it has not been sent"
            assert len(await whole(incoming)) == size
            await pool.aclose()

    asyncio.run(asking())


@pytest.mark.parametrize(
    ("answer", "patience", "body"),
    [(b"", 0.1, 5.0), (OK + b"Content-Le", 0.1, 5.0), (reply(BODY)[:-1], 5.0, 0.1)],
    ids=["no head", "half a head", "half a body"],
)
def test_a_waiter_does_not_wait_longer_than_it_says(answer: bytes, patience: float, body: float) -> None:
    """For the head, and from there for the body."""
    with pytest.raises(TimeoutError):
        asked(answer, waiter=lambda: Patient(patience, body))
