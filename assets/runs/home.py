"""DAGSTER_HOME, the folder Dagster keeps its history in: made, kept private, opened, and said when it cannot be used.

The history is no part of what is exported. When it cannot be written, what was landed stays all the same, and it is
for the operator to see to the folder: that is one sentence and exit code 2, never a defect.
"""

import contextlib
import errno
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from assets.runs.whose import HISTORY, found_home, home_of, recorded
from assets.terminal import say
from pipelines.environment import environment, trusted_writers
from pipelines.errors import ExportError, FixConfiguration
from pipelines.variables import HOME
from warehouse.store.files import ACCESS, Access, put
from warehouse.store.limits import chain, file_size_reached, inodes_left, is_full
from warehouse.store.trust import Writers, check_above, check_trusted

_SPACE = "free some space and run again"

_NAMES = ("its file system has no room for more files (inodes)", "remove some and run again")

_FILE_SIZE = ("a file would grow beyond the limit on the size of files", "raise it (ulimit -f) and run again")

_WRITABLE = "make it a folder that you may write to, or set another one"

OLDER = (
    "its history is not one of this version of Dagster",
    "copy the folder and run `dagster instance migrate`, or move it away, so that a new one is begun",
)

_NO_LOCKS = (
    "its file system has no locks that work",
    "set DAGSTER_HOME to a folder on a disk of this machine",
)

_LOCKING = frozenset(
    {
        sqlite3.SQLITE_IOERR_LOCK,
        sqlite3.SQLITE_IOERR_RDLOCK,
        sqlite3.SQLITE_IOERR_UNLOCK,
        sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
        sqlite3.SQLITE_IOERR_SHMLOCK,
    }
)
"""SQLite's extended result codes for locks that fail otherwise than because somebody has them."""

_ODD = re.compile(r"[?]|%[0-9A-Fa-f]{2}")
"""What a path must not hold: Dagster makes a URL of it without escaping, and SQLAlchemy then opens another file."""

LACKS = ("no such column", "no such table", "has no column named")
"""How SQLite says that a history was made by another version; other errors in SQL are defects."""

_REFUSALS = {
    sqlite3.SQLITE_FULL: ("its disk is full", _SPACE),
    sqlite3.SQLITE_IOERR: ("its disk is full or fails", _SPACE),
    sqlite3.SQLITE_CANTOPEN: ("its history cannot be opened", _WRITABLE),
    sqlite3.SQLITE_READONLY: ("its history is read-only", _WRITABLE),
    sqlite3.SQLITE_BUSY: ("another process keeps its history locked", "run again when that has ended"),
    sqlite3.SQLITE_LOCKED: ("another process keeps its history locked", "run again when that has ended"),
    sqlite3.SQLITE_PROTOCOL: _NO_LOCKS,
    sqlite3.SQLITE_NOLFS: _FILE_SIZE,
    sqlite3.SQLITE_PERM: ("its history cannot be opened", _WRITABLE),
    sqlite3.SQLITE_CORRUPT: ("its history is damaged", "move the folder away, so that a new one is begun"),
    sqlite3.SQLITE_NOTADB: ("its history is damaged", "move the folder away, so that a new one is begun"),
}
"""By SQLite's primary result code: what is the matter, and what to do. Other codes are defects."""


def dagster_home(root: Path) -> Path:
    """The folder Dagster keeps the history of the archive at `root` in; made, with telemetry off, if it is new.

    It is DAGSTER_HOME, or one in it where that is another archive's; where that is new, it is said.

    Raises:
        Untrusted: somebody else made it, or something in it, or may change it: its configuration names code.
        FixConfiguration: it cannot be used.
    """
    base, writers = _home(), trusted_writers(environment())
    if (odd := _ODD.search(str(base))) is not None:
        raise refusal(base, f"Dagster opens no history in a path with `{odd[0]}` in it", "set it to another folder")
    try:
        _make(base, writers)
        home, said = home_of(base, root, writers)
        if home != base:
            _make(home, writers)
        _configure(home, replace(ACCESS["none"], writers=writers))
    except OSError as error:
        raise refusal(base, *_said_by_the_system(error)) from error
    os.environ["DAGSTER_HOME"] = str(home)
    if said is not None:
        say(said)
    return home


def _make(home: Path, writers: Writers) -> None:
    check_home(home, writers)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_private(home)


def history_folder(root: Path) -> Path | None:
    """Where Dagster has kept a history of the archive at `root`, so that there is something to ask it; else None."""
    base = _home()
    home = base if recorded(base) is None else found_home(base, root)
    return home if home is not None and (home / HISTORY).is_dir() else None


def check_home(home: Path, writers: Writers) -> None:
    """Refuse a home that is not to be trusted. Dagster reads it later, and by itself: nobody may exchange it meanwhile.

    Raises:
        Untrusted: somebody else made it, or something in it, or may change or exchange it.
        OSError: it cannot be looked at.
    """
    check_trusted("DAGSTER_HOME", home, writers)
    check_above("DAGSTER_HOME", home, writers)
    for path in sorted(home.iterdir()) if home.is_dir() else ():
        check_trusted("In DAGSTER_HOME,", path, writers)


def trusted_home(home: Path) -> None:
    """Refuse a home that is not to be trusted, or that cannot be looked at.

    Raises:
        Untrusted: somebody else made it, or something in it, or may change it.
        FixConfiguration: it cannot be used.
    """
    try:
        check_home(home, trusted_writers(environment()))
    except OSError as error:
        raise refusal(home, *_said_by_the_system(error)) from error


def make_private(home: Path) -> None:
    """Let only its owner into the folder, if that is who runs this: Dagster's files in it may be open to everybody."""
    with contextlib.suppress(OSError):  # it is not there, or on a disk that knows no permissions
        state = home.stat()
        if state.st_uid == os.geteuid() and state.st_mode & 0o077:
            home.chmod(state.st_mode & 0o700)


def _configure(home: Path, access: Access) -> None:
    """Give the folder its `dagster.yaml`, whole: an empty one, left by a crash, would turn telemetry on."""
    path = home / "dagster.yaml"
    if path.exists() and path.stat().st_size:
        return
    package = Path(__file__).parents[1]
    beside, inside = package.parent / "dagster.yaml", package / "dagster.yaml"  # of the repository, of a wheel
    put(home, "", path.name, (beside if beside.exists() else inside).read_bytes(), access)


@contextlib.contextmanager
def home_errors() -> Iterator[None]:
    """Turn what says that DAGSTER_HOME cannot be used into one sentence.

    Raises:
        FixConfiguration: it cannot; the sentence names it, the reason, and what to do.
    """
    try:
        yield
    except ExportError:
        raise
    except Exception as error:  # Dagster and SQLAlchemy wrap what SQLite and the system say
        if (refused := home_refusal(error)) is not None:
            raise refused from error
        raise


def home_refusal(error: BaseException) -> FixConfiguration | None:
    """What an error says of DAGSTER_HOME: the first refusal of the system or of SQLite in its chain; else None.

    Only Dagster uses SQLite here, and only for its history.
    """
    home = _home()
    for each in chain(error):
        match each:
            case sqlite3.DatabaseError() if _code(each) == sqlite3.SQLITE_IOERR and file_size_reached(home):
                return refusal(home, *_FILE_SIZE)
            case sqlite3.DatabaseError() if getattr(each, "sqlite_errorcode", 0) in _LOCKING:
                return refusal(home, *_NO_LOCKS)
            case sqlite3.DatabaseError() if known := _REFUSALS.get(_code(each)):
                return refusal(home, *known)
            case sqlite3.OperationalError() if is_of_another_version(each):
                return refusal(home, *OLDER)
            case OSError() if _is_within(each.filename, home):
                return refusal(home, *_said_by_the_system(each))
    return None


def is_of_another_version(error: BaseException) -> bool:
    """Whether an error says that a history lacks what this version of Dagster asks for."""
    return any(
        isinstance(each, sqlite3.OperationalError) and any(words in str(each) for words in LACKS)
        for each in chain(error)
    )


def _code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; 0 of an error that Python's module made itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def refusal(home: Path, reason: str, remedy: str) -> FixConfiguration:
    """What is the matter with DAGSTER_HOME, and what to do."""
    return FixConfiguration(f"DAGSTER_HOME {home} cannot be used: {reason}; {remedy}. What was landed stays.")


def _said_by_the_system(error: OSError) -> tuple[str, str]:
    reason = type(error).__name__ if error.errno is None else os.strerror(error.errno)
    if is_full(error) and not inodes_left(error, _home()):
        return _NAMES
    if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
        return _NO_LOCKS
    if error.errno == errno.EFBIG:
        return _FILE_SIZE
    return reason, _SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else _WRITABLE


def _home() -> Path:
    return HOME.of(environment()).absolute()


def _is_within(name: object, home: Path) -> bool:
    return isinstance(name, str | os.PathLike) and Path(os.path.abspath(name)).is_relative_to(home)  # noqa: PTH100  # it may be a link that leads nowhere
