"""`Replay`: a scenario exported by the product's own discovery, client and extraction, beside the simulation.

The simulation takes the product's decisions and does the rest itself, a thousand times as fast. Here nothing is left
out but sockets and files: the client asks the sandbox's answers through plain callables, pages are read and parsed,
`discover` and `extract` do their work, and what they hand on is remembered as a warehouse would tell it. Both must
save the same results at the same hours.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import httpx

from pipelines.discover import Assignment, Unlisted, WithResults, discover
from pipelines.extract import extract
from pipelines.holding import Holding
from pipelines.normalize import Extracted, ExtractedPayload, ExtractedRecording, ExtractedResult
from pipelines.records.sids import account_sid
from pipelines.sandbox.answers import Answers
from pipelines.sandbox.exchange import Request, operation_of
from pipelines.sandbox.values import Step
from pipelines.sandbox.world import World
from pipelines.scope import Scope
from pipelines.tally import Discovery, Extraction
from pipelines.twilio.client import Credential, TwilioClient
from tests.trials.hourly import Requests, Spent, moment
from tests.trials.scenario import HOUR, SWEEP_HOUR, Scenario
from warehouse.landed import LandedRecording, LandedResult

STORAGE = "http://127.0.0.1:1"


class Replay:
    """Exports one scenario's account with the product's own code, hour by hour, into memory."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.scope = Scope(settle=timedelta(hours=scenario.settle))
        self.world, self.key = _world(scenario)
        self.now = moment(0)
        self.saved: dict[tuple[int, int], int] = {}
        self.rows: dict[str, LandedRecording] = {}
        self.results: dict[str, dict[str, LandedResult]] = {}
        self.contents: dict[str, dict[str, bool]] = {}
        self.asked: Counter[str] = Counter()
        self.begun = self.spent = 0
        self.answers = Answers(self.world, secret=b"made up", storage_url=STORAGE, url_lifetime=timedelta(minutes=15))

    def run(self) -> dict[tuple[int, int], int]:
        """All hours; returns the second at which each result was saved, by the numbers of recording and result."""
        for hour, requests in enumerate(self.scenario.capacity()):
            if requests:
                asyncio.run(self.hour(hour, requests))
        return self.saved

    async def hour(self, hour: int, requests: int) -> None:
        """As `Exporter.hour`."""
        left = Requests(requests - self.begun)
        self.now = moment(hour * HOUR)
        with suppress(Spent):
            if hour % 24 == SWEEP_HOUR:
                await self.export(replace(self.scope, full=True), left)
            await self.export(self.scope, left)
        self.begun = max(0, -left.left)
        self.spent += requests - left.left

    async def export(self, scope: Scope, left: Requests) -> None:
        """One export by one worker; the lists of days are paid for before."""
        account = account_sid(next(iter(self.world.accounts)))
        client = TwilioClient(
            account,
            Credential(account, self.world.accounts[account].auth_token),
            base_url="http://127.0.0.1:2",
            api=httpx.MockTransport(self.api),
            storage=httpx.MockTransport(self.storage),
        )
        left.begin(42)
        left.spend(42)
        found = discover([client], self.lookup, scope=scope, clock=lambda: self.now, found=Discovery())
        with Holding(1 << 20, Path(tempfile.gettempdir())) as holding:
            async with client:
                try:
                    async for value in found:
                        if isinstance(value, Unlisted):
                            raise value.error
                        if not isinstance(value, Assignment):
                            await self.emit(value)
                            continue
                        left.begin()
                        self.asked.clear()
                        await extract(
                            value,
                            self.emit,
                            scope=scope,
                            clock=lambda: self.now,
                            holding=holding,
                            tally=Extraction(),
                        )
                        left.spend(self.asked.total() - self.asked["ListRecording"])
                finally:
                    await found.aclose()

    def lookup(
        self, sids: Sequence[str], since: date | None, with_results: WithResults
    ) -> Mapping[str, LandedRecording]:
        """What a warehouse would tell: nothing of a recording whose row is not landed."""
        known = {sid: self.rows[sid] for sid in sids if sid in self.rows}
        return {sid: replace(row, results=self.results.get(sid, {})) for sid, row in known.items()}

    async def emit(self, value: Extracted) -> None:
        """Land it at once."""
        match value:
            case ExtractedRecording():
                before = self.rows.get(value.recording.sid)
                at = value.listed_at or (None if before is None else before.listed_at)
                self.rows[value.recording.sid] = LandedRecording(value.recording.status, at, value.open_results, {})
            case ExtractedPayload():
                here = self.contents.setdefault(value.result.sid, {})
                here[value.payload.sid] = here.get(value.payload.sid, False) or value.content is not None
            case ExtractedResult(result=result):
                exported_at = value.observed_at if value.whole else None
                known = self.contents.get(result.sid, {})
                facts = (result.status, result.date_updated, exported_at, value.payload_count, None, None)
                said = (result.date_created, result.date_completed, result.add_on_sid, result.add_on_configuration_sid)
                self.results.setdefault(value.recording_sid, {})[result.sid] = LandedResult(*facts, known, *said)
                if value.whole:
                    second = int((value.observed_at - moment(0)).total_seconds())
                    self.saved.setdefault(self.key[result.sid], second)
            case _:
                raise AssertionError(f"not foreseen: {value}")

    def api(self, request: httpx.Request) -> httpx.Response:
        """The sandbox's answers, without a server."""
        operation, sids = operation_of(request.method, request.url.path)
        self.asked[operation] += 1
        reply = self.answers.answer(
            Request(
                origin="api",
                method=request.method,
                path=request.url.path,
                query=dict(request.url.params),
                authorization=request.headers["authorization"],
                operation=operation,
                sids=sids,
            ),
            self.now,
        )
        return httpx.Response(reply.status, content=reply.body, headers=dict(reply.headers))

    def storage(self, request: httpx.Request) -> httpx.Response:
        """Every content is the same."""
        return httpx.Response(200, content=b"content")


def _world(scenario: Scenario) -> tuple[World, dict[str, tuple[int, int]]]:
    """The scenario's account as the sandbox holds it, and which result is which."""
    world = World(seed=1)
    account = world.add_account(date_created=_years_before(moment(0)))
    key = {}
    for n, recording in enumerate(scenario.recordings):
        row = world.add_recording(account.sid, moment(recording.created), duration=timedelta(0))
        for index, result in enumerate(recording.results):
            steps = [Step(moment(result.created), "processing")]
            if result.finished is not None:
                steps.append(Step(moment(result.finished), "completed"))
            added = world.add_result(row, steps=tuple(steps), outcome=None if result.finished is None else "completed")
            key[added.sid] = (n, index)
            for _ in range(result.payloads if result.finished is not None else 0):
                world.add_payload(added, b"content")
    return world, key


def _years_before(at: datetime) -> datetime:
    return at.replace(year=at.year - 3)
