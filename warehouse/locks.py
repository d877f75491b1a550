"""Locks on files under a root: they go with the process, so a kill leaves none behind.

A lock file is never written to. One that has a second name, such as a hard link that somebody or a tool that joins
equal files has made, is replaced: two locks would be one.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from warehouse.files import Access, unnamed
from warehouse.opens import open_existing, open_lock


def make_lock(root: Path, name: str, access: Access) -> None:
    """Make the file that is locked, if it is not there.

    Raises:
        Untrusted, OSError: as `open_lock`.
    """
    handle = open_lock(root, name, access.file, writers=access.writers)
    try:
        if os.fstat(handle).st_nlink > 1 and flock(handle, fcntl.LOCK_EX, wait=False):
            with unnamed(root, "", access) as (_, file):
                file.become(name)
    finally:
        os.close(handle)


def lock(root: Path, name: str, kind: int, *, wait: bool = True) -> int | None:
    """A handle that holds the lock until it is closed; None when `wait` is not wanted and somebody has it.

    Raises:
        FileNotFoundError: there is no such file.
        Untrusted, OSError: as `open_existing`.
    """
    while True:
        handle = open_existing(root, name, os.O_RDWR if kind == fcntl.LOCK_EX else os.O_RDONLY)
        try:
            if not flock(handle, kind, wait=wait):
                os.close(handle)
                return None
            if _still_named(handle, root / name):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # it was replaced meanwhile


def flock(handle: int, kind: int, *, wait: bool) -> bool:
    """Lock an open file; False when somebody else has it and `wait` is not wanted."""
    try:
        fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still_named(handle: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    return False
