"""Kills, failing disks and power cuts: starts the trials under the shim and prints a table.

    make crashes STATES=2000

Exit code 1 when anything was violated, or when a control (a naive variant of one step) was not caught.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.crash import shim

CONTROLS = (("kills", "commits"), ("failures", "commits"), ("power cuts", "syncs"))
"""A kind of trial, and the naive variant it must catch."""


def trials(
    shared: Path, kind: str, destination: str, *, naive: str = "", most: int, seed: str
) -> tuple[int, int, list[str]]:
    """Run one kind of trial in a process under the shim; returns points, points tried and violations."""
    command = [sys.executable, "-m", "tests.crash.trials", kind, destination, "--seed", seed, "--most", str(most)]
    done = subprocess.run(
        [*command, *(["--naive", naive] if naive else [])],
        env=shim.environment(shared),
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    total, tried, violations = json.loads(done.stdout.splitlines()[-1])
    return total, tried, violations


def main() -> None:
    """Everything, both destinations, and the controls."""
    parser = argparse.ArgumentParser(description="Crash one small cycle at every state-changing system call.")
    parser.add_argument("--states", type=int, default=1000, help="most trials of each kind and destination")
    parser.add_argument("--seed", default=str(time.time_ns() % 1_000_000))
    options = parser.parse_args()
    say = sys.stdout.write
    say(f"seed {options.seed}\n")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        library = shim.compiled(Path(folder))
        for kind, naive in CONTROLS:
            most = 60 if kind == "failures" else 30
            caught = trials(library, kind, "duckdb", naive=naive, most=most, seed=options.seed)[2]
            bad += not caught
            say(f"control {kind}, naive {naive}: {'caught' if caught else 'NOT CAUGHT'}\n")
        for kind in ("kills", "kills while recovering", "failures", "power cuts"):
            for destination in ("duckdb", "parquet"):
                started = time.monotonic()
                total, tried, violations = trials(library, kind, destination, most=options.states, seed=options.seed)
                bad += len(violations)
                seconds = time.monotonic() - started
                say(
                    f"{kind:24} {destination:8} points {total:6} tried {tried:6} violations {len(violations):4} "
                    f"seconds {seconds:5.0f}\n"
                )
                for violation in violations:
                    say(f"  {violation}\n")
                sys.stdout.flush()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
