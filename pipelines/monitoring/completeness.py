"""Completeness: whether everything that completed on a UTC day is landed, and if not, what is missing.

A partition is complete when its day is over, the list of recordings was read to its end after it, every recording that
could still contribute was listed after it, no result that may still complete on it is unfinished, and every result of
it is whole here. Read from the newest commit alone; `assess` decides and is pure.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

import duckdb

from pipelines.accounts.account import Account, accounts_of
from pipelines.accounts.listings import Listing, first_listed, last_reads, listings, oldest
from pipelines.scope import MUST_LIST, must_list_values
from warehouse import known
from warehouse.clock import APART, moment
from warehouse.published import views
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, RECORDINGS
from warehouse.states import (
    FINAL_STATUSES,
    GONE,
    KEPT_STATES,
    MISSED_STATES,
    OPEN_STATES,
    RECORDING_LOOK_BACK,
    RETENTION,
    state_in,
)
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.commit import LiveFile
from warehouse.store.marker import kept_accounts

NAMED = 5
"""Accounts named in one sentence."""


@dataclass(frozen=True, slots=True)
class OpenRecording:
    """A recording that may gain results: it was not listed, or not after it had settled, or has open results.

    `first_seen_at` stands in for a creation that is not known.
    """

    sid: str
    created_at: datetime | None
    listed_at: datetime | None
    open_results: int
    first_seen_at: datetime | None = None
    account_sid: str | None = None


@dataclass(frozen=True, slots=True)
class OpenResult:
    """A result that has no day yet and may get one, or that is final without a day and not whole (`final`)."""

    sid: str
    created_at: datetime | None
    expires_at: datetime | None
    final: bool = False
    account_sid: str | None = None


@dataclass(frozen=True, slots=True)
class DayResults:
    """The landed results of one partition: how many by state, and the SIDs of those that are not whole."""

    states: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completeness:
    """What a partition holds, and what keeps it from being complete. SIDs are in order.

    Attributes:
        over: whether the UTC day has ended.
        results: landed results that completed on the day.
        exported: of these, those that are whole here, deleted at Twilio or not.
        unlisted: recordings that could still contribute and were not listed after the day's end.
        unfinished: results without a day that may still complete on this one, or may have and are not whole.
        missing: results of the day that are not whole here and can still be had.
        lost: results of the day that expired before they were whole here.
        listed_at: when the list of recordings was last read to its end for this day, in every account (UTC).
        listed: whether that was after the day's end.
        unread: accounts whose list was not read to its end after the day's end, with their names.
    """

    day: date
    over: bool
    results: int
    exported: int
    unlisted: tuple[str, ...]
    unfinished: tuple[str, ...]
    missing: tuple[str, ...]
    lost: tuple[str, ...]
    listed_at: datetime | None
    listed: bool
    unread: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing and nothing can come."""
        return self.over and not self.reasons()

    def reasons(self) -> tuple[str, ...]:
        """Why the day is not complete, or will not be when it is over: a sentence each."""
        of = f" of account {_some(self.unread)}" if self.unread else ""
        sentences = (
            (not self.listed and self.over, f"The list of recordings{of} was not read to its end after the day's end."),
            (bool(self.unlisted), f"{len(self.unlisted)} recordings were not listed after the day's end."),
            (bool(self.unfinished), f"{len(self.unfinished)} results that may complete on it are unfinished."),
            (bool(self.missing), f"{len(self.missing)} results are not whole here yet."),
            (
                bool(self.lost),
                f"{len(self.lost)} results expired, or went at Twilio, before they were whole here.",
            ),
        )
        return tuple(sentence for holds, sentence in sentences if holds)

    def as_json(self) -> dict[str, object]:
        """The numbers and the first SIDs, as plain values."""
        return {
            "over": self.over,
            "listed_at": None if self.listed_at is None else self.listed_at.isoformat(),
            **{
                name: {"count": len(sids), "first": list(sids[:20])}
                for name, sids in (
                    ("unlisted", self.unlisted),
                    ("unfinished", self.unfinished),
                    ("missing", self.missing),
                    ("lost", self.lost),
                )
            },
        }


def completeness(archive: Archive, *, first: date, last: date, now: datetime, settle: timedelta) -> list[Completeness]:
    """The completeness of every partition from `first` to `last`, oldest first.

    Args:
        archive: where to look; its newest commit.
        first: first UTC day.
        last: last UTC day.
        now: UTC.
        settle: how long after its creation a recording may gain results.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    with archive.reading() as snapshot, archive.database() as db:
        recordings = open_recordings(snapshot, db, now=now, settle=settle)
        unfinished = unfinished_results(snapshot, db, now=now)
        read = listings(snapshot, db, now=now)
        results = _day_results(snapshot, db, first, last, now=now)
    accounts = accounts_of(kept_accounts(archive.root), first_listed(read))
    undated = sum(recording.created_at is None for recording in recordings)
    created = [recording.created_at or now for recording in recordings[undated:]]
    found = []
    for day in (first + timedelta(days=n) for n in range((last - first).days + 1)):
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        # there may be many, and a year of days: only those made in the look-back can matter to one
        window = slice(
            undated + bisect_left(created, start - RECORDING_LOOK_BACK - timedelta(days=1)),
            undated + bisect_left(created, start + timedelta(days=1)),
        )
        near = [*recordings[:undated], *recordings[window]]
        held = results.get(day, DayResults())
        found.append(assess(day, held, near, unfinished, read, now=now, settle=settle, accounts=accounts))
    return found


def assess(
    day: date,
    results: DayResults,
    recordings: Sequence[OpenRecording],
    unfinished: Sequence[OpenResult],
    read: Sequence[Listing],
    *,
    now: datetime,
    settle: timedelta,
    accounts: Mapping[str, Account] = MappingProxyType({}),
) -> Completeness:
    """What is missing of one partition; an account that is not wanted any more is asked of days before its end."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=1)
    over = frozenset(sid for sid, account in accounts.items() if not account.counts_for(end))
    times = last_reads(read, since=(start - settle).date(), day=day, accounts=accounts.keys())
    times = {sid: at for sid, at in times.items() if sid not in over}
    listed_at = oldest(times.values())
    return Completeness(
        day=day,
        over=end <= now,
        results=sum(results.states.values()),
        exported=sum(results.states.get(state, 0) for state in KEPT_STATES),
        unlisted=tuple(
            r.sid for r in recordings if r.account_sid not in over and _could_contribute(r, start, end, settle=settle)
        ),
        unfinished=tuple(
            r.sid
            for r in unfinished
            if r.account_sid not in over and _may_complete(r, start, end, now=now, settle=settle)
        ),
        missing=results.missing,
        lost=results.lost,
        listed_at=listed_at,
        listed=(listed_at is not None and listed_at >= end) or bool(over and not times),
        unread=tuple(
            accounts[sid].label
            for sid, at in sorted(times.items())
            if sid in accounts and len(accounts) > 1 and (at is None or at < end)
        ),
    )


def _some(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return ", ".join(labels[:NAMED]) + more


def _could_contribute(recording: OpenRecording, start: datetime, end: datetime, *, settle: timedelta) -> bool:
    """Whether a result of a recording may have completed on a day without having been seen.

    One that was listed after the day's end could not, nor one that was settled before the day began and owed nothing.
    """
    if recording.listed_at is not None and recording.listed_at >= end:
        return False
    created = recording.created_at or recording.first_seen_at
    if created is None:
        return True
    if (start.date() - created.astimezone(UTC).date()).days >= RECORDING_LOOK_BACK.days:
        return False  # from the day's end on, nobody lists it any more
    if recording.created_at is None:
        return True
    return created < end and (bool(recording.open_results) or created + settle > start)


def _may_complete(result: OpenResult, start: datetime, end: datetime, *, now: datetime, settle: timedelta) -> bool:
    """Whether an unfinished result may still complete on a day: one that is younger than the settle time.

    One that is still unfinished after that completes on a later day, if ever, and its recording was listed after
    this one: it keeps none waiting. One that is final and not whole may belong to any day of the settle time.
    """
    if result.created_at is None:
        return end > now
    settled_at = result.created_at + settle
    return result.created_at < end and start < settled_at and (result.final or now < settled_at)


def open_recordings(
    snapshot: Snapshot, db: duckdb.DuckDBPyConnection, *, now: datetime, settle: timedelta
) -> list[OpenRecording]:
    """The landed recordings that are listed again by the next export, in order of creation.

    As `pipelines.scope.must_list` decides it, in SQL, but for what is listed again only because of what is open in
    quarantine: that keeps no day waiting. One that owes a result counts as having an open one.
    """
    files = known.owing_of(snapshot)
    results, payloads = (
        snapshot.to_read(ADD_ON_RESULTS, files.results),
        snapshot.to_read(ADD_ON_PAYLOADS, files.payloads),
    )
    owing = [sid for (sid,) in db.execute(views.owing(results, payloads, "$now"), {"now": now}).fetchall() if sid]
    recordings = snapshot.to_read(RECORDINGS, _may_be_open(snapshot, owing, latest=now + APART, settle=settle))
    rows = db.execute(
        "WITH known AS (SELECT sid, date_created, listed_at, "
        "first_seen_at, greatest(coalesce(open_results, 0), (sid IN (SELECT unnest($owing::VARCHAR[])))::INTEGER) "
        f"AS open_results, account_sid FROM {recordings}) "
        "SELECT sid, epoch_us(date_created), epoch_us(listed_at), open_results, epoch_us(first_seen_at), account_sid "
        "FROM known "
        f"WHERE {MUST_LIST} "
        "ORDER BY date_created NULLS FIRST, sid",
        {"owing": owing, **must_list_values(settle=settle, now=now)},
    ).fetchall()
    return [
        OpenRecording(sid, moment(created), moment(listed), count, moment(seen), account)
        for sid, created, listed, count, seen, account in rows
    ]


def _may_be_open(
    snapshot: Snapshot, owing: Collection[str], *, latest: datetime, settle: timedelta
) -> Iterator[LiveFile]:
    """The files with a recording that is listed again: one that is `owing`, or by what is known of the file."""
    of_files = known.known(snapshot, RECORDINGS, snapshot.files(RECORDINGS))
    there = snapshot.holding(RECORDINGS, owing)
    latest_us = _us(latest - datetime(1970, 1, 1, tzinfo=UTC))
    for file in snapshot.files(RECORDINGS):
        of_file = of_files[file.path]
        if (
            of_file.unsettled
            or file.path in there
            or (of_file.soonest_us is not None and of_file.soonest_us < _us(settle))
            or (of_file.latest_us is not None and of_file.latest_us > latest_us)
        ):
            yield file


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def unfinished_results(snapshot: Snapshot, db: duckdb.DuckDBPyConnection, *, now: datetime) -> list[OpenResult]:
    """The landed results without a day that may get one or are not whole, nearest deadline first.

    A status nobody knows may be one that changes, so it counts as unfinished even when all it has is here.
    """
    rows = db.execute(
        "SELECT sid, epoch_us(coalesce(date_created, first_seen_at)), epoch_us(expires_at), "
        "coalesce(list_contains($final, status), false) AS final, account_sid "
        f"FROM {snapshot.relation(ADD_ON_RESULTS, {None})} "
        f"WHERE date_completed IS NULL AND deleted_at IS NULL AND NOT {GONE.format('')} "
        "AND NOT (final AND (exported_at IS NOT NULL OR coalesce(expires_at, first_seen_at + $kept) < $now)) "
        "ORDER BY expires_at, sid",
        {"final": list(FINAL_STATUSES), "kept": RETENTION, "now": now},
    ).fetchall()
    return [
        OpenResult(sid, moment(made), moment(expires), final, account) for sid, made, expires, final, account in rows
    ]


def _day_results(
    snapshot: Snapshot, db: duckdb.DuckDBPyConnection, first: date, last: date, *, now: datetime
) -> dict[date, DayResults]:
    days = {first + timedelta(days=n) for n in range((last - first).days + 1)}
    files = known.owing_of(snapshot, days)
    results, payloads = (
        snapshot.to_read(ADD_ON_RESULTS, files.results),
        snapshot.to_read(ADD_ON_PAYLOADS, files.payloads),
    )
    rows = db.execute(
        f"WITH state AS ({views.states(results, payloads, '$now')}) "
        f"SELECT completed_date, state, count(*), list(sid ORDER BY sid) FILTER (NOT {state_in(KEPT_STATES)}) "
        "FROM state WHERE completed_date IS NOT NULL GROUP BY ALL ORDER BY ALL",
        {"now": now},
    ).fetchall()
    found: dict[date, dict[str, tuple[int, list[str]]]] = {}
    for day, state, count, sids in rows:
        found.setdefault(day, {})[state] = (count, sids or [])
    for day, settled in files.settled.items():
        if day is not None:
            states = found.setdefault(day, {})
            states.update({state: (count + states.get(state, (0, []))[0], []) for state, count in settled.items()})
    return {
        day: DayResults(
            {state: count for state, (count, _) in states.items()},
            tuple(sorted(sid for state in OPEN_STATES for sid in states.get(state, (0, []))[1])),
            tuple(sorted(sid for state in MISSED_STATES for sid in states.get(state, (0, []))[1])),
        )
        for day, states in found.items()
    }
