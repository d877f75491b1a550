"""Limits of the process, its container or the machine: which one an error says is reached, and what to do.

What reaches one is no defect, and nothing under the root is damaged. Libraries say it in many ways: Python by an errno
or a MemoryError, threads by a RuntimeError, DuckDB and Arrow by the words of the C library in errors of any kind.
"""

import contextlib
import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from warehouse.errors import ExportError, FixProcess, FixWarehouse

THREADS = "no more processes or threads may be started; raise the limit (ulimit -u, or pids of the container)"
MEMORY = "there is too little memory; raise the limit (ulimit -v, or memory of the container)"
OPEN_FILES = "too many open files"
FILE_SIZE = "a file would grow beyond the limit on the size of files; raise it (ulimit -f)"
NAMES = "its file system has no room for more files (inodes), though it has for more bytes; remove some"

_BY_ERRNO = {
    errno.EAGAIN: THREADS,
    errno.ENOMEM: MEMORY,
    errno.EMFILE: OPEN_FILES,
    errno.ENFILE: OPEN_FILES,
    errno.EFBIG: FILE_SIZE,
}

_WORDS = {
    "start new thread": THREADS,
    "launch worker thread": THREADS,
    "resource temporarily unavailable": THREADS,
    "std::bad_alloc": MEMORY,
    "bad allocation": MEMORY,
    "cannot allocate memory": MEMORY,
    "malloc of size": MEMORY,
    "realloc of size": MEMORY,
    OPEN_FILES: OPEN_FILES,
    "file too large": FILE_SIZE,
}
"""By what errors of libraries say, in lower case."""


def limit(error: BaseException, folder: Path) -> FixProcess | FixWarehouse | None:
    """The limit that an error, or anything it hangs on, says is reached; None if it says nothing of one.

    `folder` is where it was written if the error does not say.
    """
    for each in chain(error):
        reason = None if isinstance(each, ExportError) else _reached(each)
        if reason is None and not isinstance(each, ExportError) and is_full(each) and not inodes_left(each, folder):
            reason = NAMES
        if reason in (FILE_SIZE, NAMES):
            return FixWarehouse(f"Cannot write to {_place(each, folder)}: {reason} and run again.")
        if reason == OPEN_FILES:
            return _too_many_open(each)
        if reason is not None:
            return FixProcess(f"{reason[0].upper()}{reason[1:]} and run again; what was landed stays.")
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and all it hangs on, or is a group of."""
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        parts = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        beneath = (each.__cause__, each.__context__, getattr(each, "orig", None), *parts)  # SQLAlchemy's `orig`
        waiting += [below for below in beneath if isinstance(below, BaseException)]


def _reached(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        return _BY_ERRNO.get(error.errno)
    if isinstance(error, sqlite3.DatabaseError):
        return MEMORY if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOMEM else None
    text = str(error).lower()
    return next((reason for words, reason in _WORDS.items() if words in text), None)


def _too_many_open(error: BaseException) -> FixProcess:
    whose = "this machine has" if isinstance(error, OSError) and error.errno == errno.ENFILE else "this process has"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FixProcess(f"Too many open files: {whose} no more of them; raise its limit (`ulimit -n` is {soft}).")


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no space left."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOSPC
    return "no space left" in str(error).lower()


def inodes_left(error: BaseException, folder: Path) -> bool:
    """Whether the file system that an error is about has room for more names; also true where it does not say."""
    with contextlib.suppress(OSError):
        state = os.statvfs(_existing(_place(error, folder)))
        return bool(state.f_favail or not state.f_files or not state.f_bavail)
    return True


def file_size_reached(folder: Path) -> bool:
    """Whether a file in a folder is as large as files may be here: SQLite says only that writing fails."""
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if most == resource.RLIM_INFINITY:
        return False
    return any(path.stat().st_size >= most - SQLITE_PAGES for path in folder.rglob("*") if path.is_file())


SQLITE_PAGES = 64 << 10
"""More than SQLite writes at once: of the next, not all would have fitted."""


def _place(error: BaseException, folder: Path) -> Path:
    named = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return Path(os.fsdecode(named)) if isinstance(named, str | bytes | os.PathLike) else folder


def _existing(path: Path) -> Path:
    return path if path.exists() or path == path.parent else _existing(path.parent)
