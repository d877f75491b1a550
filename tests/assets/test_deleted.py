"""Deletion in Dagster: nothing without a plan and its confirmed hash, no schedule unless the environment says so."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.add_ons import export_add_ons, partition_tags
from assets.definitions import build_definitions
from assets.deleted import NAME, deleted_add_on_results
from assets.deletion import make_plan
from pipelines.deletion_plan import DeletePlan, Terms
from pipelines.export import Progress
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.pipelines.conftest import Exporter
from warehouse.archive import open_archive

TODAY = datetime.now(UTC).date()
FIRST = TODAY - timedelta(days=30)
AT_ONCE = Terms(min_age_hours=0, max_share=1)
SCHEDULE = {
    "EXPORT_DELETE_SCHEDULE": "0 4 * * *",
    "EXPORT_DELETE_MIN_AGE_HOURS": "0",
    "EXPORT_DELETE_MAX": "500",
    "EXPORT_DELETE_MAX_SHARE": "1",
}


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """An exported made-up world, and the environment of this process pointing at it."""
    with Sandbox(made_up_world(now=datetime.now(UTC), recordings=8)) as running:
        key = running.world.add_key(running.account_sid)
        values = {
            **running.environment,
            "EXPORT_ROOT": str(tmp_path / "data"),
            "TWILIO_DELETE_API_KEY": key.sid,
            "TWILIO_DELETE_API_SECRET": key.secret,
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        Exporter(running, open_archive(tmp_path / "data"))().verdict()
        yield running


@pytest.fixture
def plan(sandbox: Sandbox, tmp_path: Path) -> DeletePlan:
    """A plan for all of it, in `plan.json`."""
    return make_plan(FIRST, TODAY, terms=AT_ONCE, out=tmp_path / "plan.json")


def run_job(config: Mapping[str, Any] | None, **tags: str) -> dg.ExecuteInProcessResult:
    """Run the `delete` job for the last 30 days."""
    job = build_definitions().resolve_job_def("delete")
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            run_config=None if config is None else {"ops": {NAME: {"config": config}}},
            tags={**partition_tags(FIRST, TODAY), **tags},
            raise_on_error=False,
            instance=instance,
        )


def deletes(sandbox: Sandbox) -> int:
    """DELETEs that reached the source."""
    return sum(entry.method == "DELETE" for entry in sandbox.journal.entries)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Why a run failed."""
    return str(next(e for e in result.all_events if e.is_step_failure).step_failure_data)


def test_without_a_confirmed_plan_nothing_is_asked_and_nothing_deleted(
    sandbox: Sandbox, plan: DeletePlan, tmp_path: Path
) -> None:
    """What the web UI can do by itself: run the job with whatever it may know, which is not the hash."""
    sandbox.journal.clear()
    path = str(tmp_path / "plan.json")
    for config, sentence in (
        (None, "must name a `plan`"),
        ({}, "must name a `plan`"),
        ({"plan": path}, "must name a `plan`"),
        ({"plan": path, "confirm": ""}, "must name a `plan`"),
        ({"confirm": plan.hash}, "must name a `plan`"),
        ({"plan": path, "confirm": "0" * 64}, "not that of this plan"),
        ({"plan": str(tmp_path / "none.json"), "confirm": plan.hash}, "cannot be read"),
        ({"by_schedule": True}, "no scheduled deletion is configured"),
    ):
        result = run_job(config)
        assert not result.success
        assert sentence in failure(result)
    assert sandbox.journal.entries == ()


def test_the_confirmed_plan_is_carried_out_for_its_partitions(
    sandbox: Sandbox, plan: DeletePlan, tmp_path: Path
) -> None:
    """With the hash in the run config; each partition says how many of its results were deleted."""
    config = {"plan": str(tmp_path / "plan.json"), "confirm": plan.hash}
    one_day = {"dagster/asset_partition_range_start": f"{TODAY}"}
    assert "run it for these partitions" in failure(run_job(config, **one_day))
    assert deletes(sandbox) == 0
    result = run_job(config)
    assert result.success
    assert deletes(sandbox) == len(plan.results) > 3
    events = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(NAME)]
    by_day = {e.partition: e.materialization.metadata["deleted"].value for e in events}
    assert sum(int(str(n)) for n in by_day.values()) == len(plan.results)
    for day in {r.completed_date for r in plan.results}:
        assert by_day[f"{day}"] == sum(r.completed_date == day for r in plan.results)
    assert not run_job(config).success
    assert deletes(sandbox) == len(plan.results)


def test_materialising_everything_exports_and_does_not_delete(sandbox: Sandbox, plan: DeletePlan) -> None:
    """The button for all assets: the export succeeds, the deletion passes."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [export_add_ons, deleted_add_on_results],
            instance=instance,
            tags=partition_tags(TODAY, TODAY),
            resources=dict(build_definitions(Progress()).resources or {}),
        )
    assert result.success
    materialised = {e.asset_key.to_user_string() for e in result.get_asset_materialization_events() if e.asset_key}
    assert {"recordings", "add_on_results", "add_on_payloads"} <= materialised
    assert NAME not in materialised
    assert deletes(sandbox) == 0


def test_the_graph_shows_deletion_after_the_export() -> None:
    """Downstream of results and payloads, with a job of its own, and in no export."""
    definitions = build_definitions()
    graph = definitions.resolve_asset_graph()
    key = dg.AssetKey(NAME)
    assert graph.get(key).parent_keys == {dg.AssetKey("add_on_results"), dg.AssetKey("add_on_payloads")}
    assert key not in definitions.resolve_job_def("export").asset_layer.executable_asset_keys
    assert {s.name for s in definitions.schedules or []} == {"hourly_export", "daily_sweep"}


@pytest.mark.parametrize("missing", [None, *SCHEDULE])
def test_the_schedule_exists_only_when_all_of_it_is_in_the_environment(
    missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cron and all three limits; there are no defaults."""
    for name, value in SCHEDULE.items():
        monkeypatch.setenv(name, "" if name == missing else value)
    names = {s.name for s in build_definitions().schedules or []}
    assert ("scheduled_delete" in names) == (missing is None)


def test_a_scheduled_deletion_keeps_to_its_own_limits(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over budget nothing is deleted; within it, everything that has rested."""
    for name, value in {**SCHEDULE, "EXPORT_DELETE_MAX": "1"}.items():
        monkeypatch.setenv(name, value)
    refused = run_job({"by_schedule": True})
    assert "Over budget" in failure(refused)
    assert deletes(sandbox) == 0
    monkeypatch.setenv("EXPORT_DELETE_MAX", "500")
    schedule = next(s for s in build_definitions().schedules or [] if s.name == "scheduled_delete")
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    request = schedule(dg.build_schedule_context(scheduled_execution_time=datetime.now(UTC)))
    assert isinstance(request, dg.RunRequest)
    result = run_job(request.run_config["ops"][NAME]["config"], **request.tags)
    assert result.success
    assert deletes(sandbox) > 3
