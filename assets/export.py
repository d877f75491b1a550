"""The run that exports: add-on results and their payloads with contents, from one pass over Twilio.

Twilio lists add-on results only recording by recording, so all tables come out of one listing and are one
multi-asset. Its body gets objects from resources, calls `pipelines.export.export`, and says what has landed: once for
each partition in which rows have, and once for the run as a whole.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg

from assets.asking import STEP
from assets.exporting import admit, erase_due, pass_over
from assets.graph import PAYLOADS_SPEC, RESULTS_SPEC
from assets.resources import Twilio, Warehouse
from assets.runs.garbage import seldom_collected
from assets.runs.history import (
    ON_PARTITIONS,
    PARTITIONED,
    Outcome,
    cause,
    partitions_of,
    sign_of_life,
    tell,
    told_days,
)
from assets.runs.instance import kept_open
from assets.runs.interrupt import run_until_interrupted
from assets.runs.off import sentence_on
from assets.runs.pool import POOL, begin
from assets.runs.pulse import with_signs
from assets.runs.switched_off import notice
from assets.runs.turn import turn
from assets.runs.undisclosed import bare, undisclosed
from assets.runs.whose import claim
from pipelines.environment import trusted_writers
from pipelines.errors import ExportError, FixConfiguration
from pipelines.finished import Numbers, run_numbers
from pipelines.report import Progress
from pipelines.scope import Scope, no_longer_kept
from pipelines.settings import environment, look_back, settle_time, twilio_settings
from pipelines.shown_time import reading_time
from warehouse.memory import return_freed_memory
from warehouse.schema import ADD_ON_RESULTS, Table
from warehouse.store.archive import Archive


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """What one run exports, as its run config says.

    everything: contents of all results that Twilio still has, whatever day they completed on; otherwise only of
    the run's partitions. full: list recordings again that are settled, as a safety net.
    """

    everything: bool = False
    full: bool = False


@dg.multi_asset(
    name=STEP,
    specs=[RESULTS_SPEC, PAYLOADS_SPEC],
    backfill_policy=dg.BackfillPolicy.single_run(),
    can_subset=True,
    pool=POOL,
    # not a dg.Config: its values may name a variable of the environment, which is none of a run's business
    config_schema={
        "everything": dg.Field(bool, default_value=False, description="Whatever day results completed on."),
        "full": dg.Field(bool, default_value=False, description="List settled recordings again too."),
    },
)
def export_add_ons(
    context: dg.AssetExecutionContext,
    twilio: Twilio,
    warehouse: Warehouse,
    progress: dg.ResourceParam[Progress],
    let_in: dg.ResourceParam[str],
) -> Iterator[dg.MaterializeResult[None]]:
    """Export what Twilio has for the run's partitions, in one pass whatever their number."""
    with undisclosed():
        begin(context.instance, context.run.run_id)
        return_freed_memory()
        config = ExportConfig(**context.op_execution_context.op_config)
        try:
            days = _days(context)
        except FixConfiguration as error:
            raise _failure(progress, error) from None
        settle = settle_time(environment())
        scope = Scope(full=config.full, settle=settle)
        if not config.everything:
            scope = Scope(days[0], days[-1], full=config.full, settle=settle, look_back=look_back(environment()))
        try:
            context.instance.add_run_tags(context.run.run_id, _tags(context, config, warehouse))
            archive = warehouse.archive()
            not_ours = claim(context.instance, archive.root, trusted_writers(environment()))
            now = reading_time(archive, here=datetime.now(UTC))
            if (sentence := no_longer_kept(scope, now=now)) is not None:
                context.log.warning(sentence)
            by = f"run {context.run.run_id}"
            if off := notice(context.instance, archive, by=by, now=datetime.now(UTC)):
                context.log.warning(sentence_on(off))
        except ExportError as error:
            raise _failure(progress, error) from bare(error)
        try:
            with turn(archive, waits=context.log.info, sleep=time.sleep):
                told, failures = _work(
                    context, archive, twilio, warehouse, let_in, scope=scope, progress=progress, tells=not_ours is None
                )
        except ExportError as error:  # the lock cannot be made
            raise _failure(progress, error) from bare(error)
        if not_ours is not None:  # everything is landed by now, and that history must not show it
            failures.append(FixConfiguration(not_ours))
        for note in progress.notes:
            context.log.warning(note)
        if told is not None and not_ours is None:
            outcome, numbers = told
            with kept_open(context.instance, context.run.run_id):
                for table in PARTITIONED:
                    if dg.AssetKey(table.name) in context.selected_asset_keys:
                        _add_metadata(context, outcome, numbers, table, days)
                        yield dg.MaterializeResult(asset_key=table.name)
        if failures:
            raise _failure(progress, *failures) from bare(failures[0])


def _days(context: dg.AssetExecutionContext) -> list[date]:
    """The run's days.

    Raises:
        FixConfiguration: it was started for none, or for a range that is reversed or begins with no partition's day.
    """
    if not (context.has_partition_key or context.has_partition_key_range):
        raise FixConfiguration("The run was started for no day; start it with a partition or a range of them.")
    ends = [context.run.tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end")]
    try:
        first, last = (None if end is None else date.fromisoformat(end) for end in ends)
    except ValueError:
        raise FixConfiguration("The run was started for a range of days that are no dates like 2026-11-20.") from None
    if first is not None and last is not None and first > last:
        raise FixConfiguration(f"The run's first day {first} is after its last, {last}; start it with them swapped.")
    there_are = partitions_of(context)
    if first is not None and not there_are.has_partition_key(first.isoformat()):
        raise FixConfiguration(
            f"The run's first day {first} has no partition: those are from {there_are.get_first_partition_key()} to "
            f"{there_are.get_last_partition_key()}; EXPORT_START_DATE can be an earlier day."
        )
    return [date.fromisoformat(key) for key in context.partition_keys]


def _work(
    context: dg.AssetExecutionContext,
    archive: Archive,
    twilio: Twilio,
    warehouse: Warehouse,
    let_in: str,
    *,
    scope: Scope,
    progress: Progress,
    tells: bool,
) -> tuple[tuple[Outcome, Numbers] | None, list[ExportError]]:
    """What a run does while it has the turn: the outcome if all went well, and what did not."""
    told: tuple[Outcome, Numbers] | None = None
    failures: list[ExportError] = []
    try:
        admit(archive, let_in)
    except ExportError as error:
        return None, [error]
    try:
        told = _export_and_tell(context, archive, twilio, warehouse, scope=scope, progress=progress, tells=tells)
    except ExportError as error:
        failures.append(error)
    try:  # whatever Twilio said, and before anybody is told that all is well
        if (erased := erase_due(archive, warehouse.destination, progress)) is not None:
            context.log.info(erased)
    except ExportError as error:
        failures.append(error)
    return told, failures


def _export_and_tell(
    context: dg.AssetExecutionContext,
    archive: Archive,
    twilio: Twilio,
    warehouse: Warehouse,
    *,
    scope: Scope,
    progress: Progress,
    tells: bool,
) -> tuple[Outcome, Numbers]:
    """Export, and, if it `tells`, say of every day but the run's own what has landed.

    Raises:
        ExportError: not everything that was asked for is landed.
    """
    days = [date.fromisoformat(key) for key in context.partition_keys]
    before = archive.head()
    work = pass_over(
        archive,
        twilio.clients,
        destination=warehouse.destination,
        scope=scope,
        run_id=context.run.run_id,
        progress=progress,
    )
    with seldom_collected():
        report = run_until_interrupted(with_signs(work, lambda: sign_of_life(context, progress)))
    told = told_days(context.instance)
    outcome = Outcome.read(archive, before, days, scope, run_id=context.run.run_id, told=told)
    numbers = outcome.run(run_numbers(progress), seconds=report.seconds)
    if tells:
        tell(context, outcome, progress, numbers, own=set(days), told=told, incomplete=report.incomplete)
    report.verdict()
    return outcome, numbers


def _failure(progress: Progress, *errors: ExportError) -> dg.Failure:
    return dg.Failure(" ".join(map(str, errors)), metadata=run_numbers(progress), allow_retries=False)


def _add_metadata(
    context: dg.AssetExecutionContext, outcome: Outcome, numbers: Numbers, table: Table, days: list[date]
) -> None:
    """Each partition's own numbers, what there is to look at on the last one, and those of the run on the results."""
    for day in days:
        metadata: dict[str, object] = dict(outcome.partition(table, day))
        if table is ADD_ON_RESULTS:
            metadata |= outcome.pictures() if day == days[-1] else {}
            metadata |= {name: numbers[name] for name in ON_PARTITIONS if name in numbers}
        context.add_asset_metadata(metadata, asset_key=table.name, partition_key=day.isoformat())


def _tags(context: dg.AssetExecutionContext, config: ExportConfig, warehouse: Warehouse) -> dict[str, str]:
    """What a list of runs can be searched by."""
    return {
        "addon_export/account": twilio_settings(environment()).account_sid,
        "addon_export/cause": cause(context.run.tags),
        "addon_export/destination": warehouse.destination,
        "addon_export/scope": "full" if config.full else "everything" if config.everything else "range",
    }
