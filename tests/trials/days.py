"""Day by day: an account of 30 days is exported for some days more, every hour, and each day swept, over real HTTP.

    make trial NAME=days ARGS="--days 10"

The source's clock and ours stand still during an export and are moved an hour between two. Judged against what the
source itself holds: every day that is over is whole with the first export after it, results that appear long after
their recording with the first sweep, every content byte for byte, nothing is lost in the end. And an export asks for
what is new, unsettled or unfinished, and for nothing else, however much is landed: the table says what it asked for.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

from pipelines.monitoring.completeness import completeness
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.values import FINAL, RETENTION, Result
from pipelines.sandbox.world import World
from pipelines.scope import Scope, listing_days
from pipelines.twilio.client import Tuning
from tests.pipelines.conftest import Exporter
from warehouse.store.opening import open_archive

START = datetime(2026, 11, 1, tzinfo=UTC)
HISTORY = 30
SWEEP_HOUR = 3
HOUR = timedelta(hours=1)
LISTS = (
    "ListRecording",
    "ListRecordingAddOnResult",
    "ListRecordingAddOnResultPayload",
    "FetchRecordingAddOnResultPayloadData",
)


@dataclass(frozen=True, slots=True)
class Tick:
    """One export: what there was to do at its time, and what it asked for."""

    at: datetime
    full: bool
    landed: int
    """Recordings landed before."""
    new: int
    unsettled: int
    unfinished: int
    """Recordings created since the export before; those younger than the settle time; those with open results."""
    finished: int
    """Results that have finished since."""
    days: int
    results: int
    payloads: int
    contents: int
    """Requests: lists of a day's recordings, of a recording's results, of a result's payloads; contents."""

    @property
    def requests(self) -> int:
        """All of them."""
        return self.days + self.results + self.payloads + self.contents


def growing_world(*, days: int, recordings: int, seed: int) -> World:
    """Recordings of the 30 days before START and of so many days after it, and some that are out of the ordinary."""
    end = START + timedelta(days=days)
    world = made_up_world(now=end, seed=seed, recordings=recordings, days=HISTORY + days, subaccounts=0)
    random = Random(seed)
    account = next(iter(world.accounts))
    for day in range(-HISTORY, days, 3):
        created = START + timedelta(days=day, hours=random.uniform(0, 23))
        late = world.add_recording(account, created)
        world.add_payload(world.add_result(late, takes=timedelta(hours=random.uniform(20, 40))), b"late " * 9)
        world.add_result(world.add_recording(account, created + HOUR), outcome=None)  # never finishes
        world.add_result(world.add_recording(account, created + HOUR), outcome="failed", dated=day % 2 == 0)
        # attached six days after the recording: only a sweep can find it
        evening = START + timedelta(days=day, hours=22, minutes=30)
        attached = world.add_result(world.add_recording(account, evening), evening + timedelta(days=6))
        world.add_payload(attached, b"attached " * 9)
    return world


@dataclass
class Trial:
    """One account, exported hour by hour."""

    sandbox: Sandbox
    exporter: Exporter
    ticks: list[Tick] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    complete: dict[date, datetime | None] = field(default_factory=dict)
    """When each day was first found complete."""
    swept: datetime = START - timedelta(days=99)
    """When the last sweep or the first export was: what was attached late by then must be landed."""

    def run(self, hours: range, *, say: Callable[[str], object]) -> None:
        """An export at each of these hours after START, and the sweeps that fall among them."""
        for hour in hours:
            self.sandbox.now = START + hour * HOUR
            self.export(Scope())
            if hour % 24 == 0:
                self.judge_days(attached_until=self.swept)
                say(f"day {hour // 24}: {self.ticks[-1].landed} recordings landed, {len(self.wrong)} wrong")
            if hour % 24 == SWEEP_HOUR:
                self.export(Scope(full=True))
                self.swept = self.sandbox.now
                self.judge_days(attached_until=self.swept)

    def export(self, scope: Scope) -> None:
        """One export, and what it asked for."""
        now, before = self.sandbox.now, self.ticks[-1].at if self.ticks else START - timedelta(days=99)
        world = self.sandbox.world
        created = {sid: r.date_created for sid, r in world.recordings.items() if r.date_created <= now}
        shown = [r for r in world.results.values() if r.shown(now)]
        open_now = {r.reference_sid for r in shown if not _final(r, now)}
        open_before = {r.reference_sid for r in world.results.values() if r.shown(before) and not _final(r, before)}
        self.sandbox.journal.clear()
        report = self.exporter(scope)
        report.verdict()
        days, results, payloads, contents = (self.sandbox.journal.count(name) for name in LISTS)
        tick = Tick(
            at=now,
            full=scope.full,
            landed=sum(at <= before for at in created.values()),
            new=sum(at > before for at in created.values()),
            unsettled=sum(now - scope.settle < at for at in created.values()),
            unfinished=len(open_now),
            finished=sum(_final(r, now) and not (r.shown(before) and _final(r, before)) for r in shown),
            days=days,
            results=results,
            payloads=payloads,
            contents=contents,
        )
        # a recording is listed once more after it has settled, after its last result has finished, or has expired
        look = {sid for sid, at in created.items() if before - scope.settle < at} | open_now | open_before
        if self.ticks and not scope.full and (results > len(look) or payloads > tick.finished):
            asked = f"{results} lists of results, {payloads} of payloads"
            self.wrong.append(f"{now}: {asked} for {len(look)} recordings and {tick.finished} results that finished")
        if not self.ticks:
            self.swept = now
        if days != len(listing_days(scope, now=now)):
            self.wrong.append(f"{now}: {days} lists of days")
        self.ticks.append(tick)

    def judge_days(self, *, attached_until: datetime) -> None:
        """Every day that is over must be whole; results attached long after their recording only once swept."""
        now = self.sandbox.now
        shown = (result for result in self.sandbox.world.results.values() if result.shown(now))
        self.judge((result for result in shown if _day(result) < now.date()), attached_until=attached_until)
        settle, yesterday = Scope().settle, now.date() - timedelta(days=1)
        days = completeness(self.exporter.archive, first=START.date(), last=yesterday, now=now, settle=settle)
        for day in days if now.date() > START.date() else ():
            # the settle time after a day's end, nothing may be in the way; until then only what Twilio has not finished
            if day.reasons() if now.date() - day.day > timedelta(days=3) else day.unlisted or day.missing or day.lost:
                self.wrong.append(f"{now}: {day.day} is not complete: {' '.join(day.reasons())}")
            self.complete[day.day] = self.complete.get(day.day) or (now if day.complete else None)

    def judge(self, results: Iterable[Result], *, attached_until: datetime) -> None:
        """Each of these is landed with its status and all its contents."""
        statuses = dict(self.exporter.rows("SELECT sid, status FROM add_on_results WHERE exported_at IS NOT NULL"))
        here = dict(self.exporter.rows("SELECT payload_sid, content FROM contents"))
        payloads: dict[str, list[str]] = {}
        for payload in self.sandbox.world.payloads.values():
            payloads.setdefault(payload.add_on_result_sid, []).append(payload.sid)
        for result in results:
            recording = self.sandbox.world.recordings[result.reference_sid]
            attached = result.date_created - recording.date_created > timedelta(days=2)
            if attached and result.date_created > attached_until:
                continue
            if statuses.get(result.sid) != result.steps[-1].status:
                self.wrong.append(f"{self.sandbox.now}: {result.sid} is not landed as {result.steps[-1].status}")
            if result.steps[-1].status == "completed":
                missing = [sid for sid in payloads.get(result.sid, ()) if here.get(sid) != self.content(sid)]
                self.wrong += [f"{self.sandbox.now}: the content of {sid} is not landed" for sid in missing]

    def content(self, sid: str) -> bytes:
        """What the source has."""
        return self.sandbox.world.payloads[sid].content


def _final(result: Result, now: datetime) -> bool:
    return result.date_created <= now and result.at(now).status in FINAL


def _day(result: Result) -> date:
    """The day on which it was final; never for what never is."""
    last = result.steps[-1]
    return last.at.date() if last.status in FINAL else date.max


def table(ticks: list[Tick]) -> Iterator[str]:
    """One row for the first export, then for each day its hourly exports, on average, and its sweep."""
    there = "recordings landed", "new", "unsettled", "unfinished", "results finished"
    asked = "requests", "days", "results", "payloads", "contents"
    yield f"| day | export | {' | '.join((*there, *asked))} |"
    yield f"|--:|---|{'--:|' * len((*there, *asked))}"
    yield _row("", "first", ticks[:1])
    days = sorted({tick.at.date() for tick in ticks[1:]})
    for number, day in enumerate(days[:-1] if len(days) > 1 else days, 1):
        of_day = [tick for tick in ticks[1:] if tick.at.date() == day]
        yield _row(str(number), "hourly, mean", [tick for tick in of_day if not tick.full])
        yield _row(str(number), "sweep", [tick for tick in of_day if tick.full])


def _row(day: str, name: str, ticks: list[Tick]) -> str:
    names = (
        "landed",
        "new",
        "unsettled",
        "unfinished",
        "finished",
        "requests",
        "days",
        "results",
        "payloads",
        "contents",
    )
    means = [sum(getattr(tick, each) for tick in ticks) / max(1, len(ticks)) for each in names]
    return f"| {day} | {name} | {' | '.join(f'{mean:,.0f}' if mean >= 10 else f'{mean:.1f}' for mean in means)} |"


def trial(folder: Path, *, hours: range, recordings: int, seed: int, say: Callable[[str], object]) -> Trial:
    """Export at these hours after START, and judge what became of everything that could be had in that time."""
    world = growing_world(days=hours.stop // 24 + 1, recordings=recordings, seed=seed)
    since = START + hours.start * HOUR
    with Sandbox(world, now=since) as sandbox:
        running = Trial(sandbox, Exporter(sandbox, open_archive(folder / "data"), tuning=Tuning()))
        running.run(hours, say=say)
        there = (r for r in world.results.values() if r.date_created + RETENTION > since)
        running.judge((r for r in there if _final(r, sandbox.now)), attached_until=running.swept)
        return running


def main() -> None:
    """Run it and print the table; exit code 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description="Export a growing account hour by hour.")
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--recordings", type=int, default=800, help="over all days, the 30 before included")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    with tempfile.TemporaryDirectory(prefix="days-") as folder:
        done = trial(
            Path(folder),
            hours=range(24 * options.days + 1),
            recordings=options.recordings,
            seed=options.seed,
            say=lambda line: sys.stderr.write(f"{line}\n"),
        )
    for line in table(done.ticks):
        sys.stdout.write(f"{line}\n")
    sys.stdout.write("\nDays found complete after their end, in hours (looked at after midnight and after the sweep): ")
    end = timedelta(days=1)
    hours = [
        (day, (at - datetime(day.year, day.month, day.day, tzinfo=UTC) - end) / HOUR)
        for day, at in done.complete.items()
        if at
    ]
    sys.stdout.write(", ".join(f"{hours:.0f}" for _, hours in hours))
    open_days = [str(day) for day, at in done.complete.items() if at is None]
    sys.stdout.write(f". Not yet: {', '.join(open_days) or 'none'}.\n")
    sys.stdout.write(f"\n{len(done.ticks)} exports, {len(done.wrong)} wrong\n")
    for line in done.wrong[:20]:
        sys.stdout.write(f"{line}\n")
    sys.exit(1 if done.wrong else 0)


if __name__ == "__main__":
    main()
