"""One connection over which one request after the other is answered, in HTTP/1.1: bytes in, replies out.

llhttp (through httptools) reads the framing. It takes a line that ends without a carriage return, blanks after the size
of a chunk and odd characters in a header, as other clients do, so that nothing is refused for good for its dress. What
decides where a body ends is never one reading alone: a body ends where the connection does only when no header speaks
of its length or coding, and one that is said to be chunked must have chunks. Informational replies (1xx) are passed
over, trailers are dropped, an answer that switches protocols is refused, and the head is bounded. What arrives while
nobody has asked spoils the connection: it is aborted at once and never used again.
"""

import asyncio
import math
import select
from collections.abc import Callable, Mapping
from typing import cast

import httptools
import httpx

from pipelines.twilio.transport import Waiter, reason_of

WHOLE_BYTES = 64 * 1024
"""A body that is no longer is handed over whole, with its head; a longer one as it comes."""

_LONGEST_HEAD = 64 * 1024
"""Bytes of names and values. A signed URL with a session token fills a Location header with thousands of them."""

_READ_AHEAD = 256 * 1024  # bytes


class Connection(asyncio.Protocol):
    """Carries one exchange at a time; `lost` is told when the connection is gone.

    Attributes:
        until: the loop's time at which the exchange fails; whoever looks after the connections sees to it.
        status: that of the newest reply, 0 while there is none.
        headers: its headers, by lower-case name; several of one name are joined by ", ".
        is_complete: the newest reply has come to its end.
        is_gone: the connection is closed.
    """

    __slots__ = (
        *("_asked", "_chunks", "_error", "_has_chunks", "_head_bytes", "_held", "_is_kept", "_is_paused"),
        *("_is_spoiled", "_loop", "_lost", "_more", "_parser", "_poll", "_raw", "_transport", "_waiter"),
        *("headers", "is_complete", "is_gone", "status", "until"),
    )

    def __init__(self, lost: Callable[["Connection"], None]) -> None:
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._asked: asyncio.Future[None] | None = None
        self._more: asyncio.Future[None] | None = None
        self._waiter: Waiter | None = None
        self._is_spoiled = self._is_paused = self._is_kept = False
        self.is_gone = False
        self._forget()

    def _forget(self) -> None:
        self._raw: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._head_bytes = self._held = 0
        self._has_chunks = False
        self._error: Exception | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.is_complete = False
        self.until = math.inf

    # what the pool does

    @property
    def is_clean(self) -> bool:
        """Whether the connection can carry another request: nothing has arrived since the last reply, nor its end."""
        # what came while the event loop was busy is in the kernel still
        return not (self._is_spoiled or self.is_gone or self._transport.is_closing() or self._poll.poll(0))

    @property
    def is_reusable(self) -> bool:
        """Whether the reply ended as it should, and the server keeps the connection."""
        return self.is_complete and not self._is_spoiled and not self.is_gone and self._is_kept

    def ask(self, request: bytes, waiter: Waiter | None) -> asyncio.Future[None]:
        """Send a request; the future is done when its reply is here, whole or more than `WHOLE_BYTES` of it.

        Without a `waiter` it is done when the head is here, and when something goes wrong after the head, which reading
        raises then. Without a head it fails with httpx.TransportError or TimeoutError.
        """
        self._forget()
        self._waiter = waiter
        self._asked = self._loop.create_future()
        if self.is_gone:  # since it was looked at
            self._ended(None)
        else:
            self._transport.write(request)
        return self._asked

    def expire(self) -> None:
        """End the exchange because its time is over."""
        self._fail(TimeoutError())
        self.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        self._is_spoiled = True
        self._transport.abort()

    def taken(self) -> bytes:
        """What has arrived of the body and was not taken yet."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks, self._held = [], 0
        if self._is_paused and not self.is_gone:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def read(self) -> bytes:
        """The next bytes of the body, empty at its end; raises httpx.TransportError."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.is_complete:
                return b""
            self._more = self._loop.create_future()
            try:
                await self._more
            finally:
                self._more = None
        return self.taken()

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by name
        self._poll = select.poll()
        self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Something arrived."""
        if self._asked is None or self.is_complete or self._is_spoiled:
            self.abort()
            return
        problem = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            problem = "it switches to another protocol"
        except httptools.HttpParserCallbackError:
            problem = "its head is too long or holds a NUL, or it is not chunked as it says"
        except httptools.HttpParserError as error:
            problem = str(error)  # one of llhttp's own sentences; nothing of the reply is in it
        if problem is None:
            self._head_bytes += 0 if self.status else len(data)
            if self._head_bytes > _LONGEST_HEAD + _READ_AHEAD:
                problem = "its head does not end"
        if problem is not None:
            self._is_spoiled = True
            if not self.is_complete:  # what follows the end of a reply is no part of it
                self._fail(httpx.RemoteProtocolError(problem))
            self.abort()
        elif self._is_spoiled:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.is_gone = True
        if self._asked is not None and not self.is_complete:
            self._ended(exc)
        self._lost(self)

    # what the parser calls

    def on_message_begin(self) -> None:
        """A reply begins, perhaps one that nobody asked for."""
        self._is_spoiled = self._is_spoiled or self.is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _LONGEST_HEAD or b"\0" in value:
            raise ValueError
        self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self.is_complete:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._raw.clear()
            return
        headers: dict[str, str] = {}
        for name, value in self._raw:
            # llhttp leaves the blanks behind a value, which are no part of it (RFC 9110 5.5)
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        self.status, self.headers = status, headers
        if self._waiter is None:
            self._answer()
        else:
            self.until = self._loop.time() + self._waiter.begins(status, headers)

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._has_chunks = True

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if self.is_complete:
            return
        if "transfer-encoding" in self.headers and not self._has_chunks:
            raise ValueError("said to be chunked")
        self._chunks.append(data)
        self._held += len(data)
        if self._held > WHOLE_BYTES:
            self._answer()
            if self._held > _READ_AHEAD and not self._is_paused:
                self._is_paused = True
                self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """The reply is whole; an informational one is none."""
        if self.status and not self.is_complete:
            self.is_complete = True
            self._is_kept = self._parser.should_keep_alive()  # llhttp knows it now only
            self._answer()
            self._wake()

    def _answer(self) -> None:
        """Hand the reply over; from here on whoever reads it looks after the time."""
        if self._asked is not None and not self._asked.done():
            self.until = math.inf
            self._asked.set_result(None)

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._error = error
        if self.status:
            self._answer()
        elif self._asked is not None and not self._asked.done():
            self._asked.set_exception(error)
        self._wake()

    def _ended(self, exc: Exception | None) -> None:
        """The connection ended before the reply did, or was to end it."""
        if exc is None and self.status and not {"content-length", "transfer-encoding"} & self.headers.keys():
            self.is_complete = True
            self._answer()
            self._wake()
        elif self._error is None:
            self._fail(httpx.ReadError(reason_of(exc) if exc is not None else "the server closed it"))
