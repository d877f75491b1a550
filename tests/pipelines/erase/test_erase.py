"""Erasing: every byte is gone, nobody else's is, it does not come back, and a kill on the way is made good."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import copy_context
from datetime import timedelta
from pathlib import Path
from random import Random
from threading import Semaphore

import pytest

import pipelines.export
from pipelines.erase.choice import erase_older, erase_sids, finish_due, unattributed
from pipelines.errors import ApplyAgain, RepairWarehouse
from pipelines.records.sids import add_on_result_sid, recording_sid
from pipelines.retry import dismiss, entries
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from tests.pipelines.conftest import NOW, Exporter
from tests.trials.erasures import control, erase_and_die, judge, made_up_people, traces
from tests.warehouse.made_up import (
    NOON,
    content,
    land_rows,
    live_files,
    logical,
    payload,
    recording,
    result,
    rows_by_key,
    sid,
    whole,
)
from tests.warehouse.processes import CONTEXT
from tests.warehouse.test_ledger import step
from warehouse.append import append
from warehouse.erasures import read_erased, unfinished
from warehouse.land import land
from warehouse.ledger import INTENT
from warehouse.published.publish import publish
from warehouse.quarantine import QuarantineRow, quarantine_rows
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, ERASURES, QUARANTINE, RECORDINGS, RESOLUTIONS
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.store.lock import alone, shared
from warehouse.store.names import ERASING, Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.erase import finish
from warehouse.upkeep.verify import verify


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive."""
    return open_archive(tmp_path / "root")


@pytest.mark.parametrize(
    ("destination", "seed", "kill"),
    [("parquet", 3, False), ("duckdb", 4, True)],
)
def test_no_byte_is_left_and_nobody_else_loses_any(
    tmp_path: Path, destination: Destination, seed: int, kill: bool
) -> None:
    """The sample of the trial `erasures`: everything under the root is searched, also after a kill at a random step."""
    assert judge(tmp_path / "root", destination, Random(seed), kill=kill) == []


def test_the_search_finds_what_a_plain_delete_leaves(tmp_path: Path) -> None:
    """The control: DuckDB's DELETE and CHECKPOINT keep the bytes in the file."""
    assert control(tmp_path, Random(1))


def test_an_erasure_that_was_cut_off_is_finished_by_the_next_export(tmp_path: Path, sandbox: Sandbox) -> None:
    """Until then the search finds it (a control: a commit without the rows is not enough), and `verify` says so."""
    archive, people = made_up_people(tmp_path / "root", "duckdb", Random(7))
    step = 20
    while not unfinished(archive):  # the commit is one of the first steps, and publishing and removing have many
        child = CONTEXT.Process(target=erase_and_die, args=(archive.root, "duckdb", people[0].number, step))
        child.start()
        child.join(60)
        assert child.exitcode == -9, "it was done before it was killed"
        step += 10
    assert len(traces(archive.root, people[0].needles)) > 5
    assert any("cut off" in mismatch.sentence for mismatch in verify(archive).mismatches)
    Exporter(sandbox, archive)()
    assert traces(archive.root, people[0].needles) == []
    assert not finish(archive, "duckdb", now=NOON)


def test_what_was_erased_is_neither_listed_nor_landed_again(tmp_path: Path) -> None:
    """A full export afterwards asks nothing about it; everything else is as it was; an older result stays out too."""
    with Sandbox(made_up_world(now=NOW, recordings=12), now=NOW) as sandbox:
        exporter = Exporter(sandbox, open_archive(tmp_path / "data"))
        exporter()
        before = logical(exporter.archive)
        many = {row["reference_sid"] for row in before["add_on_results"]}
        gone, other = sorted(many)[:2]
        single = next(row["sid"] for row in before["add_on_results"] if row["reference_sid"] == other)
        done = erase_sids(
            exporter.archive, "duckdb", recordings=[recording_sid(gone)], results=[add_on_result_sid(single)], now=NOW
        )
        assert done is not None
        assert done.rows["recordings"] == 1
        sandbox.journal.clear()
        exporter(Scope(full=True)).verdict()
        assert not any(gone in entry.path or single in entry.path for entry in sandbox.journal.entries)
    after = logical(exporter.archive)
    assert traces(exporter.archive.root, [gone.encode(), single.encode()]) == []
    for name in ("recordings", "add_on_results", "add_on_payloads", "contents"):
        kept = {row.get("sid") or row["payload_sid"] for row in after[name]}
        lost = {row.get("sid") or row["payload_sid"] for row in before[name]} - kept
        assert len(lost) == done.rows.get(name, 0), name
    assert exporter.rows("SELECT count(*) FROM erasures WHERE kind = 'erasure'") == [(1,)]
    assert verify(exporter.archive).mismatches == ()


def test_what_is_not_landed_yet_can_be_kept_out(archive: Archive) -> None:
    """Its SID is recorded, and rows and contents of it that come later are dropped, whatever the case of the SID."""
    erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 10).upper())], now=NOON)
    land_rows(archive, [*whole(10), *whole(11)])
    assert rows_by_key(archive, RECORDINGS).keys() == {sid("RE", 11)}
    assert rows_by_key(archive, CONTENTS).keys() == {sid("XH", 11)}
    assert erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 10))], now=NOON) is None
    assert sid("RE", 10) in read_erased(archive.newest())


def test_what_is_landed_in_mixed_case_is_erased_whatever_case_is_given(archive: Archive) -> None:
    """Digits of a SID in mixed case: recording, result, payload and content go, and nothing else."""
    mixed = {kind: f"{kind}aBcDeF{1:026x}" for kind in ("RE", "XR")}
    land_rows(
        archive,
        [
            recording(1, sid=mixed["RE"]),
            result(1, sid=mixed["XR"], reference_sid=mixed["RE"].replace("B", "b")),
            payload(1, data=b"made up", add_on_result_sid=mixed["XR"].replace("D", "d"), reference_sid=None),
            content(1, b"made up"),
            *whole(2),
        ],
    )
    done = erase_sids(archive, "duckdb", recordings=[recording_sid(mixed["RE"].replace("aBcDeF", "AbCdEf"))], now=NOON)
    assert done is not None
    assert done.rows == {"recordings": 1, "add_on_results": 1, "add_on_payloads": 1, "contents": 1}
    for table in (RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS, CONTENTS):
        assert len(rows_by_key(archive, table)) == 1


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"0" * 64, None], ids=["empty", "no text", "another", "flipped"])
def test_a_damaged_mark_is_of_an_erasure_that_is_not_finished(archive: Archive, damage: bytes | None) -> None:
    """What was erased may still be on the disk: verify says so, and the next export finishes it."""
    land_rows(archive, [*whole(1), *whole(2)])
    publish(archive, "duckdb", now=NOON)
    cut_off(archive, 1)
    mark = archive.root / ERASING
    good = mark.read_bytes()
    mark.write_bytes(bytes([good[0] ^ 1, *good[1:]]) if damage is None else damage)
    assert [m.kind for m in verify(archive).mismatches] == ["erasure"]
    finish_due(archive, "duckdb", now=NOON)
    assert not mark.exists()
    on_disk = {path.relative_to(archive.root).as_posix() for path in archive.root.rglob("*.parquet")}
    assert {path for path in on_disk if "/_delta_log/" not in path} == live_files(archive)
    assert verify(archive).mismatches == ()


def test_a_new_result_of_an_old_recording_is_landed_after_what_is_older_was_erased(
    exporter: Exporter, world: World
) -> None:
    """By age goes what is old; an add-on may be run on the recording again, and what it says is young."""
    call = world.add_recording(exporter.sandbox.account_sid, NOW - timedelta(days=33))
    exporter().verdict()
    erase_older(exporter.archive, "duckdb", days=30, now=NOW)
    world.add_payload(world.add_result(call, NOW - timedelta(hours=1)), b"said today")
    exporter(Scope(full=True)).verdict()
    assert [row["content"] for row in rows_by_key(exporter.archive, CONTENTS).values()] == [b"said today"]


def test_damage_anywhere_stops_an_erasure_before_it_begins(archive: Archive, sandbox: Sandbox) -> None:
    """Nothing could be published afterwards; so nothing is erased, nothing is left half done, and exports go on."""
    for number in (1, 2):
        done = NOON - timedelta(days=number)
        land_rows(archive, whole(number, done=done))
    publish(archive, "duckdb", now=NOON)
    (damaged,) = (
        path for path in archive.head().tables[CONTENTS.name] if f"{NOON - timedelta(days=2):%Y-%m-%d}" in path
    )
    good, before = (archive.root / damaged).read_bytes(), archive.head()
    (archive.root / damaged).write_bytes(good[:-1])
    with pytest.raises(RepairWarehouse, match="contents/"):
        erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 1))], now=NOON)
    assert not unfinished(archive)
    assert archive.head() == before
    Exporter(sandbox, archive, "duckdb")()
    (archive.root / damaged).write_bytes(good)
    assert erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 1))], now=NOON) is not None
    assert rows_by_key(archive, RECORDINGS).keys() == {sid("RE", 2)}


def test_what_stops_an_erasure_does_not_stop_an_export(tmp_path: Path, sandbox: Sandbox, world: World) -> None:
    """Damage that came after the commit: Twilio's 30 days run, so all is exported; that it is unfinished is said."""
    archive = open_archive(tmp_path / "data")
    exporter = Exporter(sandbox, archive)
    done = NOON - timedelta(days=20)
    land_rows(archive, [*whole(1), *whole(2, done=done)])
    publish(archive, "duckdb", now=NOON)
    cut_off(archive, 1)
    (old,) = (path for path in archive.head().tables[CONTENTS.name] if f"{done:%Y-%m-%d}" in path)
    good = (archive.root / old).read_bytes()
    (archive.root / old).write_bytes(good[:-1])
    call = world.add_recording(sandbox.account_sid, NOW - timedelta(hours=2))
    world.add_payload(world.add_result(call, NOW - timedelta(hours=1)), b"said today")
    with suppress(RepairWarehouse):  # raised at the end, unless publishing only had to add
        exporter().verdict()
    with pytest.raises(RepairWarehouse):
        finish_due(archive, "duckdb", now=NOW)
    assert any("cut off" in mismatch.sentence for mismatch in verify(archive).mismatches)
    (archive.root / old).write_bytes(good)
    with ThreadPoolExecutor(1) as somebody, shared(archive.root), pytest.raises(ApplyAgain, match="cut off"):
        somebody.submit(finish_due, archive, "duckdb", now=NOW).result()
    finish_due(archive, "duckdb", now=NOW)
    assert {row["content"] for row in rows_by_key(archive, CONTENTS).values()} == {b"made up", b"said today"}
    assert verify(archive).mismatches == ()


def cut_off(archive: Archive, number: int) -> None:
    """Erase a recording, killed once that is committed."""
    step = 10
    while not unfinished(archive):
        child = CONTEXT.Process(target=erase_and_die, args=(archive.root, "duckdb", number, step))
        child.start()
        child.join(60)
        assert child.exitcode == -9, "it was done before it was killed"
        step += 8


def test_what_is_removed_was_replaced_durably_and_is_gone_durably(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut never brings back a commit whose files are gone, nor a file that was erased: synced in that order.

    Also when another process made the commit, or removed a file, and was killed before it had synced a folder.
    """
    land_rows(archive, [*whole(1), *whole(2)])
    publish(archive, "duckdb", now=NOON)
    cut_off(archive, 1)
    (erased,) = {file.path for file in commits.load(archive.root, 1).tables[CONTENTS.name].values()}
    (archive.root / erased).unlink()
    done: list[tuple[str, str]] = []
    sync, unlink = os.fsync, os.unlink

    def synced(handle: int) -> None:
        done.append(("sync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        sync(handle)

    def unlinked(path: Path, **options: int) -> None:
        done.append(("unlink", str(path)))
        unlink(path, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "unlink", unlinked)
    assert finish(archive, "duckdb", now=NOON)
    removed = [n for n, (what, path) in enumerate(done) if what == "unlink" and path.endswith((".parquet", ".json"))]
    mark = done.index(("unlink", str(archive.root / ERASING)))
    assert ("sync", str(archive.root / "_commits")) in done[: removed[0]]
    folders = {str((archive.root / erased).parent), str(archive.root / "_commits"), str(archive.root)}
    assert folders <= {path for what, path in done[removed[-1] : mark] if what == "sync"}
    assert done[-1] == ("sync", str(archive.root))


def test_a_kill_before_the_commit_leaves_nothing_to_finish(archive: Archive) -> None:
    """What was asked for is not erased, and nobody is told that it is."""
    land_rows(archive, whole(1))
    (archive.root / ERASING).write_text(hashlib.sha256(b"erasure 2").hexdigest())
    assert not unfinished(archive)
    assert not finish(archive, "duckdb", now=NOON)
    assert erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 1))], now=NOON) is not None
    assert not (archive.root / ERASING).exists()


def test_why_something_was_dismissed_goes_with_it(archive: Archive) -> None:
    """The note of a dismissal may name somebody; what became of others in quarantine stays."""
    land_rows(archive, whole(1))
    rows = [QuarantineRow("add_on_result", sid("XR", n), sid("RE", n), None, "bad", b"x") for n in (1, 2)]
    land(archive, {QUARANTINE.name: quarantine_rows(rows, now=NOON)}, run_id="test", now=NOON)
    for entry in entries(archive):
        dismiss(archive, [entry], f"the call of number {entry.sid}", now=NOON)
    erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 1))], now=NOON)
    assert [row["note"] for row in rows_by_key(archive, RESOLUTIONS).values()] == [f"the call of number {sid('XR', 2)}"]
    assert traces(archive.root, [f"the call of number {sid('XR', 1)}".encode()]) == []


def test_a_payload_that_does_not_say_whose_it_is_is_counted(archive: Archive) -> None:
    """Its row was lost to damage and made anew from its content: no recording or result leads to it."""
    land_rows(archive, [*whole(1), payload(2, add_on_result_sid=None, reference_sid=None)])
    assert unattributed(archive) == 1


def test_an_erasure_waits_for_whoever_uses_the_archive(archive: Archive) -> None:
    """Nobody's files are taken away under them: users share a lock, an erasure has it alone, and they wait for it."""
    land_rows(archive, whole(1))

    def is_free(lock: Callable[..., AbstractContextManager[bool]]) -> bool:
        with lock(archive.root, wait=False) as free:
            return free

    with ThreadPoolExecutor(1) as somebody:
        with shared(archive.root):
            assert not somebody.submit(is_free, alone).result()
            assert somebody.submit(is_free, shared).result()
        with alone(archive.root):
            assert not somebody.submit(is_free, shared).result()
            publish(archive, "duckdb", now=NOON)  # what an erasure itself calls does not wait for it
        assert somebody.submit(is_free, alone).result()
        with shared(archive.root):
            thread = copy_context()  # as a thread has it that goes on when its caller has been cancelled
        with ExitStack() as stack:
            assert thread.run(stack.enter_context, shared(archive.root))
            assert not somebody.submit(is_free, alone).result()
            thread.run(stack.close)


def test_an_export_waits_for_an_erasure(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks Twilio nothing before it knows what was erased; an erasure that waits lets it end first."""
    asked = Semaphore(0)

    @contextmanager
    def counted(root: Path, *, wait: bool = True) -> Iterator[bool]:
        with shared(root, wait=wait) as here:
            asked.release()
            yield here

    monkeypatch.setattr(pipelines.export, "shared", counted)
    with ThreadPoolExecutor(1) as somebody:
        with alone(exporter.archive.root):
            export = somebody.submit(exporter)
            assert all(asked.acquire(timeout=30) for _ in range(3))
            assert exporter.sandbox.journal.entries == ()
        export.result(timeout=30).verdict()
    assert exporter.sandbox.journal.entries != ()


def test_a_deletion_at_twilio_that_is_not_settled_comes_first(archive: Archive) -> None:
    """Its outcome is still to be written about this result, so nothing is erased."""
    land_rows(archive, whole(1))
    append(archive, lambda _: [step(INTENT, 1)], run_id="test", now=NOON)
    before = logical(archive)
    with pytest.raises(ApplyAgain, match="not settled"):
        erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 1))], now=NOON)
    assert logical(archive) == before


def test_by_age_whole_days_go_and_what_is_younger_stays(archive: Archive) -> None:
    """Partitions older than the limit, rows without a day by their creation, old recordings with nothing younger."""
    for number, days in enumerate((60, 41, 40, 1), start=1):
        at = NOON - timedelta(days=days)
        rows = whole(number, b"%d" % number * 50, at=at, done=at)
        rows[0] = recording(number, at=at, date_created=at, created_date=at.date())
        land_rows(archive, rows, now=at)
    old = NOON - timedelta(days=50)
    land_rows(
        archive, [result(5, at=old, done=None, date_created=old, first_seen_at=old), payload(5, done=None, at=old)]
    )
    land_rows(archive, [result(6, at=NOON, done=None), payload(6, done=None)])
    # an old recording with a young result
    land_rows(archive, [recording(7, at=old, date_created=old, created_date=old.date()), result(7)])
    done = erase_older(archive, "duckdb", days=40, now=NOON)
    assert done is not None
    assert done.rows == {
        "recordings": 1,
        "add_on_results": 3,
        "add_on_payloads": 3,
        "contents": 2,
    }
    assert rows_by_key(archive, ADD_ON_RESULTS).keys() == {sid("XR", n) for n in (3, 4, 6, 7)}
    assert rows_by_key(archive, RECORDINGS).keys() == {sid("RE", n) for n in (2, 3, 4, 7)}, "Twilio may list it"
    assert verify(archive).mismatches == ()
    kinds = [row["kind"] for row in rows_by_key(archive, ERASURES).values()]
    assert sorted(kinds) == ["add_on_result"] * 2 + ["erasure", "payload", "payload"]
    assert erase_older(archive, "duckdb", days=40, now=NOON) is None
