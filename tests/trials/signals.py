"""Commands that are asked to end at random moments: stopped, interrupted, terminated, hung up on.

    make trial NAME=signals ARGS="--signals 200"

Random sequences of commands run on one archive. At a random moment of each, a signal comes: to the command alone, or
as from a terminal to every process that it has started; now and then it is stopped and goes on before, or two come at
once. A command then ends with 130 and one sentence, or with its own code if it had done its work; it never calls that a
defect, leaves no process, no half-written file and no run that seems to go on, and what is landed verifies.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from warehouse.store.opening import existing_archive
from warehouse.upkeep.verify import verify

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("export",),
    ("export", "--full"),
    ("compact",),
    ("rebuild",),
    ("verify",),
    ("status",),
    ("sql", "SELECT count(*), sum(length(content_text)) FROM contents"),
    ("sql", "SELECT count(*) FROM range(400000000) a"),
    ("quarantine", "list"),
    ("erase",),
)
"""What is drawn from; an erasure is of a result that is drawn too."""

PATIENCE = 120.0
"""Seconds after which a command that was asked to end hangs."""

TRACES = ("defect", "Traceback", "Error:", "most recent call", "nanobind", "Exception ignored", "terminate called")
"""What a command never says of an interruption."""


@dataclass(slots=True)
class Series:
    """Commands on one archive, one after another, and what was wrong with them."""

    folder: Path
    sandbox: Sandbox
    random: Random
    tally: Counter[str]
    seconds: dict[str, float] = field(default_factory=dict)
    """How long a command took when it was left alone."""

    @property
    def root(self) -> Path:
        """The archive."""
        return self.folder / "data"

    def start(self, arguments: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a command in a group of processes of its own, as a shell does."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TWILIO_", "EXPORT_", "DAGSTER_"))}
        given = {
            **self.sandbox.environment,
            "EXPORT_ROOT": str(self.root),
            "DAGSTER_HOME": str(self.folder / "home"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "assets.cli", *arguments],
            cwd=self.folder,
            env=kept | given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def undisturbed(self, arguments: Sequence[str]) -> Iterator[str]:
        """Run a command to its end; yields what is wrong."""
        began = time.monotonic()
        process = self.start(arguments)
        _, talk = process.communicate(timeout=PATIENCE)
        self.seconds.setdefault(arguments[0], time.monotonic() - began)
        if process.returncode:
            yield f"{' '.join(arguments)}, left alone: exit {process.returncode}: {talk[-500:]}"

    def disturbed(self, arguments: Sequence[str] = ()) -> Iterator[str]:
        """Run a command, one that is drawn unless it is given, with signals; yields what is wrong."""
        arguments = arguments or self._drawn()
        process = self.start(arguments)
        _until_it_handles_signals(process)
        delay = self.random.random() * 1.1 * self.seconds.get(arguments[0], 5.0)
        with suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        sent = self._send(process)
        self.tally["signals"] += len(sent)
        where = f"{' '.join(arguments)}, {' '.join(sent)} after {delay:.2f} s"
        try:
            _, talk = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            yield f"{where}: it hangs"
            return
        self.tally[f"exit {process.returncode}"] += 1
        where = f"{where}, exit {process.returncode}"
        yield from (f"{where}: {wrong}" for wrong in (*_ending(process.returncode, talk), *self._left(process.pid)))

    def _drawn(self) -> tuple[str, ...]:
        arguments = self.random.choice(COMMANDS)
        if arguments == ("erase",):
            now = self.sandbox.now
            results = [true.result.sid for true in self.sandbox.world.truth(now, account_sid=self.sandbox.account_sid)]
            arguments = ("erase", "--result", self.random.choice(results), "--yes")
        return arguments

    def _send(self, process: "subprocess.Popen[str]") -> list[str]:
        """Send what is drawn, to the command or to all its processes; returns the names."""
        send = self.random.choice((os.kill, os.killpg))
        names = []
        with suppress(ProcessLookupError):
            if self.random.random() < 0.25:
                os.killpg(process.pid, signal.SIGSTOP)
                time.sleep(0.05 + 0.3 * self.random.random())
                os.killpg(process.pid, signal.SIGCONT)
                names += ["STOP", "CONT"]
                time.sleep(0.1 * self.random.random())
            for _ in range(1 + (self.random.random() < 0.2)):
                number = self.random.choice(ENDS)
                send(process.pid, number)
                names.append(number.name[3:])
        return [*names, "to all" if send is os.killpg else "to it"] if names else []

    def _left(self, group: int) -> Iterator[str]:
        """What must not be there when a command has ended."""
        with suppress(ProcessLookupError):
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                os.killpg(group, 0)
                time.sleep(0.05)
            os.killpg(group, signal.SIGKILL)
            yield "processes are left"
        if self.root.is_dir():
            strange = [
                str(p.relative_to(self.root)) for p in self.root.rglob(".*") if ".tmp" in p.name or ".spill" in p.name
            ]
            if strange:
                yield f"{strange} are left"
        alive = self.folder / "home" / "alive"
        if alive.is_dir() and (runs := [path.name for path in alive.iterdir() if not path.name.startswith(".waits-")]):
            yield f"runs seem to go on: {runs}"
        if (self.root / "_commits").is_dir():
            yield from (mismatch.sentence for mismatch in verify(existing_archive(self.root)).mismatches)


def _until_it_handles_signals(process: "subprocess.Popen[str]") -> None:
    """Wait until the command's own code runs: before, Python ends as it likes."""
    while process.poll() is None:
        with suppress(OSError, StopIteration, IndexError):
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            caught = int(next(line for line in lines if line.startswith("SigCgt")).split()[1], 16)
            if caught >> (signal.SIGTERM - 1) & 1:
                return
        time.sleep(0.002)


def _ending(code: int, talk: str) -> Iterator[str]:
    said = [line for line in talk.splitlines() if "what was landed stays, and the next export goes on" in line]
    if code not in (0, 130):
        yield talk[-700:]
    if len(said) != (code == 130):
        yield f"with {len(said)} sentences: {talk[-700:]}"
    if any(trace in talk for trace in TRACES):
        yield talk[-1500:]


def series(folder: Path, random: Random, signals: int, tally: Counter[str]) -> list[str]:
    """Disturb commands until so many signals were sent, then export undisturbed; returns what was wrong."""
    with Sandbox(made_up_world(now=datetime.now(UTC), recordings=20, seed=random.randrange(1 << 30))) as sandbox:
        sandbox.settings.latency = 0.02
        each = Series(folder, sandbox, random, tally)
        found = [*each.undisturbed(["export"])]
        until = tally["signals"] + signals
        while tally["signals"] < until:
            found += each.disturbed()
        for command in (["export"], ["verify"]):
            found += each.undisturbed(command)
    return found


def main() -> None:
    """As many signals as asked for, in series of 25."""
    parser = argparse.ArgumentParser(description="Ask commands to end at random moments.")
    parser.add_argument("--signals", type=int, default=100)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    random = Random(options.seed)  # trials, not secrets
    say = sys.stdout.write
    say(f"seed {options.seed}\n")
    tally: Counter[str] = Counter()
    violations: list[str] = []
    while tally["signals"] < options.signals:
        with tempfile.TemporaryDirectory() as folder:
            found = series(Path(folder), random, min(25, options.signals - tally["signals"]), tally)
        say("".join(f"  {sentence}\n" for sentence in found))
        say(f"{dict(tally)}, {len(violations) + len(found)} violations\n")
        sys.stdout.flush()
        violations += found
    sys.exit(bool(violations))


if __name__ == "__main__":
    main()
