"""Status: what is landed, pending, unfinished, lost and in quarantine, which days are complete, the next deadline.

Reads the archive only, so it answers while an export runs and when Twilio cannot be reached.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pipelines.accounts.account import Account, accounts_of
from pipelines.accounts.listings import first_listed, listings, oldest, whole_reads
from pipelines.monitoring.completeness import Completeness, OpenRecording, completeness, open_recordings
from pipelines.monitoring.deadlines import deadlines, ending
from pipelines.shown_time import clock_sentence, reading_time
from warehouse import known
from warehouse.published import views
from warehouse.published.shown import published
from warehouse.quarantine import open_rows
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, QUARANTINE, RECORDINGS, RESOLUTIONS
from warehouse.states import RECORDING_LOOK_BACK, STATES
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.marker import kept_accounts, kept_listings
from warehouse.store.sharing import sharing

"""What can have become of an add-on result; as in the `retention` view."""


@dataclass(frozen=True, slots=True)
class Day:
    """One partition: results by state. `day` is null for results without `date_completed`, which is never complete."""

    day: date | None
    states: Mapping[str, int]
    completeness: Completeness | None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """An account of the archive; `unexported` counts its results that are not whole here and can no longer be had."""

    account: Account
    listed_at: datetime | None
    unexported: int

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        of = self.account
        return {
            "sid": of.sid,
            "name": of.name or None,
            "state": of.state,
            "listed_at": None if self.listed_at is None else self.listed_at.isoformat(),
            "unexported": self.unexported,
            "trouble": of.trouble or None,
        }


@dataclass(frozen=True, slots=True)
class Status:
    """What the warehouse holds at `at` (UTC).

    `slack_hours` is the time left to `next_deadline`; `backlog` counts what is waiting, results and recordings;
    `quarantined` counts what is open;
    `listed_at` is when the list of recordings was last read to its end, in every account that is wanted; `accounts`
    holds those that are not wanted any more first; `erasure_waits` says why an erasure by age waits, `clock` what is
    wrong with the clock here.
    """

    at: datetime
    commit: int
    committed_at: datetime | None
    published_commit: int | None
    recordings: int
    recordings_to_list: int
    results: Mapping[str, int]
    payloads: int
    contents: int
    content_bytes: int
    quarantined: int
    next_deadline: datetime | None
    slack_hours: float | None
    backlog: int
    listed_at: datetime | None
    days: tuple[Day, ...]
    erasure_waits: str | None = None
    clock: str | None = None
    shared_read: str = "none"
    """Who may read the archive: its owner alone ("none"), "group" or "all"."""
    accounts: tuple[AccountStatus, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values: times in ISO 8601."""
        plain: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("at", "committed_at", "next_deadline", "listed_at"):
            plain[name] = None if plain[name] is None else plain[name].isoformat()
        plain["accounts"] = [each.as_json() for each in self.accounts]
        plain["days"] = [
            {
                "completed_date": None if d.day is None else d.day.isoformat(),
                **d.states,
                "complete": d.completeness is not None and d.completeness.complete,
                "completeness": None if d.completeness is None else d.completeness.as_json(),
            }
            for d in self.days
        ]
        return plain


def status(archive: Archive, *, now: datetime, settle: timedelta) -> Status:
    """Summarise the newest commit; `settle` is how long after its creation a recording may gain results."""
    with archive.reading() as snapshot:
        found = _status(snapshot, now=reading_time(archive, here=now), settle=settle)
        return replace(found, clock=clock_sentence(archive, here=now))


def _status(snapshot: Snapshot, *, now: datetime, settle: timedelta) -> Status:
    archive, head = snapshot.archive, snapshot.commit
    quarantine, resolutions = snapshot.relations(QUARANTINE, RESOLUTIONS)
    files = known.owing_of(snapshot)
    results = snapshot.to_read(ADD_ON_RESULTS, files.results)
    payloads = snapshot.to_read(ADD_ON_PAYLOADS, files.payloads)
    of_payloads = known.known(snapshot, ADD_ON_PAYLOADS, snapshot.files(ADD_ON_PAYLOADS)).values()
    with archive.database() as db:
        states = db.execute(
            f"""
            WITH state AS ({views.states(results, payloads, "$now")})
            SELECT completed_date, state, count(*)
            FROM state GROUP BY ALL ORDER BY completed_date NULLS FIRST, state
            """,
            {"now": now},
        ).fetchall()
        to_list = [r for r in open_recordings(snapshot, db, now=now, settle=settle) if _still_shown(r, now=now)]
        read = listings(snapshot, db, now=now)
        quarantined = db.execute(f"SELECT count(*) FROM {open_rows(quarantine, resolutions)}").fetchall()[0][0]
    accounts = accounts_of(kept_accounts(archive.root), first_listed(read))
    ended = {sid for sid, account in accounts.items() if not account.wanted}
    newest = whole_reads(read, kept_listings(archive.root), now=now)
    waiting = deadlines(archive, now=now, within=timedelta(0), settle=settle)
    days: dict[date | None, dict[str, int]] = {}
    settled = ((day, state, count) for day, counts in files.settled.items() for state, count in counts.items())
    for day, state, count in (*states, *settled):
        if count:
            days.setdefault(day, dict.fromkeys(STATES, 0))[state] += count
    dated = [day for day in days if day is not None]
    today = now.astimezone(UTC).date()
    first = min([*dated, today])
    complete = completeness(archive, first=first, last=today, now=now, settle=settle)
    for each in complete if head.number else ():
        days.setdefault(each.day, dict.fromkeys(STATES, 0))
    by_day = {each.day: each for each in complete}
    shown = published(archive)
    return Status(
        at=now,
        commit=head.number,
        committed_at=head.at if head.number else None,
        published_commit=None if shown is None else shown.commit,
        recordings=head.rows(RECORDINGS.name),
        recordings_to_list=sum(recording.account_sid not in ended for recording in to_list),
        results={state: sum(counts[state] for counts in days.values()) for state in STATES},
        payloads=head.rows(ADD_ON_PAYLOADS.name),
        contents=sum(each.contents for each in of_payloads),
        content_bytes=sum(each.content_bytes for each in of_payloads),
        quarantined=quarantined,
        next_deadline=waiting.nearest,
        slack_hours=waiting.slack_hours,
        backlog=waiting.backlog,
        listed_at=oldest([newest.get(sid) for sid in accounts.keys() - ended]),
        days=tuple(
            Day(day, counts, None if day is None else by_day.get(day))
            for day, counts in sorted(days.items(), key=lambda item: item[0] or date.min)
        ),
        erasure_waits=waiting.erasure,
        shared_read=sharing(archive.root, None),
        accounts=_accounts(accounts, newest, waiting.ended),
    )


def _accounts(
    accounts: Mapping[str, Account], newest: Mapping[str, datetime], ended: Mapping[str, int]
) -> tuple[AccountStatus, ...]:
    return tuple(
        AccountStatus(account, newest.get(sid), ended.get(ending(account), 0))
        for sid, account in sorted(accounts.items(), key=lambda item: (item[1].wanted, item[0]))
    )


def _still_shown(recording: OpenRecording, *, now: datetime) -> bool:
    """Whether Twilio may still show a recording, so that the next export lists it."""
    return recording.created_at is None or recording.created_at + RECORDING_LOOK_BACK > now
