"""Locks on files under a root, and the one for a whole archive: whoever uses its files shares it, an erasure has it.

Files are immutable and superseded ones stay for a day, so readers and writers need no lock among themselves. An erasure
removes files at once: it waits until nobody is using any, and whoever comes while it is at work waits for it. The lock
goes with the process, so a kill leaves none behind. Analysts, who read the published file, never take it.

A lock file is never written to. One that has a second name, such as a hard link that somebody or a tool that joins
equal files has made, is replaced: two locks would be one.

Whoever uses the archive locks it for itself, also below a caller that has locked it: a thread may outlive its caller.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path

from warehouse.store.files import Access, unnamed
from warehouse.store.flocks import flock
from warehouse.store.names import ARCHIVE_LOCK
from warehouse.store.opens import open_existing, open_lock

NAME = ARCHIVE_LOCK

_NONE: Mapping[Path, int] = {}

_HELD: ContextVar[Mapping[Path, int]] = ContextVar("held", default=_NONE)
"""How this context has locked roots. What it calls while it has one alone must not wait for it."""


@contextlib.contextmanager
def shared(root: Path, *, wait: bool = True) -> Iterator[bool]:
    """Use the archive's files; yields False, without the lock, when `wait` is not wanted and an erasure is under way.

    An archive that only others may write to, or that was made before there was a lock, is used without.
    """
    if _HELD.get().get(root) == fcntl.LOCK_EX:
        yield True
        return
    try:
        handle = lock(root, NAME, fcntl.LOCK_SH, wait=wait)
    except (FileNotFoundError, PermissionError):
        yield True
        return
    with _held(root, handle, fcntl.LOCK_SH) as held:
        yield held


@contextlib.contextmanager
def alone(root: Path, *, wait: bool = True) -> Iterator[bool]:
    """Have the archive's files alone; yields False, without the lock, when `wait` is not wanted and somebody has it."""
    assert root not in _HELD.get(), "an archive in use cannot be had alone by its user"
    with _held(root, lock(root, NAME, fcntl.LOCK_EX, wait=wait), fcntl.LOCK_EX) as held:
        yield held


@contextlib.contextmanager
def _held(root: Path, handle: int | None, kind: int) -> Iterator[bool]:
    if handle is None:
        yield False
        return
    try:
        token = _HELD.set({**_HELD.get(), root: kind})
        try:
            yield True
        finally:
            _HELD.reset(token)
    finally:
        os.close(handle)


def make_lock(root: Path, name: str, access: Access) -> None:
    """Make the file that is locked, if it is not there.

    Raises:
        Untrusted, OSError: as `open_lock`.
    """
    handle = open_lock(root, name, access.file, writers=access.writers)
    try:
        if os.fstat(handle).st_nlink > 1 and (held := flock(handle, fcntl.LOCK_EX, wait=False)) is not None:
            with unnamed(root, "", access) as (_, file):
                file.become(name)
            if held != handle:
                os.close(held)
    finally:
        os.close(handle)


def lock(root: Path, name: str, kind: int, *, wait: bool = True, local: bool = True) -> int | None:
    """A handle that holds the lock until it is closed; None when `wait` is not wanted and somebody has it.

    With `local` a file system without locks is no reason to refuse: see `flock`.

    Raises:
        FileNotFoundError: there is no such file.
        Untrusted, OSError: as `open_existing` and `flock`.
    """
    while True:
        handle = open_existing(root, name, os.O_RDWR if kind == fcntl.LOCK_EX else os.O_RDONLY)
        held: int | None = None
        try:
            held = flock(handle, kind, wait=wait, local=local)
            if held is None or _still_named(handle, root / name):
                return held
        finally:
            if held != handle:
                os.close(handle)
        os.close(held)  # it was replaced meanwhile


def _still_named(handle: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    return False
