"""Landing while an export runs: what is handed on is landed in batches, in the order it came."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from pipelines.holding import Budget, Content, Holding, SpoolFile
from pipelines.normalize import (
    Extracted,
    ExtractedPayload,
    ExtractedRecording,
    ExtractedResult,
    normalize,
)
from pipelines.records.charsets import UTF_8, codec_of
from pipelines.records.dates import utc_day
from pipelines.records.rows import Recording
from warehouse.contents import SpooledContent
from warehouse.errors import WarehouseError
from warehouse.land import Load, land
from warehouse.published.publish import publish
from warehouse.quarantine import QuarantineRow
from warehouse.schema import CHUNK_BYTES
from warehouse.store.archive import Archive
from warehouse.store.names import Destination

BATCH_BYTES = 6 << 20
"""Contents and large rows landed together. Landing needs four times this for a moment: Arrow, Parquet, compression."""

BATCH_ROWS = 5_000

BATCH_SECONDS = 10.0
"""Longest that something extracted waits to be landed, so that a kill loses little."""

LARGE_ROW = 4 << 10
"""Bytes of JSON of a row from which it counts in memory; of smaller ones BATCH_ROWS are few enough."""

ROWS_BYTES = 16 << 20
"""Bytes of large rows in memory that were handed on and are not landed yet."""

PUBLISH_SECONDS = 300.0
"""How often analysts see progress during a long export."""


class Lander:
    """Collects what extraction hands on and lands it in batches, in the order it came."""

    def __init__(
        self,
        archive: Archive,
        destination: Destination,
        holding: Holding,
        *,
        run_id: str,
        clock: Callable[[], datetime],
        landed: Callable[[Load], None],
    ) -> None:
        """`landed` is told of each load."""
        self._archive, self._destination, self._holding = archive, destination, holding
        self._run_id, self._clock, self._landed = run_id, clock, landed
        self._queue: asyncio.Queue[Extracted | None] = asyncio.Queue(BATCH_ROWS)
        self._rows = Budget(ROWS_BYTES)
        self._ended = False

    async def put(self, value: Extracted) -> None:
        """Hand on one value; waits while landing is behind."""
        if size := _large_row(value):
            await self._rows.acquire(size)
        await self._queue.put(value)

    async def end(self, landing: asyncio.Task[None]) -> None:
        """Say that nothing more comes, and wait until `landing`, which is `run`, has landed the rest or has failed."""
        ending = asyncio.create_task(self._queue.put(None))
        await asyncio.wait({ending, landing}, return_when=asyncio.FIRST_COMPLETED)
        if landing.done():
            ending.cancel()  # where landing has failed nobody makes room in the queue
        await asyncio.wait({ending, landing})

    async def run(self) -> None:
        """Land until `end`."""
        loop = asyncio.get_running_loop()
        published_at = loop.time()
        # there is a file to open from the start, while the first recordings are listed
        await self._publish()
        while not self._ended:
            batch = await self._collect(loop)
            if not batch:
                continue
            now = self._clock()
            load = await asyncio.to_thread(self._land, batch, now)
            self._landed(load)
            self._let_go(batch)
            batch.clear()  # or it would be in memory while the next one is collected
            if loop.time() - published_at > PUBLISH_SECONDS:
                await self._publish()
                published_at = loop.time()

    def _let_go(self, batch: Sequence[Extracted]) -> None:
        """Give back what a landed batch held."""
        for value in batch:
            self._rows.release(_large_row(value))
            if (content := _content(value)) is not None:
                content.release()

    async def _publish(self) -> None:
        """Show what there is. What cannot be shown is landed all the same: whoever publishes at the end says why."""
        with contextlib.suppress(WarehouseError):
            await asyncio.to_thread(publish, self._archive, self._destination, now=self._clock())

    def _land(self, batch: Sequence[Extracted], now: datetime) -> Load:
        values, large = [], []
        for value in batch:
            if isinstance(value, ExtractedPayload) and value.content is not None and value.content.file is not None:
                if value.content.length > CHUNK_BYTES:
                    large.append(_spooled(value, value.content, value.content.file))
                else:  # it was spooled because its length was not announced
                    value = replace(value, content=value.content.in_memory())
            values.append(value)
        return land(self._archive, normalize(values, now=now), run_id=self._run_id, now=now, spooled=large)

    async def _collect(self, loop: asyncio.AbstractEventLoop) -> list[Extracted]:
        """The next batch: full by bytes or rows, or old enough, or wanted because fetching waits for memory."""
        batch: list[Extracted] = []
        size = 0
        until = None
        while size < BATCH_BYTES and len(batch) < BATCH_ROWS:
            try:
                async with asyncio.timeout_at(until):
                    value = await self._queue.get()
            except TimeoutError:
                break
            if value is None:
                self._ended = True
                break
            batch.append(value)
            size += _large_row(value)
            if (content := _content(value)) is not None:
                size += content.length
            if until is None:
                until = loop.time() + BATCH_SECONDS
            if (self._holding.wanted or self._rows.wanted) and self._queue.empty():
                break
        return batch


def _content(value: Extracted) -> Content | None:
    return value.content if isinstance(value, ExtractedPayload) else None


def _large_row(value: Extracted) -> int:
    """Bytes that the JSON of a row takes in memory; 0 when it is ordinary."""
    texts: Sequence[str | bytes | None] = ()
    if isinstance(value, ExtractedRecording):
        texts = _texts(value.recording)
    elif isinstance(value, ExtractedResult):
        texts = [value.result.raw]
    elif isinstance(value, ExtractedPayload):
        texts = [value.payload.raw]
    elif isinstance(value, QuarantineRow):
        texts = [value.raw]
    size = sum(map(sys.getsizeof, texts))
    return size if size > LARGE_ROW else 0


def _texts(recording: Recording) -> tuple[str | None, ...]:
    """What may be long of a recording: all members that may be any text."""
    r = recording
    return r.call_sid, r.conference_sid, r.status, r.source, r.price_unit, r.encryption_details, r.media_url


def _spooled(value: ExtractedPayload, content: Content, file: SpoolFile) -> SpooledContent:
    """A large content as it is landed from the spool."""
    day = utc_day(value.result.date_completed)
    codec = codec_of(value.payload.content_type, file.chunks)
    other = None if codec == UTF_8 else codec
    return SpooledContent(value.payload.sid, day, codec == UTF_8, content.length, content.sha256, file.file, other)
