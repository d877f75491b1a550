"""Listings: when the list of an account's recordings was read to its end."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import duckdb

from warehouse.clock import APART, moment
from warehouse.schema import LISTINGS
from warehouse.states import RETENTION
from warehouse.store.archive import Snapshot


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


def is_whole(first: date, last: date, *, at: datetime) -> bool:
    """Whether a list that was read at a time held every recording whose results Twilio may have had then."""
    now = at.astimezone(UTC)
    return first <= (now - RETENTION).date() and last >= now.date()


def whole_reads(read: Sequence[Listing], kept: Mapping[str, datetime], *, now: datetime) -> Mapping[str, datetime]:
    """When the whole list of each account was last read to its end; accounts of which it never was are left out.

    Listings are kept once a day, and the marker of the archive (`kept`) has the last one of all. One from the future
    was stamped by a clock that was ahead.
    """
    newest: dict[str, datetime] = {}
    whole = [(each.account_sid, each.at) for each in read if is_whole(each.first, each.last, at=each.at)]
    for sid, at in (*whole, *kept.items()):
        if at <= now + APART:
            newest[sid] = max(at, newest.get(sid, at))
    return newest


def first_listed(read: Sequence[Listing]) -> dict[str, datetime]:
    """When each account was first listed to the end, given listings in order of time."""
    return {listing.account_sid: listing.at for listing in reversed(read)}


def listings(snapshot: Snapshot, db: duckdb.DuckDBPyConnection, *, now: datetime) -> list[Listing]:
    """Every time the list of an account's recordings was read to its end, oldest first.

    One from the future was stamped by a clock that was ahead: when it was read is not known, so it proves nothing.
    """
    rows = db.execute(
        "SELECT account_sid, first_day, last_day, epoch_us(listed_at) "
        f"FROM {snapshot.relation(LISTINGS)} ORDER BY listed_at"
    ).fetchall()
    read = [(account, first, last, moment(us)) for account, first, last, us in rows]
    return [
        Listing(account, first, last, at) for account, first, last, at in read if at is not None and at <= now + APART
    ]
