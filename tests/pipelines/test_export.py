"""The main job end to end: what the sandbox shows is what an analyst finds, whatever happens on the way."""

import asyncio
import errno
import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, timedelta
from multiprocessing import active_children
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines import conclude
from pipelines.batches import BATCH_ROWS, Lander
from pipelines.errors import FixConfiguration, FixWarehouse, IncompleteExport, RepairWarehouse, SourceError
from pipelines.holding import Holding
from pipelines.records.items import LARGEST_ITEM
from pipelines.sandbox.answers import Answers
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from tests.pipelines.conftest import NOW, Exporter
from warehouse.quarantine import QuarantineRow
from warehouse.store.names import Destination
from warehouse.upkeep.verify import verify

RESULTS = "SELECT sid, reference_sid, status, date_created, date_completed, completed_date FROM add_on_results"
CONTENTS = "SELECT p.sid, p.add_on_result_sid, c.content, p.content_sha256, p.content_length, c.completed_date " + (
    "FROM add_on_payloads p LEFT JOIN contents c ON c.payload_sid = p.sid"
)


def _true_results(sandbox: Sandbox) -> set[tuple[Any, ...]]:
    return {
        (
            t.result.sid,
            t.recording.sid,
            t.state.status,
            t.result.steps[0].at,
            t.state.date_completed,
            t.state.date_completed.astimezone(UTC).date() if t.state.date_completed else None,
        )
        for t in sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid)
    }


def _true_contents(sandbox: Sandbox) -> set[tuple[Any, ...]]:
    return {
        (
            p.sid,
            t.result.sid,
            p.content,
            hashlib.sha256(p.content).hexdigest(),
            len(p.content),
            t.state.date_completed.astimezone(UTC).date() if t.state.date_completed else None,
        )
        for t in sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid)
        for p in t.payloads
    }


def _completed(world: World, sandbox: Sandbox, content: bytes = b'{"transcription": "hello"}', *, days: int = 3) -> Any:
    """A recording of `days` ago with one completed result and one content; returns the result and the payload."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=days))
    result = world.add_result(recording)
    return result, world.add_payload(result, content)


def test_everything_the_source_shows_is_in_the_destination_once(
    new_exporter: Callable[[Sandbox, Destination], Exporter],
) -> None:
    """Rows, dates to the second, partitions and content bytes, with 429s on the way and 1,010 results of one."""
    with Sandbox(made_up_world(now=NOW, recordings=20, many_results=1010), now=NOW) as sandbox:
        sandbox.settings.cap, sandbox.settings.latency = 6, 0.004
        exporter = new_exporter(sandbox, "duckdb")
        report = exporter()
        report.verdict()
        assert report.progress.traffic().refused > 0
        exporter.destination = "parquet"  # the same archive, shown in the other way
        for shown in ("duckdb", "parquet"):
            assert exporter.rows("SELECT destination FROM _commit") == [(shown,)]
            results, contents = exporter.rows(RESULTS), exporter.rows(CONTENTS)
            assert len(results) == len(set(results))
            assert set(results) == _true_results(sandbox)
            assert len(contents) == len(set(contents))
            assert set(contents) == _true_contents(sandbox)
            assert verify(exporter.archive).mismatches == ()
            exporter().verdict()


def test_the_parquet_folders_are_the_utc_days(sandbox: Sandbox, world: World, exporter: Exporter) -> None:
    """A file holds rows of its folder's day only, and the archive needs no database to be read."""
    for days in (1, 2, 3):
        _completed(world, sandbox, days=days)
    exporter()
    for path, file in exporter.archive.head().tables["add_on_results"].items():
        dates = pq.read_table(exporter.archive.root / path, partitioning=None)["date_completed"].to_pylist()
        assert {f"completed_date={at:%Y-%m-%d}" for at in dates} == {file.folder}


def test_a_second_run_fetches_no_content_and_adds_no_row(
    new_exporter: Callable[[Sandbox, Destination], Exporter],
) -> None:
    """Not even a commit: nothing changed."""
    with Sandbox(made_up_world(now=NOW, recordings=15), now=NOW) as sandbox:
        exporter = new_exporter(sandbox, "duckdb")
        exporter()
        before = exporter.archive.head()
        sandbox.journal.clear()
        exporter().verdict()
        assert sandbox.journal.count("Content") == 0
        assert sandbox.journal.count("FetchRecordingAddOnResultPayloadData") == 0
        assert exporter.archive.head() == before
        listed = sandbox.journal.count("ListRecordingAddOnResult")
        sandbox.journal.clear()
        exporter(Scope(full=True)).verdict()
        assert sandbox.journal.count("ListRecordingAddOnResult") > listed
        assert sandbox.journal.count("Content") == 0
        assert exporter.archive.head() == before


def test_a_result_moves_to_its_day_when_it_finishes(sandbox: Sandbox, world: World, exporter: Exporter) -> None:
    """Unfinished results are landed in the null partition and visited until they are final."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(hours=1))
    result = world.add_result(recording, takes=timedelta(hours=30))
    payload = world.add_payload(result, b"late transcript", content_type="text/plain")
    exporter().verdict()
    assert exporter.rows("SELECT completed_date, exported_at FROM add_on_results") == [(None, None)]
    assert exporter.rows("SELECT state FROM retention") == [("unfinished",)]
    sandbox.advance(timedelta(days=3))
    exporter().verdict()
    day = result.steps[-1].at.astimezone(UTC).date()
    assert exporter.rows("SELECT sid, completed_date, exported_at IS NOT NULL FROM add_on_results") == [
        (result.sid, day, True)
    ]
    assert exporter.rows("SELECT payload_sid, completed_date, content_text FROM contents") == [
        (payload.sid, day, "late transcript")
    ]


def test_what_vanishes_at_the_source_stays_landed(sandbox: Sandbox, world: World, exporter: Exporter) -> None:
    """Expired, deleted or lost rows, and a source that suddenly shows nothing, take nothing away."""
    (lost, _), (deleted, _), (kept, _) = (_completed(world, sandbox, b"content %d" % n) for n in range(3))
    exporter().verdict()
    before = set(exporter.rows(RESULTS)), set(exporter.rows(CONTENTS))
    world.lose(lost.sid)
    world.delete(deleted, sandbox.now)
    world.lose(kept.reference_sid)
    sandbox.advance(timedelta(hours=1))
    exporter(Scope(full=True)).verdict()
    sandbox.advance(timedelta(days=60))
    exporter(Scope(full=True)).verdict()
    assert (set(exporter.rows(RESULTS)), set(exporter.rows(CONTENTS))) == before


def test_a_payload_that_comes_late_is_found_by_the_full_sweep(
    sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """Its result was whole before; the sweep lists it again and fetches only what is new."""
    result, _ = _completed(world, sandbox, b"first", days=8)
    exporter().verdict()
    late = world.add_payload(result, b"second", date_created=NOW - timedelta(hours=1))
    sandbox.journal.clear()
    exporter(Scope(full=True)).verdict()
    assert sandbox.journal.count("Content") == 1
    assert set(exporter.rows("SELECT payload_sid, content FROM contents")) >= {(late.sid, b"second")}
    assert exporter.rows("SELECT payload_count FROM add_on_results") == [(2,)]


def test_a_range_exports_the_contents_of_its_days_only(sandbox: Sandbox, world: World, exporter: Exporter) -> None:
    """Rows of other days seen on the way are landed as pending; an export without dates fetches their contents."""
    (_, early), (_, middle), (_, late) = (_completed(world, sandbox, b"c%d" % n, days=n) for n in (9, 6, 3))
    day = (NOW - timedelta(days=6)).date()
    exporter(Scope(day, day)).verdict()
    assert exporter.rows("SELECT payload_sid FROM contents") == [(middle.sid,)]
    assert sorted(exporter.rows("SELECT state FROM retention")) == [("exported",), ("pending",)]
    exporter().verdict()
    assert {sid for (sid,) in exporter.rows("SELECT payload_sid FROM contents")} == {early.sid, middle.sid, late.sid}


def test_an_export_that_breaks_off_keeps_what_it_landed_and_goes_on_from_there(
    sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """When Twilio stops answering, the landed contents are published and never fetched again."""
    for days in range(1, 26):
        _completed(world, sandbox, b"content %d" % days, days=days)
    fetched: set[str] = set()

    def break_off(request: Request) -> Reply | None:
        if request.operation == "Content":
            fetched.add(request.path)
        return Reply(503, b"{}") if len(fetched) >= 10 and request.origin == "api" else None

    sandbox.settings.intercept = break_off
    with pytest.raises(SourceError, match="HTTP 503"):
        exporter(workers=2)
    landed = {sid for (sid,) in exporter.rows("SELECT payload_sid FROM contents")}
    assert 5 <= len(landed) < 25
    assert verify(exporter.archive).mismatches == ()
    sandbox.settings.intercept = None
    sandbox.journal.clear()
    exporter().verdict()
    assert sandbox.journal.count("Content") == 25 - len(landed)
    assert set(exporter.rows(CONTENTS)) == _true_contents(sandbox)


def test_rows_of_megabytes_cost_neither_their_neighbours_nor_the_publication(
    sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """In every list: in quarantine with their beginning; what stands beside them is landed and published."""
    keys = {
        "ListRecording": "recordings",
        "ListRecordingAddOnResult": "add_on_results",
        "ListRecordingAddOnResultPayload": "payloads",
    }
    for days in range(1, 4):
        _completed(world, sandbox, b"content %d" % days, days=days)

    honestly = Answers(world, secret=b"", storage_url="", url_lifetime=timedelta(hours=1))

    def add_a_large_row(request: Request) -> Reply | None:
        if (key := keys.get(request.operation)) is None:
            return None
        page = json.loads(honestly.answer(request, NOW).body)
        if page[key]:
            page[key].append(page[key][0] | {"label": "x" * 2_000_000})
        return Reply(200, json.dumps(page).encode())

    sandbox.settings.intercept = add_a_large_row
    with pytest.raises(IncompleteExport, match="quarantine list"):
        exporter().verdict()
    assert set(exporter.rows(CONTENTS)) == _true_contents(sandbox)
    kept = exporter.rows("SELECT kind, count(*), max(octet_length(raw)) FROM quarantine GROUP BY ALL ORDER BY ALL")
    assert kept == [(kind, 3, LARGEST_ITEM) for kind in ("add_on_result", "payload", "recording")]
    assert exporter.rows("SELECT count(*) FROM quarantine WHERE reason LIKE '%larger than 16 KB%'") == [(9,)]


def test_a_content_the_disk_has_no_room_for_stops_no_other(
    sandbox: Sandbox, world: World, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits with the reason; where there is room for the rest, the rest is landed."""
    _completed(world, sandbox, b"x" * (5 << 20), days=20)  # more than is held in memory
    for days in range(1, 9):
        _completed(world, sandbox, b"content %d" % days, days=days)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipelines.holding.tempfile.TemporaryFile", full)
    with pytest.raises(IncompleteExport, match="free some") as caught:
        exporter().verdict()
    assert caught.value.again
    assert exporter.rows("SELECT count(*) FROM contents") == [(8,)]
    monkeypatch.undo()
    exporter().verdict()
    assert set(exporter.rows(CONTENTS)) == _true_contents(sandbox)


def test_a_landing_that_fails_while_its_queue_is_full_ends_the_export(exporter: Exporter) -> None:
    """There is no room to say the end, and nobody makes any."""

    async def ending() -> None:
        lander = Lander(
            exporter.archive, "duckdb", Holding(1, exporter.archive.root), run_id="t", clock=lambda: NOW, landed=print
        )
        for number in range(BATCH_ROWS):
            await lander.put(QuarantineRow("recording", None, None, None, f"{number}", b"{}"))
        handed_over = asyncio.Event()

        async def fail() -> None:
            await handed_over.wait()
            raise FixWarehouse("made up")

        landing = asyncio.create_task(fail())
        asyncio.get_running_loop().call_later(0.05, handed_over.set)
        await asyncio.wait_for(lander.end(landing), 30)
        assert isinstance(landing.exception(), FixWarehouse)

    asyncio.run(ending())


_Fault = Callable[[Request], Reply | None]


def _content_missing(request: Request) -> Reply | None:
    broken = request.operation == "FetchRecordingAddOnResultPayloadData"
    return Reply(404, b'{"code": 20404, "status": 404}') if broken else None


def _redirect_to_a_private_address(request: Request) -> Reply | None:
    broken = request.operation == "FetchRecordingAddOnResultPayloadData"
    return Reply(307, b'{"redirect_to": "http://169.254.169.254/latest/meta-data"}') if broken else None


def _list_of_results_leads_elsewhere(request: Request) -> Reply | None:
    broken = request.operation == "ListRecordingAddOnResult"
    return Reply(200, b'{"add_on_results": [], "next_page_uri": "https://evil.example/2010-04-01"}') if broken else None


def _list_of_payloads_without_its_key(request: Request) -> Reply | None:
    broken = request.operation == "ListRecordingAddOnResultPayload"
    return Reply(200, b'{"message": "an error document"}') if broken else None


def _list_of_results_forbidden(request: Request) -> Reply | None:
    broken = request.operation == "ListRecordingAddOnResult"
    return Reply(403, b'{"code": 20003, "status": 403}') if broken else None


def _list_of_payloads_forbidden(request: Request) -> Reply | None:
    broken = request.operation == "ListRecordingAddOnResultPayload"
    return Reply(403, b'{"code": 20003, "status": 403}') if broken else None


def _data_forbidden(request: Request) -> Reply | None:
    broken = request.operation == "FetchRecordingAddOnResultPayloadData"
    return Reply(403, b'{"code": 20003, "status": 403}') if broken else None


@pytest.mark.parametrize(
    ("faults", "again"),
    [
        ((_content_missing,), False),
        (
            (
                _list_of_results_forbidden,
                _list_of_payloads_forbidden,
                _data_forbidden,
                _redirect_to_a_private_address,
                _list_of_results_leads_elsewhere,
                _list_of_payloads_without_its_key,
            ),
            True,
        ),
    ],
)
def test_bad_things_do_not_stop_the_good_ones(
    faults: tuple[_Fault, ...], again: bool, sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """The rest is landed, the run says that it is incomplete, and the next run mends what can be mended."""
    results = [_completed(world, sandbox, b"content %d" % number)[0] for number in range(2 * len(faults) + 1)]
    bad = {result.reference_sid: fault for result, fault in zip(results[1::2], faults, strict=True)}
    sandbox.settings.intercept = lambda request: next(
        (fault(request) for sid, fault in bad.items() if sid in request.path), None
    )
    with pytest.raises(IncompleteExport) as incomplete:
        exporter().verdict()
    assert incomplete.value.again is again
    assert exporter.progress.extraction.pending == len(faults) * again, "each is to be had again"
    assert len(exporter.rows("SELECT * FROM contents")) == len(results) - len(faults)
    assert verify(exporter.archive).mismatches == ()
    sandbox.settings.intercept = None
    exporter().verdict()
    assert set(exporter.rows(CONTENTS)) == _true_contents(sandbox)


def test_unreadable_input_is_quarantined_with_its_bytes_and_reason(
    sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """A row without a SID, and a date that is none; the row with the bad date is landed all the same."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=3))
    good = world.add_result(recording, overrides={"date_updated": "31 Feb 2026"})
    world.add_payload(good, b"kept")
    world.add_result(recording, overrides={"sid": None})
    with pytest.raises(IncompleteExport) as incomplete:
        exporter().verdict()
    assert not incomplete.value.again
    rows = exporter.rows("SELECT kind, sid, parent_sid, reason, raw FROM quarantine ORDER BY sid NULLS FIRST")
    assert [row[:3] for row in rows] == [
        ("add_on_result", None, recording.sid),
        ("add_on_result", good.sid, recording.sid),
    ]
    assert "no SID" in rows[0][3]
    assert "date_updated" in rows[1][3]
    assert b"31 Feb 2026" in rows[1][4]
    assert exporter.rows("SELECT payload_sid IS NOT NULL, content FROM contents") == [(True, b"kept")]
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    assert len(exporter.rows("SELECT * FROM quarantine")) == 2


def test_a_status_nobody_knows_is_landed_as_text_and_reported(
    sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """New words of Twilio's do not stop an export, and an open one is visited again."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    result = world.add_result(recording, outcome=None, overrides={"status": "pondering"})
    report = exporter()
    report.verdict()
    assert report.progress.extraction.unknown_statuses == {"pondering": 1}
    assert exporter.rows("SELECT status FROM add_on_results") == [("pondering",)]
    assert exporter.rows("SELECT open_results FROM recordings") == [(1,)]
    world.put(replace(result, overrides={}))
    exporter().verdict()
    assert exporter.rows("SELECT status FROM add_on_results") == [(result.at(NOW).status,)]


def test_a_status_that_could_say_anything_is_landed_and_not_reported(
    sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """The report goes to stdout and into Dagster's history."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    world.add_result(recording, outcome=None, overrides={"status": "Call me at 555-0100"})
    assert exporter().progress.extraction.unknown_statuses == {"something else": 1}
    assert exporter.rows("SELECT status FROM add_on_results") == [("Call me at 555-0100",)]


@pytest.mark.parametrize("bad", [Reply(200, b"<html>"), Reply(400, b"{}")])
def test_payloads_listed_before_a_bad_page_are_landed_and_their_result_is_not_whole(
    sandbox: Sandbox, world: World, exporter: Exporter, bad: Reply
) -> None:
    """How many there are is not known then; a good list later makes it whole without fetching again what is here."""
    result, first = _completed(world, sandbox, b"first")
    second = world.add_payload(result, b"second")

    def two_pages(request: Request) -> Reply | None:
        if request.operation != "ListRecordingAddOnResultPayload":
            return None
        if "Page" in request.query:
            return bad
        row = {"sid": first.sid, "content_type": first.content_type}
        following = f"{request.path}?Page=1&PageToken=x"
        return Reply(200, json.dumps({"payloads": [row], "next_page_uri": following}).encode())

    sandbox.settings.intercept = two_pages
    with pytest.raises(IncompleteExport, match="run again"):
        exporter().verdict()
    assert exporter.rows("SELECT payload_sid, content FROM contents") == [(first.sid, b"first")]
    assert exporter.rows("SELECT payload_count, exported_at FROM add_on_results") == [(None, None)]
    assert exporter.rows("SELECT state FROM retention") == [("pending",)]
    sandbox.settings.intercept = None
    sandbox.journal.clear()
    exporter().verdict()
    assert sandbox.journal.count("Content") == 1
    assert exporter.rows("SELECT payload_count, exported_at IS NOT NULL FROM add_on_results") == [(2, True)]
    assert {sid for (sid,) in exporter.rows("SELECT payload_sid FROM contents")} == {first.sid, second.sid}


def test_a_deleted_recordings_results_are_exported(sandbox: Sandbox, world: World, exporter: Exporter) -> None:
    """Twilio lists a deleted recording for 40 days; its results may still be there, or answer 404."""
    results = [_completed(world, sandbox, b"orphan %d" % n)[0] for n in range(2)]
    for result in results:
        world.delete(world.recordings[result.reference_sid], NOW - timedelta(hours=1))
    gone = results[1].reference_sid
    sandbox.settings.intercept = lambda request: (
        Reply(404, b'{"code": 20404}')
        if request.operation == "ListRecordingAddOnResult" and gone in request.sids
        else None
    )
    exporter().verdict()
    assert exporter.rows("SELECT content FROM contents") == [(b"orphan 0",)]
    assert exporter.rows("SELECT count(*) FROM recordings WHERE soft_deleted") == [(2,)]


def test_lists_of_recordings_that_lead_elsewhere_are_reported_and_change_nothing(
    sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """Without the list there is nothing to go on; what was landed before is untouched."""
    _completed(world, sandbox)
    exporter().verdict()
    before = exporter.archive.head()
    sandbox.settings.intercept = lambda request: (
        Reply(200, b'{"recordings": [], "next_page_uri": "//evil.example/2010-04-01"}')
        if request.operation == "ListRecording"
        else None
    )
    with pytest.raises(IncompleteExport, match="recordings created on"):
        exporter().verdict()
    assert exporter.archive.head() == before


def test_credentials_that_stop_working_end_the_run_at_once(sandbox: Sandbox, world: World, exporter: Exporter) -> None:
    """Every worker stops; what was landed stays."""
    for days in range(1, 11):
        _completed(world, sandbox, days=days)
    asked = 0

    def revoke(request: Request) -> Reply | None:
        nonlocal asked
        asked += request.operation == "ListRecordingAddOnResult"
        return Reply(401, b'{"code": 20003, "status": 401}') if asked > 3 and request.origin == "api" else None

    sandbox.settings.intercept = revoke
    with pytest.raises(FixConfiguration):
        exporter(workers=1)
    assert asked < 10
    assert verify(exporter.archive).mismatches == ()


@pytest.mark.parametrize(("operation", "refused"), [("ListRecording", 1), ("ListRecordingAddOnResult", 10)])
def test_a_key_that_may_not_read_is_a_configuration_to_fix(
    operation: str, refused: int, sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """At once when nothing was ever given; else when ten things in a row are refused, each after one more try."""
    for days in range(1, 21):
        _completed(world, sandbox, days=days)
    asked: list[str] = []

    def restricted(request: Request) -> Reply | None:
        if request.operation != operation:
            return None
        asked.append(request.path)
        return Reply(403, b'{"code": 20003, "status": 403}')

    sandbox.settings.intercept = restricted
    with pytest.raises(FixConfiguration, match="403"):
        exporter(workers=1)
    assert len(asked) == 2 * refused


def test_single_refusals_between_what_is_given_do_not_stop_the_others(
    sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """However many there are."""
    results = [_completed(world, sandbox, days=days)[0] for days in range(1, 25)]
    refused = {result.reference_sid for result in results[::2]}
    sandbox.settings.intercept = lambda request: (
        _list_of_results_forbidden(request) if set(request.sids) & refused else None
    )
    with pytest.raises(IncompleteExport, match="12 could not be had") as incomplete:
        exporter(workers=1).verdict()
    assert incomplete.value.again
    assert len(exporter.rows("SELECT * FROM contents")) == 12


def test_a_large_export_concludes_in_a_process_of_its_own(
    sandbox: Sandbox, world: World, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published and verified all the same, and its errors come back as what they are."""
    monkeypatch.setattr(conclude, "LARGE_BYTES", 0)
    _, payload = _completed(world, sandbox, b"large enough")
    exporter().verdict()
    assert exporter.rows("SELECT payload_sid FROM contents") == [(payload.sid,)]
    (damaged,) = exporter.archive.head().tables["add_on_payloads"]
    path = exporter.archive.root / damaged
    path.write_bytes(path.read_bytes()[:-9])
    (exporter.archive.root / "addons.duckdb").unlink()
    with pytest.raises(RepairWarehouse):
        exporter()


def test_a_publishing_process_that_is_killed_is_said_in_a_sentence(
    sandbox: Sandbox, world: World, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the system does when memory runs out: what was exported is landed, and the next export publishes it."""
    monkeypatch.setattr(conclude, "LARGE_BYTES", 0)
    _, payload = _completed(world, sandbox, b"large enough")

    before = active_children()

    def kill() -> None:
        ends = time.monotonic() + 60
        while not (publishing := [child for child in active_children() if child not in before]):
            assert time.monotonic() < ends, "nothing was started"
        publishing[0].kill()

    with ThreadPoolExecutor(1) as somebody:
        killing = somebody.submit(kill)
        with pytest.raises(FixWarehouse, match="was killed"):
            exporter()
        killing.result()
    assert verify(exporter.archive).mismatches == ()
    exporter().verdict()
    assert exporter.rows("SELECT payload_sid FROM contents") == [(payload.sid,)]


def test_damage_in_the_archive_does_not_stop_what_twilio_is_about_to_delete(
    sandbox: Sandbox, world: World, exporter: Exporter
) -> None:
    """Also when `addons.duckdb` is gone and cannot be built: all is landed, then the damage is said."""
    _completed(world, sandbox, b"long ago", days=20)
    exporter().verdict()
    (damaged,) = exporter.archive.head().tables["contents"]
    good = (exporter.archive.root / damaged).read_bytes()
    (exporter.archive.root / damaged).write_bytes(good[:-9])
    (exporter.archive.root / "addons.duckdb").unlink()
    _completed(world, sandbox, b"new", days=1)
    with pytest.raises(RepairWarehouse, match="contents/"):
        exporter()
    assert exporter.archive.head().rows("contents") == 2
    (exporter.archive.root / damaged).write_bytes(good)
    exporter().verdict()
    assert sorted(exporter.rows("SELECT content FROM contents")) == [(b"long ago",), (b"new",)]


def test_contents_are_fetched_without_credentials(sandbox: Sandbox, world: World, exporter: Exporter) -> None:
    """Signed storage is another host; it sees no Authorization header, the API always does."""
    _completed(world, sandbox)
    exporter().verdict()
    by_origin = {(entry.origin, entry.authorized) for entry in sandbox.journal.entries}
    assert by_origin == {("api", True), ("storage", False)}
