"""The one place where connections are made: aiohttp's connection pool, or any transport of httpx.

httpx's own pool is quadratic in the number of connections, and building its request, URL and response objects
costs a third of the client's CPU time (benchmarks/README.md); so the product's requests go to aiohttp directly, and
only the errors are httpx's. What aiohttp does beyond carrying bytes is switched off here: it sends the URL exactly as
given (a signature covers each byte), follows nothing, decodes nothing, keeps no cookies, reads no proxy settings,
repeats nothing by itself (aiohttp would send a DELETE twice when the connection breaks), takes nothing that came
unasked for an answer, and checks every resolved address when asked to. Errors name what happened, never the URL.
"""

import errno
import functools
import os
import select
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import aiohttp
import aiohttp.abc
import certifi
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

CONNECT_SECONDS = 5.0
"""For a connection and its TLS handshake: what hangs there has lost a packet or its way, and a new one is quick."""

# A signed URL with a session token fills a Location header with thousands of bytes.
_LONGEST_HEADER = 32 * 1024  # bytes
_READ_AHEAD = 256 * 1024  # bytes


class AddressRefused(httpx.TransportError):
    """The host's name resolves to an address that must not be connected to."""


class NoMoreFiles(httpx.ConnectError):
    """This process, or this machine, may open no more files: nothing is known of the host."""


class CheckedResolver(aiohttp.abc.AbstractResolver):
    """Resolves names through `inner` and returns the addresses that are allowed; refuses a name that has none.

    The addresses returned are the ones aiohttp connects to, so a name cannot change between check and use.
    """

    def __init__(self, allowed: Callable[[str], bool], inner: aiohttp.abc.AbstractResolver | None = None) -> None:
        self._allowed = allowed
        self._inner = inner if inner is not None else aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """Return the addresses of `host` that are allowed; AddressRefused when none of them is."""
        found = await self._inner.resolve(host, port, family)
        allowed = [result for result in found if self._allowed(result["host"])]
        if found and not allowed:
            raise AddressRefused("the host resolves to no address that is public")
        return allowed

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._inner.close()


class CleanConnector(aiohttp.TCPConnector):
    """Does not use a kept connection again over which something has come since the last answer.

    aiohttp takes what a server sent unasked for the answer to the next request, and so the contents of one payload
    for those of another. Kept connections count against the limit, which aiohttp applies to those in use only: with
    many hosts it would keep more open than a process may have.
    """

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (connection := await super()._get(key, traces)) is not None:
            if _clean(connection):
                return connection
            connection.close()
        return None

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own signature
    ) -> ResponseHandler:
        kept = [(key, conns) for key, conns in self._conns.items() if conns]
        spare = self.limit - len(self._acquired) - sum(len(conns) for _, conns in kept)  # this one is acquired already
        for _, conns in kept:
            while conns and spare < 0:
                conns.popleft()[0].close()
                spare += 1
        return await super()._create_connection(req, traces, timeout)


def _clean(connection: Connection) -> bool:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or protocol.should_close:
        return False
    # What has arrived while the event loop was busy is not in the protocol yet; the end of the connection neither.
    waiting = select.poll()
    waiting.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return not waiting.poll(0)


class Incoming(Protocol):
    """The head of a reply, and its body to be read.

    Attributes:
        status: HTTP status.
        headers: by lower-case name; several of one name are joined by ", ".
    """

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """Return the next bytes of the body, empty at its end; raises httpx.TransportError or DecodingError."""

    async def aclose(self) -> None:
        """Let go of the connection; it is used again only when the body was read to its end."""


class Transport(Protocol):
    """Carries requests to a host and replies back."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], *, connect: float = CONNECT_SECONDS
    ) -> Incoming:
        """Send a request without a body; raises httpx.TransportError or InvalidURL.

        A connection, where one has to be made, is there within `connect` seconds, its TLS handshake included.
        """

    async def aclose(self) -> None:
        """Close all connections."""


class HttpxTransport:
    """Any transport of httpx as a `Transport`."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], *, connect: float = CONNECT_SECONDS
    ) -> Incoming:
        """Send a request through httpx's interface; how long connecting may take is the inner transport's affair."""
        request = httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(b""))
        return _HttpxReply(await self._inner.handle_async_request(request))

    async def aclose(self) -> None:
        """Close the transport."""
        await self._inner.aclose()


class _HttpxReply:
    def __init__(self, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._stream = response.stream
        self._chunks = aiter(response.stream)

    async def read(self) -> bytes:
        async for chunk in self._chunks:
            if chunk:
                return chunk
        return b""

    async def aclose(self) -> None:
        await self._stream.aclose()


class ExactTransport:
    """Sends requests through an aiohttp session that is opened with the first request."""

    def __init__(self, open_session: Callable[[], aiohttp.ClientSession]) -> None:
        self._open_session = open_session
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], *, connect: float = CONNECT_SECONDS
    ) -> Incoming:
        """Send the request and return the head of its reply."""
        if self._session is None:
            self._session = self._open_session()
        problem: httpx.TransportError
        try:
            target = URL(url, encoded=True)
            # for each address of the host in turn; all else is timed by the caller
            limits = aiohttp.ClientTimeout(total=None, sock_connect=connect)
            return _ExactReply(
                await self._session.request(method, target, headers=headers, allow_redirects=False, timeout=limits)
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = _translated(error)
        raise problem  # outside `except`, so that aiohttp's error, which may show the URL, is not attached

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


class _ExactReply:
    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self.status = reply.status
        self.headers = _by_name(reply.raw_headers)
        self._reply = reply

    async def read(self) -> bytes:
        problem: httpx.TransportError
        try:
            data = await self._reply.content.readany()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = _translated(error)
        else:
            if data or not self._unchunked():
                return data
            problem = httpx.RemoteProtocolError("said to be chunked, and was not")
        raise problem

    def _unchunked(self) -> bool:
        """Whether the body is said to be chunked and was read without: aiohttp's parser is stricter about the word.

        Such a body ends where the connection does, so that one cut short would pass for a whole one.
        """
        splits = getattr(self._reply.content, "_http_chunk_splits", None)  # there is no public way to know
        return "transfer-encoding" in self.headers and splits is None

    async def aclose(self) -> None:
        self._reply.release()  # back to the pool when the body was read to its end, closed otherwise


def _by_name(raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def open_transport(
    *,
    connections: int,
    context: ssl.SSLContext,
    allowed: Callable[[str], bool] | None = None,
    resolver: aiohttp.abc.AbstractResolver | None = None,
) -> ExactTransport:
    """Make a transport with at most `connections` connections.

    Args:
        connections: at least the number of requests that may be in flight.
        context: TLS settings; shared between transports because making one takes 50 ms.
        allowed: tells whether a resolved IP address may be connected to; None allows all. Addresses written
            into the URL itself are not resolved: they have to be checked beforehand.
        resolver: asked for addresses when `allowed` is given; the system's when None.
    """

    def open_session() -> aiohttp.ClientSession:
        connector = CleanConnector(
            limit=connections, ssl=context, resolver=None if allowed is None else CheckedResolver(allowed, resolver)
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            max_field_size=_LONGEST_HEADER,
            read_bufsize=_READ_AHEAD,
            middlewares=(_never_repeat,),
        )

    return ExactTransport(open_session)


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS settings of this process: certificates verified, the environment not consulted.

    Python's and httpx's own defaults write the keys of every session to the file in SSLKEYLOGFILE.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(certifi.where())
    return context


async def _never_repeat(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    # aiohttp repeats GET and DELETE once when it sees one of these errors, even if the first was processed.
    problem: httpx.TransportError
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        problem = _translated(error)
    raise problem


def _translated(error: Exception) -> httpx.TransportError:
    """Name an aiohttp error as httpx would; the text holds its kind and the system's reason, never a URL."""
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return httpx.ConnectError(f"{name}: {getattr(error.certificate_error, 'verify_message', '')}")
    reason = ""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return NoMoreFiles(name)
    if isinstance(error, OSError):  # asyncio replaces the system's words by the address; get them back
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or ""
    text = f"{name}: {reason}" if reason else name
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx.ConnectTimeout("no connection in time")
    if isinstance(error, aiohttp.ClientConnectorError):
        return httpx.ConnectError(text)
    if isinstance(error, aiohttp.ClientPayloadError | OSError):
        return httpx.ReadError(text)
    return httpx.RemoteProtocolError(text)
