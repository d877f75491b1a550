"""Deadlines: what Twilio will delete soon and is not whole here.

Looks at the warehouse only, never at runs, so it speaks up when runs are stuck, fail or were never started. What nobody
has seen cannot be counted: `silent_for` says how long the list of recordings has not been read to its end.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

from pipelines.accounts.account import STATES, Account, accounts_of
from pipelines.accounts.listings import Listing, first_listed, listings
from pipelines.erase.retention import Kept
from pipelines.monitoring.completeness import OpenRecording, open_recordings
from warehouse import known
from warehouse.clock import moment
from warehouse.errors import WarehouseError
from warehouse.published import views
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS
from warehouse.states import KEPT_STATES, RETENTION, state_in
from warehouse.store.archive import Archive
from warehouse.store.marker import kept_accounts, read_marker


@dataclass(frozen=True, slots=True)
class AtRisk:
    """A result, or a recording that may have results nobody has seen, and when Twilio deletes it (UTC).

    `kind` is "result" or "recording"; `reason` is "pending", "unfinished" or "not listed".
    """

    kind: str
    sid: str
    reference_sid: str | None
    completed_date: date | None
    expires_at: datetime
    hours_left: float
    reason: str
    account: str = ""
    """SID and friendly name of the account; empty when no account is known for it."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What is waiting at `at` (UTC).

    Attributes:
        at_risk: what expires within the window, nearest deadline first.
        nearest: the nearest deadline of all that is waiting.
        slack_hours: hours left to it.
        backlog: results and recordings that are waiting, whenever they expire.
        lost: results that expired before they were whole here.
        silent_for: how long ago the list of recordings was last read to its end in every account that is
            wanted; zero if none is, None if there never was one.
        silent: the same for each account that is wanted, by SID and friendly name.
        ended: results that are not whole here and can no longer be had, as their account is not wanted any more; by
            what has become of the account, in words.
        erasure: why an erasure by age waits, in a sentence; None when none does.
    """

    at: datetime
    at_risk: tuple[AtRisk, ...]
    nearest: datetime | None
    slack_hours: float | None
    backlog: int
    lost: tuple[str, ...]
    silent_for: timedelta | None
    erasure: str | None = None
    silent: Mapping[str, timedelta] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)


def deadlines(archive: Archive, *, now: datetime, within: timedelta, settle: timedelta) -> Deadlines:
    """What is waiting, and what of it expires within `within` of `now`.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    with archive.reading() as snapshot, archive.database() as db:
        files = known.owing_of(snapshot)
        results = snapshot.to_read(ADD_ON_RESULTS, files.results)
        payloads = snapshot.to_read(ADD_ON_PAYLOADS, files.payloads)
        rows = db.execute(
            f"WITH state AS ({views.states(results, payloads, '$now')}), owned AS ("
            f"SELECT sid, account_sid, if(expires_at IS NULL, first_seen_at + $kept, NULL) AS lost_at FROM {results}) "
            "SELECT sid, reference_sid, completed_date, epoch_us(coalesce(expires_at, lost_at)) AS expires, "
            "CASE WHEN lost_at < $now THEN 'lost' ELSE state END AS state, account_sid "
            "FROM state LEFT JOIN owned USING (sid) "
            f"WHERE NOT {state_in((*KEPT_STATES, 'gone'), 'state.state')} ORDER BY expires, sid",
            {"now": now, "kept": RETENTION},
        ).fetchall()
        recordings = open_recordings(snapshot, db, now=now, settle=settle)
        read = listings(snapshot, db, now=now)
    accounts = accounts_of(kept_accounts(archive.root), first_listed(read))
    over = {sid: account for sid, account in accounts.items() if not account.wanted}
    gone = [row[5] in over and not _was_lost(over[row[5]], moment(row[3])) for row in rows]
    ended = Counter(row[5] for row, is_gone in zip(rows, gone, strict=True) if is_gone)
    rows = [row for row, is_gone in zip(rows, gone, strict=True) if not is_gone]
    waiting = [
        _at_risk("result", sid, reference, day, expires, now=now, reason=state, account=_label(accounts, account))
        for sid, reference, day, us, state, account in rows
        if state != "lost" and (expires := moment(us)) is not None
    ]
    waiting += _unseen([r for r in recordings if r.account_sid not in over], now=now, settle=settle, accounts=accounts)
    waiting.sort(key=lambda risk: (risk.expires_at, risk.sid))
    silent = silences(read, accounts, now=now)
    return Deadlines(
        at=now,
        at_risk=tuple(risk for risk in waiting if risk.expires_at <= now + within),
        nearest=waiting[0].expires_at if waiting else None,
        slack_hours=waiting[0].hours_left if waiting else None,
        backlog=len(waiting),
        lost=tuple(row[0] for row in rows if row[4] == "lost"),
        silent_for=max(silent.values(), default=timedelta(0) if accounts else None),
        silent={accounts[sid].label: silence for sid, silence in silent.items()},
        ended={ending(over[sid]): count for sid, count in ended.items()},
        erasure=waiting_erasure(archive),
    )


def ending(account: Account) -> str:
    """An account and what has become of it, in words."""
    return f"{account.label}, which is {STATES[account.state]}"


def _was_lost(account: Account, expired: datetime | None) -> bool:
    """Whether something had expired before its account ended: that is a loss like any other."""
    return expired is not None and account.until is not None and expired <= account.until


def _label(accounts: Mapping[str, Account], sid: str | None) -> str:
    return accounts[sid].label if sid is not None and sid in accounts else sid or ""


def silent_for(read: Sequence[Listing], *, now: datetime) -> timedelta | None:
    """How long ago the list of recordings was last read to its end, in the account where that is longest ago."""
    return max(silences(read, accounts_of({}, first_listed(read)), now=now).values(), default=None)


def silences(read: Sequence[Listing], accounts: Mapping[str, Account], *, now: datetime) -> dict[str, timedelta]:
    """How long ago the list of each wanted account was last read to its end.

    That is the age of the oldest recording that nobody may have seen: made on a day that was never listed, or after
    it was last listed. So the list of a few old days breaks no silence. No more than the 30 days Twilio keeps results,
    nor, while an account was never listed, than it has been wanted.
    """
    recent: dict[str, list[Listing]] = {sid: [] for sid, account in accounts.items() if account.wanted}
    ever = {listing.account_sid for listing in read}
    for listing in read:
        if listing.at > now - RETENTION and listing.account_sid in recent:
            recent[listing.account_sid].append(listing)
    silent = {}
    for sid, of_account in recent.items():
        unseen = _unseen_since(of_account, now=now) if sid in ever else max(accounts[sid].since, now - RETENTION)
        silent[sid] = now - min(unseen, now)
    return silent


def _unseen_since(read: Sequence[Listing], *, now: datetime) -> datetime:
    """The earliest time at which a recording of an account may have been made that nobody has seen."""
    day = (now - RETENTION).astimezone(UTC).date()
    while True:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        day += timedelta(days=1)
        last = max((listing.at for listing in read if listing.first <= start.date() <= listing.last), default=start)
        if last < start + timedelta(days=1) or start > now:
            return min(max(start, last, now - RETENTION), now)


def _unseen(
    recordings: Sequence[OpenRecording],
    *,
    now: datetime,
    settle: timedelta,
    accounts: Mapping[str, Account] = MappingProxyType({}),
) -> Iterator[AtRisk]:
    """Recordings never listed, or settled and not listed since: they may have results that nobody has seen.

    The earliest of these was made right after the last listing, so its deadline is what counts. One that was listed
    after it had settled waits for results that are landed, and those speak for themselves.
    """
    for recording in recordings:
        created, listed = recording.created_at or recording.first_seen_at, recording.listed_at
        seen = listed or created
        if created is None or seen is None or seen + RETENTION <= now:
            continue
        if listed is None or listed < created + settle <= now:
            sid, expires = recording.sid, seen + RETENTION
            account = _label(accounts, recording.account_sid)
            yield _at_risk("recording", sid, sid, None, expires, now=now, reason="not listed", account=account)


def _at_risk(
    kind: str,
    sid: str,
    reference: str | None,
    day: date | None,
    expires: datetime,
    *,
    now: datetime,
    reason: str,
    account: str,
) -> AtRisk:
    hours_left = round((expires - now).total_seconds() / 3600, 1)
    return AtRisk(kind, sid, reference, day, expires, hours_left, reason, account)


def waiting_erasure(archive: Archive) -> str | None:
    """Why the erasure by age that is due waits, in a sentence; None when none does."""
    try:
        marker = read_marker(archive.root)
    except WarehouseError as error:
        return str(error)  # none goes on, and deadlines must be told all the same
    return None if marker is None else Kept.read(marker.retention).waits
