"""One request and its reply, within one deadline.

An attempt ends with a `Reply` or a `Failure` value; exceptions of the transport do not leave this module.
Three times are limited: until there is a connection, until the head of the reply is there (a host may be slow without
being away), and from then on until the last byte. The transport looks after them up to the end of a small body, which
is nearly every one; this module does for what has to be read. The last is for the whole body, not for single reads, so
a server that drips bytes cannot hold a request for ever; only bytes that have arrived extend it, never what is
announced. Waiting for the caller's byte budget is not counted. Time is the event loop's.
"""

import asyncio
import contextlib
import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx

from pipelines.holding import ByteBudget, SpoolFile
from pipelines.twilio.codings import codings_of
from pipelines.twilio.failure import Cause, Failure, error_code, request_id, retry_after
from pipelines.twilio.transport import (
    CONNECT_SECONDS,
    AddressRefused,
    CertificateRefused,
    Incoming,
    NoMoreFiles,
    ProxyRefused,
    Transport,
)
from pipelines.twilio.wire import (
    SPOOLING_BYTES,
    UNANNOUNCED_BYTES,
    Body,
    Framing,
    Reply,
    WireFault,
    framing,
    is_whole_range,
    no_document,
    receive,
    unpack,
)

_SMALL_BODY_CAP = 64 * 1024  # bytes, for the bodies of errors and redirects
_UNPACKED_HERE = 64 * 1024  # bytes; unpacking more takes long enough to keep other requests waiting
_WORTH_SAYING = 30.0  # seconds
_IN_DOUBT = frozenset({Cause.ENCODED, Cause.TOO_LARGE, Cause.PART, Cause.ENDLESS, Cause.UNEXPECTED})


OK = frozenset({200, 203, 206})
"""A whole reply: as it is, changed by somebody on the way (a coding, mostly), or a part that is the whole."""

_AS_IT_IS = OK - {206}

ANY_BODY = frozenset({*range(200, 300)} - {204, 205})
"""All that a content may come with; with another status than those of a whole reply, it is in doubt."""

NO_CONTENT = frozenset({204})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what is sent, what counts as an answer, and what reading it may cost.

    `deadline` is in seconds, for the body, and for the head unless the host is given more. With `slowest`, in bytes a
    second, the bytes received so far extend it, and no silence may be longer than `deadline`. `cap` is the most bytes a
    body may have, as it comes and decoded. `hashed` asks for the body's SHA-256. Large bodies go to the `spool`, if
    any. Nothing in an `opaque` body tells half of it from the whole, so the reply must say where it ends; one that does
    not is a reply with a doubt. A `document` is JSON: what cannot be is a fault of the server.
    """

    url: str = field(repr=False)
    deadline: float
    cap: int
    method: str = "GET"
    accept: frozenset[int] = OK
    slowest: float | None = None
    hashed: bool = False
    opaque: bool = False
    document: bool = False
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
    """Sends `ask` over `line` when run; `status` is that of the reply, None while there is none.

    Attributes:
        patience: seconds until the head must be there.
        head_after: seconds until it was; None while it is not.
    """

    __slots__ = (
        *("_ask", "_connect", "_end", "_line", "_loop", "_request_id", "_started", "_timer", "_waited"),
        *("head_after", "patience", "status"),
    )

    def __init__(
        self, line: Line, ask: Ask, *, patience: float | None = None, connect: float = CONNECT_SECONDS
    ) -> None:
        self._line = line
        self._ask = ask
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._end = self._started
        self._timer: asyncio.Timeout | None = None
        self._waited = 0.0
        self._request_id: str | None = None
        self.patience = ask.deadline if patience is None else patience
        self.head_after: float | None = None
        self.status: int | None = None

    @property
    def is_arriving(self) -> bool:
        """Whether a reply of the status wanted has begun."""
        return self.status in self._ask.accept

    def begins(self, status: int, headers: Mapping[str, str]) -> float:
        """Note the head of the reply; return the seconds for its body."""
        now = self._loop.time()
        self.status = status
        self.head_after = now - self._started
        self._end = now + self._ask.deadline
        self._line.heard(headers)
        if not self._line.discreet:
            self._request_id = request_id(headers)
        return self._ask.deadline

    async def run(self) -> Reply | Failure:
        """Send and read."""
        line, ask = self._line, self._ask
        try:
            reply = await line.transport.send(ask.method, ask.url, line.headers, connect=self._connect, waiter=self)
            try:
                if reply.whole is not None:  # there is nothing more to wait for
                    return await self._outcome(reply)
                self._timer = asyncio.timeout_at(self._end)
                async with self._timer:
                    return await self._outcome(reply)
            finally:
                await reply.aclose()
        except TimeoutError:
            return self._failure(Cause.DEADLINE)
        except WireFault as fault:
            return self._failure(fault.cause, detail=fault.detail)
        except AddressRefused:
            return self._failure(Cause.ADDRESS)
        except NoMoreFiles:
            return self._failure(Cause.OPEN_FILES)
        except CertificateRefused as refused:
            return self._failure(Cause.CERTIFICATE, detail=str(refused))
        except ProxyRefused as refused:
            return self._failure(Cause.PROXY, detail=str(refused))
        except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL) as error:
            cause = Cause.NETWORK if self.status is None else Cause.TRUNCATED
            if self._line.discreet:
                return self._failure(cause, detail=type(error).__name__)
            return self._failure(cause, detail=str(error), error=error)

    async def _outcome(self, reply: Incoming) -> Reply | Failure:
        ask = self._ask
        if reply.status not in ask.accept:
            return await self._unwanted(reply)
        if reply.status == 204:
            return Reply(reply.status, reply.headers, b"")  # has no body, so no framing either
        if reply.status in REDIRECTS:
            if "location" not in reply.headers:
                return Reply(reply.status, reply.headers, await self._whole_small_body(reply))
            if reply.whole is None:
                await self._small_body(reply)  # nothing of it is used, the connection is
            return Reply(reply.status, reply.headers, b"")
        return await self._wanted(reply)

    async def _wanted(self, reply: Incoming) -> Reply:
        ask = self._ask
        frame = framing(reply.headers, cap=ask.cap)
        plain = frame.framed and reply.status in _AS_IT_IS and "content-encoding" not in reply.headers
        if plain and reply.whole is not None:
            return await self._plain(reply, reply.whole, frame)
        if ask.budget is None:
            return await self._whole(reply, frame, reserved=0)
        reserved = (frame.length or 0) if ask.spool is None else frame.in_memory or SPOOLING_BYTES
        if codings_of(reply.headers.get("content-encoding", "")):
            reserved = max(reserved, UNANNOUNCED_BYTES)  # it is larger when it is decoded
        await self._reserve(ask.budget, reserved)
        try:
            return await self._whole(reply, frame, reserved=reserved)
        except BaseException:
            ask.budget.release(reserved)
            raise

    async def _plain(self, reply: Incoming, body: bytes, frame: Framing) -> Reply:
        """A small body that has come, as nearly all do: neither coded nor a part, and it said where it ends."""
        ask = self._ask
        if frame.length is not None and len(body) != frame.length:
            raise WireFault(Cause.TRUNCATED, f"{len(body)} of {frame.length} bytes")
        if len(body) > ask.cap:
            raise WireFault(Cause.TOO_LARGE, f"more than {ask.cap} bytes")
        if ask.document and (reason := no_document(body)) is not None:
            raise WireFault(Cause.NO_DOCUMENT, reason)
        reserved = 0
        if ask.budget is not None:
            reserved = len(body)
            await ask.budget.acquire(reserved)
        digest = hashlib.sha256(body).hexdigest() if ask.hashed else ""
        return Reply(reply.status, reply.headers, body, sha256=digest, reserved=reserved)

    async def _whole(self, reply: Incoming, frame: Framing, *, reserved: int) -> Reply:
        """The body, decoded and proven; of an opaque one, as it came with a doubt where that fails."""
        ask, headers = self._ask, reply.headers
        digest = hashlib.sha256() if ask.hashed else None
        progress = None if ask.slowest is None else self._extend
        with Body(cap=ask.cap, in_memory=frame.in_memory, spool=ask.spool, digest=digest) as body:
            await receive(reply.read, frame, body, progress=progress)
            self._reschedule(None)  # all has come; what is left takes as long as this machine needs
            framed = frame.framed or (reply.status == 206 and is_whole_range(headers, body.length))
            plain, encoded_sha256, doubt = body, "", None
            try:
                if reply.status == 206 and not is_whole_range(headers, body.length):
                    raise WireFault(Cause.PART)
                if reply.status not in OK:
                    raise WireFault(Cause.UNEXPECTED)
                if ask.opaque and not framed:
                    raise WireFault(Cause.ENDLESS)
                plain = await self._unpacked(headers, body, max(reserved, UNANNOUNCED_BYTES))
            except WireFault as fault:
                if not ask.opaque or fault.cause not in _IN_DOUBT:
                    raise
                doubt = fault
            if plain is not body:
                encoded_sha256 = body.sha256
                body.close()
            if ask.document and (reason := no_document(plain.start)) is not None:
                raise WireFault(Cause.NO_DOCUMENT, reason)
        return Reply(
            reply.status,
            headers,
            plain.data,
            framed=framed,
            sha256=plain.sha256,
            reserved=reserved,
            file=plain.file,
            encoded_sha256=encoded_sha256,
            doubt=doubt,
        )

    async def _unpacked(self, headers: Mapping[str, str], body: Body, in_memory: int) -> Body:
        """The body without its codings, or the same body when it has none."""
        ask = self._ask
        codings = codings_of(headers.get("content-encoding", ""))
        if not codings or not body.length:
            return body
        digest = hashlib.sha256() if ask.hashed else None
        with Body(cap=ask.cap, in_memory=in_memory, spool=ask.spool, digest=digest) as plain:
            work = functools.partial(unpack, body, codings, plain, cap=ask.cap)
            has_codings = await asyncio.to_thread(work) if body.length > _UNPACKED_HERE else work()
            if has_codings:
                return plain
            plain.close()
            return body

    async def _reserve(self, budget: ByteBudget, size: int) -> None:
        self._reschedule(None)
        before = self._loop.time()
        await budget.acquire(size)
        waited = self._loop.time() - before
        self._waited += waited
        self._end += waited
        self._reschedule(self._end)

    def _reschedule(self, end: float | None) -> None:
        if self._timer is not None:
            self._timer.reschedule(end)

    def _extend(self, received: int) -> None:
        assert self._ask.slowest is not None
        # one that sent much at first and then nothing must not live on what it sent
        silent = self._loop.time() + self._ask.deadline
        self._reschedule(min(self._end + received / self._ask.slowest, silent))

    async def _unwanted(self, reply: Incoming) -> Failure:
        code = None
        if not self._line.discreet:
            code = error_code(await self._small_body(reply))
        cause = self._line.classify(reply.status)
        after = retry_after(reply.headers)
        detail = f"it asks to be asked again in {after:.0f} s" if after >= _WORTH_SAYING else ""
        return self._failure(cause, code=code, after=after, detail=detail)

    async def _small_body(self, reply: Incoming) -> bytes:
        with contextlib.suppress(WireFault, httpx.TransportError, httpx.DecodingError):
            return await self._whole_small_body(reply)
        return b""  # a courtesy of the server, not needed

    async def _whole_small_body(self, reply: Incoming) -> bytes:
        frame = framing(reply.headers, cap=_SMALL_BODY_CAP)
        with Body(cap=_SMALL_BODY_CAP) as body:
            await receive(reply.read, frame, body)
            if (codings := codings_of(reply.headers.get("content-encoding", ""))) and body.length:
                plain = Body(cap=_SMALL_BODY_CAP)
                return plain.data if unpack(body, codings, plain, cap=_SMALL_BODY_CAP) else body.data
        return body.data

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
