"""When exports run by themselves: every hour what is new, once a day everything.

Running by default: who has given credentials wants to lose nothing, and without credentials every tick is skipped with
the reason. Deletion has a schedule only if the environment configures one; see `deleted`.
"""

from datetime import UTC, date, timedelta

import dagster as dg

from assets.export import everything, export_job, partition_tags
from pipelines.errors import FixConfiguration
from pipelines.settings import environment, twilio_settings


def unable() -> str | None:
    """Why Twilio cannot be asked; None when it can."""
    try:
        twilio_settings(environment())
    except FixConfiguration as error:
        return str(error)
    return None


def is_queued(instance: dg.DagsterInstance, tag: str, value: str, config: dg.RunConfig) -> bool:
    """Whether a run with this tag has not begun yet and will do what `config` says: one more would do it again.

    Whoever launches a run may give it any tag; what it will do is in its config.
    """
    waiting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], tags={tag: value}, job_name=export_job.name)
    return any(run.run_config.get("ops") == config.ops for run in instance.get_runs(waiting, limit=100))


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
