"""Whole commands on file systems that lack an ability, and in processes that may open few files.

    make trial NAME=abilities

Every call that a file system lacks fails in every process of the command, native libraries included (`crash/shim.c`).
What is exported must be whole, each missing ability be said once and in one sentence, and `verify` find nothing. A file
too many is the process's fault wherever it happens: exit code 2, and `EXPORT_ROOT` is not blamed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random

import duckdb

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.trials.crash import shim
from warehouse.store.opening import existing_archive
from warehouse.upkeep.verify import verify

WORDS: Mapping[str, str] = {
    "link": "hard links",
    "symlink": "symbolic links",
    "flock": "locks",
    "sync": "syncing of folders",
    "mode": "permissions",
    "rename": "",
}
"""What can be missing, and how it is said; a rename that replaces nothing is only needed where there are no links."""

CASES: tuple[tuple[str, ...], ...] = (*((name,) for name in WORDS), ("link", "rename"), tuple(WORDS))

COMMANDS = (("export",), ("export", "--full"), ("compact",), ("rebuild",), ("verify",))

READS_ONLY = frozenset({"verify"})
"""Commands that say nothing of what the file system cannot do."""

MOST_FILES = 200
"""The most files of a run among which the one too many is drawn."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where commands run, and the world that they export."""

    folder: Path
    sandbox: Sandbox
    library: Path
    root: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.folder / "data")

    def run(self, arguments: Sequence[str], **lacks: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TWILIO_", "EXPORT_", "DAGSTER_"))}
        given = {
            **self.sandbox.environment,
            "EXPORT_ROOT": str(self.root),
            "DAGSTER_HOME": str(self.folder / "home"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [sys.executable, "-m", "assets.cli", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=kept | given | lacks, capture_output=True, text=True, timeout=300, check=False
        )


def without(place: Place, lacks: Sequence[str], commands: Sequence[Sequence[str]] = COMMANDS) -> Iterator[str]:
    """Run commands where abilities are missing; yields what is wrong."""
    lacking = shim.lacking(place.library, place.root, lacks=lacks)
    words = [word for name in lacks if (word := WORDS[name])]
    for arguments in commands:
        done = place.run(arguments, **lacking)
        where = f"without {' '.join(lacks)}, {' '.join(arguments)}"
        if done.returncode:
            yield f"{where}: exit {done.returncode}: {done.stderr[-500:]}"
        said = [done.stderr.count(f"knows no {word}") for word in words]
        if arguments[0] not in READS_ONLY and said != [1] * len(words):
            yield f"{where}: {words} are said {said} times"
    yield from _whole(place)


def one_file_too_many(place: Place, files: int, *, sure: bool = False) -> Iterator[str]:
    """Run an export in which each file after so many cannot be opened, then one that may; yields what is wrong.

    `sure`: an export opens more than that for certain.
    """
    done = place.run(["export"], **shim.lacking(place.library, place.root, files=files))
    where = f"after {files} files"
    if done.returncode not in ((2,) if sure else (0, 2)) or "defect" in done.stderr or "Traceback" in done.stderr:
        yield f"{where}: exit {done.returncode}: {done.stderr[-700:]}"
    if done.returncode and ("check EXPORT_ROOT" in done.stderr or "open files" not in done.stderr):
        yield f"{where}: another is blamed: {done.stderr[-700:]}"
    done = place.run(["export"])
    if done.returncode:
        yield f"{where}, then with enough: exit {done.returncode}: {done.stderr[-500:]}"
    yield from _whole(place)


def _whole(place: Place) -> Iterator[str]:
    yield from (mismatch.sentence for mismatch in verify(existing_archive(place.root)).mismatches)
    sandbox = place.sandbox
    truth = sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid)
    wanted = sum(len(true.payloads) for true in truth)
    with duckdb.connect(str(place.root / "addons.duckdb"), read_only=True) as db:
        counted = db.execute("SELECT count(*) FROM contents").fetchall()[0][0]
    if counted != wanted:
        yield f"{counted} of {wanted} contents are landed"


def main() -> None:
    """All cases of missing abilities, and as many files too many as asked for."""
    parser = argparse.ArgumentParser(description="Export where file systems and processes lack something.")
    parser.add_argument("--files", type=int, default=20, help="exports that run out of open files")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    random = Random(options.seed)  # trials, not secrets
    say = sys.stdout.write
    say(f"seed {options.seed}\n")
    violations = 0
    with (
        tempfile.TemporaryDirectory() as shared,
        Sandbox(made_up_world(now=datetime.now(UTC), recordings=12)) as sandbox,
    ):
        library = shim.compiled(Path(shared))
        drawn = [random.randrange(1, MOST_FILES) for _ in range(options.files)]
        cases: list[tuple[str, Callable[[Place], Iterator[str]]]] = [
            (f"without {' '.join(lacks)}", partial(without, lacks=lacks)) for lacks in CASES
        ]
        cases += [(f"after {files} files", partial(one_file_too_many, files=files)) for files in drawn]
        for number, (what, trial) in enumerate(cases):
            folder = Path(shared) / str(number)
            folder.mkdir()
            started = time.monotonic()
            found = list(trial(Place(folder, sandbox, library)))
            say(f"{what:45} seconds {time.monotonic() - started:4.0f} violations {len(found)}\n")
            say("".join(f"  {sentence}\n" for sentence in found))
            violations += len(found)
    sys.exit(bool(violations))


if __name__ == "__main__":
    main()
