"""However a list is cut into pages, the same is extracted, through the real client; a naive reader is found out."""

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs

import httpx
from hypothesis import given
from hypothesis import strategies as st

from pipelines.discover import Assignment
from pipelines.extract import extract
from pipelines.holding import Holding
from pipelines.normalize import Extracted, ExtractedPayload, ExtractedResult
from pipelines.records.rows import parse_recording
from pipelines.scope import Scope
from pipelines.tally import Extraction
from tests.pipelines.twilio.made_up import AC, RE, client, redirect
from tests.properties.examples import pages
from tests.warehouse.made_up import NOON

DONE = "Fri, 20 Nov 2026 12:00:00 +0000"
Cuts = Sequence[int]

worlds = st.lists(st.integers(0, 4), max_size=6)
"""Payloads of each result."""

cuts = st.lists(st.integers(0, 4), max_size=8)
"""Items on each page; the rest is on the last."""


def sid(kind: str, number: int) -> str:
    """A SID."""
    return f"{kind}{number:032x}"


def source(payloads: Sequence[int], lists: Cuts, *, page_size: bool) -> Callable[[httpx.Request], httpx.Response]:
    """A source that cuts every list at `lists`; empty pages in the middle included."""
    results = [{"sid": sid("XR", n), "status": "completed", "date_completed": DONE} for n in range(len(payloads))]

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/Data.json"):
            return redirect(f"https://storage.example/{path.split('/')[-2]}?x=y")
        key, items = "add_on_results", results
        if "Payloads" in path:
            number = int(path.split("/")[-2].removeprefix("XR"), 16)
            key, items = "payloads", [{"sid": sid("XH", number * 10 + each)} for each in range(payloads[number])]
        edges = [0]
        for count in lists:
            edges.append(min(len(items), edges[-1] + count))
        edges.append(len(items))
        page = int(parse_qs(request.url.query.decode()).get("Page", ["0"])[0])
        following = f"{path}?PageSize=1000&Page={page + 1}" if page + 2 < len(edges) else None
        body: dict[str, object] = {key: items[edges[page] : edges[page + 1]], "next_page_uri": following}
        return httpx.Response(200, json={**body, **({"page_size": 1000} if page_size else {})})

    return answer


def storage(request: httpx.Request) -> httpx.Response:
    """The content of a payload is its name."""
    return httpx.Response(200, content=request.url.path.encode())


def extracted(payloads: Sequence[int], lists: Cuts, *, page_size: bool) -> tuple[list[object], int]:
    """What is handed on, in a form without times, in order of SIDs; and how many things were pending."""
    values: list[Extracted] = []

    async def emit(value: Extracted) -> None:
        values.append(value)

    async def run() -> Extraction:
        tally = Extraction()
        recording = parse_recording(json.dumps({"sid": RE, "account_sid": AC, "status": "completed"}).encode())
        with tempfile.TemporaryDirectory() as folder:
            async with client(source(payloads, lists, page_size=page_size), storage) as twilio:
                with Holding(1 << 20, Path(folder)) as holding:
                    assignment = Assignment(twilio, recording, None)
                    await extract(assignment, emit, scope=Scope(), clock=lambda: NOON, holding=holding, tally=tally)
        return tally

    tally = asyncio.run(run())
    found: list[tuple[object, ...]] = []
    for value in values:
        if isinstance(value, ExtractedResult):
            found.append((value.result.sid, value.payload_count, value.whole))
        if isinstance(value, ExtractedPayload):
            found.append((value.payload.sid, value.result.sid, value.content and value.content.sha256))
    return sorted(found, key=str), tally.pending + tally.quarantined


@pages
@given(worlds, cuts, st.booleans())
def test_page_splits_do_not_change_what_is_extracted(
    payloads: list[int], lists: list[int], page_size: bool
) -> None:  # drawn by hypothesis
    """Pages of any size, empty ones in the middle, with or without `page_size`: everything, once."""
    found, missing = extracted(payloads, lists, page_size=page_size)
    everything: list[tuple[object, ...]] = []
    for number, count in enumerate(payloads):
        everything.append((sid("XR", number), count, True))
        for each in range(count):
            name = sid("XH", number * 10 + each)
            everything.append((name, sid("XR", number), sha256(f"/{name}".encode()).hexdigest()))
    assert (found, missing) == (sorted(everything, key=str), 0)


def test_a_reader_that_stops_at_an_empty_page_misses_some() -> None:
    """The control: the naive way to page loses what comes after an empty page."""
    answer = source([1, 1, 1], [1, 0, 1], page_size=True)
    found: list[str] = []
    uri: str | None = f"/2010-04-01/Accounts/{AC}/Recordings/{RE}/AddOnResults.json"
    while uri is not None:
        body = answer(httpx.Request("GET", f"https://api.twilio.com{uri}")).json()
        found += [row["sid"] for row in body["add_on_results"]]
        uri = body["next_page_uri"] if body["add_on_results"] else None
    assert len(found) == 1
