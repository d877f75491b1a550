"""What should run by itself and does not: schedules and sensors that somebody stopped, a pool without places.

Whoever gets into Dagster's UI can switch them off, and then nothing of them would say so. Each export, `status`, each
tick of `abandoned_runs` and of the alerts on deadlines looks for it. Exports and `abandoned_runs` write it into the
archive's marker, which the UI cannot reach: what, when it was noticed, by which run or tick, and when it was on again.
"""

from datetime import datetime
from pathlib import Path

import dagster as dg

from assets.runs.instance import opened
from assets.runs.off import off_among, write_down
from assets.runs.pool import pool_is_shut
from warehouse.store.archive import Archive


def switched_off(instance: dg.DagsterInstance) -> list[str]:
    """What is off now, by kind and name."""
    states = instance.all_instigator_state() if instance.schedule_storage else ()
    stopped = [(each.instigator_type.value.lower(), each.instigator_name) for each in states if not each.is_running]
    return off_among(stopped, shut=pool_is_shut(instance))


def switched_off_in(home: Path) -> list[str]:
    """The same, of the history in a folder."""
    with opened(home) as instance:
        return switched_off(instance)


def notice(instance: dg.DagsterInstance, archive: Archive, *, by: str, now: datetime) -> list[str]:
    """What is off now, after it was written down if that is news; raises as `write_down`."""
    off = switched_off(instance)
    write_down(off, archive, by=by, now=now)
    return off
