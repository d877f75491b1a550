"""The days that landed without Dagster, told to its history: exports of the command line, of another host, retries.

The archive itself keeps which exports came to their end (`pipelines.finished`). Those that a run of this history was
have told their days themselves; of every other one the days that it landed are told here, with the same numbers, by the
same rules. What a process that was killed has landed is told with the next export that ends.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from assets.partitions import partitions
from assets.runs.history import PARTITIONED, Outcome, materialisations, told_days
from pipelines.finished import Finished, finished
from pipelines.scope import Scope
from pipelines.settings import environment, settle_time
from warehouse.errors import WarehouseError
from warehouse.states import RETENTION
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.store.commit import EMPTY, Commit


@dataclass(frozen=True, slots=True)
class News:
    """What there is to tell, and up to which export it is told then; None when that is not known."""

    events: Sequence[dg.AssetMaterialization]
    upto: int | None


def news(instance: dg.DagsterInstance, archive: Archive, cursor: str | None) -> News:
    """The materialisations of the next export that nobody has told, if there is one.

    Raises:
        WarehouseError: the archive cannot be read.
    """
    kept = finished(archive.root)
    upto = seen(cursor, kept)
    for each in kept:
        if upto is not None and each.number <= upto:
            continue
        run = instance.get_run_by_id(each.run_id)
        if run is not None and not run.is_finished:
            break  # it tells its days itself, in a moment
        upto = each.number
        if run is None or not _has_told(instance, run.run_id):
            return News(_events(instance, archive, each), upto)
    return News((), upto)


def seen(cursor: str | None, kept: Sequence[Finished]) -> int | None:
    """The newest export that a cursor says is told.

    Whoever gets into the UI may set a cursor, and a marker that was repaired counts from the start: one that is ahead
    is not believed.
    """
    try:
        upto = int(json.loads(cursor or "")["finished"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return upto if kept and upto <= kept[-1].number else None


def cursor_at(upto: int | None) -> str | None:
    """The cursor that says so."""
    return None if upto is None else json.dumps({"finished": upto})


def _has_told(instance: dg.DagsterInstance, run_id: str) -> bool:
    return bool(instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION))


def _events(instance: dg.DagsterInstance, archive: Archive, each: Finished) -> list[dg.AssetMaterialization]:
    own = _asked(each)
    told = told_days(instance)
    everything = each.lists and each.first is None
    scope = Scope(None if everything else min(own, default=date.min), settle=settle_time(environment()))
    outcome = Outcome.read(archive, _before(archive, each), sorted(own), scope, run_id=each.run_id, told=told)
    days = {}
    for table in PARTITIONED:
        whole = outcome.whole(table, own=own, told=told[table.name], incomplete=each.incomplete)
        days[table.name] = whole | (set() if each.incomplete else {day for day in own if _is_known(outcome, day)})
    numbers = outcome.run(each.numbers, seconds=each.seconds)
    return list(materialisations(outcome, numbers, days, partitions(here=datetime.now(UTC), asked=each.first)))


def _asked(each: Finished) -> set[date]:
    """The days that an export was asked for; none of one of everything."""
    if each.first is None or each.last is None:
        return set()
    return {each.first + timedelta(days=n) for n in range((each.last - each.first).days + 1)}


def _is_known(outcome: Outcome, day: date) -> bool:
    """Whether that nothing is landed of a day says that there was nothing: Twilio still had it."""
    return bool(outcome.by_day.of(day).results) or day >= (outcome.now - RETENTION).date()


def _before(archive: Archive, each: Finished) -> Commit:
    """The commit that an export began with; where it is gone, the newest: what has changed is known by its run too."""
    if not each.before:
        return EMPTY
    try:
        return commits.load(archive.root, each.before)
    except (WarehouseError, OSError):
        return archive.head()
