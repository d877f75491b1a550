"""Deadlines: what Twilio will delete soon and is not whole here.

Looks at the warehouse only, never at runs, so it speaks up when runs are stuck, fail or were never started. What nobody
has seen cannot be counted: `silent_for` says how long the list of recordings has not been read to its end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pipelines.completeness import Listing, OpenRecording, listings, moment, open_recordings
from pipelines.dates import RETENTION
from warehouse import views
from warehouse.archive import Archive, reading_errors
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
    """

    at: datetime
    at_risk: tuple[AtRisk, ...]
    nearest: datetime | None
    slack_hours: float | None
    backlog: int
    lost: tuple[str, ...]
    silent_for: timedelta | None


def deadlines(archive: Archive, *, now: datetime, within: timedelta, settle: timedelta) -> Deadlines:
    """What is waiting, and what of it expires within `within` of `now`.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    head = archive.head()
    results, payloads = (
        archive.relation(table, head.tables[table.name]) for table in (ADD_ON_RESULTS, ADD_ON_PAYLOADS)
    )
    with reading_errors(archive.root), archive.database() as db:
        rows = db.execute(
            f"WITH state AS ({views.states(results, payloads, '$now')}) "
            "SELECT sid, reference_sid, completed_date, epoch_us(expires_at), state FROM state "
            "WHERE state NOT IN ('exported', 'deleted') ORDER BY expires_at, sid",
            {"now": now},
        ).fetchall()
        recordings = open_recordings(archive, head, db, settle=settle)
        read = listings(archive, head, db)
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
        backlog=len(waiting) + sum(row[3] is None for row in rows),
        lost=tuple(row[0] for row in rows if row[4] == "lost"),
        silent_for=silent_for(read, now=now),
    )


def silent_for(read: Sequence[Listing], *, now: datetime) -> timedelta | None:
    """How long ago the list of recordings was last read to its end, in the account where that is longest ago.

    Only a listing of everything that Twilio still had counts: an export of old days says nothing of new recordings.
    """
    newest: dict[str, datetime] = {}
    for listing in sorted(read, key=lambda listing: listing.at):
        day = listing.at.date()
        if listing.first <= day - RETENTION and listing.last >= day:
            newest[listing.account_sid] = listing.at
    accounts = {listing.account_sid for listing in read}
    return now - min(newest.values()) if newest and newest.keys() == accounts else None


def _unseen(recordings: Sequence[OpenRecording], *, now: datetime, settle: timedelta) -> Iterator[AtRisk]:
    """Recordings never listed, or settled and not listed since: they may have results that nobody has seen.

    The earliest of these was made right after the last listing, so its deadline is what counts.
    """
    for recording in recordings:
        created, listed = recording.created_at, recording.listed_at
        seen = listed or created
        if seen is None or seen + RETENTION <= now or (listed is not None and recording.open_results):
            continue
        if listed is None or (created is not None and created + settle <= now):
            sid, expires = recording.sid, seen + RETENTION
            yield _at_risk("recording", sid, sid, None, expires, now=now, reason="not listed")


def _at_risk(
    kind: str, sid: str, reference: str | None, day: date | None, expires: datetime, *, now: datetime, reason: str
) -> AtRisk:
    return AtRisk(kind, sid, reference, day, expires, round((expires - now).total_seconds() / 3600, 1), reason)
