"""Feasibility: could everything have been saved? An answer from demand and capacity alone, without any scheduler.

For every hour d and every hour a before it: what must be asked for between a and d and not later, against the requests
there are from a to d (the processor demand test of real-time scheduling). Shares no code with the product.

`certain` charges every request that the design's rules can ask for: no demand above capacity, nothing may be lost.
`possible` charges only what nobody could do without: where even that is too much, somebody loses.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from tests.trials.scenario import DAY, HOUR, LISTS, MOST_FOR_ONE, RETENTION, SWEEP_HOUR, Recording, Scenario

LOOK_BACK_DAYS = 40

Charge = tuple[int, int, int]
"""First hour it can be asked for, last hour, requests."""


def possible(scenario: Scenario) -> bool:
    """Whether one who knows when each result is finished, and lists only then, could save all; False is proof.

    Charged: one list of the recording once its last result is finished, for each result a list of payloads, each
    content. An export begins with its lists of days. Each result until its own expiry.
    """
    charges: list[Charge] = []
    for recording in scenario.recordings:
        finished = [result for result in recording.results if result.finished is not None]
        for result in finished:
            assert result.finished is not None
            lists = 1 + (result is max(finished, key=lambda r: r.finished or 0))
            charges.append((_first(result.finished), _last(result.expires), lists + result.payloads))
    capacity = [max(0, requests - LISTS) for requests in scenario.capacity()]
    return _fits(charges, [], {}, capacity, begun=0)


def certain(scenario: Scenario) -> bool:
    """Whether nothing may be lost by an export that knows of a result only from listing its recording.

    Assumed of the exporter: every hour an export that lists the days, then the recordings it must, those created first
    first; when the requests are spent it finishes the one it is at, at the next hour's cost, and forgets the rest. It
    lists again what is not settled or has unfinished results. Once a day the sweep, before that hour's export.

    Charged, besides the work: a list for each of these, what the sweep may take of its hour, one recording begun
    before. Everything of a recording is due 30 days after the recording was created: its results expire later, but
    nobody knows that before listing them. A recording that is not settled yet is younger than all that is settled and
    waits behind it, so it takes nothing from that.
    """
    capacity = scenario.capacity()
    up = [hour for hour, requests in enumerate(capacity) if requests]
    sweeps = {hour: list(_swept(scenario, hour)) for hour in up if hour % 24 == SWEEP_HOUR}
    work = [charge for recording in scenario.recordings for charge in _work(recording, scenario.settle)]
    looks = [charge for recording in scenario.recordings for charge in _looks(recording, scenario.settle, up)]
    left = [max(0, requests - LISTS * (2 if hour in sweeps else 1)) for hour, requests in enumerate(capacity)]
    return _fits(work, looks, sweeps, left, begun=MOST_FOR_ONE - 1)


def _settled(recording: Recording, settle: int) -> int:
    """The first hour in which it is settled for certain: it waits for nothing younger from then on."""
    return _first(recording.created + settle * HOUR) + 1


def _work(recording: Recording, settle: int) -> Iterator[Charge]:
    """For each result that finishes: the recording's list, the payloads' list, each content."""
    for result in recording.results:
        if result.finished is not None:
            first = max(_first(result.finished), _settled(recording, settle))
            yield first, _last(recording.created + RETENTION), 2 + result.payloads


def _looks(recording: Recording, settle: int, up: list[int]) -> Iterator[Charge]:
    """The lists that may find nothing: when it is settled; from then on while a result is unfinished, and one after."""
    settled = _settled(recording, settle)
    hours = {settled}
    for result in recording.results:
        until = _first(result.finished or result.expires)
        hours.update(up[bisect_left(up, settled - 1) : bisect_left(up, until) + 1])
    due = _last(recording.created + RETENTION)
    for hour in hours:
        yield max(hour, settled), max(due, hour), 1


def _swept(scenario: Scenario, hour: int) -> Iterator[tuple[int, int]]:
    """Of every recording that the sweep of this hour lists: when it is due, and how many requests it may take."""
    first = (hour // 24 - LOOK_BACK_DAYS) * DAY
    for recording in scenario.recordings:
        if first <= recording.created <= hour * HOUR:
            there = sum(r.finished is not None and r.finished <= hour * HOUR < r.expires for r in recording.results)
            yield max(hour, _last(recording.created + RETENTION)), 1 + there


def _fits(
    work: list[Charge],
    looks: list[Charge],
    sweeps: dict[int, list[tuple[int, int]]],
    capacity: list[int],
    *,
    begun: int,
) -> bool:
    """Whether all work fits; what is due after the last hour is not judged.

    Work that is missed waited from some hour on until it was due, at d. Go back to the last hour after which nothing
    waited that is due by d: from the next hour, a, every request went to what is due by d. So work is missed only if
    demand from a to d is above capacity for some a not after it could first be done. Looks take requests, but
    nobody minds when one is missed. `begun` is what is still to be paid for at a.
    """
    last_start: defaultdict[int, int] = defaultdict(int)
    by_due: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for first, due, requests in work:
        if first > due:
            return False
        last_start[due] = max(last_start[due], first)
        by_due[due].append((first, requests))
    for first, due, requests in looks:
        by_due[due].append((first, requests))
    swept_by_due: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for hour, recordings in sweeps.items():
        for due, requests in recordings:
            swept_by_due[due].append((hour, requests))
    left = capacity.copy()
    net = [-requests for requests in capacity]
    for due in range(len(capacity)):
        for hour, requests in swept_by_due[due]:
            taken = min(left[hour], requests)  # a sweep takes no more than its hour has
            left[hour] -= taken
            net[hour] += taken
        for hour, requests in by_due[due]:
            net[hour] += requests
        if due in last_start:
            from_here_to_due = list(accumulate(reversed(net[: due + 1])))
            if max(from_here_to_due[due - last_start[due] :]) + begun > 0:
                return False
    return True


def _first(second: int) -> int:
    """The first hour whose export comes at or after this second."""
    return -(-second // HOUR)


def _last(second: int) -> int:
    """The last hour whose export comes before this second."""
    return -(-second // HOUR) - 1
