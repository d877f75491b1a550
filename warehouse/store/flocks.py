"""Locks on open files, also where the file system has none: then among the processes of this user on this machine."""

import errno
import fcntl
import os
import stat
import tempfile
from pathlib import Path

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})


def flock(handle: int, kind: int, *, wait: bool = True, local: bool = True) -> int | None:
    """Lock an open file or folder; None when somebody else has it and `wait` is not wanted.

    Returns:
        The handle that holds the lock until it is closed: the one given, or with `local`, where the file system has no
        locks, a new one on a file that stands for it in a private temporary folder.

    Raises:
        OSError: it cannot be locked.
    """
    flags = kind if wait else kind | fcntl.LOCK_NB
    try:
        fcntl.flock(handle, flags)
        return handle
    except BlockingIOError:
        return None
    except OSError as error:
        if not local or error.errno not in _NO_LOCKS:
            raise
    instead = _stands_for(handle)
    try:
        fcntl.flock(instead, flags)
    except BlockingIOError:
        os.close(instead)
        return None
    except BaseException:
        os.close(instead)
        raise
    return instead


def unlock(*handles: int | None) -> None:
    """Close the handles of a lock: the one that was given and the one that holds it, which may be the same."""
    for handle in {handle for handle in handles if handle is not None}:
        os.close(handle)


def _stands_for(handle: int) -> int:
    """A handle on a file of our own that is the same for every process that has the same file open."""
    state = os.fstat(handle)
    folder = Path(tempfile.gettempdir()) / f"addon-export-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder.lstat()
    if not stat.S_ISDIR(made.st_mode) or made.st_uid != os.geteuid() or made.st_mode & 0o022:
        raise OSError(errno.ENOLCK, f"no locks, and {folder} is not ours", str(folder))
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(folder / f"{state.st_dev}-{state.st_ino}.lock", flags, 0o600)
