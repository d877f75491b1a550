"""`Scenario`: 120 made-up days of an account, with what stands in the way of exporting it.

Recordings arrive at random, their add-on results finish late or never, the source or the machine that exports is out
for hours or for weeks, and an hour has requests for a part only. Plain numbers, in seconds and in hours since the
start; knows nothing of the product, so that who judges it and who exports it can both start from here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

HOUR = 3600
DAY = 24 * HOUR
RETENTION = 30 * DAY
DAYS = 120

LISTS = 42
"""Requests by which an export lists the recordings of every day: 40 back, today and tomorrow."""

SWEEP_HOUR = 3
"""Hour of the day in which the sweep runs, before that hour's export: the worse of the two orders."""

MOST_FOR_ONE = 13
"""Requests that one recording takes at most: its list, and of three results a list and three contents each."""


@dataclass(frozen=True, slots=True)
class Result:
    """An add-on result: when it was created and finished (None: never), in seconds, and how many payloads it has."""

    created: int
    finished: int | None
    payloads: int

    @property
    def expires(self) -> int:
        """When the source no longer has it, in seconds."""
        return self.created + RETENTION


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording created at a second, and its results."""

    created: int
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Outage:
    """Hours from `first` to `last`; with `machine` nothing of ours runs, without it only the source is out."""

    first: int
    last: int
    machine: bool

    def __str__(self) -> str:
        days = (self.last - self.first + 1) / 24
        return f"{'machine' if self.machine else 'source'} out for {days:.1f} days from day {self.first / 24:.1f}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens. `requests` is what an hour has when nothing is out; `settle` is the settle time in hours."""

    seed: str
    recordings: tuple[Recording, ...]
    outages: tuple[Outage, ...]
    requests: int
    settle: int
    hours: int

    def __str__(self) -> str:
        outages = ", ".join(map(str, self.outages)) or "nothing out"
        arrivals = f"{len(self.recordings)} recordings, settled after {self.settle} h"
        return f"scenario {self.seed} ({arrivals}, {self.requests} requests an hour, {outages})"

    def capacity(self) -> list[int]:
        """Requests that each hour has; none while something is out."""
        per_hour = [self.requests] * self.hours
        for outage in self.outages:
            for hour in range(outage.first, min(outage.last + 1, self.hours)):
                per_hour[hour] = 0
        return per_hour

    def machine_up(self) -> list[bool]:
        """Whether in each hour somebody is there to warn."""
        up = [True] * self.hours
        for outage in self.outages:
            if outage.machine:
                for hour in range(outage.first, min(outage.last + 1, self.hours)):
                    up[hour] = False
        return up


def scenario(seed: str, *, days: int = DAYS, per_day: float | None = None) -> Scenario:
    """The scenario of this seed: always the same."""
    random = Random(seed)
    mean = per_day or random.choice((4, 8, 16, 32, 60))
    settle = random.choice((6, 12, 48))
    recordings = tuple(sorted(_recordings(random, days, mean), key=lambda r: r.created))
    work = sum(1 + sum(1 + result.payloads for result in recording.results) for recording in recordings)
    factor = random.choice((random.uniform(0.3, 1), random.uniform(1, 1.5), random.uniform(1.2, 3), 8))
    requests = LISTS + max(MOST_FOR_ONE, round(factor * work / (24 * days)))
    return Scenario(seed, recordings, tuple(_outages(random, days)), requests, settle, 24 * days)


def _recordings(random: Random, days: int, mean: float) -> Iterator[Recording]:
    """Quiet and busy days, and perhaps a campaign that brings several times as many for a week or two."""
    campaign = range(0)
    if random.random() < 0.3:
        first = random.randrange(days)
        campaign = range(first, first + random.randrange(5, 15))
    for day in range(days):
        busy = random.choice((0, 0.5, 1, 1, 1, 2.5)) * (4 if day in campaign else 1)
        for _ in range(round(random.uniform(0.5, 1.5) * mean * busy)):
            created = day * DAY + random.randrange(DAY)
            lasts = random.randrange(60, HOUR if random.random() < 0.9 else 4 * HOUR)
            results = tuple(_result(random, created + lasts) for _ in range(random.choice((0, 1, 1, 2, 3))))
            yield Recording(created, results)


def _result(random: Random, created: int) -> Result:
    takes: int | None = random.randrange(30, 1800)
    chance = random.random()
    if chance < 0.12:
        takes = random.randrange(HOUR, 40 * HOUR)
    elif chance < 0.13:
        takes = None
    return Result(created, None if takes is None else created + takes, random.choice((0, 1, 1, 2, 3)))


def _outages(random: Random, days: int) -> Iterator[Outage]:
    """Up to four, the longest of 27 days; at least a day between two."""
    at = random.uniform(0, 10 * 24)
    for _ in range(random.choice((0, 1, 2, 3, 4))):
        longest = random.choice((12, 5 * 24, 14 * 24, 27 * 24, 27 * 24))
        lasts = round(random.uniform(0.3, 1) * longest)
        at += random.uniform(24, 30 * 24)
        if at + lasts >= 24 * days:
            return
        yield Outage(int(at), int(at) + lasts - 1, random.random() < 0.4)
        at += lasts
