"""A server of raw bytes on loopback, and a client on real sockets that does not wait between attempts."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.twilio.certificates import tls_context
from pipelines.twilio.client import Credential, Tuning, TwilioClient
from pipelines.twilio.pool import open_transport
from pipelines.twilio.storage_url import address_allowed
from tests.pipelines.twilio.made_up import AC, SECRET

ONE_ATTEMPT = Tuning(budget=0.0, unanswered_budget=0.0)


def reply(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A reply with its length."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


@dataclass
class RawServer:
    """Gives `answer(request head)` to each request; an answer ending in `CUT` closes the connection after it."""

    answer: Callable[[bytes], bytes]
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    open: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.open[task] = writer
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                answer = self.answer(head)
                writer.write(answer.removesuffix(CUT))
                await writer.drain()
                if answer.endswith(CUT):
                    break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


CUT = b"\x00<cut>"


TLS = Path(__file__).parent / "tls"
AUTHORITY = TLS / "authority.pem"
"""Signs the certificate of `serving(..., tls=True)`; its own key was thrown away."""


@contextlib.asynccontextmanager
async def serving(answer: Callable[[bytes], bytes], *, tls: bool = False) -> AsyncIterator[RawServer]:
    """Listen on a free port of loopback."""
    server = RawServer(answer, scheme="https" if tls else "http")
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(TLS / "server.pem")
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for writer in server.open.values():
            writer.close()
        await asyncio.gather(*server.open)
        await listener.wait_closed()


async def _no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


def on_sockets(base_url: str, *, tuning: Tuning | None = None, loopback: bool = True) -> TwilioClient:
    """What `connect` makes, except that back-off takes no real time (it counts against the budget all the same)."""
    return TwilioClient(
        AC,
        Credential(AC, SECRET),
        base_url=base_url,
        api=open_transport(connections=10, context=tls_context()),
        storage=open_transport(
            connections=10,
            context=tls_context(),
            allowed=lambda address: address_allowed(address, loopback=loopback),
        ),
        tuning=Tuning() if tuning is None else tuning,
        sleep=_no_wait,
        random=lambda: 1.0,
    )
