"""Quarantine: what can be read by now is landed, what is landed is resolved, the rest stays open and says why."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.errors import FixQuery, IncompleteExport
from pipelines.monitoring.checks import Reading, quarantine_empty
from pipelines.monitoring.status import status
from pipelines.retry import Entry, dismiss, entries, named, raw, retry
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.values import Payload, Recording, Result
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from pipelines.settings import windows
from tests.pipelines.conftest import NOW, Exporter
from tests.warehouse.made_up import (
    NOON,
    Row,
    land_rows,
    later,
    logical,
    payload,
    recording,
    result,
    rows_by_key,
    sid,
)
from warehouse.contents import DIFFERS
from warehouse.land import land
from warehouse.published.publish import publish
from warehouse.quarantine import QuarantineRow, quarantine_rows
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, QUARANTINE, RECORDINGS, RESOLUTIONS
from warehouse.store.archive import Archive
from warehouse.store.opening import open_archive
from warehouse.upkeep.repair import repair
from warehouse.upkeep.verify import verify

ACCOUNT = sid("AC", 0)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive."""
    return open_archive(tmp_path / "root")


def item(kind: str, number: int, **values: object) -> bytes:
    """One item of a list as Twilio sends it."""
    facts: dict[str, object] = {"sid": sid(kind, number), "account_sid": ACCOUNT, **values}
    return json.dumps(facts).encode()


def quarantine(archive: Archive, *rows: QuarantineRow) -> list[Entry]:
    """Put rows into quarantine and return the open entries."""
    land(archive, {QUARANTINE.name: quarantine_rows(rows, now=NOON)}, run_id="test", now=NOON)
    return entries(archive)


def a_result(number: int, **values: object) -> Row:
    """A landed result whose raw can be read again."""
    said = item("XR", number, reference_sid=sid("RE", number), date_completed="Fri, 20 Nov 2026 12:00:00 +0000")
    return result(number, raw=said.decode(), **values)  # type: ignore[arg-type]  # as `result`


def test_what_an_older_version_could_not_read_is_landed(archive: Archive) -> None:
    """A recording, a result, a payload and a content: rows as an export lands them, one commit, all resolved."""
    land_rows(archive, [a_result(2)])
    said = item("XH", 3, add_on_result_sid=sid("XR", 2), reference_sid=sid("RE", 2), content_type="text/plain")
    land_rows(archive, [payload(3, of=2, raw=said.decode())])
    done = "Fri, 20 Nov 2026 12:00:00 +0000"
    open_before = quarantine(
        archive,
        QuarantineRow("recording", None, None, ACCOUNT, "?", item("RE", 9, date_created=done)),
        QuarantineRow("add_on_result", None, sid("RE", 9), ACCOUNT, "?", item("XR", 9, status="completed")),
        QuarantineRow("payload", None, sid("XR", 2), ACCOUNT, "?", item("XH", 4, label="late")),
        QuarantineRow("content", sid("XH", 3), sid("XR", 2), ACCOUNT, "?", b"what was said"),
    )
    before = archive.head().number
    tried = retry(archive, open_before, now=later(1))
    assert (len(tried.resolved), tried.still_open, tried.commit) == (4, {}, before + 1)
    assert rows_by_key(archive, RECORDINGS)[sid("RE", 9)]["listed_at"] is None, "its results are still to be listed"
    landed = rows_by_key(archive, ADD_ON_RESULTS)[sid("XR", 9)]
    assert (landed["exported_at"], landed["observed_at"], landed["reference_sid"]) == (None, NOON, sid("RE", 9))
    late = rows_by_key(archive, ADD_ON_PAYLOADS)[sid("XH", 4)]
    assert (late["reference_sid"], late["completed_date"], late["content_sha256"]) == (sid("RE", 2), NOON.date(), None)
    content = rows_by_key(archive, CONTENTS)[sid("XH", 3)]
    assert (content["content"], content["is_text"]) == (b"what was said", True)
    assert entries(archive) == []
    assert {entry.how for entry in entries(archive, resolved=True)} == {"landed"}
    publish(archive, "duckdb", now=NOON)
    assert {mismatch.kind for mismatch in verify(archive).mismatches} <= {"reference"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (QuarantineRow("recording", None, None, ACCOUNT, "?", b"<html>"), "The recording"),
        (QuarantineRow("recording", None, None, sid("AC", 7), "?", item("RE", 9)), "names another parent"),
        (QuarantineRow("add_on_result", None, sid("RE", 1), ACCOUNT, "?", item("XR", 1, status=3)), "read whole"),
        (QuarantineRow("add_on_result", None, sid("RE", 1), ACCOUNT, "?", item("XR", 1, reference_sid="x")), "parent"),
        (QuarantineRow("add_on_result", None, sid("RE", 2), ACCOUNT, "?", item("XR", 2, note="b")), "another version"),
        (QuarantineRow("payload", None, sid("XR", 99), ACCOUNT, "?", item("XH", 1)), "is not landed"),
        (QuarantineRow("content", sid("XH", 88), None, ACCOUNT, "?", b"x"), "its payload is not landed"),
        (QuarantineRow("content", sid("XH", 3), sid("XR", 2), ACCOUNT, "?", None), "not given it"),
        (QuarantineRow("content", sid("XH", 3), sid("XR", 2), ACCOUNT, "?", b"<html><p>"), "a page in HTML"),
        (QuarantineRow("content", sid("XH", 4), sid("XR", 2), ACCOUNT, DIFFERS, b"other"), "another content"),
        (QuarantineRow("content", sid("XH", 3), sid("XR", 2), ACCOUNT, DIFFERS, b"cut sho"), "another content"),
    ],
)
def test_what_cannot_be_landed_stays_open_and_says_why(archive: Archive, row: QuarantineRow, reason: str) -> None:
    """Nothing is landed of it, nothing landed is changed; dismissing it closes it, and its bytes stay."""
    said = item("XH", 3, content_type="text/plain").decode()
    land_rows(archive, [a_result(2), payload(3, of=2, raw=said), payload(4, of=2, raw=said, data=b"the first")])
    (entry,) = quarantine(archive, row)
    before = {name: rows for name, rows in logical(archive).items() if name != RESOLUTIONS.name}
    tried = retry(archive, [entry], now=later(1))
    assert tried.resolved == ()
    assert reason.lower() in tried.still_open[entry.quarantine_id].lower()
    assert entries(archive) == [entry]
    dismiss(archive, [entry], "seen", now=later(2))
    assert entries(archive) == []
    assert entries(archive, resolved=True) == [replace(entry, how="dismissed", note="seen")]
    assert raw(archive, entry) == row.raw
    assert {name: rows for name, rows in logical(archive).items() if name != RESOLUTIONS.name} == before


def test_what_was_landed_since_is_resolved(archive: Archive) -> None:
    """A content that came later, and a result that was seen later and could be read."""
    old = item("XR", 2, status=3).decode()
    land_rows(archive, [result(2, raw=old, status=None), payload(3, of=2, raw=item("XH", 3).decode(), data=b"here")])
    found = quarantine(
        archive,
        QuarantineRow("content", sid("XH", 3), sid("XR", 2), ACCOUNT, "?", None),
        QuarantineRow("add_on_result", sid("XR", 2), sid("RE", 2), ACCOUNT, "?", old.encode()),
    )
    assert len(retry(archive, found, now=later(1)).resolved) == 1
    land_rows(archive, [a_result(2, at=later(2))])
    assert len(retry(archive, entries(archive), now=later(3)).resolved) == 1
    assert entries(archive) == []


def test_an_older_row_from_quarantine_does_not_overwrite_a_newer_one(archive: Archive) -> None:
    """It counts as observed when it was put there."""
    said = item("RE", 9, status="in-progress", duration="5")
    found = quarantine(archive, QuarantineRow("recording", None, None, ACCOUNT, "?", said))
    land_rows(archive, [recording(9, at=later(5), status="completed")])
    retry(archive, found, now=later(6))
    row = rows_by_key(archive, RECORDINGS)[sid("RE", 9)]
    assert (row["status"], row["duration_seconds"], row["listed_at"]) == ("completed", 5, later(5))


def test_an_id_may_be_shortened_as_long_as_it_is_clear(archive: Archive) -> None:
    """A beginning that fits none or several is refused."""
    found = quarantine(archive, *(QuarantineRow("recording", None, None, ACCOUNT, f"{n}", b"?") for n in range(20)))
    assert named(found, [found[0].quarantine_id[:12].upper(), found[0].quarantine_id]) == [found[0]]
    for beginning in ("x", ""):
        with pytest.raises(FixQuery, match="begins with"):
            named(found, [beginning])


def test_what_is_dismissed_counts_nowhere_and_does_not_fail_the_next_export(tmp_path: Path) -> None:
    """Open: exit code, status and check say so. Dismissed: none of them, though Twilio still sends the same row."""

    def broken(request: Request) -> Reply | None:
        if request.operation != "ListRecordingAddOnResult":
            return None
        return Reply(200, b'{"add_on_results": [{"sid": null}], "next_page_uri": null}')

    with Sandbox(made_up_world(now=NOW, recordings=2), now=NOW) as sandbox:
        sandbox.settings.intercept = broken
        exporter = Exporter(sandbox, open_archive(tmp_path / "data"))
        with pytest.raises(IncompleteExport, match="quarantine list"):
            exporter().verdict()
        archive = exporter.archive
        assert counted(archive) == (len(entries(archive)), len(entries(archive)))
        dismiss(archive, entries(archive), "known", now=NOW)
        assert counted(archive) == (0, 0)
        exporter().verdict()
    assert entries(archive) == []


@pytest.mark.parametrize(
    ("operation", "reply"),
    [
        ("FetchRecordingAddOnResultPayloadData", Reply(404, b"{}")),
        ("Content", Reply(200, b"<html>not what was said", "text/html")),
    ],
)
def test_a_content_that_was_dismissed_does_not_fail_the_next_export(
    tmp_path: Path, operation: str, reply: Reply
) -> None:
    """Lost or unreadable: once somebody has said that it need not be landed, nothing is left to complain about."""
    with Sandbox(made_up_world(now=NOW, recordings=2), now=NOW) as sandbox:
        sandbox.settings.intercept = lambda request: reply if request.operation == operation else None
        exporter = Exporter(sandbox, open_archive(tmp_path / "data"))
        with pytest.raises(IncompleteExport):
            exporter().verdict()
        assert rows_by_key(exporter.archive, CONTENTS) == {}
        dismiss(exporter.archive, entries(exporter.archive), "known", now=NOW)
        exporter().verdict()


def test_a_content_that_was_landed_and_is_lost_since_waits_again(tmp_path: Path) -> None:
    """The same error page in its place is in quarantine already, resolved; the export says that it waits."""
    with Sandbox(made_up_world(now=NOW, recordings=2), now=NOW) as sandbox:

        def spoil(request: Request) -> Reply | None:
            return Reply(200, b"<html>not what was said", "text/html") if request.operation == "Content" else None

        sandbox.settings.intercept = spoil
        exporter = Exporter(sandbox, open_archive(tmp_path / "data"), "parquet")
        with pytest.raises(IncompleteExport):
            exporter().verdict()
        sandbox.settings.intercept = None
        exporter().verdict()
        archive = exporter.archive
        assert {entry.how for entry in entries(archive, resolved=True)} == {"landed"}
        for path in archive.head().tables[CONTENTS.name]:
            (archive.root / path).write_bytes(b"damaged")
        repair(archive, now=NOW)
        sandbox.settings.intercept = spoil
        for _ in range(2):
            with pytest.raises(IncompleteExport, match="run again"):
                exporter().verdict()
        sandbox.settings.intercept = None
        exporter().verdict()


@pytest.mark.parametrize(
    ("kind", "field", "value", "column"),
    [
        ("recording", "sid", 5, "duration_seconds"),
        ("add_on_result", "date_completed", "never", "date_completed"),
        ("payload", "sid", None, "label"),
    ],
)
def test_what_heals_at_the_source_is_corrected_and_resolved_by_the_next_export(
    kind: str, field: str, value: object, column: str, world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Of a settled recording too; until then every export says that something is open, then none asks again."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    result = world.add_result(recording)
    payload = world.add_payload(result, b"{}")
    rows: dict[str, Recording | Result | Payload] = {
        "recording": recording,
        "add_on_result": result,
        "payload": payload,
    }
    good = rows[kind]
    world.put(replace(good, overrides={field: value}))
    for _ in range(2):
        with pytest.raises(IncompleteExport, match="quarantine list") as caught:
            exporter().verdict()
        assert not caught.value.again
        sandbox.advance(timedelta(hours=1))
    world.put(good)
    exporter().verdict()
    assert exporter.rows(f"SELECT count({column}) FROM {kind}s".replace("FROM payloads", "FROM add_on_payloads")) == [
        (1,)
    ]
    assert exporter.rows("SELECT state FROM retention") == [("exported",)]
    assert {entry.how for entry in entries(exporter.archive, resolved=True)} == {"landed"}
    assert exporter.rows("SELECT count(*) FROM resolutions") == [(1,)]
    sandbox.journal.clear()
    exporter().verdict()
    # the account is asked for once at the start: its reply shows Twilio's time
    assert {entry.operation for entry in sandbox.journal.entries} == {"FetchAccount", "ListRecording"}


@pytest.mark.parametrize("operation", ["ListRecording", "ListRecordingAddOnResult", "ListRecordingAddOnResultPayload"])
def test_a_row_listed_again_with_its_sid_in_another_case_is_no_row_of_its_own(
    operation: str, world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Nothing is behind it that could ever be had; a list without it resolves the entry."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    result = world.add_result(recording)
    payload = world.add_payload(result, b"{}")
    key, row = {
        "ListRecording": ("recordings", {"sid": recording.sid, "date_created": recording.date_created.isoformat()}),
        "ListRecordingAddOnResult": ("add_on_results", {"sid": result.sid, "status": "completed"}),
        "ListRecordingAddOnResultPayload": ("payloads", {"sid": payload.sid}),
    }[operation]
    shouted = {**row, "sid": row["sid"][:2] + row["sid"][2:].upper()}
    day = recording.date_created.date().isoformat()

    def lie(request: Request) -> Reply | None:
        if request.operation != operation or request.query.get("DateCreated>", day) != day:
            return None
        return Reply(200, json.dumps({key: [row, shouted], "next_page_uri": None}).encode())

    sandbox.settings.intercept = lie
    with pytest.raises(IncompleteExport, match="1 unreadable") as caught:
        exporter().verdict()
    assert not caught.value.again
    for table in ("recordings", "add_on_results", "add_on_payloads", "contents"):
        assert exporter.rows(f"SELECT count(*) FROM {table}") == [(1,)]
    sandbox.settings.intercept = None
    sandbox.advance(timedelta(hours=1))
    exporter().verdict()
    assert exporter.rows("SELECT state FROM retention") == [("exported",)]
    assert entries(exporter.archive) == []


def test_a_row_that_was_good_before_and_after_resolves_what_was_bad_in_between(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """What is landed is right already; it must only be read whole once more."""
    result = world.add_result(world.add_recording(sandbox.account_sid, NOW - timedelta(days=1)))
    world.add_payload(result, b"{}")
    exporter().verdict()
    world.put(replace(result, overrides={"add_on_sid": 5}))
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    world.put(result)
    sandbox.advance(timedelta(days=3))
    exporter().verdict()
    assert entries(exporter.archive) == []


def test_what_an_earlier_export_put_into_quarantine_counts_until_it_is_resolved(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """An entry that does not say what it is about is resolved by nobody but the operator."""
    world.add_payload(world.add_result(world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))), b"{}")
    sandbox.settings.intercept = lambda request: (
        Reply(200, b'{"recordings": [{"sid": null}], "next_page_uri": null}')
        if request.operation == "ListRecording" and "2026-11-02" in request.query.values()
        else None
    )
    with pytest.raises(IncompleteExport, match="2 unreadable"):
        exporter().verdict()
    sandbox.settings.intercept = None
    for _ in range(2):
        with pytest.raises(IncompleteExport, match=r"2 of what .* still open; see `addon-export quarantine list`"):
            exporter().verdict()
    dismiss(exporter.archive, entries(exporter.archive), "seen", now=NOW)
    exporter().verdict()


def test_a_content_that_differs_stays_open_whatever_is_listed(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """No listing can tell which of the two is right."""
    payload = world.add_payload(
        world.add_result(world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))), b"1"
    )
    exporter().verdict()
    quarantine(exporter.archive, QuarantineRow("content", payload.sid, payload.add_on_result_sid, None, DIFFERS, b"2"))
    with pytest.raises(IncompleteExport, match="still open"):
        exporter(Scope(full=True)).verdict()


def counted(archive: Archive) -> tuple[int, int]:
    """What `status` and the check say of quarantine."""
    now = NOW + timedelta(hours=1)
    reading = Reading(archive, now, timedelta(hours=48), windows({}))
    return status(archive, now=now, settle=timedelta(hours=48)).quarantined, len(quarantine_empty(reading).rows)
