"""Carrying out a plan: what Twilio answers to a DELETE, what is written down, and how it goes on after a crash."""

import itertools
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.errors import ApplyAgain, FixConfiguration, PlanAgain, SourceError
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from pipelines.scope import Scope
from tests.pipelines.conftest import NOW, Exporter
from tests.pipelines.delete.deleting import GENEROUS, Deleter, fill, ready, rest
from warehouse.ledger import read_ledger
from warehouse.store.names import PUBLISHED, Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

STEPS = "SELECT step FROM deletions WHERE add_on_result_sid = '{}' ORDER BY sequence"


def steps(exporter: Exporter, sid: str) -> list[str]:
    """The steps of one result, as an analyst sees them."""
    return [step for (step,) in exporter.rows(STEPS.format(sid))]


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_a_plan_is_carried_out_and_everything_stays_here(
    destination: Destination, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each named result gets one DELETE, between an intent and an outcome; all rows and contents are as before."""
    exporter = Exporter(sandbox, open_archive(tmp_path / "data"), destination)
    deleter, results = ready(exporter, 6)
    contents, payloads = exporter.rows("FROM contents ORDER BY ALL"), exporter.rows("FROM add_on_payloads ORDER BY ALL")
    plan = deleter.plan()
    report = deleter.apply(plan)
    assert (report.planned, report.before, report.deleted, report.absent, report.unknown) == (6, 0, 6, 0, 0)
    assert sorted(deleter.sent()) == sorted(r.sid for r in results)
    assert deleter.left() == set()
    for result in results:
        assert steps(exporter, result.sid) == ["intent", "deleted"]
    for full in (False, True):
        exporter(Scope(full=full)).verdict()
    exporter(Scope(NOW.date() - timedelta(days=9), NOW.date())).verdict()
    assert exporter.rows("FROM contents ORDER BY ALL") == contents
    assert exporter.rows("FROM add_on_payloads ORDER BY ALL") == payloads
    assert exporter.rows("SELECT DISTINCT state FROM retention") == [("deleted",)]
    assert exporter.rows("SELECT count(*) FROM add_on_results WHERE deleted_at IS NULL") == [(0,)]
    assert verify(exporter.archive).mismatches == ()
    with pytest.raises(PlanAgain, match="applied already"):
        deleter.apply(plan)


def test_only_what_the_plan_names_is_deleted(exporter: Exporter) -> None:
    """Other days, unfinished and failed results, and what has not rested, stay."""
    world, sandbox = exporter.sandbox.world, exporter.sandbox
    old = fill(sandbox, 3, days=6)
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=6))
    for outcome in ("failed", "canceled", None):
        world.add_payload(world.add_result(recording, outcome=outcome, add_on=f"{outcome}"), b"x")
    world.add_result(recording, add_on="no payloads")
    exporter().verdict()
    rest(sandbox)
    fresh = fill(sandbox, 2, days=1)
    exporter().verdict()
    deleter = Deleter(sandbox, exporter.archive)
    one_day = deleter.plan(first=NOW.date() - timedelta(days=6), last=NOW.date() - timedelta(days=6))
    assert [r.sid for r in one_day.results] == [old[0].sid]
    plan = deleter.plan()
    assert {r.sid for r in plan.results} == {r.sid for r in old}
    reasons = {left.sid: left.reasons[0] for left in plan.left_out}
    assert all("rest time" in reasons[result.sid] for result in fresh)
    assert sum("not completed" in reason for reason in reasons.values()) == 2
    assert sum("No payload of it is landed" in reason for reason in reasons.values()) == 1
    deleter.apply(plan)
    assert sorted(deleter.sent()) == sorted(r.sid for r in old)
    assert exporter.rows("SELECT count(*) FROM retention WHERE state = 'deleted'") == [(3,)]


def answer_deletes(sandbox: Sandbox, reply: Reply | None, *, processed: bool, times: int = 1) -> None:
    """The source answers its first DELETEs so, whether or not it has processed them."""
    count = itertools.count()

    def intercept(request: Request) -> Reply | None:
        if request.method != "DELETE" or next(count) >= times:
            return None
        if processed:
            sandbox.world.delete(sandbox.world.results[request.sids[2]], sandbox.now)
        return reply

    sandbox.settings.intercept = intercept


@pytest.mark.parametrize(
    ("status", "processed"),
    [(500, True), (404, True), (302, False), (200, False), (404, False)],
)
def test_anything_but_a_direct_204_is_settled_by_asking(status: int, processed: bool, exporter: Exporter) -> None:
    """Gone then: deleted, and noted as absent. Still there: not deleted, and tried again only by another run."""
    deleter, _ = ready(exporter, 2)
    plan = deleter.plan()
    first = plan.results[0].sid
    headers = (("location", f"{exporter.sandbox.base_url}/elsewhere"),) if status < 400 else ()
    answer_deletes(exporter.sandbox, Reply(status, b"{}", headers=headers), processed=processed)
    if processed:
        report = deleter.apply(plan)
        assert (report.deleted, report.absent) == (1, 1)
        assert steps(exporter, first) == ["intent", "absent"]
    else:
        with pytest.raises(ApplyAgain, match="1 of 2"):
            deleter.apply(plan)
        assert (deleter.report.deleted, deleter.report.present) == (1, 1)
        assert steps(exporter, first) == ["intent", "present"]
        assert exporter.rows("SELECT count(*) FROM retention WHERE state = 'deleted'") == [(1,)]
        report = deleter.apply(plan)
        assert (report.before, report.deleted) == (1, 1)
        assert steps(exporter, first) == ["intent", "present", "intent", "deleted"]
    assert deleter.left() == set()
    assert not any(entry.path == "/elsewhere" for entry in exporter.sandbox.journal.entries)


def test_a_204_for_what_is_still_there_is_no_success(exporter: Exporter) -> None:
    """Twilio says deleted and shows it still: unknown, nothing more is sent, and the next run settles it."""
    deleter, _ = ready(exporter, 3)
    plan = deleter.plan()
    answer_deletes(exporter.sandbox, Reply(204, content_type=None), processed=False)
    with pytest.raises(ApplyAgain, match="still shows it"):
        deleter.apply(plan)
    assert len(deleter.sent()) == 1
    assert steps(exporter, plan.results[0].sid) == ["intent", "unknown"]
    assert steps(exporter, plan.results[1].sid) == ["intent", "withdrawn"]
    assert exporter.rows("SELECT count(*) FROM add_on_results WHERE deleted_at IS NOT NULL") == [(0,)]
    report = deleter.apply(plan)
    assert (report.before, report.deleted, report.absent) == (0, 3, 0)


@pytest.mark.parametrize("processed", [True, False])
def test_a_source_that_falls_silent_leaves_the_outcome_unknown(processed: bool, exporter: Exporter) -> None:
    """Neither the DELETE nor the question after it is answered: nothing more is sent until somebody runs it again."""
    deleter, _ = ready(exporter, 3)
    plan = deleter.plan()
    sandbox = exporter.sandbox
    silent: list[bool] = []

    def intercept(request: Request) -> Reply | None:
        if request.method == "DELETE":
            silent.append(True)
            if processed:
                sandbox.world.delete(sandbox.world.results[request.sids[2]], sandbox.now)
        return Reply(503, b"{}") if silent else None

    sandbox.settings.intercept = intercept
    with pytest.raises(ApplyAgain, match="not known"):
        deleter.apply(plan)
    assert len(deleter.sent()) == 1
    assert deleter.report.unknown == 1
    assert steps(exporter, plan.results[0].sid) == ["intent", "unknown"]
    with pytest.raises(SourceError):
        deleter.apply(plan)
    assert len(deleter.sent()) == 1
    sandbox.settings.intercept = None
    report = deleter.apply(plan)
    assert (report.absent, report.deleted) == ((1, 2) if processed else (0, 3))
    assert len(deleter.sent()) == (3 if processed else 4)


@pytest.mark.parametrize("processed", [True, False])
def test_a_403_never_says_that_a_result_is_gone(processed: bool, exporter: Exporter) -> None:
    """A question that is refused leaves the outcome of a DELETE unknown, also when the same command is run again."""
    deleter, _ = ready(exporter, 3)
    plan = deleter.plan()
    sandbox = exporter.sandbox

    def intercept(request: Request) -> Reply | None:
        if request.method != "DELETE":
            return Reply(403, b"{}") if deleter.sent() and request.operation == "FetchRecordingAddOnResult" else None
        if processed:
            sandbox.world.delete(sandbox.world.results[request.sids[2]], sandbox.now)
        return Reply(500, b"{}")

    sandbox.settings.intercept = intercept
    with pytest.raises(ApplyAgain, match="not known"):
        deleter.apply(plan)
    for _ in range(2):
        with pytest.raises((SourceError, FixConfiguration)):
            deleter.apply(plan)
    assert len(deleter.sent()) == 1
    assert steps(exporter, plan.results[0].sid) == ["intent", "unknown"]
    sandbox.settings.intercept = None
    report = deleter.apply(plan)
    assert (report.absent, report.deleted) == ((1, 2) if processed else (0, 3))


def test_a_new_plan_after_a_deletion_that_was_cut_off_names_the_others(exporter: Exporter) -> None:
    """What may be gone by the open DELETE is left out with its reason and keeps no neighbour from being planned."""
    (first,) = fill(exporter.sandbox, 1)
    recording = exporter.sandbox.world.recordings[first.reference_sid]
    neighbour = exporter.sandbox.world.add_result(recording, add_on="another")
    exporter.sandbox.world.add_payload(neighbour, b"content")
    exporter().verdict()
    rest(exporter.sandbox)
    deleter = Deleter(exporter.sandbox, exporter.archive)
    answered: list[str] = []

    def intercept(request: Request) -> Reply | None:
        if request.method == "DELETE":
            answered.append(request.sids[2])
            exporter.sandbox.world.delete(exporter.sandbox.world.results[request.sids[2]], exporter.sandbox.now)
        return Reply(503, b"{}") if answered else None

    exporter.sandbox.settings.intercept = intercept
    with pytest.raises(ApplyAgain):
        deleter.apply(deleter.plan())
    exporter.sandbox.settings.intercept = None
    plan = deleter.plan()
    assert [r.sid for r in plan.results] == [sid for sid in (first.sid, neighbour.sid) if sid not in answered]
    assert ["earlier DELETE is open" in left.reasons[0] for left in plan.left_out] == [True]
    deleter.apply(plan)
    assert deleter.left() == set()
    assert exporter.rows("SELECT DISTINCT state FROM retention") == [("deleted",)]


def test_a_plan_that_is_done_but_was_killed_before_publishing_is_published_when_it_is_refused(
    exporter: Exporter,
) -> None:
    """Nothing is deleted twice, and analysts see what was deleted."""
    deleter, _ = ready(exporter, 2)
    plan = deleter.plan()
    before = (exporter.archive.root / PUBLISHED).resolve().read_bytes(), (exporter.archive.root / PUBLISHED).readlink()
    deleter.apply(plan)
    (exporter.archive.root / before[1]).unlink(missing_ok=True)
    (exporter.archive.root / before[1]).write_bytes(before[0])
    (exporter.archive.root / PUBLISHED).unlink()
    (exporter.archive.root / PUBLISHED).symlink_to(before[1])
    assert exporter.rows("SELECT count(*) FROM deletions") == [(0,)]
    with pytest.raises(PlanAgain, match="applied already"):
        deleter.apply(plan)
    assert len(deleter.sent()) == 2
    assert exporter.rows("SELECT count(*) FROM retention WHERE state = 'deleted'") == [(2,)]


def test_deletes_without_effect_come_to_an_end(exporter: Exporter) -> None:
    """After three of them nothing more is sent."""
    deleter, _ = ready(exporter, 6)
    answer_deletes(exporter.sandbox, Reply(500, b"{}"), processed=False, times=100)
    with pytest.raises(ApplyAgain, match="3 DELETEs had no effect"):
        deleter.apply(deleter.plan())
    assert len(deleter.sent()) == 3
    assert len(deleter.left()) == 6


def test_a_429_is_not_an_outcome(exporter: Exporter) -> None:
    """Twilio does not process it, so it is sent again."""
    deleter, _ = ready(exporter, 2)
    answer_deletes(exporter.sandbox, Reply(429, b"{}"), processed=False, times=3)
    assert deleter.apply(deleter.plan()).deleted == 2


def test_what_vanishes_before_its_delete_is_reported_and_is_no_success(exporter: Exporter) -> None:
    """404 without a DELETE of ours: somebody else deletes. Everything stops."""
    deleter, _ = ready(exporter, 3)
    plan = deleter.plan()
    victim = plan.results[1].sid

    def intercept(request: Request) -> Reply | None:
        if request.method == "DELETE":
            exporter.sandbox.world.lose(victim)
        return None

    exporter.sandbox.settings.intercept = intercept
    with pytest.raises(PlanAgain, match="vanished"):
        deleter.apply(plan)
    assert deleter.sent() == [plan.results[0].sid]
    assert (deleter.report.deleted, deleter.report.vanished) == (1, 1)
    assert steps(exporter, victim) == ["intent", "vanished"]
    assert exporter.rows(f"SELECT deleted_at FROM add_on_results WHERE sid = '{victim}'") == [(None,)]


def test_the_ledger_says_what_each_delete_rested_on(exporter: Exporter) -> None:
    """One chain, no content, an intent with SIDs and hashes before every outcome."""
    deleter, _ = ready(exporter, 3)
    plan = deleter.plan()
    deleter.apply(plan)
    ledger = read_ledger(exporter.archive.newest())
    assert ledger.broken() is None
    words = [entry.step.step for entry in ledger.entries]
    assert words == ["started", *["intent"] * 3, *["deleted"] * 3, "spent"]
    assert {entry.step.plan_hash for entry in ledger.entries} == {plan.hash}
    for entry, result in zip(ledger.entries[1:4], plan.results, strict=True):
        assert entry.step.proof is not None
        proof = json.loads(entry.step.proof)
        assert [p["sha256"] for p in proof["payloads"]] == [p.sha256 for p in result.payloads]
    text = repr(ledger)
    assert "transcription" not in text
    assert exporter.sandbox.auth_token not in text


def test_an_intent_is_durable_before_its_delete_and_an_outcome_after_it(exporter: Exporter) -> None:
    """Read from the disk at the moment the DELETE arrives at the source."""
    deleter, _ = ready(exporter, 3)
    seen: list[list[str]] = []

    def intercept(request: Request) -> Reply | None:
        if request.method == "DELETE":
            ledger = read_ledger(exporter.archive.newest())
            seen.append([e.step.step for e in ledger.entries if e.step.add_on_result_sid == request.sids[2]])
        return None

    exporter.sandbox.settings.intercept = intercept
    deleter.apply(deleter.plan())
    assert seen == [["intent"]] * 3


def test_lists_are_complete_before_anything_is_deleted(exporter: Exporter) -> None:
    """In the source's journal no list of results is read between the first DELETE and the last."""
    deleter, _ = ready(exporter, 4)
    exporter.sandbox.journal.clear()
    plan = deleter.plan()
    exporter.sandbox.journal.clear()
    deleter.apply(plan)
    operations = [e.operation for e in exporter.sandbox.journal.entries]
    first = operations.index("DeleteRecordingAddOnResult")
    assert operations[:first].count("ListRecordingAddOnResult") == 4
    assert "ListRecordingAddOnResult" not in operations[first:]


def test_a_plan_made_beside_another_does_not_delete_twice(exporter: Exporter) -> None:
    """Both were confirmed; what the first has deleted is not asked for again."""
    deleter, results = ready(exporter, 4)
    first, second = deleter.plan(GENEROUS), deleter.plan(replace(GENEROUS, max_delete=499))
    deleter.apply(first)
    report = deleter.apply(second)
    assert (report.before, report.deleted) == (4, 0)
    assert len(deleter.sent()) == len(results)


def test_what_twilio_goes_on_listing_as_deleted_is_neither_pending_nor_lost(exporter: Exporter) -> None:
    """A row with status deleted and no payloads: exports end well, and again and again without asking for more."""
    deleter, results = ready(exporter, 2)
    deleter.apply(deleter.plan())
    for result in results:
        exporter.sandbox.world.put(replace(result, overrides={"status": "deleted"}))
    exporter.sandbox.settings.intercept = lambda request: (
        Reply(404, b"{}") if request.operation == "ListRecordingAddOnResultPayload" else None
    )
    for full in (True, True, False):
        exporter(Scope(full=full)).verdict()
    for result in results:  # or as completed, for a while
        exporter.sandbox.world.put(result)
    exporter(Scope(full=True)).verdict()
    assert exporter.rows("SELECT DISTINCT state FROM retention") == [("deleted",)]
    assert exporter.rows("SELECT count(*) FROM contents") == [(4,)]
    assert exporter.rows("SELECT sum(open_results) FROM recordings") == [(0,)]
