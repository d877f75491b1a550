"""An export in a process of its own, that stops half way until its parent lets it go on."""

import asyncio
import itertools
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

import pipelines.export
from pipelines.export import export
from pipelines.records.sids import account_sid
from pipelines.scope import Scope
from pipelines.twilio.client import Credential, connect
from warehouse.store.opening import open_archive

HALF_WAY = 40
"""How often an export has looked at the clock when it stops: some recordings have been landed by then."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to export from where to where."""

    run_id: str
    base_url: str
    account: str
    token: str
    root: Path
    now: datetime
    scope: Scope


def export_in_a_process(job: Job, connection: Connection) -> None:
    """Export; say "half" and wait for an answer half way, then say how it ended."""
    pipelines.batches.BATCH_ROWS = 40  # many commits
    looks = itertools.count(1)

    def clock() -> datetime:
        if next(looks) == HALF_WAY:
            connection.send("half")
            connection.recv()
        return job.now

    async def run() -> None:
        client = connect(account_sid(job.account), Credential(job.account, job.token), base_url=job.base_url)
        async with client:
            report = await export(
                [client],
                open_archive(job.root),
                destination="duckdb",
                scope=job.scope,
                run_id=job.run_id,
                clock=clock,
                workers=8,
            )
        report.verdict()

    try:
        asyncio.run(run())
    except Exception as error:  # whatever it is, the test shows it
        connection.send(repr(error))
    else:
        connection.send("done")
