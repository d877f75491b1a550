"""The command `python -m benchmarks.bench`: runs scenarios, prints a Markdown table for each on stdout.

Progress goes to stderr. Every run gets a fresh server, a fresh folder and fresh processes, one after another. The
exit code is 1 when a way has failed, or the product has not landed everything, equal to the last byte; figures
never decide it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import running
from benchmarks.check import Finding
from benchmarks.outcome import Outcome
from benchmarks.running import Server, WayFailed, running_server
from benchmarks.scenarios import QUICK, SCENARIOS, Part, Scenario
from benchmarks.table import table
from benchmarks.ways import OURS, WAYS, Way


def run_part(scenario: Scenario, way: Way, part: Part, folder: Path) -> Outcome:
    """One run of one way, measured and checked.

    Raises:
        WayFailed: the way ended other than with success.
    """
    name = f"{way.name} {part.label}".strip()
    say(f"{scenario.name}: {name}, {len(part.data.all_recordings()):,} recordings ...")
    with running_server(part.data, caps=scenario.caps, latency=scenario.latency) as server:
        ours = dict(scenario.settings) if way is OURS else {}
        if way is OURS and scenario.ceiling is not None:
            ours["TWILIO_MAX_CONCURRENCY"] = str(scenario.ceiling)
        cap = max(cap for cap, _ in scenario.caps.steps) or 100
        environment = {**way.full_environment(server, folder, cap), **ours}
        measured = running.run(way.command, environment, folder=folder)
        outcome = Outcome(
            scenario=scenario.name,
            way=way.name,
            run=part.label,
            recordings=len(part.data.all_recordings()),
            caps=scenario.caps,
            latency=scenario.latency,
            measured=measured,
            stats=server.stats(),
            finding=_finding(server, way, folder),
        )
    say(f"  {measured.ended_at - measured.started_at:.1f} s, {measured.cpu:.1f} s CPU, {outcome.requests:,} requests")
    return outcome


def _finding(server: Server, way: Way, folder: Path) -> Finding:
    """Compare in a process of its own: what it holds must not count as memory of the next run."""
    checker = subprocess.run(
        [sys.executable, "-m", "benchmarks.check", server.data.to_json(), folder / way.database,
         json.dumps(dict(way.queries))],
        cwd=running.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if checker.returncode != 0:
        raise WayFailed(f"what {way.name} landed cannot be read: {checker.stderr[-2000:]}")
    return Finding(**json.loads(checker.stdout))


def run_scenario(scenario: Scenario, ways: Sequence[Way], *, repeat: int) -> tuple[list[Outcome], bool]:
    """All runs of a scenario, each `repeat` times, and whether none failed; one that fails does not stop the others."""
    now = int(time.time()) - 600  # one instant for all runs, so that those that go on see the same account
    outcomes = []
    fine = True
    for way in ways:
        if way is OURS:
            parts = scenario.parts
        elif way.name in scenario.peers:
            parts = (Part(replace(scenario.parts[0].data, recordings=scenario.peers[way.name])),)
        else:
            continue
        for _ in range(repeat):
            with tempfile.TemporaryDirectory(prefix="addon-bench-") as temporary:
                folder = Path(temporary)
                for number, part in enumerate(parts):
                    if not part.goes_on:
                        folder = Path(temporary) / str(number)
                        folder.mkdir()
                    part_now = replace(part, data=replace(part.data, now=now))
                    try:
                        outcomes.append(run_part(scenario, way, part_now, folder))
                    except WayFailed as failure:
                        say(f"  FAILED: {failure}")
                        fine = False
    return outcomes, fine


def say(sentence: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="measure the export, and the other ways to the same rows")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--scenario", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument("--only", action="append", choices=["ours", *(w.name for w in WAYS)], help="only this way")
    parser.add_argument("--quick", action="store_true", help="a small sample of the product alone")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run everything N times")
    parser.add_argument("--recordings", type=int, help="another number of recordings, for all ways")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    options = parser.parse_args()
    only = {OURS.name if name == "ours" else name for name in options.only or ()}
    ways = [way for way in WAYS if not only or way.name in only]
    scenarios = [s for s in SCENARIOS if not options.scenario or s.name in options.scenario]
    if options.quick:
        scenarios, ways = [QUICK], [OURS]
    if options.recordings:
        scenarios = [_resized(scenario, options.recordings) for scenario in scenarios]
    outcomes: list[Outcome] = []
    all_fine = True
    for scenario in scenarios:
        found, fine = run_scenario(scenario, ways, repeat=options.repeat)
        outcomes += found
        all_fine = all_fine and fine
        if found:
            sys.stdout.write(table(f"{scenario.name}: {scenario.question}", found) + "\n")
            sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps([outcome.as_json() for outcome in outcomes], indent=1))
    landed = all(outcome.finding.whole for outcome in outcomes if outcome.way == OURS.name)
    sys.exit(not (landed and all_fine))


def _resized(scenario: Scenario, recordings: int) -> Scenario:
    parts = tuple(replace(part, data=replace(part.data, recordings=recordings)) for part in scenario.parts)
    return replace(scenario, parts=parts, peers=dict.fromkeys(scenario.peers, recordings))


if __name__ == "__main__":
    main()
