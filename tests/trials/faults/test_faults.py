"""A sample of `make trial NAME=faults` and `make trial NAME=truncation`, the bombs, and the control that must fail."""

import asyncio
import tracemalloc
from datetime import timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from pipelines.errors import SourceUntrusted
from pipelines.records.sniff import error_document
from pipelines.sandbox.made_up import made_up_world
from tests.pipelines.twilio.made_up import RE, SIGNATURE, XH, XR
from tests.pipelines.twilio.sockets import on_sockets, reply, serving
from tests.trials.faults.catalogue import MUTATORS
from tests.trials.faults.exporting import Job, export_apart, export_here
from tests.trials.faults.judge import landed, missing
from tests.trials.faults.mutator import Mutator
from tests.trials.faults.naive import Naive
from tests.trials.faults.replies import Honest, Level, Wire
from tests.trials.faults.server import FaultServer, Plan
from tests.trials.faults.trial import NOW, Tally, one_round
from tests.trials.faults.truncation import KINDS, contents, truncate
from tests.trials.faults.wire_mutators import BOMB_BYTES, HTML, S3_ERROR, bomb

SLOW = {"silence", "silence in the head", "silence in the body", "drip", "bomb", "bomb of 2 layers", "bomb of 3 layers"}


def test_there_are_sixty_mutators_each_with_a_line_that_says_what_it_does() -> None:
    """And a name of its own."""
    assert len({m.name for m in MUTATORS}) == len(MUTATORS) >= 60
    assert all(m.does for m in MUTATORS)


def test_an_export_without_faults_lands_all_that_the_source_shows(tmp_path: Path) -> None:
    """The judge's idea of the truth is right, or the trial would prove nothing."""
    world = made_up_world(now=NOW, recordings=8, days=27, subaccounts=0)
    with FaultServer(world, NOW) as server:
        outcome = export_here(Job(server.base_url, server.account.sid, server.account.auth_token, tmp_path / "a", NOW))
    assert outcome.error == ""
    assert missing(landed(tmp_path / "a"), world, NOW) == []


def test_bad_replies_are_noticed_and_cost_no_good_one() -> None:
    """Two exports of which two in five replies are bad, then good ones: see `make trial NAME=faults`."""
    tally = Tally()
    run = partial(export_apart, deadline=90.0)  # its peak of memory is not that of the whole suite
    one_round("suite", tally, run=run, mutators=tuple(m for m in MUTATORS if m.name not in SLOW), recordings=12)
    assert tally.violations == []
    assert tally.replies > 50


def test_the_naive_client_loses_and_garbles() -> None:
    """Against the same server; so the judge's rules can be broken."""
    world = made_up_world(now=NOW, recordings=8, days=27, subaccounts=0)
    mutators = tuple(m for m in MUTATORS if m.name not in SLOW and "digits" not in m.name)
    with FaultServer(world, NOW, plan=Plan(mutators, Random(3))) as server:
        naive = Naive(server.base_url, server.account.sid, server.account.auth_token)
        naive.export((NOW - timedelta(days=28)).date(), 29)
        true = [p for t in world.truth(NOW) if t.state.status == "completed" for p in t.payloads]
    assert any(p.sid not in naive.contents for p in true)
    assert any(naive.contents.get(p.sid, "") not in ("", sha256(p.content).hexdigest()) for p in true)


def _poisoned(level: Level, *mutators: str) -> object:
    """Answers in which each mutator has one place of its own."""
    left = [next(m for m in MUTATORS if m.name == name) for name in mutators]
    keys: dict[str, Mutator] = {}

    def answer(honest: Honest) -> Wire | None:
        if honest.level is not level:
            return None
        made = keys.get(honest.key) or (left[0] if left else None)
        wire = None if made is None else made.make(honest, Random(1))
        if made is not None and wire is not None and honest.key not in keys:
            keys[honest.key] = left.pop(0)
        return wire

    return answer


def _export_with(root: Path, level: Level, *mutators: str) -> tuple[str, int, list[str]]:
    """How an export ends that meets poisoned places; how many contents land; what is missing after a good one."""
    world = made_up_world(now=NOW, recordings=8, days=27, subaccounts=0)
    with FaultServer(world, NOW) as server:
        job = Job(server.base_url, server.account.sid, server.account.auth_token, root, NOW)
        server.answer = _poisoned(level, *mutators)  # type: ignore[assignment]
        outcome = export_here(job)
        had = len(landed(job.root).contents)
        server.answer = None
        export_here(job)
        return outcome.error, had, missing(landed(job.root), world, NOW)


def test_a_day_whose_list_is_broken_does_not_stop_the_other_days(tmp_path: Path) -> None:
    """It used to end the export at once, each time."""
    error, had, lacking = _export_with(tmp_path / "root", Level.RECORDINGS, "HTML as 200")
    assert error == "IncompleteExport"
    assert had > 0
    assert lacking == []


def test_a_payload_that_cannot_be_read_keeps_its_result_open(tmp_path: Path) -> None:
    """It used to count as whole without it, and was never listed again."""
    error, _, lacking = _export_with(tmp_path / "root", Level.PAYLOADS, "row null", "row of another result")
    assert error == "IncompleteExport"
    assert lacking == []


def test_an_error_page_is_not_landed_as_a_content(tmp_path: Path) -> None:
    """It goes to quarantine, and the content comes with the next export; which pages are one is asked below."""
    error, _, lacking = _export_with(tmp_path / "root", Level.CONTENT, "S3 error as 200")
    assert error == "IncompleteExport"
    assert lacking == []


def test_what_a_vendor_says_is_markup_is_a_content() -> None:
    """Only what contradicts its type, or is Twilio's own error, is taken for an error page."""
    assert error_document(HTML, "text/html") is None
    assert error_document(S3_ERROR, "application/xml") is None
    assert error_document(b'{"message":"hi","status":1}', "application/json") is None
    assert error_document(HTML, None) is not None
    assert error_document(S3_ERROR, "application/json") is not None
    assert error_document(_PROBLEM, "application/problem+json") is None


_BOM = b"\xef\xbb\xbf"
_TWILIO_SAYS = b'{"code": 20404, "message": "gone", "more_info": "https://x", "status": 404}'
_PROBLEM = b'{"type": "about:blank", "title": "Not Found", "status": 404, "detail": "x"}'


@pytest.mark.parametrize(
    "page",
    [
        _BOM + HTML,
        b"\n<!-- made by a proxy -->\n<html><body>",
        b"<head><title>502 Bad Gateway</title></head>",
        b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN"><html>',
        _BOM + b'<?xml version="1.0" encoding="utf-8"?><Error><Code>BlobNotFound</Code></Error>',
        b'<Error xmlns="http://doc.example.com/"><Code>AccessDenied</Code></Error>',
        b"<Error><RequestId>1</RequestId>\n<Code>AccessDenied</Code></Error>",
        b"<?xml version='1.0'?>\n<TwilioResponse><RestException><Code>20404</Code></RestException></TwilioResponse>",
        b" \r\n" + _TWILIO_SAYS,
        _BOM + _TWILIO_SAYS,
        _PROBLEM,
        _BOM + _PROBLEM,
    ],
)
def test_a_common_error_page_is_recognised_whatever_it_begins_with(page: bytes) -> None:
    """Byte order marks, white space, comments, attributes, and children in any order."""
    assert error_document(page, "application/json") is not None
    assert error_document(page, "text/plain") is not None


@pytest.mark.parametrize(
    "said",
    [
        b"Error: the customer said <html> was broken, code 404",
        b"<Error>s happen, she said, and <b>Code</b> too",
        b"<headline>Sofa arrives</headline>",
        b"<Errors><Code>1</Code></Errors>",
        b'{"status": "completed", "title": "Call 17", "results": []}',
        b'{"title": "Call 17", "status": 2, "detail": "all well"}',
        b'{"title": "Call 17", "status": 404, "words": []}',
        b'{"code": 1, "message": "hi", "status": "done", "transcript": "x"}',
        b'[{"code": 20404, "message": "gone", "status": 404}]',
        b"\xef\xbb\xbfThank you for calling.",
    ],
)
def test_what_somebody_said_is_not_taken_for_an_error_page(said: bytes) -> None:
    """Text and JSON that look a little like one."""
    for kind in ("application/json", "text/plain", None):
        assert error_document(said, kind) is None


@pytest.mark.parametrize("kind", KINDS)
def test_no_beginning_of_a_content_passes_for_the_whole(kind: str) -> None:
    """Of a sample; the control takes those that are ended by closing."""
    found = truncate(contents(2, Random(5)), kind, step=3)
    assert found.cases > 20
    assert found.taken == 0
    assert (found.control > 0) == (kind == "close")


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_bomb_is_refused_without_unfolding_it(layers: int) -> None:
    """256 MB a layer; refused by its header, so nothing is unpacked."""
    packed = bomb(layers)
    encoding = f"Content-Encoding: {', '.join(['gzip'] * layers)}"

    async def fetch() -> None:
        ports: list[int] = []

        def answer(head: bytes) -> bytes:
            if b"/Data.json " in head:
                place = f"Location: http://127.0.0.1:{ports[0]}/signed?{SIGNATURE}"
                return reply(b"{}", place, status="307 Temporary Redirect")
            return reply(packed, encoding)

        async with serving(answer) as server:
            ports.append(server.port)
            async with on_sockets(server.url) as twilio:
                with pytest.raises(SourceUntrusted, match="encoded"):
                    await twilio.content(RE, XR, XH)

    tracemalloc.start()
    try:
        asyncio.run(fetch())
        assert tracemalloc.get_traced_memory()[1] < BOMB_BYTES // 16
    finally:
        tracemalloc.stop()
