"""Kills, failing disks and power cuts at every state-changing system call of one small cycle.

    make trial NAME=crashes

Runs under the preload shim (tests/trials/crash/shim.c); `tests.trials.crash.run` starts it. Each kind has a
control: the same trial with a naive variant of one step, which must be caught.
"""

import argparse
import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import cast

from tests.trials.crash import powercut, shim
from tests.trials.crash.children import NAIVE, as_json, cycle, look, recover, run, seed
from warehouse.store.names import Destination

Found = tuple[int, int, list[str]]
"""Points there are, points tried, and violations."""

FAILURES = (("ENOSPC", shim.FAIL), ("EIO", shim.FAIL), ("ENOSPC", shim.FULL), ("", shim.SHORT))


@contextmanager
def seeded(folder: Path, destination: Destination) -> Iterator[Callable[[], Path]]:
    """Copies of an archive with something in it, always under the same path."""
    source, root = folder / "seed", folder / "data"
    shutil.rmtree(source, ignore_errors=True)
    assert not run(lambda _: seed(source, destination), root=source).error

    def fresh() -> Path:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(source, root, symlinks=True)
        return root

    yield fresh


def points(total: int, most: int, random: Random) -> list[int]:
    """All calls, or a sample of them."""
    return list(range(1, total + 1)) if most >= total else sorted(random.sample(range(1, total + 1), most))


def kills(folder: Path, destination: Destination, naive: str, *, most: int, random: Random, depth: int = 1) -> Found:
    """SIGKILL before the given call of the cycle; with depth 2 at a random one of the resumed cycle too."""
    violations: list[str] = []
    with seeded(folder, destination) as fresh:
        root = fresh()

        def work(ack: Callable[[str], None]) -> None:
            NAIVE[naive]()
            cycle(root, destination, ack)

        total = run(work, root=root, mode=shim.COUNT).calls
        chosen = points(total, most, random)
        for at in chosen:
            fresh()
            ended = run(work, root=root, mode=shim.KILL, at=at)
            wrong = look(root, ended.acknowledged)
            if depth == 2 and not wrong:
                again = run(work, root=root, mode=shim.KILL, at=random.randrange(1, total))
                wrong = look(root, ended.acknowledged | again.acknowledged)
            wrong = wrong or recover(root, destination)
            violations += [f"killed at call {at} ({destination}, depth {depth}): {w}" for w in wrong]
    return total, len(chosen), violations


def failures(folder: Path, destination: Destination, naive: str, *, most: int, random: Random) -> Found:
    """ENOSPC, EIO, a full disk or a short write at the given call."""
    violations: list[str] = []
    tried = 0
    with seeded(folder, destination) as fresh:
        root, trace = fresh(), folder / "trace"

        def work(ack: Callable[[str], None]) -> None:
            NAIVE[naive]()
            cycle(root, destination, ack)

        total = run(work, root=root, mode=shim.COUNT).calls
        every = [(at, *failure) for at in range(1, total + 1) for failure in FAILURES]
        for at, name, mode in every if most >= len(every) else random.sample(every, most):
            tried += 1
            fresh()
            number = getattr(errno, name) if name else 0
            ended = run(work, root=root, mode=mode, at=at, error=number, trace=trace)
            wrong = [w for w in [_ill_said(ended.error, root, name)] if w]
            wrong += _used_after_failing(trace, root)
            wrong += look(root, ended.acknowledged)
            wrong = wrong or recover(root, destination)
            kind = {shim.FULL: "full from", shim.SHORT: "short write at", shim.FAIL: f"{name} at"}[mode]
            violations += [f"{kind} call {at} ({destination}): {w}" for w in wrong]
    return len(every), tried, violations


def _ill_said(error: str, root: Path, name: str) -> str:
    """What is wrong with how a failure was told; a failure that harmed nothing need not be told."""
    if not error:
        return ""
    if not error.startswith("FixWarehouse: "):
        return f"told as {error}"
    if str(root) not in error:
        return f"no path: {error}"
    if name == "ENOSPC" and "free some" not in error:
        return f"does not say what to do: {error}"
    return ""


def _used_after_failing(trace: Path, root: Path) -> list[str]:
    """Files that were synced again, renamed or linked although their fsync had failed."""
    failed: set[str] = set()
    wrong: list[str] = []
    for op in powercut.read_trace(trace):
        if op.path.endswith(".wal"):
            continue  # DuckDB's own, of a file that is only published, and synced by us, once it has no log any more
        if op.name == "failed" and op.other == "fsync" and not Path(op.path).is_dir():
            failed.add(op.path)
        elif op.name in ("unlink", "create"):
            failed.discard(op.path)  # what has its name now is another file
        elif op.name in ("fsync", "rename", "link") and op.path in failed:
            wrong.append(f"{op.name} of {Path(op.path).relative_to(root)} after its fsync had failed")
    return wrong


def power_cuts(folder: Path, destination: Destination, naive: str, *, most: int, random: Random) -> Found:
    """States a power cut may leave, made from a recorded cycle."""
    violations: list[str] = []
    with seeded(folder, destination) as fresh:
        root, trace = fresh(), folder / "trace"

        def work(ack: Callable[[str], None]) -> None:
            NAIVE[naive]()
            cycle(root, destination, ack)

        assert not run(work, root=root, mode=shim.COUNT, trace=trace).error
        ops = powercut.read_trace(trace)
        start = powercut.Disk.of(fresh())
        for number in range(most):
            cut = random.randrange(len(ops) + 1)
            disk = start.copy()
            said = disk.play(ops[:cut])
            disk.cut(random)
            shutil.rmtree(root)
            disk.write(root)
            acknowledged = {1, *(int(line) for line in said if line.isdigit())}
            wrong = look(root, acknowledged, partials=False) or recover(root, destination)
            violations += [
                f"state {number}, power cut after call {cut} of {len(ops)} ({destination}): {w}" for w in wrong
            ]
    return len(ops), most, violations


KINDS: dict[str, Callable[..., Found]] = {
    "kills": kills,
    "kills while recovering": lambda *args, **kwargs: kills(*args, **kwargs, depth=2),
    "failures": failures,
    "power cuts": power_cuts,
}


def main() -> None:
    """One kind of trial; the answer is one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("destination", choices=("duckdb", "parquet"))
    parser.add_argument("--naive", default="", choices=NAIVE)
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--seed", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        as_json(
            KINDS[options.kind](
                Path(folder).resolve(),
                cast("Destination", options.destination),
                options.naive,
                most=options.most,
                random=Random(options.seed),
            )
        )


if __name__ == "__main__":
    main()
