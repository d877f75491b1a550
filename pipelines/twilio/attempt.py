"""One request and its reply, within one deadline.

An attempt ends with a `Reply` or a `Failure` value; exceptions of the transport do not leave this module.
The deadline covers sending, the head and the whole body, not single reads, so a server that drips bytes
cannot hold a request for ever; only bytes that have arrived extend it, never what is announced. Waiting for
the caller's byte budget is not counted. Time is the event loop's.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from pipelines.holding import SpoolFile
from pipelines.twilio.failure import Cause, Failure, error_code, request_id, retry_after
from pipelines.twilio.transport import AddressRefused, Incoming, NoMoreFiles, Transport
from pipelines.twilio.wire import SPOOLING_BYTES, Framing, Reply, WireFault, framing, receive

_SMALL_BODY_CAP = 64 * 1024  # bytes, for the bodies of errors and redirects


class ByteBudget(Protocol):
    """What bounds the bytes of contents held in memory; the caller's, shared by all its requests."""

    async def acquire(self, size: int) -> None:
        """Wait until `size` more bytes may be held.

        Holds nothing when cancelled. Must let through, some time, a size larger than the whole budget.
        """

    def release(self, size: int) -> None:
        """Give `size` bytes back."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what is sent, what counts as an answer, and what reading it may cost.

    `deadline` is in seconds. With `slowest`, in bytes a second, the bytes received so far extend it, and no silence
    may be longer than `deadline`. `cap` is the most bytes a body may have. `hashed` asks for the body's SHA-256. Large
    bodies go to the `spool`, if any. Nothing in an `opaque` body tells half of it from the whole, so the reply must say
    where it ends.
    """

    url: str = field(repr=False)
    deadline: float
    cap: int
    method: str = "GET"
    accept: frozenset[int] = frozenset({200})
    slowest: float | None = None
    hashed: bool = False
    opaque: bool = False
    budget: ByteBudget | None = None
    spool: Callable[[], SpoolFile] | None = None

    def let_go(self, reply: Reply) -> None:
        """Release what a reply that is not used still holds."""
        if self.budget is not None:
            self.budget.release(reply.reserved)
        if reply.file is not None:
            reply.file.close()


@dataclass(frozen=True, slots=True)
class Line:
    """The way to one host: transport, the headers sent there, and what an unwanted status stands for.

    `discreet`: nothing of the host's error bodies or error texts is kept, as they may show a signed URL. `heard` is
    told the headers of every reply, whatever its status.
    """

    transport: Transport
    headers: Mapping[str, str] = field(repr=False)
    classify: Callable[[int], Cause]
    discreet: bool
    heard: Callable[[Mapping[str, str]], None] = lambda headers: None


class Attempt:
    """Sends `ask` over `line` when run; `status` is that of the reply, None while there is none."""

    __slots__ = ("_ask", "_end", "_line", "_loop", "_request_id", "_started", "_timer", "_waited", "status")

    def __init__(self, line: Line, ask: Ask) -> None:
        self._line = line
        self._ask = ask
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._end = self._started + ask.deadline
        self._timer = asyncio.timeout(None)
        self._waited = 0.0
        self._request_id: str | None = None
        self.status: int | None = None

    @property
    def is_arriving(self) -> bool:
        """Whether a reply of the status wanted has begun."""
        return self.status in self._ask.accept

    async def run(self, *, first_deadline: float | None = None) -> Reply | Failure:
        """Send and read; a shorter `first_deadline`, in seconds, applies until the head has arrived."""
        first_end = self._end if first_deadline is None else min(self._end, self._started + first_deadline)
        self._timer = asyncio.timeout_at(first_end)
        try:
            async with self._timer:
                return await self._converse()
        except TimeoutError:
            return self._failure(Cause.DEADLINE)
        except WireFault as fault:
            return self._failure(fault.cause, detail=fault.detail)
        except AddressRefused:
            return self._failure(Cause.ADDRESS)
        except NoMoreFiles:
            return self._failure(Cause.OPEN_FILES)
        except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL) as error:
            cause = Cause.NETWORK if self.status is None else Cause.TRUNCATED
            if self._line.discreet:
                return self._failure(cause, detail=type(error).__name__)
            return self._failure(cause, detail=str(error), error=error)

    async def _converse(self) -> Reply | Failure:
        line, ask = self._line, self._ask
        reply = await line.transport.send(ask.method, ask.url, line.headers)
        try:
            self.status = reply.status
            line.heard(reply.headers)
            if self._timer.when() != self._end:
                self._timer.reschedule(self._end)
            if not line.discreet:
                self._request_id = request_id(reply.headers)
            if self.status not in ask.accept:
                return await self._unwanted(reply)
            if self.status == 204:
                return Reply(self.status, reply.headers, b"")  # has no body, so no framing either
            if 300 <= self.status < 400 and "location" in reply.headers:
                await self._small_body(reply)  # nothing of it is used, the connection is
                return Reply(self.status, reply.headers, b"")
            return await self._wanted(reply)
        finally:
            await reply.aclose()

    async def _wanted(self, reply: Incoming) -> Reply:
        ask = self._ask
        frame = framing(reply.headers, cap=ask.cap)
        if ask.opaque and not frame.framed:
            raise WireFault(Cause.ENDLESS)
        if ask.budget is None:
            return await self._whole(reply, frame, reserved=0)
        reserved = (frame.length or 0) if ask.spool is None else frame.in_memory or SPOOLING_BYTES
        await self._reserve(ask.budget, reserved)
        try:
            return await self._whole(reply, frame, reserved=reserved)
        except BaseException:
            ask.budget.release(reserved)
            raise

    async def _whole(self, reply: Incoming, frame: Framing, *, reserved: int) -> Reply:
        ask = self._ask
        digest = hashlib.sha256() if ask.hashed else None
        body, file = await receive(
            reply.read,
            frame,
            cap=ask.cap,
            digest=digest,
            progress=None if ask.slowest is None else self._extend,
            spool=ask.spool,
        )
        return Reply(
            reply.status,
            reply.headers,
            body,
            framed=frame.framed,
            sha256=digest.hexdigest() if digest is not None else "",
            reserved=reserved,
            file=file,
        )

    async def _reserve(self, budget: ByteBudget, size: int) -> None:
        self._timer.reschedule(None)
        before = self._loop.time()
        await budget.acquire(size)
        waited = self._loop.time() - before
        self._waited += waited
        self._end += waited
        self._timer.reschedule(self._end)

    def _extend(self, received: int) -> None:
        assert self._ask.slowest is not None
        # one that sent much at first and then nothing must not live on what it sent
        silent = self._loop.time() + self._ask.deadline
        self._timer.reschedule(min(self._end + received / self._ask.slowest, silent))

    async def _unwanted(self, reply: Incoming) -> Failure:
        code = None
        if not self._line.discreet:
            code = error_code(await self._small_body(reply))
        cause = self._line.classify(reply.status)
        return self._failure(cause, code=code, after=retry_after(reply.headers))

    async def _small_body(self, reply: Incoming) -> bytes:
        with contextlib.suppress(WireFault, httpx.TransportError, httpx.DecodingError):
            frame = framing(reply.headers, cap=_SMALL_BODY_CAP)
            body, _ = await receive(reply.read, frame, cap=_SMALL_BODY_CAP)
            return body
        return b""  # a courtesy of the server, not needed

    def _failure(
        self,
        cause: Cause,
        *,
        code: int | None = None,
        after: float = 0.0,
        detail: str = "",
        error: Exception | None = None,
    ) -> Failure:
        return Failure(
            cause,
            seconds=self._loop.time() - self._started - self._waited,
            status=self.status,
            code=code,
            request_id=self._request_id,
            retry_after=after,
            detail=detail,
            error=error,
        )
