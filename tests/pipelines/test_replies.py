"""Replies otherwise than documented, end to end: nothing is refused for good, nothing is taken that is cut."""

import gzip
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest

from pipelines.errors import IncompleteExport
from pipelines.monitoring.status import status
from pipelines.retry import entries, raw, retry
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from tests.pipelines.conftest import NOW, Exporter
from warehouse.upkeep.verify import verify

TEXT = b'{"code":400,"message":"audio too short","status":"failed"}'
DATA = "FetchRecordingAddOnResultPayloadData"


def one(world: World, sandbox: Sandbox, content: bytes = TEXT) -> None:
    """A recording with a result with a payload."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=5))
    world.add_payload(world.add_result(recording), content)


def test_a_vendors_failure_report_and_an_encoded_content_are_landed(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """The one is JSON with names that Twilio's errors have, too; the other is decoded."""
    one(world, sandbox)
    one(world, sandbox, b"second")
    packed = Reply(200, gzip.compress(TEXT), headers=(("Content-Encoding", "gzip"),))
    sandbox.settings.intercept = lambda request: packed if request.operation == DATA else None
    exporter().verdict()
    assert exporter.rows("SELECT DISTINCT content FROM contents") == [(TEXT,)]
    encoded = exporter.rows("SELECT DISTINCT encoded_sha256, content_sha256 FROM add_on_payloads")
    assert encoded == [(sha256(packed.body).hexdigest(), sha256(TEXT).hexdigest())]
    assert verify(exporter.archive).mismatches == ()


HALF = gzip.compress(TEXT)[:-9]


@pytest.mark.parametrize(
    ("reply", "half"),
    [
        (Reply(200, HALF, headers=(("Content-Encoding", "gzip"),)), HALF),
        (Reply(201, TEXT), TEXT),
        (Reply(299, TEXT), TEXT),
        (Reply(204, content_type=None), b""),
    ],
    ids=["half of a coding", "201", "299", "204"],
)
def test_a_content_that_cannot_be_proven_whole_is_kept_and_landed_when_somebody_says_so(
    reply: Reply, half: bytes, world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Asked again it would come the same way, so that "run again" would be wrong until it is lost."""
    one(world, sandbox)
    sandbox.settings.intercept = lambda request: reply if request.operation == DATA else None
    for _ in range(2):
        with pytest.raises(IncompleteExport, match="quarantine list") as caught:
            exporter().verdict()
        assert not caught.value.again
    (entry,) = entries(exporter.archive)
    assert raw(exporter.archive, entry) == half
    (why,) = retry(exporter.archive, [entry], now=NOW).still_open.values()
    assert "--as-it-is" in why
    assert retry(exporter.archive, [entry], now=NOW, as_it_is=True).resolved == (entry,)
    exporter().verdict()
    assert exporter.rows("SELECT content FROM contents") == [(half,)]
    assert verify(exporter.archive).mismatches == ()


def test_a_content_that_is_too_large_to_be_read_is_no_reason_to_run_again(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """It would be as large the next time: somebody has to know of it."""
    one(world, sandbox, b"made up " * 2000)
    exporter.tuning = replace(exporter.tuning, content_cap=4 << 10)
    with pytest.raises(IncompleteExport, match=r"quarantine list.*exceeds the size limit") as caught:
        exporter().verdict()
    assert not caught.value.again


@pytest.mark.parametrize(
    ("key", "listing", "itself"),
    [
        ("add_on_results", "ListRecordingAddOnResult", "FetchRecordingAddOnResult"),
        ("payloads", "ListRecordingAddOnResultPayload", "FetchRecordingAddOnResultPayload"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_what_is_owed_and_listed_no_more_is_asked_for_itself(
    there: bool, key: str, listing: str, itself: str, world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Still there, it is landed; gone, that is said once, and it is not "run again" until day 30."""
    one(world, sandbox)
    asked: list[str | None] = []

    def refused(request: Request) -> Reply | None:
        return Reply(409, b"{}") if request.operation == DATA else None

    def unlisted(request: Request) -> Reply | None:
        asked.append(request.operation)
        if request.operation == listing:
            return Reply(200, f'{{"{key}":[],"next_page_uri":null}}'.encode())
        gone = request.operation == itself and not there
        return Reply(404, b'{"code":20404,"message":"no","status":404}') if gone else None

    sandbox.settings.intercept = refused
    with pytest.raises(IncompleteExport, match="run again"):
        exporter().verdict()
    sandbox.settings.intercept = unlisted
    if there:
        exporter().verdict()
        assert exporter.rows("SELECT content FROM contents") == [(TEXT,)]
        return
    with pytest.raises(IncompleteExport, match="no longer has") as caught:
        exporter().verdict()
    assert not caught.value.again
    assert exporter.rows("SELECT state FROM retention") == [("gone",)]
    asked.clear()
    exporter().verdict()
    assert itself not in asked
    assert status(exporter.archive, now=NOW, settle=timedelta(hours=48)).results["gone"] == 1
    assert entries(exporter.archive) == []
    assert verify(exporter.archive).mismatches == ()
    # it was not gone, as a thorough look finds
    sandbox.settings.intercept = None
    exporter(Scope(full=True)).verdict()
    assert exporter.rows("SELECT state FROM retention") == [("exported",)]


def test_an_empty_or_marked_up_list_is_asked_for_again(world: World, sandbox: Sandbox, exporter: Exporter) -> None:
    """As a 5xx is: it passes."""
    one(world, sandbox)
    left = [b"", b"<html>busy</html>"]

    def busy(request: Request) -> Reply | None:
        return Reply(200, left.pop()) if request.operation == "ListRecordingAddOnResult" and left else None

    sandbox.settings.intercept = busy
    exporter().verdict()
    assert left == []
