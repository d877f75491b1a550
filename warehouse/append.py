"""Append steps to the ledger of deletions, decided on its newest state, in one commit with what they mean."""

from collections.abc import Callable, Iterable
from datetime import datetime

import pyarrow as pa

from warehouse.land import Batch, Load, land
from warehouse.ledger import GONE, Ledger, Step, chained, read_ledger
from warehouse.schema import ADD_ON_RESULTS, DELETIONS
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.commit import Commit


def append(archive: Archive, decide: Callable[[Ledger], Iterable[Step]], *, run_id: str, now: datetime) -> Load:
    """Append the steps that `decide` takes on the newest ledger; on return they are durable.

    `decide` is asked again when another process has committed first; what it raises is raised, and nothing is written.
    A step that means "deleted" sets the result's `deleted_at` in the same commit.
    """

    def build(head: Commit) -> Batch:
        ledger = read_ledger(Snapshot(archive, head))
        taken = tuple(decide(ledger))
        gone = {step.add_on_result_sid: step.at for step in taken if step.step in GONE}
        results = [{"sid": sid, "deleted_at": at} for sid, at in gone.items()]
        return {
            DELETIONS.name: pa.Table.from_pylist(chained(ledger, taken), schema=DELETIONS.schema),
            ADD_ON_RESULTS.name: pa.Table.from_pylist(results, schema=ADD_ON_RESULTS.schema),
        }

    return land(archive, build, run_id=run_id, now=now)
