"""The assets: recordings, their add-on results and the payloads with contents, from one pass over Twilio.

Twilio lists add-on results only recording by recording, so the three tables come out of one listing and are one
multi-asset. Its body gets objects from resources, calls `pipelines.export.export`, and returns metadata.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from assets.garbage import seldom_collected
from assets.interrupt import run_until_interrupted
from assets.partitions import DAILY
from assets.resources import Twilio, Warehouse
from pipelines.discover import Scope, no_longer_kept
from pipelines.errors import ExportError
from pipelines.export import ExportReport, Progress, export
from pipelines.settings import environment, look_back, settle_time
from warehouse.archive import Archive, partition_day
from warehouse.commits import Commit
from warehouse.landed import rows_by_day
from warehouse.memory import return_freed_memory
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, RECORDINGS, Table, sql_type

OWNERS = ["team:data-engineering"]


class ExportConfig(dg.Config):
    """What one run exports.

    everything: contents of all results that Twilio still has, whatever day they completed on; otherwise only of
    the run's partitions. full: list recordings again that are settled, as a safety net.
    """

    everything: bool = False
    full: bool = False


def _spec(table: Table, upstream: list[str], description: str) -> dg.AssetSpec:
    columns = [
        dg.TableColumn(name=c.name, type=sql_type(c), description=c.description)
        for c in table.columns
        if c.name not in table.internal
    ]
    return dg.AssetSpec(
        table.name,
        deps=upstream,
        description=description,
        group_name="twilio_add_ons",
        owners=OWNERS,
        kinds={"twilio", "arrow", "duckdb"},
        metadata={"dagster/column_schema": dg.TableSchema(columns=columns), "dagster/table_name": table.name},
        partitions_def=DAILY,
    )


@dg.multi_asset(
    name="export_add_ons",
    specs=[
        _spec(RECORDINGS, [], f"{RECORDINGS.description} Listed whatever the partition, oldest deadline first."),
        _spec(ADD_ON_RESULTS, [RECORDINGS.name], f"{ADD_ON_RESULTS.description} Partitioned by `date_completed`."),
        _spec(
            ADD_ON_PAYLOADS,
            [ADD_ON_RESULTS.name],
            f"{ADD_ON_PAYLOADS.description} Materialised once the contents are landed too.",
        ),
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    can_subset=True,
)
def export_add_ons(
    context: dg.AssetExecutionContext,
    config: ExportConfig,
    twilio: Twilio,
    warehouse: Warehouse,
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.MaterializeResult[None]]:
    """Export what Twilio has for the run's partitions, in one pass whatever their number."""
    return_freed_memory()
    days = [date.fromisoformat(key) for key in context.partition_keys]
    settle = settle_time(environment())
    scope = Scope(full=config.full, settle=settle)
    if not config.everything:
        scope = Scope(days[0], days[-1], full=config.full, settle=settle, look_back=look_back(environment()))
    if (sentence := no_longer_kept(scope, now=datetime.now(UTC))) is not None:
        context.log.warning(sentence)
    try:
        archive = warehouse.archive()
        before = archive.head()
        work = _export(context.run.run_id, archive, twilio, warehouse, scope=scope, progress=progress)
        with seldom_collected():
            report = run_until_interrupted(work)
        report.verdict()
    except ExportError as error:
        raise dg.Failure(str(error), metadata=_numbers(progress), allow_retries=False) from error
    after = archive.head()
    for table in (RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS):  # Dagster wants them in the order of their lineage
        name = table.name
        if dg.AssetKey(name) not in context.selected_asset_keys:
            continue
        counts = rows_by_day(after, table)
        for day in days:
            metadata = {"dagster/partition_row_count": counts.get(day, 0)}
            context.add_asset_metadata(metadata, asset_key=name, partition_key=day.isoformat())
        for day in _touched(before, after, table) - set(days):
            if DAILY.has_partition_key(day.isoformat()):
                context.log_event(
                    dg.AssetMaterialization(
                        name,
                        partition=day.isoformat(),
                        metadata={"dagster/partition_row_count": counts.get(day, 0)},
                    )
                )
        yield dg.MaterializeResult(
            asset_key=name, metadata={**_numbers(progress), "seconds": round(report.seconds, 2), "commit": after.number}
        )


async def _export(
    run_id: str, archive: Archive, twilio: Twilio, warehouse: Warehouse, *, scope: Scope, progress: Progress
) -> ExportReport:
    async with twilio.clients() as clients:
        return await export(
            clients,
            archive,
            destination=warehouse.destination,
            scope=scope,
            run_id=run_id,
            clock=lambda: datetime.now(UTC),
            workers=twilio.workers,
            progress=progress,
        )


def _numbers(progress: Progress) -> Mapping[str, int]:
    """The run's numbers, which plot over time."""
    traffic = progress.traffic()
    return {
        "recordings_listed": progress.extraction.recordings,
        "recordings_settled": progress.discovery.settled,
        "results_new": progress.landed.get(ADD_ON_RESULTS.name, 0),
        "results_changed": progress.changed.get(ADD_ON_RESULTS.name, 0),
        "results_unfinished": progress.extraction.unfinished,
        "contents_new": progress.landed.get("contents", 0),
        "content_bytes": progress.extraction.content_bytes,
        "requests": traffic.requests,
        "requests_refused_429": traffic.refused,
        "requests_retried": traffic.retried,
    }


def _touched(before: Commit, after: Commit, table: Table) -> set[date]:
    """Days of a table whose files differ between two commits."""
    old, new = before.tables[table.name], after.tables[table.name]
    changed = [file for files, other in ((old, new), (new, old)) for path, file in files.items() if path not in other]
    return {day for file in changed if (day := partition_day(file)) is not None}


export_job = dg.define_asset_job(
    "export",
    selection=[RECORDINGS.name, ADD_ON_RESULTS.name, ADD_ON_PAYLOADS.name],
    description="Export add-on results and contents before Twilio deletes them.",
)


def everything(*, full: bool = False) -> dg.RunConfig:
    """Run config of an export that is not limited to its partitions."""
    return dg.RunConfig(ops={"export_add_ons": ExportConfig(everything=True, full=full)})


@dg.schedule(job=export_job, cron_schedule="0 * * * *", execution_timezone="UTC")
def hourly_export(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Everything that can still be had and is not landed; named after yesterday's and today's partitions."""
    today = context.scheduled_execution_time.astimezone(UTC).date()
    return dg.RunRequest(
        run_key=context.scheduled_execution_time.isoformat(),
        tags=partition_tags(today - timedelta(days=1), today),
        run_config=everything(),
    )


@dg.schedule(job=export_job, cron_schedule="30 3 * * *", execution_timezone="UTC")
def daily_sweep(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """As `hourly_export`, but settled recordings are listed again too: a safety net for what comes late."""
    today = context.scheduled_execution_time.astimezone(UTC).date()
    return dg.RunRequest(
        run_key=f"sweep {context.scheduled_execution_time.isoformat()}",
        tags=partition_tags(today - timedelta(days=1), today),
        run_config=everything(full=True),
    )


def partition_tags(first: date, last: date) -> dict[str, str]:
    """Run tags that make one run of the partitions from `first` to `last`."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }
