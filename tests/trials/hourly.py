"""`Exporter`: a scenario's account exported hour by hour on a virtual clock, by the product's decisions.

The product says which days are listed, which recordings again, in which order, and what is noted of them. The rest is
done here, in memory and a thousand times as fast; `tests.trials.replay` shows that it comes to the same.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from pipelines.records.rows import Recording, parse_recording
from pipelines.scope import Scope, earliest_first, listing_days, must_list, next_listed_at
from tests.trials.scenario import HOUR, SWEEP_HOUR, Result, Scenario
from tests.trials.scenario import Recording as MadeUp
from warehouse.landed import LandedRecording, LandedResult

START = datetime(2026, 3, 1, tzinfo=UTC)

Order = Callable[[Iterable[Recording]], list[Recording]]


def moment(second: int) -> datetime:
    """A scenario's second as a time."""
    return START + timedelta(seconds=second)


class Spent(Exception):
    """The hour has no more requests."""


@dataclass(slots=True)
class Requests:
    """What is left of an hour's requests; below 0 when the last recording took more."""

    left: int

    def begin(self, least: int = 1) -> None:
        """Raise Spent when the hour has fewer than `least`."""
        if self.left < least:
            raise Spent

    def spend(self, count: int = 1) -> None:
        """Ask the source."""
        self.left -= count


def real_recording(number: int, made_up: MadeUp) -> Recording:
    """A made-up recording as the product reads it."""
    created = moment(made_up.created).isoformat()
    return parse_recording(f'{{"sid": "RE{number:032x}", "status": "completed", "date_created": "{created}"}}'.encode())


@dataclass
class Exporter:
    """Exports one scenario's account, hour by hour, into memory.

    What is remembered of a recording is what a warehouse would tell: its row, once the recording has been worked on
    to its end, and of its results those that were handed on before that.
    """

    scenario: Scenario
    order: Order = earliest_first
    oldest_day_first: bool = True
    saved: dict[tuple[int, int], int] = field(default_factory=dict)
    """Second at which a result of a recording was whole here, by their numbers."""
    begun: int = 0
    ended: datetime | None = None
    """When the first export of a UTC day that came to its end began: what `listings` keeps."""
    spent: int = 0

    def __post_init__(self) -> None:
        self.scope = Scope(settle=timedelta(hours=self.scenario.settle))
        self.real = [real_recording(n, made_up) for n, made_up in enumerate(self.scenario.recordings)]
        self.number = {recording.sid: n for n, recording in enumerate(self.real)}
        self.by_day: dict[date, list[Recording]] = {}
        for n, made_up in enumerate(self.scenario.recordings):
            self.by_day.setdefault(moment(made_up.created).date(), []).append(self.real[n])
        self.owed = {day: {r.sid: r for r in recordings} for day, recordings in self.by_day.items()}
        """Recordings of which the product has not said yet that they need not be listed again."""
        self.rows: dict[str, LandedRecording] = {}
        self.results: list[dict[str, LandedResult]] = [{} for _ in self.real]

    def hour(self, hour: int, requests: int) -> None:
        """What is done in one hour: once a day the sweep, then the export, as far as requests go.

        The recording at hand when they are spent is finished; the next hour has fewer requests for it.
        """
        left = Requests(requests - self.begun)
        now = moment(hour * HOUR)
        with suppress(Spent):
            if hour % 24 == SWEEP_HOUR:
                self.export(now, replace(self.scope, full=True), left)
            self.export(now, self.scope, left)
        self.begun = max(0, -left.left)
        self.spent += requests - left.left

    def export(self, now: datetime, scope: Scope, requests: Requests) -> None:
        """List the days, then every recording that must be listed."""
        days = listing_days(scope, now=now)
        requests.begin(len(days))
        requests.spend(len(days))
        for day in days if self.oldest_day_first else reversed(days):
            of_day = self.by_day.get(day, ()) if scope.full else self.owed.get(day, {}).values()
            for recording in self.order(r for r in of_day if r.date_created and r.date_created <= now):
                landed = self.landed(recording)
                if must_list(recording, landed, scope=scope, now=now):
                    requests.begin()
                    self.extract(recording, landed, now, scope, requests)
                else:  # what is landed changes only by listing it: it stays so
                    self.owed[day].pop(recording.sid, None)
        if self.ended is None or self.ended.date() != now.date():
            self.ended = now

    def landed(self, recording: Recording) -> LandedRecording | None:
        """As `landed_recordings` tells it: results count once the recording's own row is landed."""
        return self.rows.get(recording.sid)

    def extract(
        self, recording: Recording, landed: LandedRecording | None, now: datetime, scope: Scope, requests: Requests
    ) -> None:
        """Work on one recording as `pipelines.extract` does: its list, of each result the payloads, each content."""
        number = self.number[recording.sid]
        second = int((now - START).total_seconds())
        requests.spend()
        known = {} if landed is None else landed.results
        rows = self.results[number]
        unfinished = 0
        for index, result in enumerate(self.scenario.recordings[number].results):
            if not result.created <= second < result.expires:
                continue
            sid = result_sid(number, index)
            before = known.get(sid)
            if result.finished is None or result.finished > second:
                rows[sid] = _row(result, before, None)
                unfinished += 1
            elif before is None or not before.whole or scope.full:
                requests.spend()
                contents = {} if before is None else before.contents
                requests.spend(result.payloads - sum(contents.values()))
                self.saved.setdefault((number, index), second)
                rows[sid] = _row(result, before, now)
        listed_at = next_listed_at(recording, landed, scope=scope, now=now)
        self.rows[recording.sid] = LandedRecording("completed", listed_at, unfinished, rows)


def result_sid(number: int, index: int) -> str:
    """The SID of a result, by the numbers of its recording and its own."""
    return f"XR{number:016x}{index:016x}"


def _row(result: Result, before: LandedResult | None, exported_at: datetime | None) -> LandedResult:
    contents = dict.fromkeys(map(str, range(result.payloads)), True) if exported_at else {}
    status = "completed" if exported_at else "processing"
    exported_at = before.exported_at if before is not None and before.exported_at else exported_at
    return LandedResult(status, None, exported_at, len(contents), moment(result.expires), None, contents)


def newest_first(recordings: Iterable[Recording]) -> list[Recording]:
    """The control: as Twilio lists them."""
    return earliest_first(recordings)[::-1]
