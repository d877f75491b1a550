"""When exports run by themselves: every hour what is new, once a day everything.

Running by default: who has given credentials wants to lose nothing, and without credentials every tick is skipped with
the reason. Deletion has a schedule only if the environment configures one; see `deleted`.
"""

from datetime import UTC, date, timedelta

import dagster as dg

from assets.asking import everything, export_job, is_queued, partition_tags, unable


def _request(context: dg.ScheduleEvaluationContext, name: str, *, full: bool) -> dg.RunRequest | dg.SkipReason:
    if (reason := unable()) is not None:
        return dg.SkipReason(reason)
    if is_queued(context.instance, "dagster/schedule_name", name, everything(full=full)):
        return dg.SkipReason("The run of an earlier tick waits in the queue and will do this one's work.")
    today = _day(context)
    return dg.RunRequest(
        run_key=f"{name} {context.scheduled_execution_time.isoformat()}",
        tags=partition_tags(today - timedelta(days=1), today),
        run_config=everything(full=full),
    )


def _day(context: dg.ScheduleEvaluationContext) -> date:
    return context.scheduled_execution_time.astimezone(UTC).date()


@dg.schedule(
    job=export_job,
    cron_schedule="0 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def hourly_export(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Everything that can still be had and is not landed; named after yesterday's and today's partitions."""
    return _request(context, "hourly_export", full=False)


@dg.schedule(
    job=export_job,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def daily_sweep(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """As `hourly_export`, but settled recordings are listed again too: a safety net for what comes late."""
    return _request(context, "daily_sweep", full=True)
