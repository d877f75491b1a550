"""Whether the process of a run is still there, whatever Dagster's history says.

A process that is killed cannot say so, nor can one that finds no space to write it down: Dagster goes on calling its
run started, for up to a day, and keeps its slot of the pool and its place among the runs at once. Each run that asks
Twilio therefore holds a lock on a file of its own in DAGSTER_HOME until its process ends, whatever ends it. The file
stays until the run's end is recorded and its slot is free: one that is there and not locked means that somebody has to
see to that. A run without such a file, because it runs on another machine or has not begun, is never called gone.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from pipelines.environment import environment, trusted_writers
from pipelines.errors import FixConfiguration
from warehouse.store.flocks import flock, unlock
from warehouse.store.opens import folder

RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""A UUID, as Dagster and the command line make them."""

_HELD: dict[Path, tuple[int, int | None]] = {}
"""Locks of this process. The step of a run that the command line started finds its run's among them."""


def hold(instance: dg.DagsterInstance, run_id: str) -> None:
    """Hold the lock of a run until this process ends; does nothing if it holds it already."""
    path = _path(instance, run_id)
    if path in _HELD:
        return
    root, beginning = Path(instance.root_directory), f".{run_id}"  # it is locked before anybody can find it
    with folder(root, path.parent.name, writers=trusted_writers(environment()), make=0o700) as (above, _):
        handle = os.open(beginning, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=above)
        lock = None
        try:
            lock = flock(handle, fcntl.LOCK_EX)
            os.rename(beginning, run_id, src_dir_fd=above, dst_dir_fd=above)
        except BaseException:
            unlock(handle, lock)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beginning, dir_fd=above)
            raise
    _HELD[path] = (handle, lock)


@contextlib.contextmanager
def alive(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold the lock of a run while the block lasts. Who has seen to its end calls `forget`."""
    hold(instance, run_id)
    try:
        yield
    finally:
        unlock(*_HELD.pop(_path(instance, run_id)))


def gone(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run's process ended and nobody has seen to its end."""
    path = _path(instance, run_id)
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    lock = None
    try:
        lock = flock(handle, fcntl.LOCK_EX, wait=False)
        return lock is not None and path.exists()
    finally:
        unlock(handle, lock)


def forget(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove the file of a run: its end is recorded, or was never to be, and its slot is free."""
    _path(instance, run_id).unlink(missing_ok=True)


def held(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run's process is certainly there."""
    return _path(instance, run_id).exists() and not gone(instance, run_id)


def known(instance: dg.DagsterInstance) -> set[str]:
    """Ids of the runs that have a file, whether their process is there or not. What others put there is not looked at.

    Storage devices and desktops leave folders and files of theirs everywhere, such as `@eaDir` and `Thumbs.db`.
    """
    folder = _folder(instance)
    return {path.name for path in folder.iterdir() if RUN_ID.fullmatch(path.name)} if folder.is_dir() else set()


def _folder(instance: dg.DagsterInstance) -> Path:
    return Path(instance.root_directory) / "alive"


def _path(instance: dg.DagsterInstance, run_id: str) -> Path:
    if not re.fullmatch("[0-9A-Za-z_-]+", run_id):
        raise FixConfiguration("The id of the run is not one that Dagster makes.")
    return _folder(instance) / run_id
