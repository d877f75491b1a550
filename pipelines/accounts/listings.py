"""Listings: when the list of an account's recordings was read to its end."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import duckdb

from warehouse.clock import APART
from warehouse.schema import LISTINGS
from warehouse.store.archive import Archive
from warehouse.store.commits import Commit


@dataclass(frozen=True, slots=True)
class Listing:
    """The list of an account's recordings created from `first` to `last` was read to its end at `at` (UTC)."""

    account_sid: str
    first: date
    last: date
    at: datetime


def last_reads(
    read: Sequence[Listing], *, since: date, day: date, accounts: Iterable[str] = ()
) -> dict[str, datetime | None]:
    """When the recordings created from `since` to `day` were last listed to the end, for each account.

    That is each of `accounts` and each that was ever listed; None where it never was.
    """
    newest: dict[str, datetime | None] = dict.fromkeys(accounts)
    for listing in read:
        before = newest.setdefault(listing.account_sid, None)
        if listing.first <= since and listing.last >= day and (before is None or listing.at > before):
            newest[listing.account_sid] = listing.at
    return newest


def oldest(times: Collection[datetime | None]) -> datetime | None:
    """The oldest of all times; None when one is not known, or there are none."""
    known = [at for at in times if at is not None]
    return min(known) if known and len(known) == len(times) else None


def first_listed(read: Sequence[Listing]) -> dict[str, datetime]:
    """When each account was first listed to the end, given listings in order of time."""
    return {listing.account_sid: listing.at for listing in reversed(read)}


def listings(archive: Archive, head: Commit, db: duckdb.DuckDBPyConnection, *, now: datetime) -> list[Listing]:
    """Every time the list of an account's recordings was read to its end, oldest first.

    One from the future was stamped by a clock that was ahead: when it was read is not known, so it proves nothing.
    """
    rows = db.execute(
        "SELECT account_sid, first_day, last_day, epoch_us(listed_at) "
        f"FROM {archive.relation(LISTINGS, head.tables[LISTINGS.name])} ORDER BY listed_at"
    ).fetchall()
    read = [(account, first, last, moment(us)) for account, first, last, us in rows]
    return [
        Listing(account, first, last, at) for account, first, last, at in read if at is not None and at <= now + APART
    ]


def moment(microseconds: int | None) -> datetime | None:
    """A time (UTC) from microseconds since 1970."""
    return None if microseconds is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
