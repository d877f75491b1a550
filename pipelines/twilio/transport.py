"""How requests are carried: what a transport promises, and any transport of httpx as one.

The product's own is `pipelines.twilio.pool`: httpx's pool is quadratic in the number of connections, and building its
request, URL and response objects costs a third of a client's CPU time (benchmarks/README.md). The errors are httpx's.
They name what happened, never the URL.
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from typing import Protocol

import httpx

CONNECT_SECONDS = 5.0
"""For a connection and its TLS handshake: what hangs there has lost a packet or its way, and a new one is quick."""


class AddressRefused(httpx.TransportError):
    """The host's name resolves to no address that may be connected to."""


class CertificateRefused(httpx.ConnectError):
    """The host's certificate is not to be trusted; the message is the reason."""


class ProxyRefused(httpx.ProxyError):
    """The proxy does not let this connection through, whenever it is asked; the message is its status."""


class NoMoreFiles(httpx.ConnectError):
    """This process, or this machine, may open no more files: nothing is known of the host."""


class Waiter(Protocol):
    """Who waits for a reply, and for how long.

    Attributes:
        patience: seconds until the head of the reply must be there.
    """

    patience: float

    def begins(self, status: int, headers: Mapping[str, str]) -> float:
        """Be told the head of the reply; return the seconds that the body may take."""


class Incoming(Protocol):
    """The head of a reply, and its body.

    Attributes:
        status: HTTP status.
        headers: by lower-case name; several of one name are joined by ", ".
        whole: the body, if it came with the head; None when it has to be read.
    """

    status: int
    headers: Mapping[str, str]
    whole: bytes | None

    async def read(self) -> bytes:
        """Return the next bytes of the body, empty at its end; raises httpx.TransportError or DecodingError."""

    async def aclose(self) -> None:
        """Let go of the connection; it is used again only when the body was read to its end."""


class Transport(Protocol):
    """Carries requests to a host and replies back."""

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        connect: float = CONNECT_SECONDS,
        waiter: Waiter | None = None,
    ) -> Incoming:
        """Send a request without a body.

        A connection, where one has to be made, is there within `connect` seconds, its TLS handshake included. With a
        `waiter` the head must be there within its patience, and a body that is waited for here within the time that it
        gives; a body that has to be read is the caller's to time. What goes wrong after the head is raised by reading.

        Raises:
            httpx.TransportError, InvalidURL: it could not be sent, or was not answered.
            TimeoutError: the waiter's time was over.
        """

    async def aclose(self) -> None:
        """Close all connections."""


class HttpxTransport:
    """Any transport of httpx as a `Transport`."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        connect: float = CONNECT_SECONDS,
        waiter: Waiter | None = None,
    ) -> Incoming:
        """Send a request through httpx's interface; how long connecting may take is the inner transport's affair."""
        request = httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(b""))
        async with asyncio.timeout(None if waiter is None else waiter.patience):
            response = await self._inner.handle_async_request(request)
        if waiter is not None:
            waiter.begins(response.status_code, response.headers)
        return _HttpxReply(response)

    async def aclose(self) -> None:
        """Close the transport."""
        await self._inner.aclose()


class _HttpxReply:
    def __init__(self, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.whole: bytes | None = None
        self._stream = response.stream
        self._chunks = aiter(response.stream)

    async def read(self) -> bytes:
        async for chunk in self._chunks:
            if chunk:
                return chunk
        return b""

    async def aclose(self) -> None:
        await self._stream.aclose()


def reason_of(error: Exception) -> str:
    """The system's words for an error, or its kind; never an address or a URL."""
    if isinstance(error, ssl.SSLError):
        return f"{type(error).__name__}: {error.reason or 'TLS failed'}"
    if isinstance(error, OSError):  # asyncio replaces the system's words by the address; get them back
        return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or type(error).__name__
    return type(error).__name__
