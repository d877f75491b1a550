"""Locks on files under a root: they go with the process, so a kill leaves none behind.

A lock file is never written to. One that has a second name, such as a hard link that somebody or a tool that joins
equal files has made, is replaced: two locks would be one.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from warehouse.store.files import Access, unnamed
from warehouse.store.flocks import flock
from warehouse.store.opens import open_existing, open_lock


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
