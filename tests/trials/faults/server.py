"""A small correct Twilio over raw sockets, of whose replies a seeded share is made bad.

The honest replies are the sandbox's, in pages of three rows. Every reply is written down: what was asked for, by
which mutator it was made bad (None: honest), and the SHA-256 of a content that went out whole. One more port is a
trap: it belongs to nobody, and whoever sends credentials there is noted.
"""

import asyncio
import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Self
from urllib.parse import parse_qsl, unquote

from pipelines.sandbox.answers import Answers
from pipelines.sandbox.exchange import Refusal, Reply, Request, operation_of
from pipelines.sandbox.world import World
from tests.trials.faults.mutator import Mutator
from tests.trials.faults.replies import LISTS, End, Honest, Level, Wire, framed

PAGE_SIZE = 3
_LEVELS = {
    "ListRecording": Level.RECORDINGS,
    "ListRecordingAddOnResult": Level.RESULTS,
    "ListRecordingAddOnResultPayload": Level.PAYLOADS,
    "FetchRecordingAddOnResultPayloadData": Level.DATA,
    "Content": Level.CONTENT,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One reply: `mutator` made it bad, None if it is honest; `sids` are the rows an honest list showed."""

    level: Level
    key: str
    mutator: Mutator | None
    sticky: bool = False
    sha256: str = ""
    sids: tuple[str, ...] = ()


@dataclass(slots=True)
class Plan:
    """Which replies are made bad: a `share` of them, by the mutators in turn, each as often at each of its levels.

    Of those a `sticky` share stays bad in the same way for as long as the plan lasts.
    """

    mutators: Sequence[Mutator]
    random: Random
    share: float = 0.4
    sticky: float = 0.3
    _decks: dict[Level, list[Mutator]] = field(default_factory=dict)
    _stuck: dict[tuple[Level, str], Mutator] = field(default_factory=dict)
    _last: dict[tuple[Level, str], Mutator | None] = field(default_factory=dict)

    def make(self, honest: Honest) -> tuple[Wire, Mutator | None, bool]:
        """The reply to send, and what it was made by."""
        place = (honest.level, honest.key)
        stuck = self._stuck.get(place)
        if stuck is not None and (wire := stuck.make(honest, self.random)) is not None:
            return wire, stuck, True
        if stuck is None and self.random.random() < self.share:
            for _ in range(40):
                mutator = self._draw(honest.level)
                if mutator.stray and self._last.get(place) is mutator:
                    continue
                wire = mutator.make(honest, self.random)
                if wire is None:
                    continue
                lie = honest.level in mutator.plausible
                if not (mutator.stray or lie) and self.random.random() < self.sticky:
                    self._stuck[place] = mutator
                self._last[place] = mutator
                return wire, mutator, place in self._stuck
        self._last[place] = None
        return Wire(framed(honest)), None, False

    def _draw(self, level: Level) -> Mutator:
        deck = self._decks.setdefault(level, [])
        if not deck:
            deck += [m for m in self.mutators if level in m.levels]
            self.random.shuffle(deck)
        return deck.pop()


class FaultServer:
    """A context manager: serves `world` at `now` from a thread; `plan` may be changed at any time (None: honest)."""

    def __init__(self, world: World, now: datetime, *, plan: Plan | None = None) -> None:
        self.world, self.now, self.plan = world, now, plan
        self.entries: list[Entry] = []
        self.trapped: list[bytes] = []
        self.requests = 0
        self.answer: Callable[[Honest], Wire | None] | None = None
        self.account = next(iter(world.accounts.values()))
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="faults", daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        api = await asyncio.start_server(self._connected(self._api), "127.0.0.1", 0, backlog=512)
        storage = await asyncio.start_server(self._connected(self._storage), "127.0.0.1", 0, backlog=512)
        trap = await asyncio.start_server(self._connected(self._trap), "127.0.0.1", 0)
        self.base_url, self.storage_url, self.trap_url = (
            f"http://127.0.0.1:{s.sockets[0].getsockname()[1]}" for s in (api, storage, trap)
        )
        self._answers = Answers(
            self.world, secret=b"16 bytes of salt", storage_url=self.storage_url, url_lifetime=timedelta(minutes=15)
        )
        self._ready.set()
        await self._stop.wait()
        for listener in (api, storage, trap):
            listener.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(
        self, answer: Callable[[bytes], Wire]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._converse(reader, writer, answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return start

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Callable[[bytes], Wire]
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                wire = answer(await reader.readuntil(b"\r\n\r\n"))
                at = len(wire.data) - wire.dripping
                writer.write(wire.data[:at])
                await writer.drain()
                for n in range(at, len(wire.data)):
                    await asyncio.sleep(wire.pause)
                    writer.write(wire.data[n : n + 1])
                    await writer.drain()
                if wire.end is End.HANG:
                    await reader.read()  # until the client gives up
                if wire.end is End.RESET:
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    writer.transport.abort()
                if wire.end is not End.KEEP:
                    break
        writer.close()

    # -- what is said ----------------------------------------------------------------------------

    def _api(self, head: bytes) -> Wire:
        request = _request(head, "api")
        try:
            self._answers.admit(request)
            reply = self._answers.answer(request, self.now)
        except Refusal as refusal:
            reply = refusal.reply
        return self._say(head, request, reply)

    def _storage(self, head: bytes) -> Wire:
        request = _request(head, "storage")
        if request.authorization is not None:
            self.trapped.append(head)
        return self._say(head, request, self._answers.storage(request, self.now))

    def _trap(self, head: bytes) -> Wire:
        request = _request(head, "storage")
        if request.authorization is not None:
            self.trapped.append(head)
        return Wire(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def _say(self, head: bytes, request: Request, reply: Reply) -> Wire:
        self.requests += 1
        headers = (("Content-Type", reply.content_type or "text/plain"), *reply.headers)
        path = head.split(b" ", 2)[1].decode("latin-1")
        level = _LEVELS.get(request.operation)
        if level is None or reply.status not in (200, 307):
            return Wire(framed(Honest(Level.CONTENT, "", path, reply.status, headers, reply.body)))
        honest = Honest(level, _key(level, request), path, reply.status, headers, reply.body, self.trap_url)
        if self.answer is not None and (wire := self.answer(honest)) is not None:
            return wire
        if self.plan is None:
            wire, mutator, sticky = Wire(framed(honest)), None, False
        else:
            wire, mutator, sticky = self.plan.make(honest)
        whole = mutator is None or mutator.tolerable or level in mutator.plausible
        shown = _shown(honest) if mutator is None and level in LISTS else ()
        sha256 = _sha256_of_body(wire, honest) if level is Level.CONTENT and whole else ""
        self.entries.append(Entry(level, honest.key, mutator, sticky, sha256, shown))
        return wire


def _request(head: bytes, origin: str) -> Request:
    line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ", 2)
    path, _, query = target.partition("?")
    headers = {name.lower(): text.strip() for name, _, text in (each.partition(":") for each in lines)}
    operation, sids = ("Content", ()) if origin == "storage" else operation_of(method, unquote(path))
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if operation.startswith("List"):
        asked["PageSize"] = str(PAGE_SIZE)
    return Request(
        origin="storage" if origin == "storage" else "api",
        method=method,
        path=unquote(path),
        query=asked,
        authorization=headers.get("authorization"),
        operation=operation,
        sids=sids,
    )


def _key(level: Level, request: Request) -> str:
    """What a reply is about: the day that is listed, or the SID of the parent or payload."""
    if level is Level.RECORDINGS:
        return request.query.get("DateCreated>", "")
    return request.path.rpartition("/")[2] if level is Level.CONTENT else request.sids[-1]


def _sha256_of_body(wire: Wire, honest: Honest) -> str:
    """What a reader gets who believes the length."""
    told = re.search(rb"Content-Length: (\d+)\r\n", wire.data)
    return hashlib.sha256(honest.body[: int(told[1]) if told else None]).hexdigest()


def _shown(honest: Honest) -> tuple[str, ...]:
    page = json.loads(honest.body)
    rows = next(rows for rows in page.values() if isinstance(rows, list))
    return tuple(row["sid"] for row in rows)
