"""Contents between the wire and the archive: large ones wait on disk, and leave nothing behind there."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from pipelines.batches import BATCH_BYTES, Lander
from pipelines.errors import FixWarehouse
from pipelines.holding import Content, Holding, SpoolFile
from pipelines.records.sids import add_on_result_sid, payload_sid, recording_sid
from pipelines.report import Progress
from pipelines.sandbox.run import Sandbox
from tests.pipelines.conftest import NOW, Exporter
from tests.pipelines.twilio.made_up import AC, client, in_turn, redirect
from warehouse.quarantine import QuarantineRow
from warehouse.store.names import Destination
from warehouse.store.opening import open_archive

MB = 1 << 20
RE, XR, XH = recording_sid("RE" + "1" * 32), add_on_result_sid("XR" + "1" * 32), payload_sid("XH" + "1" * 32)


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_a_content_larger_than_memory_allows_is_exported_byte_for_byte(
    destination: Destination, sandbox: Sandbox, new_exporter: Callable[[Sandbox, Destination], Exporter]
) -> None:
    """Beside small ones, as text where it is text, and again unchanged by the next export."""
    text = ("ä transcript, " * (1 * MB)).encode()  # a character of two bytes lies across every cut
    noise = hashlib.shake_256(b"noise").digest(5 * MB)
    recording = sandbox.world.add_recording(sandbox.account_sid, NOW - timedelta(days=3))
    result = sandbox.world.add_result(recording)
    contents = {
        sandbox.world.add_payload(result, data, content_type=kind).sid: (data, kind)
        for data, kind in ((text, "text/plain"), (noise, "audio/x-wav"), (b'{"a":1}', "application/json"))
    }
    exporter = new_exporter(sandbox, destination)
    for _ in range(2):
        exporter().verdict()
        rows = exporter.rows("SELECT payload_sid, content, content_text FROM contents")
        assert {sid: (data, kept) for sid, data, kept in rows} == {
            sid: (data, None if kind.startswith("audio") else data.decode()) for sid, (data, kind) in contents.items()
        }
    assert exporter.progress.traffic().contents == 0, "nothing is fetched twice"
    assert not [path for path in exporter.archive.root.rglob("*") if path.suffix == ".tmp"]


def _content(storage: httpx.Response | tuple[httpx.Response, ...], holding: Holding) -> Content:
    answers = storage if isinstance(storage, tuple) else (storage,)

    async def fetch() -> Content:
        twilio = client(lambda _: redirect(), in_turn(*answers), random=lambda: 0.0)
        return await twilio.content(RE, XR, XH, budget=holding, spool=holding.open)

    return asyncio.run(fetch())


def _chunked(data: bytes) -> httpx.Response:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    return httpx.Response(200, headers={"Transfer-Encoding": "chunked"}, content=chunks())


@pytest.mark.parametrize(
    ("size", "announced", "spooled"),
    [(4 * MB, True, False), (4 * MB + 1, True, True), (200_000, False, False), (300_000, False, True)],
)
def test_what_is_large_or_may_be_is_spooled(tmp_path: Path, size: int, *, announced: bool, spooled: bool) -> None:
    """Four megabytes when the length is announced, 256 KB when it is not; the bytes and their hash are the same."""
    data = hashlib.shake_256(b"x").digest(size)
    with Holding(20 * MB, tmp_path) as holding:
        content = _content(httpx.Response(200, content=data) if announced else _chunked(data), holding)
        assert (content.file is not None) == spooled
        kept = content.data if content.file is None else b"".join(content.file.chunks())
        assert kept == data
        assert (content.length, content.sha256) == (size, hashlib.sha256(data).hexdigest())
        assert content.reserved == {(4 * MB): 4 * MB, (4 * MB + 1): MB}.get(size, 256 * 1024)


def test_a_large_content_cut_short_gives_its_file_and_its_bytes_back(tmp_path: Path) -> None:
    """And is fetched again: half a content never passes for a whole one."""
    data = bytes(5 * MB)
    cut = httpx.Response(200, headers={"Content-Length": str(len(data))}, content=data[:-1])
    opened: list[SpoolFile] = []

    class Watched(Holding):
        def open(self) -> SpoolFile:
            opened.append(super().open())
            return opened[-1]

    with Watched(20 * MB, tmp_path) as holding:
        content = _content((cut, httpx.Response(200, content=data)), holding)
        assert content.length == len(data)
        assert [file.closed for file in opened] == [True, False]
        content.release()
        asyncio.run(asyncio.wait_for(holding.acquire(20 * MB), 1))
    assert opened[-1].closed, "the end closes what nobody has closed"


def test_the_spool_has_no_name_that_a_kill_could_leave_behind(tmp_path: Path) -> None:
    """An open file of it is in no folder."""
    with Holding(MB, tmp_path) as holding:
        holding.open().write(b"x" * MB)
        assert list(tmp_path.iterdir()) == []


def test_a_spool_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    """The archive's disk is full, or its folder is gone."""
    with Holding(MB, tmp_path / "gone") as holding, pytest.raises(FixWarehouse, match="EXPORT_ROOT"):
        holding.open()


def test_large_rows_are_handed_on_only_as_fast_as_they_are_landed(tmp_path: Path) -> None:
    """Rows of megabytes wait with whoever has them, and do not make a batch of thousands."""
    rows = [QuarantineRow("recording", None, None, AC, f"no. {n}", bytes(2 * BATCH_BYTES)) for n in range(4)]

    async def landing() -> Progress:
        progress = Progress()
        with Holding(MB, tmp_path) as holding:
            archive = open_archive(tmp_path / "data")
            lander = Lander(archive, "parquet", holding, run_id="run", clock=lambda: NOW, landed=progress.add)
            putting = [asyncio.create_task(lander.put(row)) for row in rows]
            await asyncio.wait(putting, return_when=asyncio.FIRST_COMPLETED)
            assert [task.done() for task in putting] == [True, False, False, False]
            running = asyncio.create_task(lander.run())
            await asyncio.gather(*putting)
            await lander.end(running)
        return progress

    progress = asyncio.run(asyncio.wait_for(landing(), 60))
    assert (progress.landed["quarantine"], progress.loads) == (4, 4)
