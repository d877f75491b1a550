"""A fast stand-in for the part of Twilio's API that an export reads, in its own process, on loopback only.

It does little per request, so that it is not what is measured: one asyncio Protocol with a hand-written parser
for requests without a body, and templates for the answers. The made-up account is `data.Settings`. The API's
port serves recordings, add-on results, payloads and the 307 to a content, keeps a cap that may change over
time (more at once is refused at once with 429) and answers after a fixed latency; a second port is the storage
that serves the contents, outside the cap, after a latency of its own. `/_stats` tells what happened, `/_reset`
forgets it; neither is counted. The sandbox is for behaviour, this is for speed.

    python -m benchmarks.server --recordings 5000 --latency 0.1 --caps 100:0,40:5,100:10
"""

import argparse
import asyncio
import json
import os
import stat
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import cast

from benchmarks import data
from benchmarks.answers import NOT_FOUND, Account
from benchmarks.caps import Caps
from benchmarks.data import Settings

_BUSY = (
    b'{"code":20429,"message":"Too Many Requests","more_info":"https://www.twilio.com/docs/errors/20429","status":429}'
)
_STATUS = {
    200: b"HTTP/1.1 200 OK",
    307: b"HTTP/1.1 307 Temporary Redirect",
    404: b"HTTP/1.1 404 Not Found",
    429: b"HTTP/1.1 429 Too Many Requests",
}
_HEAD = b"%b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"


class Stats:
    """What happened at the API since the last reset; times are of the machine's monotonic clock, in seconds."""

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self.cpu_before = time.process_time()
        self.requests = self.served = self.refused = self.peak = self.connections = 0
        self.in_flight_seconds = 0.0
        self.first_at: float | None = None
        self.last_at = 0.0
        self.kinds: dict[str, list[float]] = {}  # count, first, last

    def note(self, kind: str, now: float) -> None:
        """Count a request of this kind."""
        seen = self.kinds.setdefault(kind, [0, now, now])
        seen[0] += 1
        seen[2] = now

    def report(self) -> bytes:
        """Everything, as JSON."""
        first = self.last_at if self.first_at is None else self.first_at
        return json.dumps(
            {
                "requests": self.requests,
                "served": self.served,
                "refused": self.refused,
                "peak_in_flight": self.peak,
                "in_flight_seconds": self.in_flight_seconds,
                "cap_seconds": self.caps.integral(self.last_at - first),
                "first_at": self.first_at,
                "last_at": self.last_at,
                "kinds": {k: {"count": int(c), "first_at": a, "last_at": z} for k, (c, a, z) in self.kinds.items()},
                "connections": self.connections,
                "cpu_seconds": time.process_time() - self.cpu_before,
            }
        ).encode()


class Service:
    """What all connections share."""

    def __init__(self, account: Account, caps: Caps, *, latency: float, storage_latency: float) -> None:
        self.account, self.caps = account, caps
        self.latency, self.storage_latency = latency, storage_latency
        self.stats = Stats(caps)
        self.in_flight = 0
        self.moved_at = time.monotonic()
        self.cap, self.next_step = caps.steps[0][0], 0

    def reset(self) -> None:
        """Forget what happened; the caps begin anew with the next request."""
        self.stats = Stats(self.caps)
        self.cap, self.next_step = self.caps.steps[0][0], 0

    def enter(self) -> tuple[int, bool]:
        """Let one request in: how many are in flight with it, and whether the cap refuses it."""
        now = time.monotonic()
        stats = self.stats
        if stats.first_at is None:
            stats.first_at = now
        steps = self.caps.steps
        while self.next_step < len(steps) and now - stats.first_at >= steps[self.next_step][1]:
            self.cap = steps[self.next_step][0]
            self.next_step += 1
        stats.requests += 1
        in_flight = self.in_flight + 1
        if self.cap and in_flight > self.cap:
            stats.refused += 1
            return in_flight, True
        stats.in_flight_seconds += self.in_flight * (now - self.moved_at)
        self.moved_at, self.in_flight = now, in_flight
        stats.peak = max(stats.peak, in_flight)
        return in_flight, False

    def leave(self) -> None:
        """One request has been answered."""
        now = time.monotonic()
        self.stats.in_flight_seconds += self.in_flight * (now - self.moved_at)
        self.moved_at = self.stats.last_at = now
        self.in_flight -= 1
        self.stats.served += 1


class Connection(asyncio.Protocol, ABC):
    """One connection: read a head, wait, write an answer, again."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.loop = asyncio.get_running_loop()
        self.buffer = b""
        self.busy = False
        self.open = False
        self.writable = True
        self.pieces: Iterator[bytes] | None = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = cast("asyncio.Transport", transport)
        self.open = True
        self.service.stats.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self.open = False
        self.pieces = None

    def data_received(self, data: bytes) -> None:
        """More of a request, or of several."""
        self.buffer += data
        if not self.busy:
            self.next_request()

    def next_request(self) -> None:
        """Begin with the next request, if all of its head is there; requests have no body here."""
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        self.buffer = rest
        self.busy = True
        target = head.split(b" ", 2)[1].decode("latin-1")
        self.handle(target)

    @abstractmethod
    def handle(self, target: str) -> None:
        """Answer one request."""

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Write an answer."""
        if self.open:
            self.transport.write(_HEAD % (_STATUS[status], len(body), headers) + body)
        self.done()

    def done(self) -> None:
        """The answer is written: go on with the next request."""
        self.busy = False
        if self.open and self.buffer:
            self.next_request()

    def later(self, seconds: float, call: Callable[..., None], *arguments: object) -> None:
        """Call now, or after so many seconds."""
        if seconds > 0:
            self.loop.call_later(seconds, call, *arguments)
        else:
            call(*arguments)


class ApiConnection(Connection):
    """A connection to the API."""

    def handle(self, target: str) -> None:
        """Answer after the latency, or refuse at once."""
        service = self.service
        if target.startswith("/_"):
            if target == "/_reset":
                service.reset()
            self.send(200, b"", service.stats.report())
            return
        in_flight, refused = service.enter()
        header = b"Twilio-Concurrent-Requests: %d\r\nTwilio-Request-Id: RQ%032x\r\n" % (
            in_flight,
            service.stats.requests,
        )
        if refused:
            self.send(429, header, _BUSY)
            return
        kind, status, more, body = service.account.answer(target)
        service.stats.note(kind, service.moved_at)
        self.later(service.latency, self.finish, status, header + more, body)

    def finish(self, status: int, headers: bytes, body: bytes) -> None:
        """The latency is over."""
        self.service.leave()
        self.send(status, headers, body)


class StorageConnection(Connection):
    """A connection to the storage of contents."""

    def handle(self, target: str) -> None:
        """Serve a content after the storage's latency, a big one in pieces."""
        sid = target.partition("?")[0].rpartition("/")[2]
        self.service.stats.note("content", time.monotonic())
        self.later(self.service.storage_latency, self.serve, sid)

    def serve(self, sid: str) -> None:
        """Write a content, or begin to."""
        settings = self.service.account.settings
        try:
            numbers = data.numbers_of(sid)
        except ValueError:
            self.send(404, b"", NOT_FOUND)
            return
        length = settings.content_length(*numbers)
        if length <= data.CHUNK:
            self.send(200, b"", b"".join(settings.content(*numbers)))
            return
        if self.open:
            self.transport.write(_HEAD % (_STATUS[200], length, b""))
            self.pieces = settings.content(*numbers)
            self.pump()

    def pump(self) -> None:
        """Write pieces of a big content for as long as the client takes them."""
        while self.pieces is not None and self.writable:
            piece = next(self.pieces, None)
            if piece is None:
                self.pieces = None
                self.done()
                return
            self.transport.write(piece)

    def pause_writing(self) -> None:
        """The client is behind."""
        self.writable = False

    def resume_writing(self) -> None:
        """It has caught up."""
        self.writable = True
        self.loop.call_soon(self.pump)  # not from within a write of pump itself


async def serve(options: argparse.Namespace) -> None:
    """Listen until standard input, if it is a pipe, is closed."""
    loop = asyncio.get_running_loop()
    settings = Settings(
        recordings=options.recordings,
        results=options.results,
        payloads=options.payloads,
        size=options.size,
        big=options.big,
        hidden=options.hidden,
        now=options.now or int(time.time()) - 600,
    )
    account = Account(settings, "")
    storage_latency = options.latency if options.storage_latency is None else options.storage_latency
    service = Service(account, options.caps, latency=options.latency, storage_latency=storage_latency)
    api = await loop.create_server(lambda: ApiConnection(service), "127.0.0.1", options.port, backlog=2048)
    storage = await loop.create_server(lambda: StorageConnection(service), "127.0.0.1", 0, backlog=2048)
    account.storage_url = f"http://127.0.0.1:{storage.sockets[0].getsockname()[1]}"
    url = f"http://127.0.0.1:{api.sockets[0].getsockname()[1]}"
    sys.stdout.write(json.dumps({"url": url, "storage_url": account.storage_url, "data": settings.to_json()}) + "\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, stop.set)
    await stop.wait()


def main() -> None:
    """The command line."""

    def pattern(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(","))

    parser = argparse.ArgumentParser(description="a fast stand-in for Twilio's API on loopback")
    parser.add_argument("--port", type=int, default=0, help="of the API; default: any free one")
    parser.add_argument("--recordings", type=int, default=5000)
    parser.add_argument("--results", type=pattern, default=(1,), help="per recording, a pattern such as 0,1,3")
    parser.add_argument("--payloads", type=pattern, default=(1,), help="per add-on result, a pattern")
    parser.add_argument("--size", type=int, default=2000, help="bytes of a content")
    parser.add_argument("--big", type=size_of, default=0, help="bytes of one big content, such as 100MB")
    parser.add_argument("--hidden", type=int, default=0, help="so many of the newest are not there yet")
    parser.add_argument("--now", type=int, default=0, help="age of the newest recording, seconds since 1970")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer of the API")
    parser.add_argument("--storage-latency", type=float, default=None, help="seconds; default: as the API's")
    parser.add_argument("--caps", type=Caps.parse, default=Caps(), help="cap:seconds,... (cap 0: none)")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=_fast_loop()) as runner:
        try:
            runner.run(serve(options))
        except KeyboardInterrupt:
            return


def size_of(text: str) -> int:
    """Bytes meant by a text like 100MB or 2000."""
    for suffix, factor in (("MB", 10**6), ("KB", 10**3)):
        if text.upper().endswith(suffix):
            return int(text[: -len(suffix)]) * factor
    return int(text)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # the standard loop is slower; the server's CPU is in the figures
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
