"""The transport of the product: connections that are kept, never more than so many, and one request on each at a time.

It sends a URL exactly as given (a signature covers each byte), follows nothing, decodes nothing, keeps no cookies and
repeats nothing by itself. A connection serves again only when its reply ended as it should and nothing has come since.
Kept connections count against the ceiling; one that nobody needs makes room for another host. Whoever waits for a
connection is served in the order of asking. Times that a waiter gives are looked after by one sweep for all.
"""

import asyncio
import contextlib
import functools
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import httpx

from pipelines.twilio.dial import Dialer, Origin, Resolve, system_addresses
from pipelines.twilio.http1 import Connection
from pipelines.twilio.proxy import DIRECT, Proxies
from pipelines.twilio.transport import CONNECT_SECONDS, Incoming, Waiter

_SWEEP_SECONDS = 0.25
_URL = re.compile(r"(https?://[^/?#@]+)([/?][!-\"$-~]*)?(?:#[!-~]*)?", re.ASCII)
_VALUE = re.compile(r"[\t -~]*", re.ASCII)
_PORTS = {"https": 443, "http": 80}


class Whole:
    """A reply whose body came with its head."""

    __slots__ = ("headers", "status", "whole")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.whole: bytes | None = body

    async def read(self) -> bytes:
        """The body, once."""
        body, self.whole = self.whole, b""
        return body or b""

    async def aclose(self) -> None:
        """The connection is let go of already."""


class Arriving:
    """A reply whose body is still to be read."""

    __slots__ = ("_connection", "_pool", "headers", "status", "whole")

    def __init__(self, connection: Connection, pool: "Pool") -> None:
        self.status = connection.status
        self.headers = connection.headers
        self.whole: bytes | None = None
        self._connection: Connection | None = connection
        self._pool = pool

    async def read(self) -> bytes:
        """The next bytes of the body, empty at its end."""
        assert self._connection is not None, "it was closed"
        return await self._connection.read()

    async def aclose(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._pool.give_back(self._connection)
            self._connection = None


class Pool:
    """A `Transport` over at most `connections` connections that `dialer` makes."""

    def __init__(self, connections: int, dialer: Dialer) -> None:
        self._limit = connections
        self._dialer = dialer
        self._headers: Mapping[str, str] = {}
        self._lines = ""
        self._open = 0  # connections, those being made included
        self._all: dict[Connection, Origin] = {}
        self._idle: dict[Origin, list[Connection]] = {}
        self._waiting: deque[tuple[Origin, asyncio.Future[Connection | None]]] = deque()
        self._timed: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closing: asyncio.Future[None] | None = None

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        connect: float = CONNECT_SECONDS,
        waiter: Waiter | None = None,
    ) -> Incoming:
        """Send the request; a reply with a small body is `Whole` if there is a waiter."""
        origin, request = self._request(method, url, headers)
        loop = asyncio.get_running_loop()
        ends = None if waiter is None else loop.time() + waiter.patience
        connection = self._kept(origin)
        if connection is None:
            async with asyncio.timeout_at(ends):
                connection = await self._free(origin, connect)
        try:
            answer = connection.ask(request, waiter)
            if ends is not None:
                self._time(connection, ends)
            await answer
        except BaseException:
            self.give_back(connection)
            raise
        if waiter is not None and connection.is_complete:
            whole = Whole(connection.status, connection.headers, connection.taken())
            self.give_back(connection)
            return whole
        return Arriving(connection, self)

    async def aclose(self) -> None:
        """Close all connections, and wait until they are closed."""
        self._closing = asyncio.get_running_loop().create_future()
        for connection in list(self._all):
            connection.abort()
        if self._all:
            await self._closing

    def give_back(self, connection: Connection) -> None:
        """Take a connection back, to be used again if it can be."""
        self._timed.discard(connection)
        if not connection.is_reusable or self._closing is not None:
            connection.abort()
        elif not self._waiting:
            self._idle.setdefault(self._all[connection], []).append(connection)
        else:
            self._serve(connection)

    def _request(self, method: str, url: str, headers: Mapping[str, str]) -> tuple[Origin, bytes]:
        """Where a request goes, and its bytes.

        Raises:
            httpx.InvalidURL: the URL, or a header, cannot be sent as it is.
        """
        found = _URL.fullmatch(url)
        if found is None:
            raise httpx.InvalidURL("a URL that cannot be sent")
        origin, host = _origin(found[1])
        target = found[2] or "/"
        if headers is not self._headers:  # those of one account are the same for all its requests
            self._headers, self._lines = headers, _lines(headers)
        slash = "" if target[0] == "/" else "/"
        return origin, f"{method} {slash}{target} HTTP/1.1\r\nHost: {host}\r\n{self._lines}\r\n".encode("ascii")

    def _kept(self, origin: Origin) -> Connection | None:
        """A connection to a host that is there and clean."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.is_clean:
                return connection
            connection.abort()
        return None

    async def _free(self, origin: Origin, connect: float) -> Connection:
        """A new connection, or the next that somebody gives back."""
        if self._waiting or self._open >= self._limit:
            self._make_room()
            turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((origin, turn))
            try:
                given = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # it was given just before the cancellation
                    self._return(turn.result())
                raise
            if given is not None:
                return given
        else:
            self._open += 1
        try:
            connection = await self._dialer.dial(origin, seconds=connect, lost=self._lost)
            if connection.is_gone or self._closing is not None:
                connection.abort()
                raise httpx.ConnectError("closed as soon as it was made")
        except BaseException:
            self._return(None)
            raise
        self._all[connection] = origin
        return connection

    def _return(self, given: Connection | None) -> None:
        """Take back what was given to somebody who is not there any more: a connection, or the place for one."""
        if given is not None:
            self.give_back(given)
        else:
            self._open -= 1
            self._admit()

    def _lost(self, connection: Connection) -> None:
        """A connection is gone, so there is a place for another one."""
        origin = self._all.pop(connection, None)
        if origin is None:
            return  # before it was handed over, so that the dialler says so
        if connection in (idle := self._idle.get(origin, [])):
            idle.remove(connection)
        self._open -= 1
        self._admit()
        if self._closing is not None and not self._all and not self._closing.done():
            self._closing.set_result(None)

    def _admit(self) -> None:
        """Let the next who waits make a connection, while there are places."""
        while self._waiting and self._open < self._limit:
            _, turn = self._waiting.popleft()
            if not turn.done():
                self._open += 1
                turn.set_result(None)

    def _serve(self, connection: Connection) -> None:
        """Give a connection to the next who waits; one for another host makes room."""
        while self._waiting:
            origin, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif origin == self._all[connection] and connection.is_clean:
                self._waiting.popleft()
                turn.set_result(connection)
                return
            else:
                connection.abort()
                return
        self._idle.setdefault(self._all[connection], []).append(connection)

    def _make_room(self) -> None:
        """Close the connection that was kept longest for another host."""
        for idle in self._idle.values():
            if idle:
                idle.pop(0).abort()
                return

    def _time(self, connection: Connection, ends: float) -> None:
        connection.until = ends
        self._timed.add(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._look)

    def _look(self) -> None:
        """End every exchange whose time is over; whoever waits for it gives the connection back."""
        loop = asyncio.get_running_loop()
        for connection in [each for each in self._timed if each.until < loop.time()]:
            connection.expire()
        self._sweep = loop.call_later(_SWEEP_SECONDS, self._look) if self._timed else None


def _lines(headers: Mapping[str, str]) -> str:
    """The lines of headers.

    Raises:
        httpx.InvalidURL: one of them would begin another.
    """
    if not all(map(_VALUE.fullmatch, headers.values())):
        raise httpx.InvalidURL("a header that cannot be sent")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


@functools.lru_cache(maxsize=64)
def _origin(text: str) -> tuple[Origin, str]:
    """The origin that a URL begins with, and its Host header."""
    host, port = None, 0
    with contextlib.suppress(ValueError):  # its words may quote the URL
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
    if host is None:
        raise httpx.InvalidURL("a URL that cannot be read")
    name = parts.netloc.removesuffix(f":{port}") if port == _PORTS[parts.scheme] else parts.netloc
    return Origin(host, port, parts.scheme == "https"), name


def open_transport(
    *,
    connections: int,
    context: ssl.SSLContext,
    allowed: Callable[[str], bool] | None = None,
    proxies: Proxies = DIRECT,
    resolve: Resolve = system_addresses,
) -> Pool:
    """Make a transport with at most `connections` connections: at least as many as there may be requests in flight.

    The rest is the `Dialer`'s.
    """
    return Pool(connections, Dialer(context, allowed=allowed, proxies=proxies, resolve=resolve))
