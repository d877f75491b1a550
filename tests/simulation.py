"""Simulation: 120 days at a time on a virtual clock, judged by whoever could have saved what.

    make simulation SCENARIOS=500

The product decides: which days are listed, which recordings again, in which order, what is noted of them, when to
warn. Made up are the account, the outages and how many requests an hour has; what does not fit is left. The verdict:
nothing expires unexported wherever `tests.feasibility` says that all could be saved, and elsewhere the first warning
comes 72 hours before the first loss. A control that works on the newest first must lose what could be saved.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial

from pipelines.completeness import Listing, OpenRecording
from pipelines.dates import RETENTION
from pipelines.deadlines import _unseen, silent_for
from pipelines.discover import Scope, earliest_first, listing_days, must_list, next_listed_at
from pipelines.records import Recording, parse_recording
from tests import feasibility
from tests.scenario import HOUR, SWEEP_HOUR, Result, Scenario, scenario
from tests.scenario import Recording as MadeUp
from warehouse.landed import LandedRecording, LandedResult

START = datetime(2026, 3, 1, tzinfo=UTC)
NOTICE = 72
"""Hours that a warning must come before a loss."""

WARN = 7 * 24
"""Hours to a deadline from which the product warns."""

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
                if must_list(recording, landed, scope=scope):
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
            sid = _sid(number, index)
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


def _sid(number: int, index: int) -> str:
    return f"XR{number:016x}{index:016x}"


def _row(result: Result, before: LandedResult | None, exported_at: datetime | None) -> LandedResult:
    contents = dict.fromkeys(map(str, range(result.payloads)), True) if exported_at else {}
    status = "completed" if exported_at else "processing"
    exported_at = before.exported_at if before is not None and before.exported_at else exported_at
    return LandedResult(status, None, exported_at, len(contents), moment(result.expires), None, contents)


def newest_first(recordings: Iterable[Recording]) -> list[Recording]:
    """The control: as Twilio lists them."""
    return earliest_first(recordings)[::-1]


Key = tuple[int, int]
"""A result: the number of its recording, and its own in there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one scenario. Lost: finished, expired within the hours played, and not saved. Times in hours."""

    results: int
    requests: int
    lost: tuple[Key, ...]
    first: Key | None
    """The one that is lost first."""
    first_loss: int | None
    warning: int | None = None
    """When the warehouse first gave reason for a warning."""
    excused: bool = False
    """Nobody could warn in time: the machine was out from 7 days to 72 hours before the first loss."""

    @property
    def warned(self) -> bool:
        """Whether the first warning came early enough, or nobody could have given it."""
        if self.first_loss is None or self.excused:
            return True
        return self.warning is not None and self.warning <= self.first_loss - NOTICE


def play(made_up: Scenario, exporter: Exporter) -> Outcome:
    """Run all hours and look at what is lost."""
    for hour, requests in enumerate(made_up.capacity()):
        if requests:
            exporter.hour(hour, requests)
    due = {
        (n, index): result.expires // HOUR
        for n, recording in enumerate(made_up.recordings)
        for index, result in enumerate(recording.results)
        if result.finished is not None and result.expires <= made_up.hours * HOUR
    }
    lost = tuple(key for key in due if key not in exporter.saved)
    first = min(lost, key=due.__getitem__, default=None)
    return Outcome(len(due), exporter.spent, lost, first, None if first is None else due[first])


def judged(made_up: Scenario) -> Outcome:
    """Run all hours; when something is lost, again, up to the first loss, to see when there was a warning."""
    outcome = play(made_up, Exporter(made_up))
    if outcome.first is None or outcome.first_loss is None:
        return outcome
    first, first_loss, up = outcome.first, outcome.first_loss, made_up.machine_up()
    outcome = replace(outcome, excused=not any(up[max(0, first_loss - WARN) : first_loss - NOTICE + 1]))
    exporter = Exporter(made_up)
    for hour, requests in enumerate(made_up.capacity()[:first_loss]):
        if up[hour] and warns(exporter, hour, of=first):
            return replace(outcome, warning=hour)
        if requests:
            exporter.hour(hour, requests)
    return outcome


def warns(exporter: Exporter, hour: int, *, of: Key) -> bool:
    """Whether the warehouse gives reason for a warning, at the beginning of an hour, as `pipelines.deadlines` tells it.

    It does when an export has not come to its end for so long that what it did not come to has less than 7 days left.
    Results that never finish give reason all the time, so of what is landed only `of` counts, which will be lost.
    """
    now, within = moment(hour * HOUR), timedelta(hours=WARN)
    if exporter.ended is not None:
        days = listing_days(exporter.scope, now=exporter.ended)
        silent = silent_for([Listing("AC", days[0], days[-1], exporter.ended)], now=now)
        if silent is not None and silent > RETENTION - within:
            return True
    number, index = of
    recording = exporter.real[number]
    landed = exporter.landed(recording)
    if landed is None:
        return False
    row = OpenRecording(recording.sid, recording.date_created, landed.listed_at, landed.open_results or 0)
    owed = must_list(recording, landed, scope=exporter.scope)
    expiring = [risk.expires_at for risk in _unseen([row] if owed else [], now=now, settle=exporter.scope.settle)]
    result = landed.results.get(_sid(number, index))
    if result is not None and not result.whole and result.expires_at is not None:
        expiring.append(result.expires_at)
    return any(at <= now + within for at in expiring)


@dataclass(frozen=True, slots=True)
class Trial:
    """One scenario judged. `ours` is what the product's decisions come to, `control` the newest first."""

    scenario: str
    certain: bool
    possible: bool
    ours: Outcome
    control: Outcome

    def violations(self) -> Iterator[str]:
        """What must not be."""
        if self.certain and not self.possible:
            yield f"{self.scenario}: the two feasibility computations contradict each other"
        if not self.possible and not (self.ours.lost and self.control.lost):
            yield f"{self.scenario}: nothing is lost where something must be"
        if self.certain and self.ours.lost:
            yield f"{self.scenario}: {len(self.ours.lost)} lost although all could be saved"
        if not self.ours.warned:
            yield f"{self.scenario}: first loss in hour {self.ours.first_loss}, first warning {self.ours.warning}"


def trial(seed: str) -> Trial:
    """Play one scenario twice and judge it."""
    made_up = scenario(seed)
    return Trial(
        str(made_up),
        feasibility.certain(made_up),
        feasibility.possible(made_up),
        judged(made_up),
        play(made_up, Exporter(made_up, order=newest_first, oldest_day_first=False)),
    )


def table(trials: list[Trial]) -> Iterator[str]:
    """What the trials show, as a Markdown table."""
    columns = "scenarios", "with a loss", "results lost", "control: with a loss", "control: results lost"
    yield f"| all could be saved | {' | '.join(columns)} |"
    yield f"|---|{'--:|' * len(columns)}"
    groups = {
        "for certain": [t for t in trials if t.certain],
        "perhaps, by one who need not list to know": [t for t in trials if t.possible and not t.certain],
        "by nobody": [t for t in trials if not t.possible],
    }
    for name, group in groups.items():
        counts = [len(group)]
        for outcomes in ([t.ours for t in group], [t.control for t in group]):
            counts += [sum(bool(o.lost) for o in outcomes), sum(len(o.lost) for o in outcomes)]
        yield f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |"
    lost = [t.ours for t in trials if t.ours.first_loss is not None]
    notice = sorted(o.first_loss - o.warning for o in lost if o.first_loss is not None and o.warning is not None)
    yield ""
    yield f"Scenarios with a loss: {len(lost)}. The first warning came 72 hours before the first loss, or earlier, in"
    yield f"{sum(n >= NOTICE for n in notice)}; in {sum(o.excused for o in lost)} the machine that warns was out then."
    if notice:
        yield f"Hours from the first warning to the first loss: least {notice[0]}, median {notice[len(notice) // 2]}."


def simulate(seed: int, scenarios: int, *, say: Callable[[str], object] = print) -> list[Trial]:
    """Judge so many scenarios on all cores."""
    trials: list[Trial] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for one in pool.map(trial, (f"{seed} {n}" for n in range(scenarios))):
            trials.append(one)
            for violation in one.violations():
                say(f"VIOLATION {violation}")
            if len(trials) % 50 == 0:
                say(f"{len(trials)} scenarios")
    return trials


def main() -> None:
    """Run it and print a table; exit code 1 when anything was violated, or the control lost nothing."""
    parser = argparse.ArgumentParser(description="Export made-up accounts on a virtual clock and judge what is lost.")
    parser.add_argument("--scenarios", type=int, default=500)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    say = partial(print, flush=True)
    started = time.monotonic()
    say(f"seed {options.seed}")
    trials = simulate(options.seed, options.scenarios, say=say)
    violations = [violation for one in trials for violation in one.violations()]
    for line in table(trials):
        say(line)
    caught = any(one.certain and one.control.lost for one in trials)
    say(f"control (newest first): {'loses what could be saved' if caught else 'NOT CAUGHT'}")
    say(f"violations: {len(violations)}, seconds: {time.monotonic() - started:.0f}")
    sys.exit(1 if violations or not caught else 0)


if __name__ == "__main__":
    main()
