"""Deletion at Twilio in Dagster: the job `delete`, and the asset `deleted_add_on_results` that shows what it did.

Nothing in the web UI alone can delete. A run needs the id of a plan and its confirmed hash: the plan lies in a private
folder, sealed by who may delete. A run without a plan deletes only if the schedule itself made it, which exists by the
environment alone; tags and run config can be forged, so the schedule's tick is asked. The asset is external, so that no
"Materialize all" and no backfill can mean it by the way.
"""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.graph import DELETION_GROUP, DELETIONS, OWNERS, PARTITIONS
from assets.plan_folder import kept_plan
from assets.plans import carry_out, confirmed_plan, limits, make_plan
from assets.runs.home import dagster_home
from assets.runs.pool import POOL, begin
from assets.runs.turn import turn
from assets.runs.undisclosed import bare, undisclosed
from assets.runs.whose import claim
from pipelines.delete.apply import DeleteReport
from pipelines.delete.plan import DeletePlan
from pipelines.environment import trusted_writers
from pipelines.errors import ExportError, FixConfiguration
from pipelines.opening import to_read, to_write
from pipelines.settings import DeleteSchedule, delete_schedule, delete_settings, environment, warehouse_settings
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS

SCHEDULE = "scheduled_delete"

LOOK_BACK = timedelta(days=40)
"""How far back a scheduled deletion looks: Twilio holds nothing older."""

TICK_SECONDS = 60.0
"""How long a run waits for the tick that made it: Dagster writes down a tick's runs when it has started all of them."""

DELETED = dg.AssetSpec(
    DELETIONS,
    deps=[ADD_ON_RESULTS.name, ADD_ON_PAYLOADS.name],
    description="Add-on results deleted at Twilio, on request and only after proof that the copy here is "
    "whole. What is landed stays.\n\n**Off by default**: only runs of the job `delete` report it. They need a plan and "
    "its confirmed hash, which only `addon-export delete plan` prints.\n\n" + PARTITIONS,
    group_name=DELETION_GROUP,
    owners=OWNERS,
    kinds={"twilio"},
)
"""What the graph shows of deletions. Nobody can materialise it."""


@dg.op(
    name="delete_add_on_results",
    pool=POOL,
    # not a dg.Config: its strings may name a variable of the environment, whose value a run must not get hold of
    config_schema={
        "plan": dg.Field(str, is_required=False, description="Id of a plan, as `addon-export delete plan` printed it."),
        "confirm": dg.Field(str, is_required=False, description="The hash that it printed for the plan."),
    },
)
def delete_add_on_results(context: dg.OpExecutionContext) -> None:
    """Carry out the confirmed plan of the run config, or what the schedule is allowed; without either, refuse."""
    with undisclosed():
        begin(context.instance, context.run_id)
        report = DeleteReport()
        try:
            delete_settings(environment())
            plan = _plan(context)
            to_read(warehouse_settings(environment()))  # nothing is made where nothing was exported
            archive = to_write(warehouse_settings(environment()))
            with turn(archive, waits=context.log.info, sleep=time.sleep):
                carry_out(plan, report=report, run_id=context.run_id)
        except ExportError as error:
            raise dg.Failure(str(error), metadata=dict(report.as_json()), allow_retries=False) from bare(error)
        _tell(context, plan, report)


def _plan(context: dg.OpExecutionContext) -> DeletePlan:
    given: Mapping[str, str] = context.op_config or {}
    if not given:
        return _scheduled_plan(context)
    plan_id, confirm = given.get("plan"), given.get("confirm")
    if not plan_id or not confirm:
        raise FixConfiguration(
            "Nothing was deleted: the run config must give the id of a `plan` and `confirm` its hash, as `addon-export "
            "delete plan` printed them."
        )
    return confirmed_plan(kept_plan(dagster_home(warehouse_settings(environment()).root), plan_id), confirm)


def _scheduled_plan(context: dg.OpExecutionContext) -> DeletePlan:
    schedule = delete_schedule(environment())
    if schedule is None or not made_by_schedule(context.instance, context.run, sleep=time.sleep):
        raise FixConfiguration(
            "Nothing was deleted: the run config must give the id of a `plan` and `confirm` its hash; only a run that "
            f"the schedule {SCHEDULE} itself made needs neither."
        )
    last = (datetime.now(UTC) - timedelta(hours=schedule.limits.min_age_hours)).date()
    return make_plan(last - LOOK_BACK, last, terms=limits())


def made_by_schedule(instance: dg.DagsterInstance, run: dg.DagsterRun, *, sleep: Callable[[float], None]) -> bool:
    """Whether a tick of the schedule made this run.

    Whoever launches a run may give it any tag and config; ticks are written by the daemon only.
    """
    if run.remote_job_origin is None or run.job_name != delete_job.name:
        return False
    origin = run.remote_job_origin.repository_origin.get_instigator_origin(SCHEDULE)
    until = time.monotonic() + TICK_SECONDS
    while True:
        ticks = instance.get_ticks(origin.get_id(), origin.get_selector().get_id(), limit=100)
        if any(run.run_id in tick.run_ids for tick in ticks):
            return True
        # a run that no tick of these minutes can have made need not wait for one
        if time.monotonic() >= until or not any(tick.end_timestamp is None for tick in ticks):
            return False
        sleep(0.5)


def _tell(context: dg.OpExecutionContext, plan: DeletePlan, report: DeleteReport) -> None:
    """Say of each day of the plan how many of its results are deleted, and of the run what it did."""
    context.add_output_metadata(dict(report.as_json()))
    root = warehouse_settings(environment()).root
    if (not_ours := claim(context.instance, root, trusted_writers(environment()))) is not None:
        context.log.warning(not_ours)
        return
    for day in sorted({result.completed_date for result in plan.results}):
        context.log_event(
            dg.AssetMaterialization(DELETIONS, partition=day.isoformat(), metadata={"deleted": report.days[day]})
        )


@dg.job(
    name="delete",
    description="Delete at Twilio what a confirmed plan names. Needs the plan's id and hash in the run config.",
)
def delete_job() -> None:
    """One step."""
    delete_add_on_results()


def delete_schedules() -> list[dg.ScheduleDefinition]:
    """The scheduled deletion, if the environment configures one with its limits; otherwise there is none."""
    try:
        schedule = delete_schedule(environment())
    except FixConfiguration as error:
        dg.get_dagster_logger().warning("There is no scheduled deletion: %s", error)
        return []
    return [] if schedule is None else [_schedule(schedule)]


def _schedule(schedule: DeleteSchedule) -> dg.ScheduleDefinition:
    allowed = schedule.limits

    @dg.schedule(
        name=SCHEDULE,
        job=delete_job,
        cron_schedule=schedule.cron,
        execution_timezone="UTC",
        description=f"Delete at Twilio what has been landed for {allowed.min_age_hours:g} hours: at most "
        f"{allowed.max_delete} results and {allowed.max_share:.0%} of what is exported a day.",
    )
    def scheduled_delete(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(run_key=f"delete {context.scheduled_execution_time.isoformat()}")

    return scheduled_delete
