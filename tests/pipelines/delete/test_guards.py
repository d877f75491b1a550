"""Guards of a deletion: each of them, alone, keeps every DELETE from being sent. The source's journal is the judge."""

import asyncio
import fcntl
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from threading import Thread

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.delete.guards import LOCK
from pipelines.delete.plan import DeletePlan, Terms
from pipelines.errors import FixConfiguration, PlanAgain, SourceError
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from tests.pipelines.conftest import NOW, Exporter
from tests.pipelines.delete.deleting import GENEROUS, Deleter, fill, ready, rest, touched
from warehouse.land import land
from warehouse.published.publish import publish
from warehouse.quarantine import QuarantineRow, quarantine_rows
from warehouse.schema import CONTENTS, DELETIONS
from warehouse.store.archive import Archive
from warehouse.store.files import sha256_of
from warehouse.store.names import CHUNKED, PUBLISH_LOCK, PUBLISHED
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify


def refuses(deleter: Deleter, plan: DeletePlan, match: str) -> PlanAgain:
    """Applying `plan` is refused with such a sentence, and no DELETE reaches the source."""
    before = len(deleter.sent())
    with pytest.raises(PlanAgain, match=match) as refusal:
        deleter.apply(plan)
    assert len(deleter.sent()) == before
    return refusal.value


@pytest.fixture
def prepared(exporter: Exporter) -> tuple[Deleter, DeletePlan]:
    """Four exported and rested results, and the plan that names them."""
    deleter, results = ready(exporter)
    plan = deleter.plan()
    assert {r.sid for r in plan.results} == {r.sid for r in results}
    return deleter, plan


def test_the_plan_is_good_when_no_guard_refuses(prepared: tuple[Deleter, DeletePlan]) -> None:
    """The control of this file: the same plan, left alone, is carried out."""
    deleter, plan = prepared
    deleter.apply(plan)
    assert sorted(deleter.sent()) == sorted(r.sid for r in plan.results)


# -- what Twilio shows ------------------------------------------------------------------------------------


def answering(operation: str, body: str) -> Callable[[Request], Reply | None]:
    """The source answers one operation with this body."""
    return lambda request: Reply(200, body.encode()) if request.operation == operation else None


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("ListRecordingAddOnResult", '{"add_on_results": [], "next_page_uri": null}'),
        ("ListRecordingAddOnResult", '{"add_on_results": [{"sid": null}], "next_page_uri": null}'),
        ("ListRecordingAddOnResultPayload", '{"payloads": [], "next_page_uri": null}'),
        ("ListRecordingAddOnResultPayload", '{"payloads": [{"sid": "XH1"}], "next_page_uri": null}'),
    ],
)
def test_an_empty_or_unreadable_list_deletes_nothing(
    operation: str, body: str, prepared: tuple[Deleter, DeletePlan]
) -> None:
    """Whatever the list is of."""
    deleter, plan = prepared
    deleter.sandbox.settings.intercept = answering(operation, body)
    refuses(deleter, plan, "Nothing more is deleted")


def test_a_list_that_shrank_refuses_the_whole_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """One planned result is missing at the source; the others, which are there, stay."""
    deleter, plan = prepared
    deleter.sandbox.world.lose(plan.results[0].sid)
    refusal = refuses(deleter, plan, "does not list it")
    assert all(plan.results[0].sid in reason for reason in refusal.reasons)


def test_a_missing_neighbour_refuses_the_plan(exporter: Exporter) -> None:
    """A result that nobody wants to delete disappears from the list of the same recording: the list is not whole."""
    result = fill(exporter.sandbox, 1)[0]
    recording = exporter.sandbox.world.recordings[result.reference_sid]
    neighbour = exporter.sandbox.world.add_result(recording, outcome="failed", add_on="another")
    exporter().verdict()
    rest(exporter.sandbox)
    deleter = Deleter(exporter.sandbox, exporter.archive)
    plan = deleter.plan()
    assert [r.sid for r in plan.results] == [result.sid]
    exporter.sandbox.world.lose(neighbour.sid)
    refuses(deleter, plan, "lists fewer results")
    assert not deleter.plan().results


def test_a_late_payload_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """It would be deleted with its result and is landed nowhere."""
    deleter, plan = prepared
    result = deleter.sandbox.world.results[plan.results[-1].sid]
    deleter.sandbox.world.add_payload(result, b"late", date_created=deleter.sandbox.now - timedelta(minutes=1))
    refuses(deleter, plan, "payloads at Twilio are not exactly those")
    assert result.sid not in {r.sid for r in deleter.plan().results}


def test_a_payload_that_comes_between_the_check_and_the_delete_stops_everything(
    prepared: tuple[Deleter, DeletePlan],
) -> None:
    """It is seen by the list that is read right before the DELETE; that result stays, and so does what comes after."""
    deleter, plan = prepared
    world, victim = deleter.sandbox.world, plan.results[1]
    lists: dict[str, int] = {}

    def late(request: Request) -> Reply | None:
        if request.operation == "ListRecordingAddOnResultPayload":
            lists[request.sids[2]] = lists.get(request.sids[2], 0) + 1
            if request.sids[2] == victim.sid and lists[victim.sid] == 2:
                created = deleter.sandbox.now - timedelta(minutes=1)
                world.add_payload(world.results[victim.sid], b"late", date_created=created)
        return None

    deleter.sandbox.settings.intercept = late
    with pytest.raises(PlanAgain, match=victim.sid):
        deleter.apply(plan)
    assert deleter.sent() == [plan.results[0].sid]
    assert {r.sid for r in plan.results[1:]} <= deleter.left()
    assert (deleter.report.deleted, deleter.report.unknown) == (1, 0)


def test_a_changed_date_updated_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """Something about the result is not as it was landed."""
    deleter, plan = prepared
    touched(deleter.sandbox, deleter.sandbox.world.results[plan.results[2].sid])
    refuses(deleter, plan, "date_updated")


def test_a_changed_status_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """A result that is not completed any more is not the one that was planned."""
    deleter, plan = prepared
    row = deleter.sandbox.world.results[plan.results[0].sid]
    deleter.sandbox.world.put(replace(row, overrides={"status": "processing"}))
    refuses(deleter, plan, "status is not completed")


def test_another_content_at_the_source_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """One content is read again end to end before the first DELETE."""
    deleter, plan = prepared
    for payload in list(deleter.sandbox.world.payloads.values()):
        deleter.sandbox.world.put(replace(payload, content=b"another"))
    refuses(deleter, plan, "another content")


@pytest.mark.parametrize("status", [401, 503])
def test_a_source_that_does_not_answer_deletes_nothing(status: int, prepared: tuple[Deleter, DeletePlan]) -> None:
    """Lists that cannot be read are no lists."""
    deleter, plan = prepared
    deleter.sandbox.settings.intercept = lambda request: (
        Reply(status, b"{}") if request.operation == "ListRecordingAddOnResult" else None
    )
    with pytest.raises((SourceError, FixConfiguration)):
        deleter.apply(plan)
    assert deleter.sent() == []


# -- accounts -----------------------------------------------------------------------------------------------


def test_another_account_in_the_environment_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """The plan names the account it was made for."""
    deleter, plan = prepared
    other = deleter.sandbox.world.add_account(date_created=NOW, owner=deleter.sandbox.account_sid)
    deleter.account = other.sid
    refuses(deleter, plan, "another account")


def test_a_credential_for_another_account_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """Twilio itself says whose credential it is."""
    deleter, plan = prepared
    deleter.sandbox.settings.intercept = answering("FetchAccount", json.dumps({"sid": "AC" + "9" * 32}))
    refuses(deleter, plan, "another account")


def test_results_of_another_account_refuse_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """Even when everything else fits."""
    deleter, plan = prepared
    row = deleter.sandbox.world.results[plan.results[0].sid]
    deleter.sandbox.world.put(replace(row, overrides={"account_sid": "AC" + "9" * 32}))
    refuses(deleter, plan, "does not belong to the account")


def test_a_key_that_may_not_read_accounts_is_known_by_what_it_reads(prepared: tuple[Deleter, DeletePlan]) -> None:
    """A restricted key cannot be asked for its account; every result it reads must name the account instead."""
    deleter, plan = prepared
    row = deleter.sandbox.world.results[plan.results[0].sid]
    deleter.sandbox.world.put(replace(row, overrides={"account_sid": None}))
    for status in (401, 403, 404):
        deleter.sandbox.settings.intercept = lambda request, status=status: (
            Reply(status, b"{}") if request.operation == "FetchAccount" else None
        )
        refuses(deleter, plan, "does not belong to the account")
    deleter.sandbox.world.put(row)
    deleter.apply(plan)
    assert len(deleter.sent()) == len(plan.results)


# -- the plan -----------------------------------------------------------------------------------------------


def test_a_stale_plan_is_refused(prepared: tuple[Deleter, DeletePlan]) -> None:
    """24 hours, and not a second more."""
    deleter, plan = prepared
    rest(deleter.sandbox, 24)
    refuses(deleter, plan, "stale")
    deleter.sandbox.advance(timedelta(seconds=-1))
    deleter.apply(plan)
    assert len(deleter.sent()) == len(plan.results)


def test_a_clock_that_is_ahead_makes_no_rest_time_pass(exporter: Exporter) -> None:
    """A year ahead when planning, half a day when applying: Twilio's own clock, in its replies, is asked too."""
    fill(exporter.sandbox, 4)
    exporter().verdict()
    deleter = Deleter(exporter.sandbox, exporter.archive)
    ahead = deleter.plan(clock=lambda: NOW + timedelta(days=365))
    assert ahead.results == ()
    assert {left.reasons[0].split(",")[0] for left in ahead.left_out} == {"Its rest time has not passed"}
    plan = deleter.plan(replace(GENEROUS, min_age_hours=0))
    plan = replace(plan, terms=replace(plan.terms, min_age_hours=10))
    with pytest.raises(PlanAgain, match="rest time"):
        deleter.apply(plan, clock=lambda: NOW + timedelta(hours=12))
    assert deleter.sent() == []
    exporter.sandbox.advance(timedelta(hours=12))
    deleter.apply(plan)
    assert len(deleter.sent()) == 4


def test_a_plan_from_the_future_is_refused(prepared: tuple[Deleter, DeletePlan]) -> None:
    """One of the clocks is wrong, and the rest time depends on them."""
    deleter, plan = prepared
    rest(deleter.sandbox, -1)
    refuses(deleter, plan, "cannot be")


def test_a_plan_that_gets_stale_on_the_way_stops(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again before each batch."""
    monkeypatch.setattr("pipelines.delete.apply.BATCH", 1)
    deleter, _ = ready(exporter)
    plan = deleter.plan()
    with pytest.raises(PlanAgain, match="stale"):
        deleter.apply(plan, clock=lambda: deleter.sandbox.now + timedelta(hours=25 if deleter.sent() else 0))
    assert len(deleter.sent()) == 1


def test_a_plan_over_budget_cannot_be_made(exporter: Exporter) -> None:
    """The budgets hold for the whole plan."""
    deleter, _ = ready(exporter)
    for terms in (Terms(max_delete=3, max_share=1), Terms(max_share=0.74), Terms()):
        with pytest.raises(PlanAgain, match="Over budget"):
            deleter.plan(terms)


def test_a_plan_that_comes_to_exceed_its_share_is_refused(exporter: Exporter) -> None:
    """Another plan has deleted meanwhile, so the same results are now a larger part of what is left."""
    deleter, _ = ready(exporter, 8)
    days = sorted({NOW.date() - timedelta(days=3 + n) for n in range(3)})
    half = deleter.plan(Terms(max_share=0.5), first=days[0], last=days[0])
    others = deleter.plan(GENEROUS, first=days[1])
    deleter.apply(others)
    refuses(deleter, half, "Over budget")


def test_a_clock_that_was_behind_opens_no_second_day(exporter: Exporter) -> None:
    """What was deleted by a clock three days behind counts as of today once it is set right: Twilio's time is kept."""
    deleter, _ = ready(exporter)
    rest(exporter.sandbox, 80)
    deleter.limits = Terms(min_age_hours=0, max_delete=3, max_share=1)
    days = sorted({NOW.date() - timedelta(days=3 + n) for n in range(3)})
    terms, behind = replace(deleter.limits, min_age_hours=72), lambda: deleter.sandbox.now - timedelta(days=3)
    first = deleter.plan(terms, first=days[2], clock=behind)
    deleter.apply(first, clock=behind)
    assert len(deleter.sent()) == len(first.results) == 2
    refuses(deleter, deleter.plan(terms, last=days[1]), "within a day")


def test_a_plan_is_good_for_one_time(prepared: tuple[Deleter, DeletePlan]) -> None:
    """Also when the results come back at the source."""
    deleter, plan = prepared
    deleter.apply(plan)
    for sid in (r.sid for r in plan.results):
        deleter.sandbox.world.put(replace(deleter.sandbox.world.results[sid], deleted_at=None))
    refuses(deleter, plan, "applied already")


# -- the warehouse ------------------------------------------------------------------------------------------


def live(archive: Archive, table: str) -> list[Path]:
    """The live files of a table."""
    return [archive.root / path for path in archive.head().tables[table]]


def test_a_damaged_archive_file_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """One flipped bit anywhere in the archive, a missing or a shorter file: this is no place for the only copy."""
    deleter, plan = prepared
    random = Random(1)
    damages: dict[str, Callable[[bytes], bytes | None]] = {
        "bit": lambda data: data[: (at := random.randrange(len(data)))] + bytes([data[at] ^ 4]) + data[at + 1 :],
        "cut": lambda data: data[:-1],
        "empty": lambda data: b"",
        "missing": lambda data: None,
    }
    for table, name in (*itertools.product(FILLED, ("bit", "missing")), ("contents", "cut"), ("loads", "empty")):
        path = random.choice(live(deleter.archive, table))
        whole = path.read_bytes()
        wrong = damages[name](whole)
        path.unlink()
        if wrong is not None:
            path.write_bytes(wrong)
        refuses(deleter, plan, f"{table}/.* is missing or damaged")
        with pytest.raises(PlanAgain):
            deleter.plan()
        path.write_bytes(whole)
    deleter.apply(plan)
    assert len(deleter.sent()) == len(plan.results)


FILLED = ("contents", "add_on_results", "add_on_payloads", "recordings", "loads")
"""The tables that have live files before anything was deleted."""


def edit_published(archive: Archive, sql: str, *, hide: bool) -> None:
    """Somebody writes to the published file; with `hide` its remembered hash is renewed too."""
    path = (archive.root / PUBLISHED).resolve()
    path.chmod(0o600)
    with duckdb.connect(str(path)) as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute(sql)
    if hide:
        digest = sha256_of(path)
        (archive.root / PUBLISH_LOCK).write_text(digest)
        folder = path.parent.rename(path.parent.with_name(f"{'0' * 32}-{digest}"))
        (archive.root / PUBLISHED).unlink()
        (archive.root / PUBLISHED).symlink_to(f"{folder.parent.name}/{folder.name}/{PUBLISHED}")


@contextmanager
def published_edited(archive: Archive, sql: str, *, hide: bool) -> Iterator[None]:
    """The same, for a while."""
    name = archive.root / PUBLISHED
    path, link = name.resolve(), name.readlink()
    good, hashed = path.read_bytes(), (archive.root / PUBLISH_LOCK).read_bytes()
    edit_published(archive, sql, hide=hide)
    yield
    name.resolve().parent.rename(path.parent)
    name.unlink()
    name.symlink_to(link)
    path.write_bytes(good)
    (archive.root / PUBLISH_LOCK).write_bytes(hashed)


FIRST, LAST = (f"(SELECT {which}(sid) FROM add_on_payloads)" for which in ("min", "max"))
EDITS = (
    f"UPDATE _contents.part_000001 SET content = NULL WHERE payload_sid = {LAST}",
    f"UPDATE _contents.part_000001 SET content = 'edited'::BLOB WHERE payload_sid = {FIRST}",
    f"DELETE FROM _contents.part_000001 WHERE payload_sid = {LAST}",
    "INSERT INTO _contents.part_000001 SELECT * FROM _contents.part_000001 LIMIT 1",
    "UPDATE add_on_results SET status = 'failed' WHERE sid = (SELECT min(sid) FROM add_on_results)",
    f"UPDATE add_on_payloads SET content_sha256 = 'edited' WHERE sid = {FIRST}",
    f"DELETE FROM add_on_payloads WHERE sid = {FIRST}",
    "INSERT INTO add_on_payloads SELECT * REPLACE ('XH' AS sid) FROM add_on_payloads LIMIT 1",
)


def test_an_edit_in_duckdb_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """Seen by the file's hash, and by what it shows if that was renewed too."""
    deleter, plan = prepared
    elsewhere = "UPDATE recordings SET status = 'edited'"  # no part of any proof, so only the hash shows it
    for sql, hide in ((elsewhere, False), (EDITS[0], False), *((sql, True) for sql in EDITS)):
        with published_edited(deleter.archive, sql, hide=hide):
            refuses(deleter, plan, "addons.duckdb")
    deleter.apply(plan)
    assert len(deleter.sent()) == len(plan.results)


def test_a_large_content_is_proven_in_pieces(exporter: Exporter) -> None:
    """One that is landed in chunks: an edit of one of them is seen, and without it the result is deleted."""
    (result,) = fill(exporter.sandbox, 1)
    exporter.sandbox.world.add_payload(result, Random(1).randbytes(9 << 20), content_type="audio/x-wav")
    exporter().verdict()
    rest(exporter.sandbox)
    deleter = Deleter(exporter.sandbox, exporter.archive)
    plan = deleter.plan()
    assert any(path.endswith(CHUNKED) for path in plan.results[0].proof.files), plan.left_out
    for edit in (
        "UPDATE _contents.chunks_000001 SET content = 'edited'::BLOB WHERE chunk = 1",
        "UPDATE _contents.chunks_000001 SET chunk = 3 - chunk WHERE chunk > 0",
        "DELETE FROM _contents.chunks_000001 WHERE chunk = 2",
        "INSERT INTO _contents.chunks_000001 FROM _contents.chunks_000001 WHERE chunk = 2",
    ):
        with published_edited(exporter.archive, edit, hide=True):
            refuses(deleter, plan, "addons.duckdb")
    deleter.apply(plan)
    assert deleter.sent() == [result.sid]


def test_a_published_view_of_something_else_refuses_the_plan(sandbox: Sandbox, tmp_path: Path) -> None:
    """The Parquet destination: the same question, asked of the view."""
    deleter, _ = ready(Exporter(sandbox, open_archive(tmp_path / "parquet"), "parquet"))
    plan = deleter.plan()
    forged = "CREATE OR REPLACE VIEW contents AS SELECT sid AS payload_sid, 'x'::BLOB AS content FROM add_on_payloads"
    with published_edited(deleter.archive, forged, hide=True):
        refuses(deleter, plan, "addons.duckdb")
    deleter.apply(plan)
    assert len(deleter.sent()) == len(plan.results)


def test_a_missing_published_file_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """Two copies are asked for, and this is one of them."""
    deleter, plan = prepared
    (deleter.archive.root / PUBLISHED).unlink()
    refuses(deleter, plan, "addons.duckdb")


def test_a_content_that_is_wrong_in_a_whole_file_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """File, commit and addons.duckdb agree with each other, but not with what came off the wire."""
    deleter, plan = prepared
    archive = deleter.archive
    head = archive.head()
    file = next(iter(head.tables[CONTENTS.name].values()))
    rows = pq.read_table(archive.root / file.path, partitioning=None).to_pylist()
    rows[0]["content"] += b"!"
    wrong = pa.Table.from_pylist(rows, schema=CONTENTS.file_schema)
    day = plan.results[0].completed_date
    day = next(r.completed_date for r in plan.results if f"{r.completed_date}" in file.path)
    sealed = archive.seal(CONTENTS, day, wrong.to_batches())
    archive.commit(head, drop=[file], add=[sealed], at=deleter.sandbox.now, run_id="wrong")
    publish(archive, "duckdb", now=deleter.sandbox.now, afresh=True)
    refuses(deleter, plan, "SHA-256 it had on the wire")


@pytest.mark.parametrize("about", ["payload", "recording", "under the recording", "under the result"])
def test_a_quarantine_row_refuses_the_plan(about: str, prepared: tuple[Deleter, DeletePlan]) -> None:
    """What could not be read may have been part of it."""
    deleter, plan = prepared
    result = plan.results[0]
    sid, parent = {
        "payload": (result.payloads[0].sid, None),
        "recording": (result.recording_sid, None),
        "under the recording": (None, result.recording_sid),
        "under the result": (None, result.sid),
    }[about]
    rows = quarantine_rows([QuarantineRow("made up", sid, parent, None, "A reason.", b"raw")], now=deleter.sandbox.now)
    land(deleter.archive, {"quarantine": rows}, run_id="test", now=deleter.sandbox.now)
    publish(deleter.archive, "duckdb", now=deleter.sandbox.now)
    refuses(deleter, plan, "quarantine")
    assert result.sid not in {r.sid for r in deleter.plan().results}


def test_a_copy_of_the_warehouse_refuses_the_plan(prepared: tuple[Deleter, DeletePlan], tmp_path: Path) -> None:
    """Elsewhere, and also when it has taken the place of the one the plan was made for."""
    deleter, plan = prepared
    root = deleter.archive.root
    shutil.copytree(root, tmp_path / "copy", symlinks=True)
    copy = replace(deleter, archive=open_archive(tmp_path / "copy"))
    refuses(copy, plan, "another warehouse")
    root.rename(tmp_path / "moved")
    (tmp_path / "copy").rename(root)
    refuses(deleter, plan, "another warehouse")


def test_a_warehouse_restored_from_a_backup_refuses_the_plan(exporter: Exporter, tmp_path: Path) -> None:
    """The commit that the plan was made on is not there any more."""
    deleter, _ = ready(exporter)
    root = exporter.archive.root
    shutil.copytree(root, tmp_path / "backup", symlinks=True)
    fill(exporter.sandbox, 1)
    exporter().verdict()
    plan = deleter.plan()
    for path in list(root.iterdir()):
        if path.name != "_commits":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in list((root / "_commits").iterdir()):
        path.unlink()
    shutil.copytree(tmp_path / "backup", root, symlinks=True, dirs_exist_ok=True)
    refuses(deleter, plan, "another history")


def test_another_destination_refuses_the_plan(prepared: tuple[Deleter, DeletePlan]) -> None:
    """What is published must be what the plan rests on."""
    deleter, plan = prepared
    refuses(replace(deleter, destination="parquet"), plan, "another destination")


def tamper(
    archive: Archive, change: Callable[[list[dict[str, object]]], list[dict[str, object]]]
) -> Callable[[], None]:
    """Rewrite the ledger of deletions as a commit that is sound in itself; returns what puts it back, unpublished."""
    head = archive.head()
    files = list(head.tables[DELETIONS.name].values())
    rows = [row for file in files for row in pq.read_table(archive.root / file.path).to_pylist()]
    rows = change(sorted(rows, key=lambda row: f"{row['sequence']:09}"))
    sealed = archive.seal(DELETIONS, None, pa.Table.from_pylist(rows, schema=DELETIONS.schema).to_batches())
    archive.commit(head, drop=files, add=[sealed], at=head.at, run_id="tampered")
    publish(archive, "duckdb", now=head.at)

    def undo() -> None:
        archive.commit(archive.head(), drop=[sealed], add=files, at=head.at, run_id="undone")

    return undo


TAMPERED: tuple[Callable[[list[dict[str, object]]], list[dict[str, object]]], ...] = (
    lambda rows: rows[1:],
    lambda rows: [*rows[:2], *rows[3:]],
    lambda rows: [*rows[:-2]],
    lambda rows: [{**row, "step": "withdrawn" if row["step"] == "deleted" else row["step"]} for row in rows],
    lambda rows: [{**rows[0], "host": "elsewhere"}, *rows[1:]],
    lambda rows: [*rows, {**rows[-1], "sequence": len(rows) + 1}],
    lambda rows: [],
)


def test_a_ledger_that_was_tampered_with_refuses_every_plan(exporter: Exporter) -> None:
    """A step that was changed, put in, or lost at the beginning, in the middle or at the end."""
    deleter, _ = ready(exporter)
    days = sorted({NOW.date() - timedelta(days=3 + n) for n in range(3)})
    deleter.apply(deleter.plan(last=days[0]))
    plan = deleter.plan(first=days[1])
    for change in TAMPERED:
        undo = tamper(deleter.archive, change)
        refuses(deleter, plan, "deletion|deleted")
        with pytest.raises(PlanAgain):
            deleter.plan()
        assert any(mismatch.kind == "deletions" for mismatch in verify(deleter.archive).mismatches)
        undo()
    publish(deleter.archive, "duckdb", now=deleter.sandbox.now)
    deleter.apply(plan)
    assert deleter.left() == set()


# -- two at once --------------------------------------------------------------------------------------------


@contextmanager
def locked(archive: Archive) -> Iterator[None]:
    """Another process is deleting."""
    with (archive.root / LOCK).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def test_a_second_deletion_is_refused_while_one_is_at_work(prepared: tuple[Deleter, DeletePlan]) -> None:
    """And may begin when the first has ended."""
    deleter, plan = prepared
    with locked(deleter.archive):
        refuses(deleter, plan, "Another deletion is at work")
    deleter.apply(plan)
    assert len(deleter.sent()) == len(plan.results)


def test_where_locks_exclude_nobody_the_open_intent_of_another_machine_does(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be at work: this one waits for a quarter of an hour, then settles what the other left open."""
    deleter, results = ready(exporter)
    plan = deleter.plan()
    monkeypatch.setattr("socket.gethostname", lambda: "another-machine")
    with pytest.raises(asyncio.CancelledError), cut_off(deleter.sandbox):
        deleter.apply(plan)
    monkeypatch.undo()
    deadline = time.monotonic() + 30
    while not deleter.sent():  # the source answers the DELETE that was cut off
        assert time.monotonic() < deadline
        time.sleep(0.01)
    refuses(deleter, plan, "Another machine, another-machine, may be deleting")
    deleter.sandbox.settings.intercept = None
    deleter.sandbox.advance(timedelta(minutes=16))
    deleter.apply(plan)
    assert sorted(set(deleter.sent())) == sorted(r.sid for r in results)


@contextmanager
def cut_off(sandbox: Sandbox) -> Iterator[None]:
    """The deleting task is cancelled in the middle of its first DELETE."""
    loops: list[asyncio.Task[object]] = []
    original = asyncio.run

    def run(work: object) -> object:
        async def watched() -> object:
            task = asyncio.current_task()
            assert task is not None
            loops.append(task)
            return await work  # type: ignore[misc]  # a coroutine

        return original(watched())

    def cancel(request: Request) -> Reply | None:
        if request.method == "DELETE":
            task = loops[-1]
            task.get_loop().call_soon_threadsafe(task.cancel)
            time.sleep(0.2)
            return Reply(500, b"{}")
        return None

    sandbox.settings.intercept = cancel
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "run", run)
        yield


def test_a_run_that_another_has_overtaken_claims_nothing_more(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both got past the lock, on a file system where it does not hold: the one that began later goes on alone."""
    monkeypatch.setattr("pipelines.delete.apply.BATCH", 1)
    deleter, _ = ready(exporter)
    days = sorted({NOW.date() - timedelta(days=3 + n) for n in range(3)})
    first, second = deleter.plan(last=days[1]), deleter.plan(first=days[2])
    begun: list[Thread] = []

    def overtaken() -> datetime:
        if deleter.sent() and not begun:
            (deleter.archive.root / LOCK).unlink()
            begun.append(Thread(target=replace(deleter).apply, args=(second,)))
            begun[0].start()
            begun[0].join()
        return deleter.sandbox.now

    with pytest.raises(PlanAgain, match="Another deletion has begun"):
        deleter.apply(first, clock=overtaken)
    assert sorted(deleter.sent()) == sorted([first.results[0].sid, *(r.sid for r in second.results)])
