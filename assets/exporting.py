"""One export from the settings, whoever starts it: what stands around the pass over Twilio, in its order.

The command line and the step of a Dagster run both go this way, so both land the same and say the same.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

from assets.clients import Opened
from assets.terminal import say
from pipelines.accounts.account import Account
from pipelines.accounts.wanted import known_accounts, note_configured, open_to
from pipelines.erase.by_age import erase_by_age, withdraw
from pipelines.erase.choice import finish_due
from pipelines.erase.retention import Waits
from pipelines.errors import ConfirmErasure, ExportError, VerificationMismatch
from pipelines.export import export
from pipelines.monitoring.checks import GUARDS, RESUME, Reading
from pipelines.report import ExportReport, Progress
from pipelines.scope import Scope
from pipelines.settings import added_account, environment, retention_days, settle_time, twilio_settings, windows
from warehouse.store.archive import Archive
from warehouse.store.lock import shared
from warehouse.store.marker import read_marker, update_marker
from warehouse.store.names import Destination

Clients = Callable[[Mapping[str, Account], Callable[[str], None]], AbstractAsyncContextManager[Opened]]
"""Opens a client for each account that is wanted: see `assets.clients.open_clients`."""


def admit(archive: Archive, added: str) -> None:
    """Let the account of the settings in; `added` may be it, where the root belongs to others.

    Raises:
        FixConfiguration: the root belongs to other accounts.
    """
    open_to(archive, twilio_settings(environment()).account_sid, added=added or added_account(environment()))


async def pass_over(
    archive: Archive, clients: Clients, *, destination: Destination, scope: Scope, run_id: str, progress: Progress
) -> ExportReport:
    """Export what `scope` asks for from every account that is wanted; raises as `pipelines.export.export`."""
    known = await asyncio.to_thread(known_accounts, archive)
    async with clients(known, progress.extraction.waits) as opened:
        named = opened.directory
        main = opened.clients[0].account_sid
        now = named.at or datetime.now(UTC)
        for sentence in note_configured(archive, named.configured, main=main, whole=named.whole, now=now):
            say(sentence)
        return await export(
            opened.clients,
            archive,
            destination=destination,
            scope=scope,
            run_id=run_id,
            clock=lambda: datetime.now(UTC),
            # twice the ceiling keeps the limit filled while contents download
            workers=2 * twilio_settings(environment()).max_concurrency,
            progress=progress,
        )


def erase_due(archive: Archive, destination: Destination, progress: Progress) -> str | None:
    """Finish an erasure that was cut off, and erase what is older than EXPORT_RETENTION_DAYS, if set.

    Returns:
        What was erased, in a sentence, if anything was.

    Raises:
        ConfirmErasure: that would take more than usual.
    """
    here, days = datetime.now(UTC), retention_days(environment())
    finish_due(archive, destination, now=here)
    if days is None:
        withdraw(archive)
        return None
    found = erase_by_age(archive, destination, days=days, here=here)
    if isinstance(found, Waits):
        if found.asks:
            raise ConfirmErasure(found.sentence)
        progress.notes.append(found.sentence)
    elif found is not None:
        progress.commit = found.commit
        return f"Erased {sum(found.rows.values())} rows older than {days} days."
    return None


def check_landed(archive: Archive, *, now: datetime) -> None:
    """What every export ends with: the checks that guard deletion, over what is landed by now.

    Raises:
        VerificationMismatch: one of them failed.
        WarehouseError: how far files were read back cannot be kept.
    """
    marker = read_marker(archive.root)
    resume = "" if marker is None else str(marker.settings.get(RESUME, ""))
    reading = Reading(archive, now, settle_time(environment()), windows(environment()), resume)
    failed: dict[str, list[str]] = {}
    with shared(archive.root):
        for (table, name), check in GUARDS.items():
            try:
                verdict = check(reading)
            except ExportError:  # a check that cannot read is a failed check
                failed.setdefault(table, []).append(name)
                continue
            if verdict.rows:
                failed.setdefault(table, []).append(name)
            if RESUME in verdict.numbers:
                resume = str(verdict.numbers[RESUME])
    update_marker(archive, lambda found: found.with_setting(RESUME, resume))
    if failed:
        raise VerificationMismatch(not_together(failed))


def not_together(failed: Mapping[str, list[str]]) -> str:
    """A sentence on checks that guard deletion and failed, by table."""
    names = " ".join(f"{table}: {','.join(checks)}" for table, checks in failed.items())
    count = sum(map(len, failed.values()))
    which = f"{count} blocking asset check{'s' * (count > 1)} failed with ERROR severity: {names}"
    return f"What is landed does not hold together ({which}); run `addon-export verify`."
