"""Whether the process of a run is still there, whatever Dagster's history says.

A process that is killed cannot say so: Dagster goes on calling its run started, for up to a day, and keeps its slot of
the pool and its place among the runs at once. Each run that asks Twilio therefore holds a lock on a file of its own in
DAGSTER_HOME. The system frees the lock with the process, whatever ended it. A run without such a file, because it runs
on another machine or has not begun, is never called gone.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg


@contextlib.contextmanager
def alive(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold the lock of a run. Inside itself it does nothing."""
    path = _path(instance, run_id)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # the command line holds it already, while it waits for its turn
            yield
            return
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # before the lock is freed: what is there and free was left by a killed one
    finally:
        os.close(handle)


def gone(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run's process ended without saying so."""
    path = _path(instance, run_id)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.exists()
    except BlockingIOError:
        return False
    finally:
        os.close(handle)


def forget(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove what a killed run has left."""
    _path(instance, run_id).unlink(missing_ok=True)


def held(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run's process is certainly there."""
    return _path(instance, run_id).exists() and not gone(instance, run_id)


def _path(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.root_directory) / "alive" / run_id
