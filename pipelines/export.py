"""The whole export, its stages in order: discover, extract, normalise, land, publish.

One streaming pass. Discovery feeds a bounded queue, workers take one recording each through all its levels, and
one lander collects what they hand on and lands it in batches bounded by bytes, rows and time. What is landed when
an export stops, for whatever reason, stays and is published; the next export goes on from there.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

from pipelines.accounts.listings import is_whole
from pipelines.accounts.wanted import note_listed, note_trouble
from pipelines.batches import Lander
from pipelines.clock import Clock, ExportClock, sentence
from pipelines.conclude import conclude
from pipelines.discover import Assignment, Unlisted, WithResults, discover
from pipelines.dropping import Dropping
from pipelines.errors import (
    AccountRefused,
    SourceUnavailable,
    VerificationMismatch,
    WarehouseError,
    first_cause,
)
from pipelines.extract import extract
from pipelines.finished import of_export
from pipelines.holding import Holding
from pipelines.normalize import Extracted, ExtractedListing
from pipelines.records.sids import AccountSid
from pipelines.report import ExportReport, Progress
from pipelines.retry import resolve
from pipelines.scope import Scope, listing_days, no_longer_kept
from pipelines.shown_time import remember
from pipelines.twilio.client import TwilioClient
from warehouse.erasures import read_erased
from warehouse.landed import LandedRecording, landed_recordings, owing_recordings
from warehouse.quarantine import QuarantineRow
from warehouse.resolutions import open_count, open_entries, resolved
from warehouse.states import RETENTION
from warehouse.store.archive import Archive
from warehouse.store.damage import reading_errors
from warehouse.store.lock import shared
from warehouse.store.marker import Marker
from warehouse.store.names import Destination
from warehouse.upkeep.erase import finish
from warehouse.upkeep.verify import Mismatch

BUDGET_BYTES = 20 << 20
"""Bytes of contents in memory that are not landed yet."""

LOCK_SECONDS = 0.2
"""How often an export looks whether an erasure is done."""


async def export(
    clients: Sequence[TwilioClient],
    archive: Archive,
    *,
    destination: Destination,
    scope: Scope,
    run_id: str,
    clock: Clock,
    workers: int = 200,
    progress: Progress | None = None,
) -> ExportReport:
    """Export what `scope` asks for from every account in `clients`, publish it, and verify what was landed.

    Args:
        clients: one for each account.
        archive: where it is landed.
        destination: what is published: native tables or views.
        scope: partitions and rules.
        run_id: kept in `loads`.
        clock: the time now (UTC) by the clock here; Twilio's is believed where they are apart.
        workers: recordings worked on at once; about twice the limit on concurrent requests keeps it filled.
        progress: counters to fill while running, for whoever shows them.

    Raises:
        SourceError: Twilio gives nothing more of any account now; what was landed stays and is published.
        AccountRefused: the credentials are refused for every account.
        WarehouseError: the archive cannot be written or read.
        VerificationMismatch: what was landed does not read back as received.

    An erasure that was cut off is finished first, if it can be (see `pipelines.erase.choice.finish_due`), and one
    that is under way is waited for.
    """
    progress = progress if progress is not None else Progress()
    time = ExportClock(clock, clients)
    with contextlib.suppress(WarehouseError):  # what stops an erasure must not stop what Twilio is about to delete
        await asyncio.to_thread(finish, archive, destination, now=time())
    while True:
        with shared(archive.root, wait=False) as here:
            if here:
                for client in clients[:1]:
                    await client.hear_time()
                return await _export(clients, archive, destination, scope, run_id, time, workers, progress)
        await asyncio.sleep(LOCK_SECONDS)


async def _export(
    clients: Sequence[TwilioClient],
    archive: Archive,
    destination: Destination,
    scope: Scope,
    run_id: str,
    clock: ExportClock,
    workers: int,
    progress: Progress,
) -> ExportReport:
    started = asyncio.get_running_loop().time()
    snapshot = archive.newest()
    with reading_errors(archive.root):
        scope = replace(scope, erased=read_erased(snapshot))
        progress.extraction.resolved = resolved(snapshot)
    gone = no_longer_kept(scope, now=clock())
    waiting = await asyncio.to_thread(open_entries, snapshot, since=clock() - RETENTION)
    progress.extraction.open_entries = waiting
    owing = await asyncio.to_thread(owing_recordings, snapshot, now=clock(), kept=RETENTION)
    owing |= waiting.recordings
    progress.commit = snapshot.commit.number
    progress.clients = [client.traffic for client in clients]

    def lookup(sids: Sequence[str], since: date | None, with_results: WithResults) -> Mapping[str, LandedRecording]:
        return landed_recordings(snapshot, sids, since=since, with_results=with_results, owing=owing)

    with Holding(BUDGET_BYTES, archive.root) as holding:
        lander = Lander(archive, destination, holding, run_id=run_id, clock=clock, landed=progress.add)
        found = discover(clients, lookup, scope=scope, clock=clock, found=progress.discovery)
        extracting = asyncio.create_task(
            _extract_all(
                found,
                lander,
                holding,
                accounts=[client.account_sid for client in clients],
                scope=scope,
                clock=clock,
                workers=workers,
                progress=progress,
            )
        )
        landing = asyncio.create_task(lander.run())
        mismatches: tuple[Mismatch, ...] = ()
        try:
            await asyncio.wait({extracting, landing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            extracting.cancel()
            await asyncio.wait({extracting})
            if not landing.done():
                # what has been handed on is whole and in order, so it is landed even when extraction has failed
                await lander.end(landing)
            if not isinstance(_error_of(landing), WarehouseError):
                if _error_of(landing) is None:
                    await asyncio.to_thread(_resolve, archive, progress, run_id, clock())
                concluded = await asyncio.to_thread(
                    conclude,
                    archive,
                    destination,
                    since=snapshot.commit.number,
                    now=clock(),
                    trusted=clock.trusted(),
                    run_id=run_id,
                )
                progress.commit, mismatches = concluded.commit, concluded.mismatches
                await asyncio.to_thread(remember, archive, clock.source(), ahead=clock.ahead())
                if (ahead := clock.ahead()) is not None:
                    progress.clock_ahead = ahead
                    progress.notes.append(sentence(ahead))
                trouble: dict[str, str] = {sid: str(error) for sid, error in progress.discovery.dropped.items()}
                asked = [client.account_sid for client in clients]
                await asyncio.to_thread(note_trouble, archive, trouble, asked=asked, now=clock())
    for task in (landing, extracting):
        if (error := _error_of(task)) is not None:
            raise error
    still_open = await asyncio.to_thread(open_count, archive)
    report = ExportReport(scope, progress, asyncio.get_running_loop().time() - started, gone, still_open)
    note = of_export(report, run_id=run_id, before=snapshot.commit.number)
    await asyncio.to_thread(_note_listed, archive, report, None if mismatches else note, clock())
    if mismatches:
        raise VerificationMismatch(f"What was landed does not read back as received: {mismatches[0].sentence}")
    return report


def _note_listed(
    archive: Archive, report: ExportReport, ended: Callable[[Marker], Marker] | None, now: datetime
) -> None:
    """Keep when lists were read to their end, that the export `ended` as it should, and whether it was whole."""
    listed = {str(sid): began for sid, began in report.progress.discovery.listed.items()}
    whole = report.scope.first is None and not report.incomplete and ended is not None
    note_listed(archive, listed, exported_at=now if whole else None, also=ended)


def _resolve(archive: Archive, progress: Progress, run_id: str, now: datetime) -> None:
    """Resolve what was open in quarantine and has been read whole; all that was handed on is landed."""
    found = progress.extraction
    if done := found.read_whole - found.met_again:
        progress.add(resolve(archive, sorted(done), run_id=run_id, now=now))


async def _extract_all(
    found: AsyncGenerator[Assignment | Unlisted | Extracted, None],
    lander: Lander,
    holding: Holding,
    *,
    accounts: Sequence[AccountSid],
    scope: Scope,
    clock: Clock,
    workers: int,
    progress: Progress,
) -> None:
    """Give every discovered recording to the next free worker."""
    assignments: asyncio.Queue[Assignment | None] = asyncio.Queue(workers)
    dropping = Dropping(
        accounts,
        progress.discovery.dropped,
        progress.extraction,
        answered=lambda: bool(progress.traffic().bytes_received),
    )

    async def work() -> None:
        while (assignment := await assignments.get()) is not None:
            account = assignment.client.account_sid
            if account in dropping.dropped:
                continue
            try:
                await extract(
                    assignment, lander.put, scope=scope, clock=clock, holding=holding, tally=progress.extraction
                )
            except (SourceUnavailable, AccountRefused) as error:
                dropping.drop(account, error)
        await assignments.put(None)  # the next worker stops too

    began = clock()
    unlisted: set[tuple[AccountSid, date]] = set()
    async with asyncio.TaskGroup() as group, contextlib.aclosing(found):
        for _ in range(workers):
            group.create_task(work())
        async for value in found:
            if isinstance(value, Assignment):
                await assignments.put(value)
                continue
            if isinstance(value, Unlisted):
                unlisted.add((value.client.account_sid, value.day))
                dropping.unlisted(value)
                continue
            if isinstance(value, QuarantineRow):
                progress.extraction.quarantines(value, value.reason)
            await lander.put(value)
        await assignments.put(None)
    # what these lists held has been handed on: only now may anything say that they were read to their end
    days = listing_days(scope, now=began)
    for account in accounts:
        if account in dropping.dropped:
            continue
        for missed, run in itertools.groupby(days, key=lambda day, of=account: (of, day) in unlisted):  # type: ignore[misc]
            if not missed:
                listed = list(run)
                await lander.put(ExtractedListing(account, listed[0], listed[-1], began))
                if is_whole(listed[0], listed[-1], at=began):
                    progress.discovery.listed[account] = began


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    """What a finished task failed with; the first cause of a group of parallel failures."""
    if task.cancelled():
        return None
    error = task.exception()
    return None if error is None else first_cause(error)
