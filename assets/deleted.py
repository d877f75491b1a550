"""The asset `deleted_add_on_results`: deletion at Twilio, visible in the graph and never part of an export.

Nothing in the web UI alone can delete. A run needs the path of a plan and its confirmed hash, which only
`addon-export delete plan` prints; a run by schedule needs four settings in the environment, without which the schedule
does not exist.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from assets.add_ons import partition_tags
from assets.deletion import carry_out, make_plan, plan_in
from assets.graph import DELETION_GROUP, OWNERS, PARTITIONS
from assets.partitions import DAILY
from assets.pool import POOL, begin
from assets.undisclosed import bare, undisclosed
from pipelines.delete import DeleteReport
from pipelines.deletion_plan import DeletePlan, Terms
from pipelines.errors import ExportError, FixConfiguration
from pipelines.settings import DeleteSchedule, delete_schedule, delete_settings, environment
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS

NAME = "deleted_add_on_results"

LOOK_BACK = timedelta(days=40)
"""How far back a scheduled deletion looks: Twilio holds nothing older."""


class DeleteConfig(dg.Config):
    """What one run deletes.

    plan and confirm: path of a plan and the hash that `addon-export delete plan` printed for it; nothing is deleted
    without both. by_schedule: plan and delete within the limits that the environment sets for the schedule.
    """

    plan: str | None = None
    confirm: str | None = None
    by_schedule: bool = False


@dg.multi_asset(  # of one: `backfill_policy` of @dg.asset is still beta
    name=NAME,
    specs=[
        dg.AssetSpec(
            NAME,
            deps=[ADD_ON_RESULTS.name, ADD_ON_PAYLOADS.name],
            description="Add-on results deleted at Twilio, on request and only after proof that the copy here is "
            "whole. What is landed stays.\n\n**Off by default**: needs a plan and its confirmed hash in the "
            'run config, which only `addon-export delete plan` prints. "Materialize all" leaves it out.\n\n'
            + PARTITIONS,
            group_name=DELETION_GROUP,
            owners=OWNERS,
            kinds={"twilio"},
            skippable=True,
            partitions_def=DAILY,
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=POOL,
)
def deleted_add_on_results(
    context: dg.AssetExecutionContext, config: DeleteConfig
) -> Iterator[dg.MaterializeResult[None]]:
    """Carry out a confirmed plan for the run's partitions; without one, delete nothing."""
    days = [date.fromisoformat(key) for key in context.partition_keys]
    asked = config.by_schedule or config.plan is not None or config.confirm is not None
    if not asked and len(context.job_def.nodes) > 1:
        # "materialise all" means the export; deletion is never meant by the way
        context.log.info("No plan and no confirmed hash in the run config: nothing is deleted.")
        return
    with undisclosed():
        begin(context.instance, context.run.run_id)
        report = DeleteReport()
        try:
            delete_settings(environment())
            plan = _scheduled_plan(days) if config.by_schedule else _confirmed_plan(config)
            _check_partitions(plan, days)
            carry_out(plan, report=report, run_id=context.run.run_id)
        except ExportError as error:
            raise dg.Failure(str(error), metadata=dict(report.as_json()), allow_retries=False) from bare(error)
        for day in days:
            context.add_asset_metadata({"deleted": report.days[day]}, asset_key=NAME, partition_key=day.isoformat())
        yield dg.MaterializeResult(asset_key=NAME, metadata=dict(report.as_json()))


def _confirmed_plan(config: DeleteConfig) -> DeletePlan:
    if not config.plan or not config.confirm:
        raise FixConfiguration(
            "Nothing was deleted: the run config must name a `plan` and `confirm` its hash, as `addon-export delete "
            "plan` printed it."
        )
    return plan_in(Path(config.plan), config.confirm)


def _scheduled_plan(days: list[date]) -> DeletePlan:
    limits = delete_schedule(environment())
    if limits is None:
        raise FixConfiguration("Nothing was deleted: no scheduled deletion is configured in the environment.")
    terms = Terms(min_age_hours=limits.min_age_hours, max_delete=limits.max_delete, max_share=limits.max_share)
    return make_plan(days[0], days[-1], terms=terms, out=None)


def _check_partitions(plan: DeletePlan, days: list[date]) -> None:
    named = {result.completed_date for result in plan.results}
    if not named <= set(days):
        raise FixConfiguration(
            f"Nothing was deleted: the plan names results of {min(named)} to {max(named)}; run it for these partitions."
        )


delete_job = dg.define_asset_job(
    "delete",
    selection=[NAME],
    description="Delete at Twilio what a confirmed plan names. Needs the plan's path and hash in the run config.",
)


def delete_schedules() -> list[dg.ScheduleDefinition]:
    """The scheduled deletion, if all four of its settings are in the environment; otherwise there is none."""
    try:
        limits = delete_schedule(environment())
    except FixConfiguration as error:
        dg.get_dagster_logger().warning("There is no scheduled deletion: %s", error)
        return []
    return [] if limits is None else [_schedule(limits)]


def _schedule(limits: DeleteSchedule) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="scheduled_delete",
        job=delete_job,
        cron_schedule=limits.cron,
        execution_timezone="UTC",
        description=f"Delete at Twilio what has been landed for {limits.min_age_hours:g} hours: at most "
        f"{limits.max_delete} results and {limits.max_share:.0%} of what is exported at a time.",
    )
    def scheduled_delete(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        last = (context.scheduled_execution_time - timedelta(hours=limits.min_age_hours)).date()
        first = max(last - LOOK_BACK, min(last, date.fromisoformat(DAILY.get_partition_keys()[0])))
        return dg.RunRequest(
            run_key=f"delete {context.scheduled_execution_time.isoformat()}",
            tags=partition_tags(first, last),
            run_config=dg.RunConfig(ops={NAME: DeleteConfig(by_schedule=True)}),
        )

    return scheduled_delete
