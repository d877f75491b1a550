"""Fault trial: exports against a source of whose replies two in five are bad, and a verdict on each.

    make trial NAME=faults ARGS="--replies 10000"

Each round has a made-up account of its own: two exports with faults, then one without, and when rows were lied about
plausibly a full one. After the last the warehouse holds what the source shows, byte for byte, and verify finds nothing.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

from pipelines.sandbox.made_up import made_up_world
from tests.trials.faults.catalogue import MUTATORS
from tests.trials.faults.exporting import Job, Outcome, export_apart
from tests.trials.faults.judge import FATES, fates, landed, losses, missing, wrong_bytes
from tests.trials.faults.mutator import Mutator
from tests.trials.faults.server import Entry, FaultServer, Plan
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DEADLINE = 90.0
"""Seconds that one export may take."""

MOST_MB = 300

Run = Callable[[Job], Outcome | None]


@dataclass
class Tally:
    """What has been seen so far."""

    replies: int = 0
    exports: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    levels: Counter[tuple[str, str]] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    slowest: float = 0.0
    peak_mb: float = 0.0


def one_round(
    seed: str,
    tally: Tally,
    *,
    run: Run,
    mutators: tuple[Mutator, ...] = MUTATORS,
    recordings: int = 60,
    share: float = 0.4,
) -> None:
    """One account: exports with faults, then without."""
    random = Random(seed)
    world = made_up_world(now=NOW, seed=random.randrange(1 << 30), recordings=recordings, days=27, subaccounts=0)
    with tempfile.TemporaryDirectory() as folder, FaultServer(world, NOW) as server:
        job = Job(server.base_url, server.account.sid, server.account.auth_token, Path(folder) / "data", NOW)
        for _ in range(2):
            server.plan = Plan(mutators, random, share=share)
            began = len(server.entries)
            _judged(seed, server, server.entries[began:], job, run, tally, began)
        server.plan = None
        for full in (False, True):
            before = len(server.entries)
            outcome = run(Job(**{**{name: getattr(job, name) for name in Job.__slots__}, "full": full}))
            _seen(seed, outcome, tally)
            if not full:
                lied = any(e.mutator is not None and e.level in e.mutator.plausible for e in server.entries[:before])
                if not lied:
                    break
        found = landed(job.root)
        served = wrong_bytes(server.entries, found, world)
        tally.violations += [f"{seed}: {sentence}" for sentence in served]
        other = {e.key for e in server.entries if e.mutator is not None and e.sha256}
        tally.violations += [
            f"{seed}: {sid} is missing in the end" for sid in missing(found, world, NOW, but=frozenset(other))
        ]
        tally.violations += [f"{seed}: {m.sentence}" for m in verify(open_archive(job.root)).mismatches]
        tally.violations += [f"{seed}: credentials went astray" for _ in server.trapped]


def _judged(seed: str, server: FaultServer, _: list[Entry], job: Job, run: Run, tally: Tally, began: int) -> None:
    outcome = run(job)
    entries = server.entries[began:]
    bad = [e for e in entries if e.mutator is not None]
    tally.replies += len(bad)
    for entry in bad:
        assert entry.mutator is not None
        tally.levels[entry.mutator.name, entry.level.value] += 1
    _seen(seed, outcome, tally)
    if outcome is None:
        return
    found = landed(job.root)
    counts, wrong = fates(entries, outcome, found, server.world)
    tally.counts += counts
    wrong += losses(entries, outcome, found) + wrong_bytes(server.entries, found, server.world)
    tally.violations += [f"{seed}: {sentence}" for sentence in wrong]


def _seen(seed: str, outcome: Outcome | None, tally: Tally) -> None:
    tally.exports += 1
    if outcome is None:
        tally.violations.append(f"{seed}: an export was not done after {DEADLINE} s")
        return
    tally.endings[outcome.error or "whole"] += 1
    tally.slowest, tally.peak_mb = max(tally.slowest, outcome.seconds), max(tally.peak_mb, outcome.peak_mb)
    if not outcome.expected:
        tally.violations.append(f"{seed}: ended with {outcome.error}: {outcome.message[:300]}")
    if outcome.peak_mb > MOST_MB:
        tally.violations.append(f"{seed}: {outcome.peak_mb:.0f} MB")


def table(tally: Tally) -> list[str]:
    """One line for each mutator."""
    lines = [f"| mutator | served | {' | '.join(FATES)} |", f"|---|{'--:|' * (1 + len(FATES))}"]
    for mutator in MUTATORS:
        served = sum(n for (name, _), n in tally.levels.items() if name == mutator.name)
        cells = [tally.counts[mutator.name, fate] for fate in FATES]
        lines.append(f"| {mutator.name} | {served} | {' | '.join(str(n or '') for n in cells)} |")
    return lines


def main() -> None:
    """Run rounds until so many bad replies were served; exit code 1 on any violation."""
    parser = argparse.ArgumentParser(description="Export from a source that misbehaves, and judge what is landed.")
    parser.add_argument("--replies", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--recordings", type=int, default=120)
    options = parser.parse_args()
    say = partial(print, flush=True)
    started, tally = time.monotonic(), Tally()
    say(f"seed {options.seed}, {len(MUTATORS)} mutators")
    number = 0
    while tally.replies < options.replies:
        before = len(tally.violations)
        one_round(
            f"{options.seed} {number}",
            tally,
            run=partial(export_apart, deadline=DEADLINE),
            recordings=options.recordings,
        )
        number += 1
        for violation in tally.violations[before : before + 20]:
            say(f"VIOLATION {violation}")
        say(f"{number} rounds, {tally.replies} bad replies, {time.monotonic() - started:.0f} s")
    for line in table(tally):
        say(line)
    idle = [m.name for m in MUTATORS if not any(name == m.name for name, _ in tally.levels)]
    say(f"exports: {tally.exports}, by ending {dict(tally.endings)}; mutators never used: {idle or 'none'}")
    say(f"slowest export {tally.slowest:.1f} s, peak {tally.peak_mb:.0f} MB, {time.monotonic() - started:.0f} s in all")
    say(f"violations: {len(tally.violations)}")
    sys.exit(1 if tally.violations else 0)


if __name__ == "__main__":
    main()
