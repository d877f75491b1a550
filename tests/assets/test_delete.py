"""Deletion in Dagster: nothing without a plan and its confirmed hash, no schedule unless the environment says so."""

import functools
import os
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus

from assets import delete as deleted
from assets.definitions import build_definitions
from assets.delete import SCHEDULE, made_by_schedule
from assets.graph import DELETIONS
from assets.plans import make_sealed_plan
from pipelines.delete.plan import DeletePlan, Terms
from pipelines.delete.plan_file import file_text, seal_key
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.assets.conftest import MADE, RECORDINGS, put_export
from tests.assets.instances import instance_in

TODAY = datetime.now(UTC).date()
FIRST = TODAY - timedelta(days=30)
AT_ONCE = Terms(min_age_hours=0, max_share=1)
LIMITS = {"EXPORT_DELETE_MIN_AGE_HOURS": "0", "EXPORT_DELETE_MAX": "500", "EXPORT_DELETE_MAX_SHARE": "1"}
SCHEDULED = {"EXPORT_DELETE_SCHEDULE": "0 4 * * *", **LIMITS}
ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("addon_export"), "__repository__")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """An exported made-up world, and the environment of this process pointing at it."""
    with Sandbox(made_up_world(now=MADE, recordings=RECORDINGS)) as running:
        key = running.world.add_key(running.account_sid)
        values = {
            **running.environment,
            "EXPORT_ROOT": str(tmp_path / "data"),
            "TWILIO_DELETE_API_KEY": key.sid,
            "TWILIO_DELETE_API_SECRET": key.secret,
            "DAGSTER_HOME": str(tmp_path / "home"),
            **LIMITS,
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        put_export(tmp_path / "data", recordings=RECORDINGS)
        yield running


@pytest.fixture
def plan(sandbox: Sandbox) -> DeletePlan:
    """A plan for all of it, in the folder of plans."""
    return make_sealed_plan(FIRST, TODAY, terms=AT_ONCE)


def run_job(config: Mapping[str, Any] | None, **tags: str) -> dg.ExecuteInProcessResult:
    """Run the `delete` job."""
    with dg.DagsterInstance.ephemeral() as instance:
        return _job().execute_in_process(
            run_config=None if config is None else {"ops": {"delete_add_on_results": {"config": config}}},
            tags=tags,
            raise_on_error=False,
            instance=instance,
        )


@functools.cache
def _job() -> dg.JobDefinition:
    """The same in whatever environment it is defined."""
    return build_definitions().resolve_job_def("delete")


def deletes(sandbox: Sandbox) -> int:
    """DELETEs that reached the source."""
    return sum(entry.method == "DELETE" for entry in sandbox.journal.entries)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """Why a run failed."""
    return str(next(e for e in result.all_events if e.is_step_failure).step_failure_data)


def test_without_a_confirmed_plan_nothing_is_asked_and_nothing_deleted(
    sandbox: Sandbox, plan: DeletePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the web UI can do by itself: run the job with whatever config and tags; no sentence repeats them."""
    for name, value in SCHEDULED.items():
        monkeypatch.setenv(name, value)
    sandbox.journal.clear()
    forged = {"dagster/schedule_name": SCHEDULE, "dagster/tick": "1", "dagster/run_key": f"delete {TODAY}T04:00:00"}
    for config, tags, sentence in (
        (None, {}, "must give the id"),
        ({}, forged, "must give the id"),
        ({"plan": plan.id}, {}, "must give the id"),
        ({"plan": plan.id, "confirm": ""}, forged, "must give the id"),
        ({"confirm": plan.hash}, {}, "must give the id"),
        ({"plan": plan.id, "confirm": "0" * 64}, {}, "not that of this plan"),
        ({"plan": "0" * 16, "confirm": plan.hash}, {}, "no plan with this id"),
        ({"plan": str(tmp_path / "home/plans" / f"{plan.id}.json"), "confirm": plan.hash}, {}, "must be the id"),
        ({"plan": "/dev/zero", "confirm": plan.hash}, {}, "must be the id"),
        ({"plan": "../../etc/passwd", "confirm": plan.hash}, {}, "must be the id"),
        ({"plan": f"{plan.id}\n<!channel> http://evil.example", "confirm": plan.hash}, {}, "must be the id"),
    ):
        result = run_job(config, **tags)
        assert not result.success
        said = failure(result)
        assert sentence in said
        for text in ("/dev/zero", "passwd", "evil", "plans/"):
            assert text not in said
    assert sandbox.journal.entries == ()


def test_a_variable_of_the_environment_is_nothing_a_run_config_can_name(sandbox: Sandbox, tmp_path: Path) -> None:
    """`{"env": NAME}` is refused wherever a run has config, and the value is nowhere in Dagster's history."""
    token = os.environ["TWILIO_AUTH_TOKEN"]
    reference = {"env": "TWILIO_AUTH_TOKEN"}
    asked: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("delete", {"ops": {"delete_add_on_results": {"config": {"plan": reference, "confirm": "0" * 64}}}}),
        ("delete", {"ops": {"delete_add_on_results": {"config": {"plan": "0" * 16, "confirm": reference}}}}),
        ("delete", {"resources": {"io_manager": {"config": {"base_dir": reference}}}}),
        ("export", {"ops": {"export_add_ons": {"config": {"full": reference}}}}),
        ("export", {"ops": {"export_add_ons": {"config": {"everything": reference}}}}),
        ("export", {"resources": {"twilio": {"config": reference}}}),
        ("export", {"resources": {"io_manager": {"config": {"base_dir": reference}}}}),
        ("export", {"loggers": {"console": {"config": {"name": reference}}}}),
    )
    with instance_in(tmp_path / "history") as instance:
        for job, config in asked:
            tags = {} if job == "delete" else {"dagster/partition": TODAY.isoformat()}
            try:
                result = (
                    build_definitions()
                    .resolve_job_def(job)
                    .execute_in_process(run_config=dict(config), instance=instance, raise_on_error=False, tags=tags)
                )
            except dg.DagsterInvalidConfigError as error:
                said = str(error)
            else:
                assert job == "export" or not result.success
                said = ""
            assert token not in said
    assert token
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert token.encode() not in path.read_bytes(), path
    assert not [path for path in Path.cwd().iterdir() if token in path.name]


@pytest.mark.parametrize("made_by", ["another secret", "nobody"])
def test_a_plan_that_somebody_put_into_the_folder_is_not_carried_out(
    made_by: str, sandbox: Sandbox, plan: DeletePlan, tmp_path: Path
) -> None:
    """Its hash is right and confirmed; that it was made by who may delete is missing."""
    path = tmp_path / "home" / "plans" / f"{plan.id}.json"
    text = file_text(plan, seal_key("of somebody else"))
    path.write_text(text if made_by == "another secret" else text.replace('"seal"', '"foil"'))
    result = run_job({"plan": plan.id, "confirm": plan.hash})
    assert "not made with the credential" in failure(result)
    assert deletes(sandbox) == 0


def test_a_folder_of_plans_that_others_get_into_or_that_is_a_link_is_refused(
    sandbox: Sandbox, plan: DeletePlan, tmp_path: Path
) -> None:
    """For reading and for writing."""
    folder, config = tmp_path / "home" / "plans", {"plan": plan.id, "confirm": plan.hash}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / f"{plan.id}.json").stat().st_mode & 0o777 == 0o600
    folder.chmod(0o770)
    assert "nobody else gets into" in failure(run_job(config))
    folder.chmod(0o700)
    (folder / f"{plan.id}.json").rename(tmp_path / "plan.json")
    (folder / f"{plan.id}.json").symlink_to(tmp_path / "plan.json")
    assert "no plan with this id" in failure(run_job(config))
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert "nobody else gets into" in failure(run_job(config))
    assert deletes(sandbox) == 0


def test_the_confirmed_plan_is_carried_out_and_told_by_partition(sandbox: Sandbox, plan: DeletePlan) -> None:
    """With id and hash in the run config; each partition says how many of its results were deleted; once."""
    config = {"plan": plan.id, "confirm": plan.hash}
    result = run_job(config)
    assert result.success
    assert deletes(sandbox) == len(plan.results) > 3
    events = [e for e in result.all_events if e.is_step_materialization and e.asset_key == DELETIONS]
    by_day = {e.partition: e.step_materialization_data.materialization.metadata["deleted"].value for e in events}
    for day in {r.completed_date for r in plan.results}:
        assert by_day[f"{day}"] == sum(r.completed_date == day for r in plan.results)
    assert not run_job(config).success
    assert deletes(sandbox) == len(plan.results)


def test_nothing_can_materialise_the_asset_and_the_graph_shows_it_after_the_export() -> None:
    """Backfills and "Materialize all" take what is executable; it is not, and no job of assets holds it."""
    definitions = build_definitions()
    graph = definitions.resolve_asset_graph()
    key = DELETIONS
    assert graph.get(key).parent_keys == {dg.AssetKey("add_on_results"), dg.AssetKey("add_on_payloads")}
    assert not graph.get(key).is_executable
    assert {k.to_user_string() for k in graph.materializable_asset_keys} == {"add_on_results", "add_on_payloads"}
    assert key not in definitions.resolve_job_def("export").asset_layer.executable_asset_keys
    assert {s.name for s in definitions.schedules or []} == {"hourly_export", "daily_sweep"}


@pytest.mark.parametrize("missing", [None, *SCHEDULED])
def test_the_schedule_exists_only_when_all_of_it_is_in_the_environment(
    missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cron and all three limits; there are no defaults, and it is off until somebody switches it on."""
    for name, value in SCHEDULED.items():
        monkeypatch.setenv(name, "" if name == missing else value)
    found = [s for s in build_definitions().schedules or [] if s.name == SCHEDULE]
    assert bool(found) == (missing is None)
    for schedule in found:
        assert isinstance(schedule, dg.ScheduleDefinition)
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
        request = schedule(dg.build_schedule_context(scheduled_execution_time=datetime.now(UTC)))
        assert isinstance(request, dg.RunRequest)
        assert (request.run_config, set(request.tags) - {"dagster/run_key"}) == ({}, set())


def made_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run of the job that somebody launched, with the tags of a scheduled one."""
    run = dg.DagsterRun(
        job_name="delete",
        run_id=str(uuid.uuid4()),
        tags={"dagster/schedule_name": SCHEDULE, "dagster/tick": "1"},
        remote_job_origin=RemoteJobOrigin(ORIGIN, "delete"),
    )
    return instance.add_run(run)


def write_tick(
    instance: dg.DagsterInstance, name: str = SCHEDULE, status: TickStatus = TickStatus.SUCCESS, **over: Any
) -> None:
    """What the daemon writes of a tick; `over` is what it knows at its end."""
    origin = ORIGIN.get_instigator_origin(name)
    instance.create_tick(
        TickData(
            instigator_origin_id=origin.get_id(),
            instigator_name=name,
            instigator_type=InstigatorType.SCHEDULE,
            status=status,
            timestamp=datetime.now(UTC).timestamp(),
            selector_id=origin.get_selector().get_id(),
            **over,
        )
    )


def tick_over(instance: dg.DagsterInstance, run: dg.DagsterRun, name: str = SCHEDULE) -> None:
    """What it writes when the tick has made a run."""
    write_tick(instance, name, run_ids=[run.run_id], end_timestamp=datetime.now(UTC).timestamp())


def test_only_a_run_that_a_tick_of_the_schedule_made_is_believed(tmp_path: Path) -> None:
    """Not by its tags, nor by ticks of another schedule; a tick that is not over yet is waited for."""
    with instance_in(tmp_path / "home") as instance:
        run, other = made_run(instance), made_run(instance)
        assert not made_by_schedule(instance, run, sleep=lambda _: None)
        tick_over(instance, other)
        tick_over(instance, run, "hourly_export")
        assert not made_by_schedule(instance, run, sleep=lambda _: None)
        assert made_by_schedule(instance, other, sleep=lambda _: None)
        write_tick(instance, status=TickStatus.STARTED)
        assert made_by_schedule(instance, run, sleep=lambda _: tick_over(instance, run))


def test_scheduled_deletions_keep_to_the_limits_of_a_day(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over budget nothing is deleted; within it, everything that has rested; then the day is spent for all runs."""
    for name, value in {**SCHEDULED, "EXPORT_DELETE_MAX": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(deleted, "made_by_schedule", lambda *_, **__: True)  # a run in this process has no tick
    assert "Over budget" in failure(run_job(None))
    assert deletes(sandbox) == 0
    monkeypatch.setenv("EXPORT_DELETE_MAX", "500")
    assert run_job(None).success
    assert deletes(sandbox) > 3
