"""One export against the fault server, with small time budgets: in this process, or in one of its own."""

import asyncio
import re
import time
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pipelines.tally
from pipelines.errors import ExportError
from pipelines.export import export
from pipelines.records.sids import account_sid
from pipelines.report import Progress
from pipelines.scope import Scope
from pipelines.twilio.certificates import tls_context
from pipelines.twilio.client import Credential, Tuning, TwilioClient
from pipelines.twilio.pool import open_transport
from pipelines.twilio.storage_url import address_allowed
from warehouse.store.opening import open_archive

HASTY = Tuning(
    budget=3.0, unanswered_budget=3.0, api_deadline=1.0, content_deadline=1.0, slowest=1 << 20, most_pages=200
)
FASTER = 0.02
"""Waits between attempts, as a share of what they would be; they count in full against the budget."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to export from where to where."""

    base_url: str
    account: str
    token: str
    root: Path
    now: datetime
    full: bool = False
    workers: int = 40


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an export ended: the error's name and text ("" for none), all reasons it gave, what it took."""

    error: str
    message: str
    expected: bool
    reasons: tuple[str, ...]
    seconds: float
    peak_mb: float


async def _brief(seconds: float) -> None:
    await asyncio.sleep(seconds * FASTER)


def export_here(job: Job) -> Outcome:
    """Export in this process."""
    pipelines.tally.SAMPLES = 1_000_000  # the judge wants all reasons
    started = time.monotonic()
    progress = Progress()

    async def run() -> None:
        client = TwilioClient(
            account_sid(job.account),
            Credential(job.account, job.token),
            base_url=job.base_url,
            api=open_transport(connections=100, context=tls_context()),
            storage=open_transport(
                connections=100,
                context=tls_context(),
                allowed=lambda address: address_allowed(address, loopback=True),
            ),
            tuning=HASTY,
            sleep=_brief,
        )
        async with client:
            report = await export(
                [client],
                open_archive(job.root),
                destination="duckdb",
                scope=Scope(full=job.full),
                run_id="faults",
                clock=lambda: job.now,
                workers=job.workers,
                progress=progress,
            )
        report.verdict()

    error: Exception | None = None
    try:
        asyncio.run(run())
    except Exception as caught:  # whatever it is, the judge wants to know
        error = caught
    return Outcome(
        "" if error is None else type(error).__name__,
        "" if error is None else str(error),
        error is None or isinstance(error, ExportError),
        tuple(progress.extraction.reasons),
        time.monotonic() - started,
        _peak_mb(),
    )


def _peak_mb() -> float:
    """The most memory this program has held; getrusage would count what its parent held before exec."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _child(job: Job, connection: Connection) -> None:
    connection.send(export_here(job))


def export_apart(job: Job, *, deadline: float) -> Outcome | None:
    """Export in a process of its own; None when it is not done after `deadline` seconds (it is killed then)."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_child, args=(job, there))
    process.start()
    there.close()
    try:
        outcome = here.recv() if here.poll(deadline) else None
    except EOFError:
        outcome = Outcome("Died", "the process ended without a word", expected=False, reasons=(), seconds=0, peak_mb=0)
    if outcome is None:
        process.kill()
    process.join(10)
    here.close()
    assert outcome is None or isinstance(outcome, Outcome)
    return outcome
