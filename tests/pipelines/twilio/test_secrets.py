"""No secret, signed URL or content in any log line, error or anything hanging on an error."""

import asyncio
import logging
from collections.abc import Callable

import httpx
import pytest

from pipelines.errors import ExportError
from pipelines.twilio.certificates import tls_context
from pipelines.twilio.pool import open_transport
from pipelines.twilio.transport import Transport
from tests.pipelines.twilio.made_up import RE, SECRET, SIGNATURE, XH, XR, collect, everything
from tests.pipelines.twilio.sockets import CUT, on_sockets, reply, serving

MARKER = b"patient-says-it-hurts"
FORBIDDEN = (SECRET, SIGNATURE, MARKER.decode())

STORAGE_REPLIES = {
    "cut before the head": CUT,
    "cut in the head": b"HTTP/1.1 200 OK\r\nContent-Le" + CUT,
    "cut in the body": reply(MARKER * 9)[:-5] + CUT,
    "cut in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + MARKER + CUT,
    "broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + MARKER + CUT,
    "not HTTP": MARKER + b"\r\n\r\n" + CUT,
    "bad header": b"HTTP/1.1 200 OK\r\n" + MARKER + b"\r\n\r\n" + CUT,
    "header too long": b"HTTP/1.1 200 OK\r\nX: " + MARKER * 5000 + b"\r\n\r\n" + CUT,
    "encoded": reply(MARKER, "Content-Encoding: gzip"),
    "contradiction": reply(MARKER, "Content-Length: 3"),
    "expired": reply(MARKER, status="403 Forbidden"),
    "not found": reply(MARKER, status="404 Not Found"),
    "server fault": reply(MARKER, status="500 Internal Server Error"),
    "second redirect": reply(MARKER, f"Location: /again?{SIGNATURE}", status="302 Found"),
    "delivered": reply(MARKER),
}
LOCATIONS = {
    "http elsewhere": "http://bucket.storage.example/",
    "inside": "http://10.0.0.1/",
    "nobody listens": "http://127.0.0.1:1/",
    "no such name": "http://no-such-name.invalid/",
    "ftp": "ftp://127.0.0.1/",
    "broken": "http://[::1/",
    "user": f"http://user:{SECRET}@127.0.0.1/",
}


def leaks(act: Callable[[], str], caplog: pytest.LogCaptureFixture) -> list[str]:
    """The forbidden words found in logs at the finest level and in what `act` returns."""
    with caplog.at_level(logging.DEBUG):
        found = act()
    everywhere = found + caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    return [word for word in FORBIDDEN if word in everywhere]


def exchange(answer: Callable[[bytes, int], bytes]) -> str:
    """Fetch a content and list results in asyncio's debug mode; return all text of the errors."""
    texts = []

    async def run() -> None:
        ports: list[int] = []
        async with serving(lambda head: answer(head, ports[0])) as server:
            ports.append(server.port)
            async with on_sockets(server.url) as twilio:
                texts.append(repr(twilio) + repr(vars(twilio)))
                try:
                    texts.append(repr(await twilio.content(RE, XR, XH)))
                    await collect(twilio.add_on_results(RE))
                except ExportError as error:
                    texts.append(everything(error))

    asyncio.run(run(), debug=True)
    assert len(texts) == 2 or "delivered" in texts
    return "".join(texts)


@pytest.mark.parametrize("kind", list(STORAGE_REPLIES))
def test_nothing_of_storage_leaks_whatever_it_replies(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither where the content lies nor a word of it."""

    def answer(head: bytes, port: int) -> bytes:
        if b"Data.json" in head:
            return reply(b"", f"Location: http://127.0.0.1:{port}/x?{SIGNATURE}", status="307 Temporary Redirect")
        return STORAGE_REPLIES[kind] if b"/x?" in head else reply(b'{"add_on_results":[],"next_page_uri":null}')

    assert leaks(lambda: exchange(answer), caplog) == []


@pytest.mark.parametrize("kind", list(LOCATIONS))
def test_nothing_of_a_redirect_leaks_wherever_it_leads(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Refused, unreachable or unresolvable."""

    def answer(head: bytes, port: int) -> bytes:
        return reply(b"", f"Location: {LOCATIONS[kind]}x?{SIGNATURE}", status="307 Temporary Redirect")

    assert leaks(lambda: exchange(answer), caplog) == []


@pytest.mark.parametrize(
    "status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "400 Bad Request", "302 Found"]
)
def test_nothing_of_the_credentials_or_of_an_error_body_leaks(status: str, caplog: pytest.LogCaptureFixture) -> None:
    """Twilio's message is not repeated: it may quote what was sent."""
    body = b'{"code":20003,"message":"' + MARKER + SECRET.encode() + b'"}'
    assert leaks(lambda: exchange(lambda head, port: reply(body, status=status)), caplog) == []


@pytest.mark.parametrize("kind", [kind for kind, answer in STORAGE_REPLIES.items() if answer.endswith(CUT)])
def test_no_error_of_the_transport_shows_the_url(kind: str) -> None:
    """Already here, before the client drops what storage's errors say."""

    async def read(transport: Transport, url: str) -> None:
        reply = await transport.send("GET", url, {})
        try:
            while await reply.read():
                pass
        finally:
            await reply.aclose()

    async def asking() -> None:
        async with serving(lambda _: STORAGE_REPLIES[kind]) as server:
            transport = open_transport(connections=1, context=tls_context())
            with pytest.raises(httpx.TransportError) as caught:
                await read(transport, f"{server.url}/x?{SIGNATURE}")
            assert SIGNATURE not in everything(caught.value)
            await transport.aclose()

    asyncio.run(asking())


def test_the_search_for_leaks_finds_one() -> None:
    """The control: an error chained to one that shows a URL is found."""
    error = ValueError("clean")
    error.__context__ = KeyError(SIGNATURE)
    error.__suppress_context__ = True
    assert SIGNATURE in everything(error)
