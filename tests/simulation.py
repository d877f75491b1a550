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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise

from pipelines.dates import RETENTION
from pipelines.discover import Scope, earliest_first, listing_days, must_list, next_listed_at
from pipelines.records import Recording, parse_recording
from tests import feasibility
from tests.scenario import HOUR, SWEEP_HOUR, Result, Scenario, scenario
from tests.scenario import Recording as MadeUp
from warehouse.landed import LandedRecording, LandedResult

START = datetime(2026, 3, 1, tzinfo=UTC)
NOTICE = timedelta(hours=72)

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
    spent: int = 0

    def __post_init__(self) -> None:
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
        settle = timedelta(hours=self.scenario.settle)
        try:
            if hour % 24 == SWEEP_HOUR:
                self.export(now, Scope(full=True, settle=settle), left)
            self.export(now, Scope(settle=settle), left)
        except Spent:
            pass
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
            sid = f"XR{number:016x}{index:016x}"
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


def _row(result: Result, before: LandedResult | None, exported_at: datetime | None) -> LandedResult:
    contents = dict.fromkeys(map(str, range(result.payloads)), True) if exported_at else {}
    status = "completed" if exported_at else "processing"
    exported_at = before.exported_at if before is not None and before.exported_at else exported_at
    return LandedResult(status, None, exported_at, len(contents), moment(result.expires), None, contents)


def newest_first(recordings: Iterable[Recording]) -> list[Recording]:
    """The control: as Twilio lists them."""
    return earliest_first(recordings)[::-1]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one scenario, times in hours."""

    results: int
    lost: int
    first_loss: int | None
    first_warning: int | None
    requests: int


def play(made_up: Scenario, exporter: Exporter) -> Outcome:
    """Run all hours. Lost is what had finished and expired, within the hours played, without being saved."""
    up = made_up.machine_up()
    first_warning = None
    for hour, requests in enumerate(made_up.capacity()):
        if requests:
            exporter.hour(hour, requests)
    end = made_up.hours * HOUR
    finished = [
        (n, index, result)
        for n, recording in enumerate(made_up.recordings)
        for index, result in enumerate(recording.results)
        if result.finished is not None and result.expires <= end
    ]
    losses = [result.expires // HOUR for n, index, result in finished if (n, index) not in exporter.saved]
    return Outcome(len(finished), len(losses), min(losses, default=None), first_warning, exporter.spent)

if __name__ == "__main__":
    a,b=int(sys.argv[1]),int(sys.argv[2])
    from multiprocessing import Pool
    def one(i):
        t=time.process_time(); sc=scenario(f"1 {i}"); t1=time.process_time()
        c=feasibility.certain(sc); t2=time.process_time(); po=feasibility.possible(sc); t3=time.process_time()
        o=play(sc,Exporter(sc)); t4=time.process_time()
        k=play(sc,Exporter(sc,newest_first,False)); t5=time.process_time()
        return (i,len(sc.recordings),sc.requests,sc.settle,[round((x.last-x.first)/24) for x in sc.outages],c,po,o.results,o.lost,k.lost,[round(x,2) for x in (t1-t,t2-t1,t3-t2,t4-t3,t5-t4)])
    C=Counter()
    with Pool(2) as pool:
      for r in pool.imap(one,range(a,b)):
        print(*r)
        c,po,_,lost,ctl=r[5:10]
        C["certain" if c else "gap" if po else "impossible"]+=1
        C[("certain" if c else "gap" if po else "impossible")+(" lost" if lost else " fine")]+=1
        C[("certain" if c else "gap" if po else "impossible")+" control"+(" lost" if ctl else " fine")]+=1
    print(C)
