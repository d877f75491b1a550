"""Dagster's history in DAGSTER_HOME, opened by one process at a time."""

import contextlib
import fcntl
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef  # it is in no public module

from assets.runs.home import OLDER, home_refusal, is_of_another_version, refusal
from assets.runs.older import bring_up_to_date
from assets.terminal import say
from pipelines.environment import environment, trusted_writers
from pipelines.errors import ExportError
from warehouse.store.flocks import flock, unlock
from warehouse.store.limits import chain, limit
from warehouse.store.opens import open_lock

UNCAPTURED = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}

_CORRECT = "`dagster instance info` says more; correct the file, or move it away, so that the usual one is written"


@contextlib.contextmanager
def opened(home: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's history in `home`, opened by one process at a time.

    Two that open a new one together both try to create its tables, and one of them fails. What steps print goes to the
    terminal and not into files: to capture it, Dagster would lead this process's own streams elsewhere, where a line of
    progress is not seen, and start two processes that answer Ctrl-C with a traceback each.
    """
    lock = open_lock(home, ".open.lock", 0o600, writers=trusted_writers(environment()))
    held = None
    try:
        held = flock(lock, fcntl.LOCK_EX)
        with _opening(home):
            ref = InstanceRef.from_dir(str(home), overrides={"compute_logs": UNCAPTURED})
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


def check_launching(instance: dg.DagsterInstance, home: Path) -> None:
    """Refuse a configuration with which no run can be started: an export of the command line needs none of it.

    Raises:
        FixConfiguration: the sentence says what Dagster refuses.
    """
    with _opening(home):
        for part in ("run_launcher", "run_coordinator", "scheduler"):
            getattr(instance, part)


def _ask_all(instance: dg.DagsterInstance) -> None:
    """Ask each part of a history for something, which creates its tables too, and shows what it lacks."""
    instance.all_asset_keys()
    instance.get_run_records(limit=1)
    instance.all_instigator_state()
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.get_concurrency_info("twilio")


@contextlib.contextmanager
def kept_open(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Keep SQLite from cleaning up after every single event of a run; does nothing with another database.

    Every event costs two commits. Dagster closes its connection after each, and SQLite then writes its log back and
    syncs both files: a connection that is held beside halves the time of many events.
    """
    path_of = getattr(instance.event_log_storage, "path_for_shard", None)
    paths = [Path(path_of(shard)) for shard in ("index", run_id)] if path_of else []
    with contextlib.ExitStack() as stack:
        for path in paths:
            if path.exists():
                held = stack.enter_context(contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)))
                held.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the log too
        yield


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
            raise refusal(home, *OLDER) from error
        raise refusal(home, f"Dagster refuses {home / 'dagster.yaml'} ({_what_is_wrong(error)})", _CORRECT) from error


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
