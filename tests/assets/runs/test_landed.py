"""Days that landed without Dagster are told from the archive: what is green is landed here, whoever landed it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets.asking import op_config, partition_tags
from assets.runs.history import PARTITIONED
from assets.runs.landed import cursor_at, news
from assets.runs.whose import claim
from assets.sensors import landed_days
from pipelines.finished import KEPT, finished, note_retry
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from pipelines.scope import Scope
from tests.assets.instances import exporting
from tests.pipelines.conftest import Exporter
from tests.warehouse.made_up import land_rows, whole
from warehouse.store.opening import open_archive
from warehouse.store.trust import NOBODY_ELSE

TODAY = datetime.now(UTC).date()


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A made-up world, and the environment of this process pointing at it."""
    with Sandbox(made_up_world(now=datetime.now(UTC), recordings=10)) as running:
        for name, value in {**running.environment, "EXPORT_ROOT": str(tmp_path / "data")}.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def exporter(sandbox: Sandbox, tmp_path: Path) -> Exporter:
    """An export without Dagster."""
    return Exporter(sandbox, open_archive(tmp_path / "data"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that forgets everything."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[int, str | None]:
    """What a tick of the sensor reports, reported as the daemon does; how many events, and its cursor after it."""
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        found = landed_days(context)
    assert isinstance(found, dg.SensorResult)
    for event in found.asset_events:
        instance.report_runless_asset_event(event)
    return len(found.asset_events), found.cursor


def days(instance: dg.DagsterInstance) -> dict[str, set[str]]:
    """What is green."""
    return {table.name: instance.get_materialized_partitions(dg.AssetKey(table.name)) for table in PARTITIONED}


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """An export of everything by Dagster."""
    config = dg.RunConfig(ops=op_config(everything=True, full=False))
    return dg.materialize(
        exporting(),
        instance=instance,
        tags=partition_tags(TODAY - timedelta(days=1), TODAY),
        run_config=config,
        raise_on_error=False,
    )


def test_an_export_without_dagster_is_told_as_one_by_dagster_is(
    exporter: Exporter, instance: dg.DagsterInstance
) -> None:
    """The same days with the same numbers, once; what Dagster has told itself is not told again."""
    exporter().verdict()
    told, cursor = tick(instance)
    assert told > 60
    assert tick(instance, cursor) == (0, cursor)
    with dg.DagsterInstance.ephemeral() as other:
        assert run(other).success
        assert days(other) == days(instance)
        for name in days(instance):
            numbers = [
                {
                    record.partition_key: record.asset_materialization.metadata["dagster/partition_row_count"].value
                    for record in each.fetch_materializations(dg.AssetKey(name), limit=500).records
                    if record.asset_materialization is not None
                }
                for each in (instance, other)
            ]
            assert numbers[0] == numbers[1]
        _, upto = tick(other, cursor)
        assert tick(other, upto) == (0, upto)
    (whole_run,) = instance.fetch_materializations(dg.AssetKey("recordings"), limit=10).records
    assert whole_run.asset_materialization is not None
    metadata = whole_run.asset_materialization.metadata
    assert metadata["requests"].value == exporter.progress.traffic().requests
    assert {"backlog", "seconds", "commit", "results_new"} <= set(metadata)


def test_a_run_of_dagsters_own_is_not_told_twice(sandbox: Sandbox, instance: dg.DagsterInstance) -> None:
    """Nor is one that has not ended yet told before it tells itself."""
    assert run(instance).success
    told, cursor = tick(instance)
    assert (told, json.loads(cursor or "")) == (0, {"finished": 1})


def test_what_a_killed_process_has_landed_is_told_with_the_next_export_that_ends(
    exporter: Exporter, instance: dg.DagsterInstance
) -> None:
    """Of a day that it had begun nobody knows whether that is all."""
    at = datetime.now(UTC) - timedelta(days=3)
    land_rows(exporter.archive, whole(1, b"made up", at=at, done=at), now=at)
    assert tick(instance) == (0, None)
    exporter().verdict()
    _, cursor = tick(instance)
    assert at.date().isoformat() in days(instance)["add_on_results"]
    assert cursor == cursor_at(1)


def test_a_day_that_owes_a_content_is_not_green_and_a_range_tells_its_own_days(
    exporter: Exporter, sandbox: Sandbox, instance: dg.DagsterInstance
) -> None:
    """Nor, of an incomplete export, is any other day that nothing says is whole; after the next one all are."""
    broken, completed = next(
        (each.result, each.state.date_completed)
        for each in sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid)
        if each.payloads and each.state.date_completed is not None
    )
    owing = completed.astimezone(UTC).date()

    def unavailable(request: Request) -> Reply | None:
        return Reply(404, b"{}") if broken.sid in request.sids else None

    sandbox.settings.intercept = unavailable
    first, last = owing - timedelta(days=2), min(owing + timedelta(days=2), TODAY)
    assert exporter(Scope(first, last)).incomplete
    _, cursor = tick(instance)
    asked = {(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)}
    assert asked - days(instance)["add_on_results"] == {owing.isoformat()}
    sandbox.settings.intercept = None
    exporter(Scope(first, last)).verdict()
    _, cursor = tick(instance, cursor)
    assert asked <= days(instance)["add_on_results"]


def test_what_a_retry_lands_is_told(exporter: Exporter, instance: dg.DagsterInstance) -> None:
    """Only the days that it touched: it has listed nothing."""
    exporter().verdict()
    _, cursor = tick(instance)
    at = datetime.now(UTC) - timedelta(days=200)
    before = exporter.archive.head().number
    load = land_rows(exporter.archive, whole(1, b"made up", at=at, done=at), now=datetime.now(UTC))
    note_retry(exporter.archive, run_id="test", before=before, commit=load.commit)
    assert at.date().isoformat() not in days(instance)["add_on_results"]
    tick(instance, cursor)
    assert at.date().isoformat() in days(instance)["add_on_results"]


def test_a_cursor_that_somebody_set_is_not_believed_and_another_archives_days_are_not_told(
    exporter: Exporter, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Whoever gets into the UI can set one; a marker that was mended counts from the start."""
    exporter().verdict()
    for cursor in ("", "{", "[]", "[" * 5000, '{"finished": "x"}', '{"finished": 1e400}', '{"finished": 99}'):
        found = news(instance, exporter.archive, cursor)
        assert found.events
        assert found.upto == 1
    claim(instance, open_archive(tmp_path / "other").root, NOBODY_ELSE)
    with dg.build_sensor_context(instance=instance) as context:
        assert isinstance(landed_days(context), dg.SkipReason)


def test_only_the_newest_exports_are_kept(exporter: Exporter) -> None:
    """Numbered on, with what each covered; one that ends with what does not read back is not among them."""
    for _ in range(3):
        exporter().verdict()
    found = finished(exporter.archive.root)
    assert [(each.number, each.first, each.lists, each.incomplete) for each in found] == [
        (number, None, True, False) for number in (1, 2, 3)
    ]
    assert KEPT >= 24, "a day of exports that nobody was there to tell"
