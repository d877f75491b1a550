"""One export in this process, without Dagster, with progress on a terminal.

It goes the way that a run in Dagster goes (`assets.exporting`), under the same lock, and ends with the checks that a
run ends with. Dagster's history learns of it from the archive: see `assets.runs.landed`.
"""

import contextlib
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from assets.cli.asked import Asked, numbers, say_all
from assets.clients import open_clients
from assets.exporting import admit, check_landed, erase_due, pass_over
from assets.progress_line import progress_line
from assets.runs.garbage import seldom_collected
from assets.runs.home import dagster_home, history_folder, home_errors, trusted_home
from assets.runs.interrupt import run_until_interrupted
from assets.runs.off import read_off, sentence_on, write_down
from assets.runs.turn import Patience, turn
from assets.terminal import say
from pipelines.errors import ExportError, FixConfiguration, Untrusted
from pipelines.report import Progress
from pipelines.shown_time import reading_time
from warehouse.memory import return_freed_memory
from warehouse.store.archive import Archive


def export_here(asked: Asked, *, wait: bool = True) -> Progress:
    """Export what is asked for.

    With `wait` it waits for another process that asks Twilio for the same root; else, or if one of the same waits
    already, it leaves.

    Raises:
        ExportError: not everything is landed and whole; what was landed before stays.
    """
    progress = Progress()
    with (
        _telling_what_is_off(asked.archive),
        turn(asked.archive, waits=say, sleep=time.sleep, patience=Patience(wait, asked.kind)),
        progress_line("recordings", lambda: numbers(progress)),
    ):
        try:
            _export(asked, progress)
        finally:
            say_all(progress.notes)
    return progress


def _export(asked: Asked, progress: Progress) -> None:
    return_freed_memory()
    archive, destination = asked.archive, asked.target.destination
    admit(archive, asked.let_in)
    failures: list[ExportError] = []
    run = pass_over(
        archive,
        open_clients,
        destination=destination,
        scope=asked.scope,
        run_id=str(uuid.uuid4()),
        progress=progress,
    )
    try:
        with seldom_collected():
            run_until_interrupted(run).verdict()
    except ExportError as error:
        failures.append(error)
    try:  # whatever Twilio said, and before anybody is told that all is well
        erase_due(archive, destination, progress)
    except ExportError as error:
        failures.append(error)
    if failures:
        raise failures[0]
    check_landed(archive, now=reading_time(archive, here=datetime.now(UTC)))


@contextlib.contextmanager
def _telling_what_is_off(archive: Archive) -> Iterator[None]:
    """Say after the work what should run by itself and does not, as it was before it."""
    off = _off(archive.root)
    write_down(off, archive, by="addon-export export", now=datetime.now(UTC))
    try:
        yield
    finally:
        if off:
            say(sentence_on(off))


def _off(root: Path) -> list[str]:
    """What is off where Dagster has a history of this root; one that cannot be read is said, and stops nothing."""
    if (home := history_folder(root)) is None:
        return []
    try:
        trusted_home(home)
        if (off := read_off(home)) is not None:
            return off
        from assets.runs.switched_off import switched_off_in  # Dagster takes longer to import than all else here

        with home_errors():
            return switched_off_in(dagster_home(root))
    except (FixConfiguration, Untrusted) as error:
        say(str(error))
        return []
