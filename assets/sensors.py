"""What watches all the time: deadlines, failed runs, runs that died, and the checks when nothing else evaluates them.

All of it reads the warehouse or Dagster's history, never Twilio, and runs by default. An alert that is not delivered
fails the tick and is tried again at the next one. Each channel has sensors of its own, so that one that is out of order
neither silences nor repeats the others.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg

from assets.asking import everything, export_job, is_queued, partition_tags, unable
from assets.channels.send import channel_names, send
from assets.channels.watch import FailedRun, Said, deadline_alert, failure_alert
from assets.checks import CHECKS, evaluate, last_evaluated, open_reading
from assets.resources import existing_warehouse
from assets.runs.landed import cursor_at, news
from assets.runs.off import sentence_on
from assets.runs.pool import GONE, free_abandoned, limit_pool
from assets.runs.switched_off import notice, switched_off
from assets.runs.undisclosed import undisclosed
from assets.runs.whose import claim, of_another
from pipelines.environment import trusted_writers
from pipelines.monitoring.checks import Reading
from pipelines.settings import environment

WATCH_SECONDS = 300

URGENT = "addon_export/urgent"
"""Run tag of an urgent export: the situation it was started for."""

FIRST_IN_QUEUE = {"dagster/priority": "10"}

JOBS = ("export", "delete", "__ASSET_JOB")
"""Jobs whose failures are told: ours, and runs of single assets that the UI starts."""

ANEW = " What was kept of earlier ticks cannot be right, so watching begins anew."

NOTHING_YET = "Nothing has been exported yet, so no deadline is known."

Now = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


@dg.sensor(
    job=export_job,
    minimum_interval_seconds=WATCH_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts an export ahead of the queue when something that is not exported is close to its deadline: "
    "once a day at 7 days, once an hour at 3. It looks at the warehouse, not at runs.",
)
@undisclosed()
def urgent_export(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """At most one run for each situation, and none while an urgent one waits in the queue."""
    if (reason := unable()) is not None:
        return dg.SkipReason(reason)
    return urgent_request(context.instance, open_reading(now=_now()))


def urgent_request(instance: dg.DagsterInstance, reading: Reading) -> dg.RunRequest | dg.SkipReason:
    """The run that is due, or why there is none."""
    found = reading.deadlines
    if not found.at_risk:
        return dg.SkipReason(f"Nothing that is not exported expires within {reading.windows.warn.days} days.")
    if is_queued(instance, URGENT, "yes", everything()):
        return dg.SkipReason(f"{len(found.at_risk)} are at risk; an urgent run waits in the queue already.")
    urgent = found.at_risk[0].expires_at <= reading.now + reading.windows.error
    situation = f"{reading.now:%Y-%m-%dT%H}" if urgent else f"{reading.now:%Y-%m-%d}"
    today = reading.now.date()
    days = [min(risk.completed_date, today) for risk in found.at_risk if risk.completed_date is not None] or [today]
    return dg.RunRequest(
        run_key=f"urgent {situation}",
        tags={**partition_tags(min(days), max(days)), URGENT: "yes", **FIRST_IN_QUEUE},
        run_config=everything(),
    )


@dg.sensor(
    minimum_interval_seconds=120,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs whose process was killed as failed, and frees their place for the next: Dagster by itself "
    "would wait for a day.",
)
def abandoned_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Look after the pool."""
    archive = existing_warehouse()
    if archive is not None:
        notice(context.instance, archive, by=f"a tick of {abandoned_runs.name}", now=_now())
    limit_pool(context.instance)
    marked = free_abandoned(context.instance)
    return dg.SkipReason(f"Marked as failed: {', '.join(marked)}." if marked else "No run has been abandoned.")


@dg.sensor(
    minimum_interval_seconds=3600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Evaluates the asset checks when no run has done so for an hour: what runs check says nothing when "
    "they fail, are stuck or do not start.",
)
@undisclosed()
def standing_checks(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """All checks but reading back contents, which is for runs: it is the one that takes long."""
    reading = open_reading(now=_now())
    if not reading.head.number:
        return dg.SkipReason(NOTHING_YET)
    if (not_ours := of_another(context.instance, reading.archive.root)) is not None:
        return dg.SkipReason(not_ours)
    keys = [key for key in CHECKS if key.name != "contents_match"]
    latest = last_evaluated(context.instance, keys[0])
    if latest is not None and abs(reading.now.timestamp() - latest.create_timestamp) < 3300:
        return dg.SkipReason("A run has evaluated the checks within the hour.")
    results = list(evaluate(reading, keys))
    return dg.SensorResult(
        skip_reason=f"{len(results)} checks evaluated, {sum(not result.passed for result in results)} failed.",
        asset_events=[
            dg.AssetCheckEvaluation(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=result.passed,
                metadata=result.metadata,
                severity=result.severity,
                description=result.description,
                blocking=CHECKS[key][0].blocking,
            )
            for key, result in zip(keys, results, strict=True)
        ],
    )


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells which days have landed without Dagster: by `addon-export export`, on another host, by a retry. "
    "It looks at the warehouse, so what is green is landed.",
)
@undisclosed()
def landed_days(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """The days of one export at each tick, oldest first."""
    archive = existing_warehouse()
    if archive is None:
        return dg.SkipReason(NOTHING_YET)
    if (not_ours := claim(context.instance, archive.root, trusted_writers(environment()))) is not None:
        return dg.SkipReason(not_ours)
    found = news(context.instance, archive, context.cursor)
    skip = "Nothing has landed that is not told." if not found.events else f"{len(found.events)} told."
    return dg.SensorResult(skip_reason=skip, asset_events=found.events, cursor=cursor_at(found.upto))


def _deadline_sensor(channel: str) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"deadline_alert_{channel}",
        minimum_interval_seconds=WATCH_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tells ({channel}) what is close to its deadline or lost, and that recordings are not listed any "
        "more. It looks at the warehouse, so it speaks up when runs are stuck.",
    )
    @undisclosed()
    def deadline_alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        reading = open_reading(now=_now())
        said = Said.read(context.cursor, now=reading.now)
        anew = bool(context.cursor) and said == Said(reading.now)
        if not reading.head.number and (reason := unable()) is not None:
            return dg.SkipReason(f"{NOTHING_YET} {reason}")
        off = switched_off(context.instance)
        alert, said = deadline_alert(reading.deadlines, said, reading.windows, off=sentence_on(off) if off else None)
        if alert is not None:
            send(alert, channel, environment(), log=context.log)
        waiting = f"{len(reading.deadlines.at_risk)} at risk, {len(reading.deadlines.lost)} lost"
        skip = f"{waiting}; {'told' if alert is not None else 'nothing to tell'}."
        return dg.SensorResult(skip_reason=skip + (ANEW if anew else ""), cursor=said.cursor())

    return deadline_alerts


def _failure_sensor(channel: str) -> dg.SensorDefinition:
    # Dagster's own run-failure sensor moves on when its function fails: an alert that was not delivered would be gone
    @dg.sensor(
        name=f"failed_run_alert_{channel}",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tells ({channel}) which runs failed and why; the same reason again after six hours.",
    )
    @undisclosed()
    def failed_run_alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = _now()
        kept = _kept(context.cursor, newest=(newest := _newest_failure(context.instance)), now=now)
        after, said = kept or (newest, {})
        seen = list(_failures(context.instance, after))
        alert, told = failure_alert([run for _, run in seen if run is not None], said, now=now)
        if alert is not None:
            send(alert, channel, environment(), log=context.log)
        cursor = {
            "after": seen[-1][0] if seen else after,
            "said": {reason: at.isoformat() for reason, at in told.items()},
        }
        skip = f"{len(seen)} runs failed; {'told' if alert is not None else 'nothing to tell'}."
        anew = bool(context.cursor) and kept is None
        return dg.SensorResult(skip_reason=skip + (ANEW if anew else ""), cursor=json.dumps(cursor))

    return failed_run_alerts


def _kept(cursor: str | None, *, newest: int, now: datetime) -> tuple[int, dict[str, datetime]] | None:
    """Where to go on, and what was said when; None when the cursor does not say it.

    Whoever gets into the UI may set a cursor: what it says of what is to come is not believed.
    """
    try:
        kept = json.loads(cursor or "")
        said = {str(reason): datetime.fromisoformat(at) for reason, at in kept["said"].items()}
        return min(int(kept["after"]), newest), {reason: at for reason, at in said.items() if at <= now}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _newest_failure(instance: dg.DagsterInstance) -> int:
    """Where to begin: failures of before this sensor are not told."""
    records = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    return records[0].storage_id if records else -1


def _failures(instance: dg.DagsterInstance, after: int) -> Iterator[tuple[int, FailedRun | None]]:
    """Run failures after a place in the history, oldest first; None for one that is not ours."""
    changes = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=after)
    for record in instance.fetch_run_status_changes(changes, ascending=True, limit=50).records:
        run = instance.get_run_by_id(record.run_id)
        ours = run is not None and run.job_name in JOBS
        yield record.storage_id, _failed(instance, run, record) if run is not None and ours else None


def _failed(instance: dg.DagsterInstance, run: dg.DagsterRun, record: dg.EventLogRecord) -> FailedRun:
    """Why a run failed: our own sentence where there is one. The text of other errors may hold anything."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = None if entry.dagster_event is None else entry.dagster_event.step_failure_data
        if data is not None and data.user_failure_data is not None and data.user_failure_data.description:
            return FailedRun(run.run_id, run.job_name, data.user_failure_data.description)
        if data is not None and data.error is not None:
            cause = data.error.cause or data.error
            checks = cause.cls_name == "DagsterAssetCheckFailedError"  # its text names the checks, and no more
            reason = " ".join(cause.message.split()) if checks else f"It raised {cause.cls_name}."
            return FailedRun(run.run_id, run.job_name, reason)
    event = record.event_log_entry.dagster_event
    known = event is not None and event.message == GONE
    return FailedRun(run.run_id, run.job_name, GONE if known else "It ended outside of a step; its page says how.")


def alert_sensors() -> list[dg.SensorDefinition]:
    """The sensors that tell somebody, for each channel that the environment configures."""
    return [make(name) for name in channel_names(environment()) for make in (_deadline_sensor, _failure_sensor)]
