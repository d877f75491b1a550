"""Kills, failing disks and power cuts: starts the trials under the shim and prints a table.

    make trial NAME=crashes ARGS="--states 1000"

Exit code 1 when anything was violated, or when a control (a naive variant of one step) was not caught.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.trials.crash import shim

CONTROLS = (("kills", "commits"), ("failures", "commits"), ("power cuts", "syncs"))
"""A kind of trial, and the naive variant it must catch."""


def trials(
    shared: Path, kind: str, destination: str, *, naive: str = "", most: int, seed: str
) -> tuple[int, int, list[str]]:
    """Run one kind of trial in a process under the shim; returns points, points tried and violations."""
    program = [sys.executable, "-m", "tests.trials.crash.trials"]
    command = [*program, kind, destination, "--seed", seed, "--most", str(most)]
    done = subprocess.run(
        [*command, *(["--naive", naive] if naive else [])],
        env=shim.environment(shared),
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    total, tried, violations = json.loads(done.stdout.splitlines()[-1])
    return total, tried, violations


def _told(library: Path, kind: str, destination: str, *, most: int, seed: str) -> tuple[str, int]:
    """One row of the table with its violations below, and how many there are."""
    started = time.monotonic()
    total, tried, violations = trials(library, kind, destination, most=most, seed=seed)
    seconds = time.monotonic() - started
    row = (
        f"{kind:24} {destination:8} points {total:6} tried {tried:6} violations {len(violations):4} "
        f"seconds {seconds:5.0f}\n"
    )
    return row + "".join(f"  {violation}\n" for violation in violations), len(violations)


def main() -> None:
    """Everything, both destinations, and the controls; as many trials at once as there are cores."""
    parser = argparse.ArgumentParser(description="Crash one small cycle at every state-changing system call.")
    parser.add_argument("--states", type=int, default=200, help="most trials of each kind but kills, which are all")
    parser.add_argument("--seed", default=str(time.time_ns() % 1_000_000))
    options = parser.parse_args()
    say = sys.stdout.write
    say(f"seed {options.seed}\n")
    bad = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        library = shim.compiled(Path(folder))
        for kind, naive in CONTROLS:
            most = 60 if kind == "failures" else 30
            caught = trials(library, kind, "duckdb", naive=naive, most=most, seed=options.seed)[2]
            bad += not caught
            say(f"control {kind}, naive {naive}: {'caught' if caught else 'NOT CAUGHT'}\n")
        most_of = {
            "kills": 1_000_000,
            **dict.fromkeys(("kills while recovering", "failures", "power cuts"), options.states),
        }
        running = [
            pool.submit(_told, library, kind, destination, most=most, seed=options.seed)
            for kind, most in most_of.items()
            for destination in ("duckdb", "parquet")
        ]
        for row in running:
            told, violations = row.result()
            bad += violations
            say(told)
            sys.stdout.flush()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
