"""Deadlines: what Twilio will delete soon and is not whole here.

Looks at the warehouse only, never at runs, so it speaks up when runs are stuck, fail or were never started. What nobody
has seen cannot be counted: `silent_for` says how long the list of recordings has not been read to its end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pipelines.completeness import Listing, OpenRecording, listings, moment, open_recordings
from pipelines.dates import RETENTION
from pipelines.erase_by_age import waiting as waiting_erasure
from warehouse import views
from warehouse.archive import Archive
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS


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


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What is waiting at `at` (UTC).

    Attributes:
        at_risk: what expires within the window, nearest deadline first.
        nearest: the nearest deadline of all that is waiting.
        slack_hours: hours left to it.
        backlog: results and recordings that are waiting, whenever they expire.
        lost: results that expired before they were whole here.
        silent_for: how long ago the list of recordings was last read to its end in every account; None if never.
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


def deadlines(archive: Archive, *, now: datetime, within: timedelta, settle: timedelta) -> Deadlines:
    """What is waiting, and what of it expires within `within` of `now`.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    with archive.reading() as head, archive.database() as db:
        results, payloads = (
            archive.relation(table, head.tables[table.name]) for table in (ADD_ON_RESULTS, ADD_ON_PAYLOADS)
        )
        rows = db.execute(
            f"WITH state AS ({views.states(results, payloads, '$now')}), dateless AS ("
            f"SELECT sid, first_seen_at + $kept AS gone_at FROM {results} WHERE expires_at IS NULL) "
            "SELECT sid, reference_sid, completed_date, epoch_us(coalesce(expires_at, gone_at)) AS expires, "
            "CASE WHEN gone_at < $now THEN 'lost' ELSE state END AS state FROM state LEFT JOIN dateless USING (sid) "
            "WHERE state.state NOT IN ('exported', 'deleted') ORDER BY expires, sid",
            {"now": now, "kept": RETENTION},
        ).fetchall()
        recordings = open_recordings(archive, head, db, now=now, settle=settle)
        read = listings(archive, head, db, now=now)
    waiting = [
        _at_risk("result", sid, reference, day, expires, now=now, reason=state)
        for sid, reference, day, us, state in rows
        if state != "lost" and (expires := moment(us)) is not None
    ]
    waiting += _unseen(recordings, now=now, settle=settle)
    waiting.sort(key=lambda risk: (risk.expires_at, risk.sid))
    return Deadlines(
        at=now,
        at_risk=tuple(risk for risk in waiting if risk.expires_at <= now + within),
        nearest=waiting[0].expires_at if waiting else None,
        slack_hours=waiting[0].hours_left if waiting else None,
        backlog=len(waiting),
        lost=tuple(row[0] for row in rows if row[4] == "lost"),
        silent_for=silent_for(read, now=now),
        erasure=waiting_erasure(archive),
    )


def silent_for(read: Sequence[Listing], *, now: datetime) -> timedelta | None:
    """How long ago the list of recordings was last read to its end, in the account where that is longest ago.

    That is the age of the oldest recording that nobody may have seen: made on a day that was never listed, or after
    it was last listed. So the list of a few old days breaks no silence. No more than the 30 days Twilio keeps results.
    """
    recent: dict[str, list[Listing]] = {listing.account_sid: [] for listing in read}
    for listing in read:
        if listing.at > now - RETENTION:
            recent[listing.account_sid].append(listing)
    return max((now - _unseen_since(of_account, now=now) for of_account in recent.values()), default=None)


def _unseen_since(read: Sequence[Listing], *, now: datetime) -> datetime:
    """The earliest time at which a recording of an account may have been made that nobody has seen."""
    day = (now - RETENTION).astimezone(UTC).date()
    while True:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        day += timedelta(days=1)
        last = max((listing.at for listing in read if listing.first <= start.date() <= listing.last), default=start)
        if last < start + timedelta(days=1) or start > now:
            return min(max(start, last, now - RETENTION), now)


def _unseen(recordings: Sequence[OpenRecording], *, now: datetime, settle: timedelta) -> Iterator[AtRisk]:
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
            yield _at_risk("recording", sid, sid, None, expires, now=now, reason="not listed")


def _at_risk(
    kind: str, sid: str, reference: str | None, day: date | None, expires: datetime, *, now: datetime, reason: str
) -> AtRisk:
    return AtRisk(kind, sid, reference, day, expires, round((expires - now).total_seconds() / 3600, 1), reason)
