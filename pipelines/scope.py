"""Scope: what an export is asked for, and which recordings must be listed (again) for it. Pure."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pipelines.records.dates import utc_day
from pipelines.records.rows import Recording
from warehouse.clock import APART
from warehouse.landed import LandedRecording
from warehouse.states import RECORDING_LOOK_BACK, RETENTION

FOREVER_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for the creation of a recording of unknown age: it goes first."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an export is asked for: the partitions `first` to `last`, or everything that can still be had.

    `full` lists settled recordings again too. `settle` is how long after its creation a recording may still
    gain results. `look_back` is how long before `first` a recording may have been created. `erased` holds the SIDs of
    what was erased here, which is not asked for again.
    """

    first: date | None = None
    last: date | None = None
    full: bool = False
    settle: timedelta = timedelta(hours=48)
    look_back: timedelta = RECORDING_LOOK_BACK
    erased: Container[str] = frozenset()

    def includes(self, day: date | None) -> bool:
        """Whether contents of results completed on `day` are asked for; a result without a day always is."""
        if day is None:
            return True
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)


def listing_days(scope: Scope, *, now: datetime) -> list[date]:
    """UTC days whose recordings may have results in scope, oldest first: that is, earliest deadline first.

    A result completes at or after its recording's creation, so a range reaches back by the look-back. Tomorrow
    is included when today is, against a clock that is behind Twilio's.
    """
    today = now.astimezone(UTC).date()
    tomorrow = today + timedelta(days=1)
    first = today - RECORDING_LOOK_BACK if scope.first is None else scope.first - scope.look_back
    last = min(scope.last, tomorrow) if scope.last else tomorrow
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def no_longer_kept(scope: Scope, *, now: datetime) -> str | None:
    """A sentence on days asked for whose results Twilio no longer keeps; None when it keeps them all."""
    kept_since = (now - RETENTION).astimezone(UTC).date()
    if scope.first is None or scope.first >= kept_since:
        return None
    last = min(scope.last or kept_since, kept_since - timedelta(days=1))
    days = f"{scope.first}" if last == scope.first else f"{scope.first} to {last}"
    return f"Twilio keeps add-on results for 30 days and no longer has those of {days}; what is landed stays."


def must_list(recording: Recording, landed: LandedRecording | None, *, scope: Scope, now: datetime) -> bool:
    """Whether a recording's results must be listed (again). One of unknown age never counts as settled.

    What says that it was listed later than now was stamped by a clock that was ahead: when it was is not known.
    """
    if scope.full or landed is None or landed.listed_at is None or landed.open_results or landed.owes:
        return True
    if landed.listed_at > now + APART:
        return True
    return recording.date_created is None or landed.listed_at < recording.date_created + scope.settle


MUST_LIST = (
    "(listed_at IS NULL OR open_results > 0 OR date_created IS NULL OR listed_at > $latest "
    "OR epoch_us(listed_at) < epoch_us(date_created) + $settle)"
)
"""`must_list` in SQL, of columns of `recordings` where one that owes a result counts as having an open one.

`$settle` is in microseconds, `$latest` the time from which on a stamp is of a clock that was ahead.
"""


def must_list_values(*, settle: timedelta, now: datetime) -> dict[str, object]:
    """The values of MUST_LIST."""
    return {"settle": round(settle.total_seconds() * 1e6), "latest": now + APART}


def next_listed_at(recording: Recording, landed: LandedRecording | None, *, scope: Scope, now: datetime) -> datetime:
    """The `listed_at` to land: it moves only when it says something new, so that re-running changes nothing.

    New is: the first listing, a listing on a later UTC day (a day's completeness depends on it), or the first
    one after the recording has settled.
    """
    before = None if landed is None else landed.listed_at
    if before is None or before > now + APART or utc_day(before) != utc_day(now):
        return now
    settled_at = (recording.date_created or FOREVER_AGO) + scope.settle
    return now if before < settled_at <= now else before


def earliest_first(recordings: Iterable[Recording]) -> list[Recording]:
    """In the order in which they are worked on: what was created first expires first; of unknown age goes before."""
    return sorted(recordings, key=lambda r: (r.date_created or FOREVER_AGO, r.sid))
