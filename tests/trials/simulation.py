"""Simulation: 120 days at a time on a virtual clock, judged by whoever could have saved what.

    make trial NAME=simulation ARGS="--scenarios 500"

The product decides: which days are listed, which recordings again, in which order, what is noted of them, when to
warn. Made up are the account, the outages and how many requests an hour has; what does not fit is left. The verdict:
nothing expires unexported wherever `tests.trials.feasibility` says that all could be saved, and elsewhere the first
warning comes 72 hours before the first loss. A control that works on the newest first must lose what could be saved.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from pipelines.accounts.listings import Listing
from pipelines.monitoring.completeness import OpenRecording
from pipelines.monitoring.deadlines import _unseen, silent_for
from pipelines.scope import listing_days, must_list
from tests.trials import feasibility
from tests.trials.hourly import Exporter, moment, newest_first, result_sid
from tests.trials.scenario import HOUR, Scenario, scenario
from warehouse.states import RETENTION

NOTICE = 72
"""Hours that a warning must come before a loss."""

WARN = 7 * 24
"""Hours to a deadline from which the product warns."""

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
    """Whether the warehouse gives reason for a warning, at the beginning of an hour, as `deadlines` tells it.

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
    owed = must_list(recording, landed, scope=exporter.scope, now=now)
    expiring = [risk.expires_at for risk in _unseen([row] if owed else [], now=now, settle=exporter.scope.settle)]
    result = landed.results.get(result_sid(number, index))
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
