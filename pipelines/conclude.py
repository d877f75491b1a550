"""Conclude an export: derive again what other shapes made, join small files, publish, collect, and read back.

Publishing and reading back hold more memory than extracting does. After a large export they are done in a process
of their own, so that neither holds the other's: measured on 2,000 recordings with 421 MB of contents, one process
peaked at 420-445 MB. A small export does them where it is, which is quicker.
"""

import contextlib
import math
import signal
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import cast

from warehouse import known
from warehouse.errors import CommitRace, FixWarehouse, RepairWarehouse
from warehouse.memory import return_freed_memory
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_RESULTS, CONTENTS
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.store.collect import collect
from warehouse.store.commit import EMPTY, Commit
from warehouse.store.names import PUBLISHED, Destination
from warehouse.upkeep.compact import compact
from warehouse.upkeep.derive import derive_again
from warehouse.upkeep.verify import Mismatch, verify_since

GRACE = timedelta(hours=24)
"""How long superseded files stay for readers that hold them."""

LARGE_BYTES = 64 << 20
"""New contents (bytes as stored) from which a process of its own is worth its second of start-up."""

MANY_ROWS = 20_000
"""The same for new results."""

LEAST_SECONDS, BYTES_A_SECOND = 600.0, 1 << 20
"""A process that concludes is hung when it takes longer than this, and than what is landed at this pace: a slow disk
is a hundred times as quick."""

ENDING_SECONDS = 10.0
"""How long it may take to end once it has answered."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The commit that is published, and what of this export does not read back as received."""

    commit: int
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True)
class _Task:
    """What is concluded, as a process of its own is told it."""

    archive: Archive
    destination: Destination
    before: Commit
    now: datetime
    trusted: datetime | None
    run_id: str


def conclude(
    archive: Archive, destination: Destination, *, since: int, now: datetime, trusted: datetime | None, run_id: str
) -> Conclusion:
    """Tidy, publish and verify what was landed after commit `since`.

    Superseded files are collected by the `trusted` time (see `warehouse.clock`); without one they stay.

    Raises:
        WarehouseError: the archive cannot be written or read.
    """
    before = _commit(archive, since)
    head, contents = archive.head(), before.tables[CONTENTS.name]
    new = [file.bytes for path, file in head.tables[CONTENTS.name].items() if path not in contents]
    results = head.rows(ADD_ON_RESULTS.name) - before.rows(ADD_ON_RESULTS.name)
    task = _Task(archive, destination, before, now, trusted, run_id)
    if sum(new) < LARGE_BYTES and results < MANY_ROWS:
        return _conclude(task)
    return_freed_memory()
    return _elsewhere(task)


def _commit(archive: Archive, number: int) -> Commit:
    """A commit, or EMPTY where it is collected already: then everything is read back."""
    try:
        return commits.load(archive.root, number) if number else EMPTY
    except FileNotFoundError:
        return EMPTY


def _elsewhere(task: _Task) -> Conclusion:
    """Conclude in a process of its own, which ends by itself also when this one is killed."""
    # "spawn": a fork would take the export's memory along, and its threads' locks
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with ours:
        process = context.Process(target=_report, args=(theirs, task))
        process.start()
        theirs.close()
        try:
            found = ours.recv() if _answers(ours, within=_seconds_for(task.archive)) else _hung()
        except EOFError as error:
            raise FixWarehouse(
                f"The process that publishes {PUBLISHED} was killed, perhaps for want of memory; what was exported is "
                "landed. Run `addon-export rebuild`, or export again."
            ) from error
        finally:
            process.join(ENDING_SECONDS)
            process.kill()
            process.join()
    if isinstance(found, Exception):
        raise found
    return cast("Conclusion", found)


def _seconds_for(archive: Archive) -> float:
    """How long concluding may take before it counts as hung: by what there is to be read and written."""
    held = sum(file.bytes for file in archive.head().files())
    return LEAST_SECONDS + held / BYTES_A_SECOND


def _answers(ours: Connection, *, within: float) -> bool:
    """Wait until there is something to be received, or the time is over; time while we are stopped does not count."""
    return any(ours.poll(min(1.0, within)) for _ in range(max(1, math.ceil(within))))


def _hung() -> FixWarehouse:
    return FixWarehouse(
        f"The process that publishes {PUBLISHED} does not answer, so it was ended; what was exported is landed. See "
        "whether the disk of EXPORT_ROOT hangs, and run `addon-export rebuild`, or export again."
    )


def _report(talk: Connection, task: _Task) -> None:
    """Conclude, and send what came of it, or the error that it raised."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach every process of a terminal or service; the parent decides
    warnings.simplefilter("ignore")  # PYTHONWARNINGS=error is handed on, and would make errors of them
    try:
        found: Conclusion | Exception = _conclude(task)
    except Exception as error:  # whatever it is, the parent raises it
        found = error
    with contextlib.suppress(BrokenPipeError):  # the parent was killed
        talk.send(found)


def _conclude(task: _Task) -> Conclusion:
    return_freed_memory()
    archive = task.archive
    try:
        with contextlib.suppress(CommitRace):  # whoever was first does it at its end
            derive_again(archive, now=task.now, run_id=task.run_id)
        compact(archive, now=task.now, run_id=task.run_id)
    except RepairWarehouse:
        # what is landed is shown, whatever is the matter with older files
        publish(archive, task.destination, now=task.now)
        raise
    shown, unshown = None, None
    try:
        shown = publish(archive, task.destination, now=task.now)
    except FixWarehouse as error:  # what is landed is collected and verified all the same
        unshown = error
    if task.trusted is not None:
        collect(archive, now=task.trusted, grace=GRACE)
    known.keep(archive.newest())
    mismatches = verify_since(archive, task.before)
    if unshown is not None and not mismatches:
        raise unshown
    return Conclusion(archive.head().number if shown is None else shown.commit, mismatches)
