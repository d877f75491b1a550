"""Sensors on real warehouses: what they start, tell and free, and that they tick wherever a user may be."""

import contextlib
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from assets import sensors
from assets.checks import CHECKS, last_evaluated, open_reading
from assets.definitions import build_definitions
from assets.runs.alive import alive, forget, gone, known
from assets.runs.pool import POOL, free_abandoned, limit_pool
from assets.sensors import URGENT, urgent_request
from pipelines.errors import AlertNotDelivered
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.assets.instances import instance_in, made_run
from tests.pipelines.conftest import Exporter
from tests.warehouse.made_up import Row, land_rows, payload, recording, result, whole
from warehouse.store.archive import Archive
from warehouse.store.opening import open_archive

DEFINITIONS = build_definitions()

SENSORS = {sensor.name: sensor for sensor in DEFINITIONS.sensors or []}
NOW = datetime.now(UTC)
FACTS = {"account_sid": "AC" + "0" * 32, "auth_token": "made-up"}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance as users have it."""
    with instance_in(tmp_path / "home") as made:
        yield made


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing has been exported to yet; credentials that open nothing."""
    monkeypatch.setenv("EXPORT_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", FACTS["account_sid"])
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", FACTS["auth_token"])
    return tmp_path / "data"


@pytest.fixture
def archive(root: Path) -> Archive:
    """An empty warehouse."""
    return open_archive(root)


def owed(number: int, hours_left: float) -> list[Row]:
    """A recording with a result that is not exported and expires so many hours from now."""
    made = NOW + timedelta(hours=hours_left) - timedelta(days=30)
    return [
        recording(number, at=made, date_created=made, created_date=made.date(), open_results=1, listed_at=NOW),
        result(number, at=made, done=made, date_created=made, expires_at=made + timedelta(days=30), payload_count=1),
        payload(number, at=made, done=made),
    ]


def tick(name: str, instance: dg.DagsterInstance, cursor: str | None = None) -> SensorExecutionData:
    """One tick of a sensor, as the daemon evaluates it."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=DEFINITIONS, sensor_name=name)
    sensor = SENSORS[name]
    assert isinstance(sensor, dg.SensorDefinition)
    return sensor.evaluate_tick(context)


def forget_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave none in the environment."""
    for name in ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"):
        monkeypatch.delenv(name)


@pytest.mark.parametrize("place", ["no folder", "empty", "without credentials", "in use by a reader"])
def test_every_sensor_ticks_wherever_a_user_may_be(
    place: str, root: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No error, no run for nothing, a reason for every skip; and nothing is made in a folder that is not there."""
    with contextlib.ExitStack() as stack:
        if place == "empty":
            open_archive(root)
        elif place != "no folder":
            land_rows(open_archive(root), whole(1))
            db = stack.enter_context(contextlib.closing(duckdb.connect(str(root / "addons.duckdb"))))
            db.execute("CREATE TABLE held (n INTEGER); BEGIN; INSERT INTO held VALUES (1)")
        if place == "without credentials":
            forget_credentials(monkeypatch)
        for name in SENSORS:
            first = tick(name, instance)
            for ticked in (first, tick(name, instance, first.cursor)):
                assert ticked.run_requests == [], name
                assert ticked.skip_message or ticked.asset_events, name
    assert root.exists() == (place != "no folder")


def test_what_is_close_to_its_deadline_starts_one_run_for_each_situation(
    archive: Archive, instance: dg.DagsterInstance
) -> None:
    """Once a day within seven days, once an hour within three, ahead of the queue, for the days at risk."""

    def asked(at: datetime) -> dg.RunRequest | dg.SkipReason:
        return urgent_request(instance, open_reading(now=at))

    assert "Nothing" in str(asked(NOW))
    land_rows(archive, owed(1, hours_left=100), now=NOW)
    keys: list[str | None] = []
    for hours in (0, 1 / 60, 27, 29, 29 + 1 / 60, 31, 99):
        request = asked(NOW.replace(minute=0) + timedelta(hours=hours))
        assert isinstance(request, dg.RunRequest)
        assert int(request.tags["dagster/priority"]) > 0
        keys.append(request.run_key)
    assert [keys.index(key) for key in keys] == [0, 0, keys.index(keys[2]), 3, 3, 5, 6]
    assert keys[2] in (keys[0], f"urgent {NOW + timedelta(hours=27):%Y-%m-%d}")
    assert isinstance(request, dg.RunRequest)
    day = (NOW + timedelta(hours=100) - timedelta(days=30)).date()
    assert request.tags["dagster/asset_partition_range_start"] == f"{day}"
    assert request.run_config["ops"]["export_add_ons"]["config"]["everything"] is True
    assert "Nothing" in str(asked(NOW + timedelta(hours=101)))


def test_an_urgent_run_that_waits_in_the_queue_is_not_joined_by_another(
    archive: Archive, instance: dg.DagsterInstance
) -> None:
    """Stuck runs do not pile up; the alert says what is wrong, whatever runs there are."""
    land_rows(archive, owed(1, hours_left=10), now=NOW)
    waiting = made_run(instance, dg.DagsterRunStatus.QUEUED, **{URGENT: "yes"})
    assert "waits in the queue" in (tick("urgent_export", instance).skip_message or "")
    assert "1 at risk" in (tick("deadline_alert_log", instance).skip_message or "")
    instance.report_run_canceled(waiting)
    assert len(tick("urgent_export", instance).run_requests or []) == 1


def test_an_alert_is_told_while_runs_are_stuck_and_again_after_an_hour(
    archive: Archive, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It looks at the warehouse: runs that have started and do nothing do not quiet it."""
    made_run(instance, dg.DagsterRunStatus.STARTED)
    land_rows(archive, owed(7, hours_left=50), now=NOW)
    told = []
    cursor = None
    for minutes in (0, 5, 55, 60, 65, 115, 120, 125):
        monkeypatch.setattr(sensors, "_now", lambda m=minutes: NOW + timedelta(minutes=m))
        ticked = tick("deadline_alert_log", instance, cursor)
        cursor = ticked.cursor
        if "told" in (ticked.skip_message or ""):
            told.append(minutes)
    assert told == [0, 60, 120]


def test_an_alert_that_is_not_delivered_fails_the_tick_and_is_tried_again(
    archive: Archive, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told: the tick is red, and what has been said stays as it was."""
    land_rows(archive, owed(1, hours_left=50), now=NOW)
    monkeypatch.setenv("EXPORT_ALERT_WEBHOOK", "http://127.0.0.1:9/s3cret")
    (deadline, failed) = sensors.alert_sensors()
    assert [deadline.name, failed.name] == ["deadline_alert_webhook", "failed_run_alert_webhook"]
    for _ in range(2):
        with pytest.raises(Exception, match="did not take the alert") as raised:
            deadline.evaluate_tick(dg.build_sensor_context(instance=instance))
        cause = raised.value.__cause__ or raised.value
        assert isinstance(cause, AlertNotDelivered)
        assert "s3cret" not in str(cause)


def failing_run(instance: dg.DagsterInstance, sentence: str) -> None:
    """A run of ours that fails with this sentence."""

    @dg.op
    def fail() -> None:
        raise dg.Failure(sentence)

    @dg.job(name="export")
    def export() -> None:
        fail()

    export.execute_in_process(instance=instance, raise_on_error=False)


def test_failed_runs_are_told_with_their_reason_and_none_is_forgotten(
    root: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of before the sensor are not; one whose alert was not delivered is told at the next tick."""
    failing_run(instance, "Of before.")
    first = tick("failed_run_alert_log", instance)
    failing_run(instance, "Twilio refuses the credentials.")
    made_run(instance, dg.DagsterRunStatus.STARTED)
    monkeypatch.setenv("EXPORT_ALERT_WEBHOOK", "http://127.0.0.1:9/s3cret")
    (_, broken) = sensors.alert_sensors()
    with pytest.raises(Exception, match="did not take the alert"):
        broken.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=first.cursor))
    second = tick("failed_run_alert_log", instance, first.cursor)
    assert "1 runs failed; told" in (second.skip_message or "")
    (reason,) = json.loads(second.cursor or "")["said"]
    assert reason == "export: Twilio refuses the credentials."
    third = tick("failed_run_alert_log", instance, second.cursor)
    assert "0 runs failed" in (third.skip_message or "")
    assert "anew" not in (third.skip_message or "")
    for cursor in ('{"after": "of another shape"}', '{"after": 1e400, "said": {}}', "[" * 5000):
        lost = tick("failed_run_alert_log", instance, cursor)
        assert "watching begins anew" in (lost.skip_message or "")


def test_an_error_that_is_not_ours_is_told_by_its_type(instance: dg.DagsterInstance, root: Path) -> None:
    """Its text may hold anything."""
    first = tick("failed_run_alert_log", instance)

    @dg.op
    def fail() -> None:
        raise ValueError("s3cret")

    @dg.job(name="export")
    def export() -> None:
        fail()

    export.execute_in_process(instance=instance, raise_on_error=False)
    second = tick("failed_run_alert_log", instance, first.cursor)
    assert list(json.loads(second.cursor or "")["said"]) == ["export: It raised ValueError."]


@pytest.mark.parametrize("state", ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_a_run_whose_process_is_gone_is_marked_as_failed_and_frees_its_slot(
    state: str, instance: dg.DagsterInstance
) -> None:
    """However far it was: Dagster alone would keep both for a day. One that lives, or runs elsewhere, keeps all."""
    before = dg.DagsterRunStatus[state]
    living, elsewhere, killed = (made_run(instance, before) for _ in range(3))
    storage = instance.event_log_storage
    limit_pool(instance)
    with alive(instance, killed.run_id):
        assert storage.claim_concurrency_slot(POOL, killed.run_id, "export_add_ons").is_claimed
    with alive(instance, living.run_id):
        assert not gone(instance, living.run_id)
        assert free_abandoned(instance) == [killed.run_id]
        assert known(instance) == {living.run_id}
        states = {run.run_id: run.status for run in instance.get_runs()}
        assert states[killed.run_id] == dg.DagsterRunStatus.FAILURE
        assert states[living.run_id] == states[elsewhere.run_id] == before
        assert storage.claim_concurrency_slot(POOL, living.run_id, "export_add_ons").is_claimed
        forget(instance, living.run_id)
    assert "No run" in (tick("abandoned_runs", instance).skip_message or "")


def test_nothing_is_kept_of_runs_that_ended_or_were_never_recorded(instance: dg.DagsterInstance) -> None:
    """Their files go once their process has; a file without a lock of a run nobody knows frees its slot too."""
    ended, living = (made_run(instance, dg.DagsterRunStatus.SUCCESS).run_id for _ in range(2))
    unrecorded = ended[:-4] + "0000"
    limit_pool(instance)
    for run_id in (ended, unrecorded):
        with alive(instance, run_id):
            pass
    storage = instance.event_log_storage
    assert storage.claim_concurrency_slot(POOL, unrecorded, "export_add_ons").is_claimed
    with alive(instance, living):
        assert free_abandoned(instance) == []
        assert known(instance) == {living}
    assert storage.get_concurrency_info(POOL).claimed_slots == []


def test_the_checks_are_evaluated_when_runs_do_not(archive: Archive, instance: dg.DagsterInstance) -> None:
    """All but the one that reads contents back; with their tables, and not more often than runs would."""
    land_rows(archive, owed(1, hours_left=50), now=NOW)
    ticked = tick("standing_checks", instance)
    evaluated = {event.check_name: event for event in ticked.asset_events if isinstance(event, dg.AssetCheckEvaluation)}
    assert set(evaluated) == {key.name for key in CHECKS} - {"contents_match"}
    close = evaluated["before_deadline"]
    assert (close.passed, close.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert isinstance(close.metadata["found"], dg.TableMetadataValue)
    for event in ticked.asset_events:
        instance.report_runless_asset_event(event)
    assert last_evaluated(instance, next(iter(CHECKS))) is not None
    assert "within the hour" in (tick("standing_checks", instance).skip_message or "")


def test_everything_ticks_beside_an_export(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an export of a made-up world nothing is at risk, and each sensor says so."""
    with Sandbox(made_up_world(now=datetime.now(UTC), recordings=10)) as sandbox:
        for name, value in {**sandbox.environment, "EXPORT_ROOT": str(tmp_path / "data")}.items():
            monkeypatch.setenv(name, value)
        Exporter(sandbox, open_archive(tmp_path / "data"))().verdict()
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    for name in SENSORS:
        ticked = tick(name, instance)
        assert ticked.run_requests == [], name
        for event in ticked.asset_events:
            if name == "landed_days":
                assert isinstance(event, dg.AssetMaterialization)
                continue
            assert isinstance(event, dg.AssetCheckEvaluation)
            assert event.passed or event.severity == dg.AssetCheckSeverity.WARN, event.check_name
