"""The accounts of an archive as they are kept in its marker, with what its listings say of them."""

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from pipelines.accounts.account import Account, Configured, accounts_of, admit, dropped, kept_form, news, settled
from pipelines.accounts.listings import listings
from pipelines.errors import FixConfiguration
from warehouse.errors import RepairWarehouse
from warehouse.store.archive import Archive
from warehouse.store.marker import Marker, kept_accounts, update_marker

Accounts = Mapping[str, Account]

_FAR = datetime(9000, 1, 1, tzinfo=UTC)


def known_accounts(archive: Archive) -> dict[str, Account]:
    """The accounts of an archive, by SID."""
    return _known(archive)[0]


def open_to(archive: Archive, main: str, *, added: str) -> None:
    """Let an export of `main` in.

    Raises:
        FixConfiguration: the root belongs to other accounts.
    """
    admit(main, known_accounts(archive), added=added, root=archive.root)


def note_configured(
    archive: Archive, configured: Collection[Configured], *, main: str, whole: bool, now: datetime
) -> list[str]:
    """Keep which accounts are wanted; return what has become of those that are not any more."""
    known, last_listed = _known(archive)
    after = settled(known, configured, main=main, whole=whole, last_listed=last_listed, now=now)
    with contextlib.suppress(RepairWarehouse):  # of a damaged marker: `verify` says it
        _keep(archive, after)
    return news(known, after)


def note_trouble(archive: Archive, trouble: Mapping[str, str], *, asked: Collection[str], now: datetime) -> None:
    """Keep of the accounts that were asked why nothing more could be had of them; of the others there is no trouble."""
    if not trouble and not any(account.get("trouble") for account in kept_accounts(archive.root).values()):
        return
    known, _ = _known(archive)
    after = {
        sid: replace(known.get(sid) or Account(sid, since=now), trouble=trouble.get(sid, ""))
        for sid in asked
        if sid in trouble or (sid in known and known[sid].trouble)
    }
    with contextlib.suppress(RepairWarehouse):  # as above
        if after:
            _keep(archive, after)


def note_listed(
    archive: Archive,
    listed: Mapping[str, datetime],
    *,
    exported_at: datetime | None,
    also: Callable[[Marker], Marker] | None = None,
) -> None:
    """Keep when whole lists were read to their end; and, if it is known, when everything was exported whole.

    `also`: what else is changed in the marker at the same time.
    """

    def change(marker: Marker) -> Marker:
        after = replace(marker, listed_at={**marker.listed_at, **listed}, exported_at=exported_at or marker.exported_at)
        return after if also is None else also(after)

    with contextlib.suppress(RepairWarehouse):  # as above
        update_marker(archive, change)


def drop(archive: Archive, sid: str) -> Account:
    """Keep that an account is no longer wanted.

    Raises:
        FixConfiguration: the archive has no such account.
    """
    known, last_listed = _known(archive)
    if sid not in known:
        raise FixConfiguration(f"Account {sid} is none of this archive; `addon-export accounts` lists them.")
    account = dropped(known[sid], last_listed)
    _keep(archive, {sid: account})
    return account


def _known(archive: Archive) -> tuple[dict[str, Account], dict[str, datetime]]:
    """The accounts, and when each was last listed to the end: not later than now, whatever a clock once stamped."""
    first: dict[str, datetime] = {}
    last: dict[str, datetime] = {}
    now = datetime.now(UTC)
    with archive.reading() as snapshot, archive.database() as db:
        for listing in listings(snapshot, db, now=_FAR):  # oldest first; whose it is is known whatever its stamp
            first.setdefault(listing.account_sid, min(listing.at, now))
            last[listing.account_sid] = min(listing.at, now)
    return accounts_of(kept_accounts(archive.root), first), last


def _keep(archive: Archive, accounts: Accounts) -> None:
    update_marker(archive, _with(accounts))


def _with(accounts: Accounts) -> Callable[[Marker], Marker]:
    def change(marker: Marker) -> Marker:
        after = {sid: kept_form(account, marker.accounts.get(sid, {})) for sid, account in accounts.items()}
        return replace(marker, accounts={**marker.accounts, **after})

    return change
