"""Starts the server and the ways, each in a process of its own, and measures what a way takes.

CPU is user and system time of the process and all its children, as the kernel counts it at the end. Memory is
the largest process's peak (kernel) and the peak of the whole tree (sampled). Start-up is everything before the
first request reaches the server. This process stays small: Linux counts its memory into a child's peak.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from benchmarks.caps import Caps
from benchmarks.data import Settings

ROOT = Path(__file__).resolve().parent.parent

_EVERY = 0.05
"""Seconds between samples of CPU."""

_MEMORY_EVERY = 6
"""Samples of CPU for one of memory, which costs more."""

_LINUX = sys.platform == "linux"


class WayFailed(Exception):
    """A way ended other than with success; the message holds the end of what it said."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    storage_url: str
    data: Settings
    caps: Caps
    latency: float

    def stats(self, *, reset: bool = False) -> dict[str, Any]:
        """What has happened at the API since the last reset."""
        with urlopen(f"{self.url}/{'_reset' if reset else '_stats'}") as reply:
            found: dict[str, Any] = json.load(reply)
        return found


@contextmanager
def running_server(
    data: Settings, *, caps: Caps | None = None, latency: float = 0.0, storage_latency: float | None = None
) -> Iterator[Server]:
    """A server in a process of its own; stopped at the end, also when this process dies. Latencies in seconds."""
    caps = caps or Caps()
    command = [sys.executable, "-m", "benchmarks.server", "--caps", str(caps), "--latency", str(latency)]
    if storage_latency is not None:
        command += ["--storage-latency", str(storage_latency)]
    for name in ("recordings", "size", "big", "hidden", "now"):
        command += [f"--{name}", str(getattr(data, name))]
    for name in ("results", "payloads"):
        command += [f"--{name}", ",".join(map(str, getattr(data, name)))]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline()
        if not line:
            raise WayFailed("the benchmark's server did not start")
        said = json.loads(line)
        try:
            yield Server(said["url"], said["storage_url"], Settings.from_json(said["data"]), caps, latency)
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process, its children included, took. Seconds and bytes; times of the monotonic clock."""

    started_at: float
    ended_at: float
    cpu: float
    peak: int
    """Most memory of one process: its resident set."""
    tree: int
    """Most memory of all processes together: proportional set where the system tells it, else resident sets."""
    samples: tuple[tuple[float, float], ...] = field(repr=False)
    """CPU used by then."""

    def cpu_until(self, instant: float) -> float:
        """CPU used until then, interpolated between samples."""
        times = [at for at, _ in self.samples]
        after = bisect_left(times, instant)
        if after == 0:
            return 0.0
        (a, low), (b, high) = self.samples[after - 1], (*self.samples, (self.ended_at, self.cpu))[after]
        return low + (high - low) * (min(instant, b) - a) / (b - a) if b > a else high


def run(command: Sequence[str], environment: Mapping[str, str], *, folder: Path, seconds: float = 900.0) -> Measured:
    """Run a command to its end and measure it.

    Raises:
        WayFailed: it could not be started, ended other than with 0, or took longer than `seconds`.
    """
    log = folder / "output.log"
    with log.open("wb") as output:
        started_at = time.monotonic()
        try:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise WayFailed(f"{command[0]} cannot be started ({error.strerror}); `make bench` installs it") from error
        sampler = _Sampler(process.pid)
        sampler.start()
        watchdog = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        finally:
            watchdog.cancel()
            sampler.stop()
        ended_at = time.monotonic()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = log.read_text(errors="replace")[-2000:]
        raise WayFailed(f"`{' '.join(command[-3:])}` ended with {process.returncode}: {said}")
    return Measured(
        started_at=started_at,
        ended_at=ended_at,
        cpu=usage.ru_utime + usage.ru_stime,
        peak=usage.ru_maxrss * (1024 if _LINUX else 1),
        tree=sampler.tree,
        samples=tuple(sampler.samples),
    )


class _Sampler(threading.Thread):
    """Looks at a process and its children now and then."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._stopped = threading.Event()
        self.samples: list[tuple[float, float]] = [(time.monotonic(), 0.0)]
        self.tree = 0

    def run(self) -> None:
        """Sample until `stop`, or until the process is gone."""
        count = 0
        while not self._stopped.wait(_EVERY):
            try:
                children = self._process.children(recursive=True) if count % _MEMORY_EVERY == 0 else []
                times = self._process.cpu_times()
                self.samples.append((time.monotonic(), sum(times[:4])))
                if count % _MEMORY_EVERY == 0:
                    self.tree = max(self.tree, sum(map(_memory, [self._process, *children])))
            except psutil.Error:
                continue  # gone, or just going
            count += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _memory(process: psutil.Process) -> int:
    try:
        found = process.memory_full_info() if _LINUX else process.memory_info()
    except psutil.Error:
        return 0
    return int(getattr(found, "pss", found.rss))
