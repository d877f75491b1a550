"""`python -m tests.trials NAME ...`, or `make trial NAME=... ARGS=...`, runs one trial; without a name it lists them.

Every trial has naive variants that it must catch, takes `--help`, prints its seed where there is one, and ends with 1
when a promise was broken.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

ROOM = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Trial:
    """A program with a `main`, and a line on what it does and how long it takes as it comes."""

    module: str
    does: str


TRIALS = {
    "abilities": Trial(
        "abilities", "runs commands where a file system lacks abilities, and with a file too many (needs a C compiler)"
    ),
    "bitrot": Trial("bitrot", "flips bits and damages files: all must be named, repairs be honest"),
    "crashes": Trial(
        "crash.run", "kills at every system call, kills again, fails, cuts the power (an hour; needs a C compiler)"
    ),
    "days": Trial("days", "exports an account hour by hour and prints what each export asked for"),
    "deletions": Trial("deletions", "kills exports and deletions by the thousand; the source judges every DELETE"),
    "engines": Trial(
        "engines", "reads the Delta logs with six engines while an archive changes (needs a package index)"
    ),
    "erasures": Trial("erasures", "erases, is killed on the way, and searches every file for what is left"),
    "faults": Trial("faults.trial", "exports from a source that gives malformed replies, and judges each (8 minutes)"),
    "kills": Trial("kills", "kills three exports at once by the thousand, with a reader beside (half an hour)"),
    "leaks": Trial("leaks", "fails in 200 ways and searches what is left for secrets; 500 hostile URLs (15 minutes)"),
    "properties": Trial("properties", "runs the store and paging against models (10 minutes)"),
    "readers": Trial("readers", "reads at every moment while a writer publishes"),
    "signals": Trial("signals", "asks commands to end at random moments, in random sequences (half an hour)"),
    "simulation": Trial("simulation", "exports made-up accounts on a virtual clock: what could be saved must be"),
    "truncation": Trial("faults.truncation", "cuts contents after every byte: none may pass for whole"),
    "versions": Trial("versions", "reads published files with DuckDB 1.4 and 1.5"),
}
"""By the name that people use."""


def main(arguments: list[str]) -> None:
    """Run the trial that the first argument names, with the others as its own; exit 2 when there is none."""
    if not arguments:
        for name, trial in TRIALS.items():
            sys.stdout.write(f"{name:<12}{trial.does}\n")
        sys.stdout.write('\nmake trial NAME=kills ARGS="--kills 20" runs one; ARGS=--help says what it takes.\n')
        return
    name, *rest = arguments
    if name not in TRIALS:
        sys.stderr.write(f"There is no trial {name!r}; there are {', '.join(TRIALS)}.\n")
        sys.exit(2)
    sys.argv = [f"trial {name}", *rest]
    importlib.import_module(f"tests.trials.{TRIALS[name].module}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
