"""Conclude an export: join small files, publish, collect what is superseded, and read back what was landed.

Publishing and reading back hold more memory than extracting does. After a large export they are done in a process
of their own, so that neither holds the other's: measured on 2,000 recordings with 421 MB of contents, one process
peaked at 420-445 MB. A small export does them where it is, which is quicker.
"""

import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context

from pipelines.verify import Mismatch, verify_since
from warehouse import commits
from warehouse.archive import Archive
from warehouse.commits import Commit
from warehouse.compact import compact
from warehouse.memory import return_freed_memory
from warehouse.publish import Destination, publish
from warehouse.schema import ADD_ON_RESULTS, CONTENTS

GRACE = timedelta(hours=24)
"""How long superseded files stay for readers that hold them."""

LARGE_BYTES = 64 << 20
"""New contents (bytes as stored) from which a process of its own is worth its second of start-up."""

MANY_ROWS = 20_000
"""The same for new results."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The commit that is published, and what of this export does not read back as received."""

    commit: int
    mismatches: tuple[Mismatch, ...]


def conclude(archive: Archive, destination: Destination, *, since: int, now: datetime, run_id: str) -> Conclusion:
    """Tidy, publish and verify what was landed after commit `since`.

    Raises:
        WarehouseError: the archive cannot be written or read.
    """
    before = commits.load(archive.root, since) if since else commits.EMPTY
    head, contents = archive.head(), before.tables[CONTENTS.name]
    new = [file.bytes for path, file in head.tables[CONTENTS.name].items() if path not in contents]
    results = head.rows(ADD_ON_RESULTS.name) - before.rows(ADD_ON_RESULTS.name)
    if sum(new) < LARGE_BYTES and results < MANY_ROWS:
        return _conclude(archive, destination, before, now, run_id)
    return_freed_memory()
    # "spawn": a fork would take the export's memory along, and its threads' locks
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_let_the_parent_decide) as pool:
        return pool.submit(_conclude, archive, destination, before, now, run_id).result()


def _let_the_parent_decide() -> None:
    """Ctrl-C reaches every process of the terminal; publishing is finished, then the parent stops."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _conclude(archive: Archive, destination: Destination, before: Commit, now: datetime, run_id: str) -> Conclusion:
    return_freed_memory()
    compact(archive, now=now, run_id=run_id)
    shown = publish(archive, destination, now=now)
    archive.collect(now=now, grace=GRACE)
    return Conclusion(shown.commit, verify_since(archive, before))
