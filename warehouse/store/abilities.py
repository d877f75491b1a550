"""What the file system under a root cannot do, found out before anything is fetched, and what is done instead."""

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator

from warehouse.store import opens


def missing(above: int, name: str) -> tuple[str, ...]:
    """A sentence for each thing that an open folder and the file `name` in it, both ours, cannot do.

    Ten calls of the system: a file and a folder are synced, a name is given and taken away twice.
    """
    other = f".{uuid.uuid4().hex}.tmp"
    handle = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        tried: dict[str, Callable[[], object]] = {
            "hard links, so commits are put in place by a rename": lambda: os.link(
                name, other, src_dir_fd=above, dst_dir_fd=above
            ),
            "symbolic links, so addons.duckdb is a copy: opening it while it is replaced may fail once": lambda: (
                os.symlink(name, other, dir_fd=above)
            ),
            "locks, so use it from one machine only, by one user": lambda: fcntl.flock(handle, fcntl.LOCK_SH),
            "syncing of folders, so a power cut may cost what was landed last": lambda: os.fsync(above),
            "permissions, so who may read and write is decided by how it is mounted": lambda: os.fchmod(handle, 0o600),
        }
        return tuple(f"The file system of EXPORT_ROOT knows no {what}." for what in _failing(tried, above, other))
    finally:
        os.close(handle)


def _failing(tried: dict[str, Callable[[], object]], above: int, other: str) -> Iterator[str]:
    for what, attempt in tried.items():
        try:
            attempt()
        except OSError as error:
            if error.errno not in opens.UNKNOWN | {errno.ENOLCK}:
                raise
            yield what
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(other, dir_fd=above)
