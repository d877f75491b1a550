"""Schedules ask for the right run, skip with the reason when they cannot, and do not pile up."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from assets.definitions import build_definitions
from assets.schedules import daily_sweep, hourly_export
from tests.assets.instances import instance_in, made_run

AT = datetime(2026, 11, 20, 7, tzinfo=UTC)
CREDENTIALS = {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "made-up"}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance as users have it."""
    with instance_in(tmp_path / "home") as made:
        yield made


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that open nothing."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def tick(schedule: dg.ScheduleDefinition, instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    """What a tick asks for."""
    asked = schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=AT))
    assert isinstance(asked, dg.RunRequest | dg.SkipReason)
    return asked


@pytest.mark.parametrize(("schedule", "full"), [(hourly_export, False), (daily_sweep, True)])
@pytest.mark.usefixtures("credentials")
def test_a_tick_asks_for_everything_in_one_run(
    schedule: dg.ScheduleDefinition, full: bool, instance: dg.DagsterInstance
) -> None:
    """Named after yesterday and today, so that yesterday gets its closing run; the sweep lists what is settled too."""
    request = tick(schedule, instance)
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] == "2026-11-19"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-11-20"
    assert request.run_config["ops"] == {"export_add_ons": {"config": {"everything": True, "full": full}}}


@pytest.mark.parametrize("schedule", [hourly_export, daily_sweep])
def test_without_credentials_a_tick_is_skipped_with_the_reason(
    schedule: dg.ScheduleDefinition, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fails, and the tick says what to set."""
    for name in ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    skipped = tick(schedule, instance)
    assert isinstance(skipped, dg.SkipReason)
    assert "set TWILIO_ACCOUNT_SID" in (skipped.skip_message or "")


@pytest.mark.usefixtures("credentials")
def test_runs_do_not_pile_up_behind_one_that_is_stuck(instance: dg.DagsterInstance) -> None:
    """While the run of an earlier tick waits in the queue, no other joins it; once it has begun, the next may."""
    made_run(instance, dg.DagsterRunStatus.QUEUED, full=True, dagster__schedule_name="hourly_export")
    assert isinstance(tick(hourly_export, instance), dg.RunRequest)  # somebody gave the tag to a run of something else
    waiting = made_run(instance, dg.DagsterRunStatus.QUEUED, dagster__schedule_name="hourly_export")
    assert isinstance(tick(hourly_export, instance), dg.SkipReason)
    assert isinstance(tick(daily_sweep, instance), dg.RunRequest)
    instance.report_run_canceled(waiting)
    assert isinstance(tick(hourly_export, instance), dg.RunRequest)


def test_what_runs_by_itself() -> None:
    """Exports do, deletion does not."""
    statuses = {
        s.name: s.default_status for s in build_definitions().schedules or [] if isinstance(s, dg.ScheduleDefinition)
    }
    assert statuses == {
        "hourly_export": dg.DefaultScheduleStatus.RUNNING,
        "daily_sweep": dg.DefaultScheduleStatus.RUNNING,
    }
    sensors = {s.name: s.default_status for s in build_definitions().sensors or []}
    assert set(sensors) == {
        "urgent_export",
        "abandoned_runs",
        "landed_days",
        "standing_checks",
        "deadline_alert_log",
        "failed_run_alert_log",
    }
    assert set(sensors.values()) == {dg.DefaultSensorStatus.RUNNING}
