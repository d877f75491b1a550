"""One lock for a whole archive: whoever uses its files shares it, an erasure has it alone.

Files are immutable and superseded ones stay for a day, so readers and writers need no lock among themselves. An erasure
removes files at once: it waits until nobody is using any, and whoever comes while it is at work waits for it. The lock
goes with the process, so a kill leaves none behind. Analysts, who read the published file, never take it.

Whoever uses the archive locks it for itself, also below a caller that has locked it: a thread may outlive its caller.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path

from warehouse.files import Access
from warehouse.names import ARCHIVE_LOCK

NAME = ARCHIVE_LOCK

_NONE: Mapping[Path, int] = {}

_HELD: ContextVar[Mapping[Path, int]] = ContextVar("held", default=_NONE)
"""How this context has locked roots. What it calls while it has one alone must not wait for it."""


def make_lock(root: Path, access: Access) -> None:
    """Make the file that is locked, if it is not there."""
    handle = os.open(root / NAME, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, access.file)
    os.close(handle)


@contextlib.contextmanager
def shared(root: Path, *, wait: bool = True) -> Iterator[bool]:
    """Use the archive's files; yields False, without the lock, when `wait` is not wanted and an erasure is under way.

    An archive that only others may write to, or that was made before there was a lock, is used without.
    """
    if _HELD.get().get(root) == fcntl.LOCK_EX:
        yield True
        return
    try:
        handle = _open(root)
    except (FileNotFoundError, PermissionError):
        yield True
        return
    with _locked(root, handle, fcntl.LOCK_SH, wait=wait) as held:
        yield held


@contextlib.contextmanager
def alone(root: Path, *, wait: bool = True) -> Iterator[bool]:
    """Have the archive's files alone; yields False, without the lock, when `wait` is not wanted and somebody has it."""
    assert root not in _HELD.get(), "an archive in use cannot be had alone by its user"
    with _locked(root, _open(root), fcntl.LOCK_EX, wait=wait) as held:
        yield held


def _open(root: Path) -> int:
    return os.open(root / NAME, os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def _locked(root: Path, handle: int, kind: int, *, wait: bool) -> Iterator[bool]:
    try:
        try:
            fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        token = _HELD.set({**_HELD.get(), root: kind})
        try:
            yield True
        finally:
            _HELD.reset(token)
    finally:
        os.close(handle)
