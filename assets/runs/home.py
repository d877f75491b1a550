"""DAGSTER_HOME, the folder Dagster keeps its history in: made, kept private, opened, and said when it cannot be used.

The history is no part of what is exported. When it cannot be written, what was landed stays all the same, and it is
for the operator to see to the folder: that is one sentence and exit code 2, never a defect.
"""

import contextlib
import errno
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from assets.runs.older import bring_up_to_date, is_of_another_version
from assets.runs.whose import HISTORY, found_home, home_of, recorded
from assets.terminal import say
from pipelines.environment import environment, path_of, trusted_writers
from pipelines.errors import ExportError, FixConfiguration
from warehouse.store.files import ACCESS, Access, sync_and_hash, sync_folder, unnamed
from warehouse.store.flocks import flock, unlock
from warehouse.store.limits import chain, file_size_reached, inodes_left, is_full, limit
from warehouse.store.opens import open_lock
from warehouse.store.trust import Writers, check_trusted

if TYPE_CHECKING:
    import dagster as dg

DEFAULT_HOME = ".dagster_home"
"""DAGSTER_HOME when none is set: in the current folder, as the default EXPORT_ROOT is."""

_SPACE = "free some space and run again"

_NAMES = ("its file system has no room for more files (inodes)", "remove some and run again")

_FILE_SIZE = ("a file would grow beyond the limit on the size of files", "raise it (ulimit -f) and run again")

_WRITABLE = "make it a folder that you may write to, or set another one"

_OLDER = (
    "its history is not one of this version of Dagster",
    "copy the folder and run `dagster instance migrate`, or move it away, so that a new one is begun",
)

_CORRECT = "`dagster instance info` says more; correct the file, or move it away, so that the usual one is written"

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
        raise _refusal(base, f"Dagster opens no history in a path with `{odd[0]}` in it", "set it to another folder")
    try:
        _make(base, writers)
        home, said = home_of(base, root, writers)
        if home != base:
            _make(home, writers)
        _configure(home, replace(ACCESS["none"], writers=writers))
    except OSError as error:
        raise _refusal(base, *_said_by_the_system(error)) from error
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
    """Refuse a home that is not to be trusted.

    Raises:
        Untrusted: somebody else made it, or something in it, or may change it.
        OSError: it cannot be looked at.
    """
    check_trusted("DAGSTER_HOME", home, writers)
    for path in sorted(home.iterdir()) if home.is_dir() else ():
        check_trusted("In DAGSTER_HOME,", path, writers)


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
    with unnamed(home, "", access) as (stream, file):
        stream.write((beside if beside.exists() else inside).read_bytes())
        sync_and_hash(stream)
        file.become(path.name)
    sync_folder(home)


@contextlib.contextmanager
def opened(home: Path) -> "Iterator[dg.DagsterInstance]":
    """Dagster's history in `home`, opened by one process at a time.

    Two that open a new one together both try to create its tables, and one of them fails. What steps print goes to the
    terminal and not into files: to capture it, Dagster would lead this process's own streams elsewhere, where a line of
    progress is not seen, and start two processes that answer Ctrl-C with a traceback each.
    """
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef  # it is in no public module

    uncaptured = {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }

    lock = open_lock(home, ".open.lock", 0o600, writers=trusted_writers(environment()))
    held = None
    try:
        held = flock(lock, fcntl.LOCK_EX)
        with _opening(home):
            ref = InstanceRef.from_dir(str(home), overrides={"compute_logs": uncaptured})
            instance = dg.DagsterInstance.from_ref(ref)
            try:
                _ask_all(instance)
            except Exception as error:
                if not is_of_another_version(error):
                    raise
                copy = bring_up_to_date(home)
                say(
                    f"The history in DAGSTER_HOME was of another version of Dagster, and is brought up to date; {copy} "
                    "has it as it was."
                )
                instance = dg.DagsterInstance.from_ref(ref)
                _ask_all(instance)
    finally:
        unlock(lock, held)
    with instance:
        yield instance


def check_launching(instance: "dg.DagsterInstance", home: Path) -> None:
    """Refuse a configuration with which no run can be started: an export of the command line needs none of it.

    Raises:
        FixConfiguration: the sentence says what Dagster refuses.
    """
    with _opening(home):
        for part in ("run_launcher", "run_coordinator", "scheduler"):
            getattr(instance, part)


def _ask_all(instance: "dg.DagsterInstance") -> None:
    """Ask each part of a history for something, which creates its tables too, and shows what it lacks."""
    instance.all_asset_keys()
    instance.get_run_records(limit=1)
    instance.all_instigator_state()
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.get_concurrency_info("twilio")


@contextlib.contextmanager
def _opening(home: Path) -> Iterator[None]:
    """Turn whatever keeps Dagster from opening its history into one sentence: only what is in the folder decides it.

    Raises:
        FixConfiguration: it cannot be opened; the sentence names `dagster.yaml` and what Dagster says of it, or says
            how a history of an older Dagster is brought up to date.
    """
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        if home_refusal(error) is not None or limit(error, home) is not None:
            raise  # it is said where all such errors are
        if any(isinstance(each, sqlite3.DatabaseError) for each in chain(error)):
            raise _refusal(home, *_OLDER) from error
        raise _refusal(home, f"Dagster refuses {home / 'dagster.yaml'} ({_what_is_wrong(error)})", _CORRECT) from error


def _what_is_wrong(error: BaseException) -> str:
    """The line, the setting or the module that is wrong; never a value, which may be a password."""
    for each in chain(error):
        if (mark := getattr(each, "problem_mark", None)) is not None:
            return f"line {mark.line + 1} is not YAML"
        for found in getattr(each, "errors", ()):
            data = found.error_data
            names = [*getattr(found.stack, "levels", ()), getattr(data, "field_name", None)]
            return (
                f"at {':'.join(name for name in names if isinstance(name, str)) or 'its root'}" if data else "a value"
            )
        if isinstance(each, ImportError) and each.name:
            return f"no module {each.name}"
    return type(error).__name__


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
                return _refusal(home, *_FILE_SIZE)
            case sqlite3.DatabaseError() if getattr(each, "sqlite_errorcode", 0) in _LOCKING:
                return _refusal(home, *_NO_LOCKS)
            case sqlite3.DatabaseError() if known := _REFUSALS.get(_code(each)):
                return _refusal(home, *known)
            case sqlite3.OperationalError() if is_of_another_version(each):
                return _refusal(home, *_OLDER)
            case OSError() if _is_within(each.filename, home):
                return _refusal(home, *_said_by_the_system(each))
    return None


def _code(error: sqlite3.DatabaseError) -> int:
    """SQLite's primary result code; 0 of an error that Python's module made itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _refusal(home: Path, reason: str, remedy: str) -> FixConfiguration:
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
    return path_of(environment().get("DAGSTER_HOME", "").strip() or DEFAULT_HOME, "DAGSTER_HOME").absolute()


def _is_within(name: object, home: Path) -> bool:
    return isinstance(name, str | os.PathLike) and Path(os.path.abspath(name)).is_relative_to(home)  # noqa: PTH100  # it may be a link that leads nowhere
