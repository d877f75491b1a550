"""The asset checks: `pipelines.monitoring.checks` as Dagster shows them, each failed one with a table of what and why.

All of them are one step over one reading of the archive, and none asks Twilio. A check that cannot read is a failed
check. Those that block guard deletion: in a run that would delete too, nothing is deleted once one of them has failed.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (  # in no public module
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
)

from assets.runs.instance import kept_open
from assets.runs.undisclosed import undisclosed
from pipelines.errors import ExportError
from pipelines.monitoring import checks
from pipelines.opening import with_key
from pipelines.settings import environment, settle_time, warehouse_settings, windows
from pipelines.shown_time import reading_time
from warehouse.errors import WarehouseError
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, RECORDINGS, Table
from warehouse.store.archive import Archive
from warehouse.store.files import ACCESS
from warehouse.store.lock import shared

ROWS = 50
"""Rows of the table of a failed check; its numbers count all."""


def open_reading(*, now: datetime, resume: str = "") -> checks.Reading:
    """The archive in EXPORT_ROOT as it is; nothing is made there if there is none.

    Raises:
        FixConfiguration: a setting cannot be used.
    """
    env = environment()
    warehouse = warehouse_settings(env)
    root = Path(os.path.abspath(warehouse.root))  # noqa: PTH100  # as open_archive does
    archive = with_key(Archive(root, ACCESS["none"]), warehouse)
    with contextlib.suppress(WarehouseError):  # `deadlines` says so; the clock here will do
        now = reading_time(archive, here=now)
    return checks.Reading(archive, now, settle_time(env), windows(env), resume)


def _spec(table: Table, name: str, description: str, *, blocking: bool = False) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(name, asset=table.name, description=description, blocking=blocking)


CHECKS: Mapping[dg.AssetCheckKey, tuple[dg.AssetCheckSpec, Callable[[checks.Reading], checks.Verdict]]] = {
    spec.key: (spec, check)
    for spec, check in (
        (
            _spec(ADD_ON_RESULTS, "unique_sids", "Each recording and result is landed once. Blocks.", blocking=True),
            checks.unique(RECORDINGS, ADD_ON_RESULTS),
        ),
        (
            _spec(ADD_ON_PAYLOADS, "unique_sids", "Each payload is landed once. Blocks.", blocking=True),
            checks.unique(ADD_ON_PAYLOADS),
        ),
        (
            _spec(ADD_ON_PAYLOADS, "have_result", "Each payload's result is landed too. Blocks.", blocking=True),
            checks.have_result,
        ),
        (
            _spec(
                ADD_ON_PAYLOADS,
                "contents_match",
                "Files and contents still have the SHA-256 they were landed with: about 32 MB for each run, the next "
                "run goes on from there. Blocks.",
                blocking=True,
            ),
            checks.contents_match,
        ),
        (_spec(ADD_ON_RESULTS, "quarantine_empty", "Nothing had to be put into quarantine."), checks.quarantine_empty),
        (_spec(ADD_ON_RESULTS, "statuses_known", "Twilio uses only statuses that are known."), checks.statuses_known),
        (
            _spec(
                ADD_ON_RESULTS,
                "days_complete",
                "Every day that is over holds all results that completed on it, and none can still come.",
            ),
            checks.days_complete,
        ),
        (
            _spec(
                ADD_ON_RESULTS,
                "before_deadline",
                "Nothing that is not exported is close to its deadline: a warning at 7 days, an error at 3.",
            ),
            checks.before_deadline,
        ),
        (_spec(ADD_ON_RESULTS, "nothing_lost", "Nothing expired before it was exported."), checks.nothing_lost),
    )
}


def evaluate(reading: checks.Reading, keys: Sequence[dg.AssetCheckKey]) -> list[dg.AssetCheckResult]:
    """The results of some checks over one reading."""
    with shared(reading.archive.root):
        return [_result(key, _verdict(reading, key)) for key in keys]


def _verdict(reading: checks.Reading, key: dg.AssetCheckKey) -> checks.Verdict:
    try:
        return CHECKS[key][1](reading)
    except ExportError as error:
        return checks.Verdict([{"reason": str(error)}], "The warehouse cannot be read.")


def _result(key: dg.AssetCheckKey, verdict: checks.Verdict) -> dg.AssetCheckResult:
    metadata: dict[str, dg.MetadataValue | checks.Number] = dict(verdict.numbers)
    if verdict.rows:
        records = [dg.TableRecord(dict(row)) for row in islice(verdict.rows, ROWS)]
        metadata["found"] = dg.MetadataValue.table(records, schema=_columns(verdict.rows))
        metadata["rows_found"] = len(verdict.rows)
    return dg.AssetCheckResult(
        passed=not verdict.rows,
        asset_key=key.asset_key,
        check_name=key.name,
        severity=dg.AssetCheckSeverity[verdict.severity],
        description=verdict.sentence if verdict.rows else None,
        metadata=metadata,
    )


def _columns(rows: Sequence[checks.Row]) -> dg.TableSchema:
    """Column names and types by hand: Dagster reads them from the first row, which may hold a null."""
    kinds = {int: "int", float: "float"}
    types = dict.fromkeys(rows[0], "string")
    types |= {name: kinds[type(value)] for row in rows for name, value in row.items() if type(value) in kinds}
    return dg.TableSchema([dg.TableColumn(name, kind) for name, kind in types.items()])


@dg.multi_asset_check(name="check_add_ons", specs=[spec for spec, _ in CHECKS.values()], can_subset=True)
def check_add_ons(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the selected checks over one reading of the archive."""
    selected = [key for key in CHECKS if key in context.selected_asset_check_keys]
    resume = resume_from(context.instance)
    with undisclosed(), kept_open(context.instance, context.run.run_id):
        yield from evaluate(open_reading(now=datetime.now(UTC), resume=resume), selected)


def last_evaluated(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> AssetCheckExecutionRecord | None:
    """The last evaluation that came to a result; that of a run that died never did."""
    done = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    return next(iter(instance.event_log_storage.get_asset_check_execution_history(key, limit=1, status=done)), None)


def resume_from(instance: dg.DagsterInstance) -> str:
    """The path up to which files were read back last; empty when that is not known, which only means to start over."""
    record = last_evaluated(instance, dg.AssetCheckKey(dg.AssetKey(ADD_ON_PAYLOADS.name), "contents_match"))
    evaluation = None if record is None else record.evaluation
    value = None if evaluation is None else evaluation.metadata.get(checks.RESUME)
    return str(value.value) if value is not None else ""
