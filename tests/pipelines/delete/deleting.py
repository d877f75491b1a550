"""A deletion of a sandbox's results by the product's own path, and what reached the source."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from pipelines.delete.apply import DeleteReport, delete, propose
from pipelines.delete.plan import DeletePlan, Terms
from pipelines.records.sids import account_sid
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.values import Result
from pipelines.twilio.client import Credential, Tuning, TwilioClient, connect
from tests.pipelines.conftest import HASTY, NOW, Exporter
from warehouse.store.archive import Archive
from warehouse.store.names import Destination

LONG_AGO, TODAY = NOW.date() - timedelta(days=40), NOW.date()

GENEROUS = Terms(max_share=1.0)
"""Terms that do not stand in the way of a test's few results."""

UNLIMITED = Terms(min_age_hours=0, max_delete=1_000_000, max_share=1.0)
"""Limits under which terms are all that counts."""


@dataclass
class Deleter:
    """Plans and applies deletions of one sandbox."""

    sandbox: Sandbox
    archive: Archive
    destination: Destination = "duckdb"
    tuning: Tuning = HASTY
    account: str = ""
    limits: Terms = UNLIMITED
    report: DeleteReport = field(default_factory=lambda: DeleteReport(""))

    def client(self) -> TwilioClient:
        """A client with the main account's credentials."""
        return connect(
            account_sid(self.account or self.sandbox.account_sid),
            Credential(self.sandbox.account_sid, self.sandbox.auth_token),
            base_url=self.sandbox.base_url,
            tuning=self.tuning,
        )

    def plan(
        self,
        terms: Terms = GENEROUS,
        *,
        first: date = LONG_AGO,
        last: date = TODAY,
        clock: Callable[[], datetime] | None = None,
    ) -> DeletePlan:
        """Plan everything that is landed, unless told otherwise."""

        async def run() -> DeletePlan:
            async with self.client() as client:
                return await propose(
                    client,
                    self.archive,
                    first=first,
                    last=last,
                    terms=terms,
                    limits=self.limits,
                    destination=self.destination,
                    clock=clock or (lambda: self.sandbox.now),
                )

        return asyncio.run(run())

    def apply(self, plan: DeletePlan, *, clock: Callable[[], datetime] | None = None) -> DeleteReport:
        """Carry out a plan."""
        self.report = DeleteReport(plan.hash)

        async def run() -> DeleteReport:
            async with self.client() as client:
                return await delete(
                    client,
                    self.archive,
                    plan,
                    limits=self.limits,
                    destination=self.destination,
                    run_id="test",
                    clock=clock or (lambda: self.sandbox.now),
                    report=self.report,
                )

        return asyncio.run(run())

    def sent(self) -> list[str]:
        """The results for which a DELETE reached the source, in order."""
        entries = self.sandbox.journal.entries
        return [e.path.split("/")[-1].removesuffix(".json") for e in entries if e.method == "DELETE"]

    def left(self) -> set[str]:
        """The results the source still has."""
        return {t.result.sid for t in self.sandbox.world.truth(self.sandbox.now, account_sid=self.sandbox.account_sid)}


def fill(sandbox: Sandbox, count: int = 4, *, payloads: int = 2, days: int = 3) -> list[Result]:
    """Completed results of `days` ago and the days before, one a recording, with made-up contents."""
    world, results = sandbox.world, []
    for number in range(count):
        recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=days + number % 3, minutes=number))
        result = world.add_result(recording)
        for part in range(payloads):
            world.add_payload(result, b'{"transcription": "%d of %d"}' % (part, number), label=f"part {part}")
        results.append(result)
    return results


def rest(sandbox: Sandbox, hours: float = 80) -> None:
    """Let time pass at the source and here."""
    sandbox.advance(timedelta(hours=hours))


def touched(sandbox: Sandbox, result: Result) -> None:
    """Move `date_updated` of a result at the source."""
    sandbox.world.put(replace(result, touched_at=sandbox.now - timedelta(minutes=1)))


def ready(exporter: Exporter, count: int = 4) -> tuple[Deleter, list[Result]]:
    """A sandbox with results that are exported and rested; worlds filled alike are alike, so one export serves all."""
    results = fill(exporter.sandbox, count)
    root = exporter.archive.root
    kept = root.parents[1] / f"exported-{count}-{exporter.destination}"
    if kept.exists():
        shutil.copytree(kept, root, symlinks=True, dirs_exist_ok=True)
    else:
        exporter().verdict()
        shutil.copytree(root, kept, symlinks=True)
    rest(exporter.sandbox)
    return Deleter(exporter.sandbox, exporter.archive, exporter.destination), results
