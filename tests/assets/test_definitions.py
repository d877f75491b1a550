"""The Dagster surface: definitions load, ranges materialise in one run, the schedule asks for the right thing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from assets.asking import partition_tags
from assets.definitions import build_definitions
from assets.export import export_add_ons
from assets.graph import RECORDINGS_SPEC
from assets.partitions import partitions
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.assets.instances import exporting

NAMES = ["add_on_results", "add_on_payloads"]


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A made-up world, and the environment of this process pointing at it."""
    with Sandbox(made_up_world(now=datetime.now(UTC), recordings=8)) as running:
        for name, value in {**running.environment, "EXPORT_ROOT": str(tmp_path / "data")}.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that forgets everything."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_the_definitions_load() -> None:
    """Every asset, job, schedule and resource fits together."""
    dg.Definitions.validate_loadable(build_definitions())


def test_a_run_says_nothing_to_a_terminal_that_its_config_made_up() -> None:
    """Dagster's logger prints the name that a config gives it, with what a terminal would obey."""
    made = build_definitions()
    for job in ("export", "delete"):
        named = {"loggers": {"console": {"config": {"name": "\x1b]0;made up\x07"}}}}
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.validate_run_config(made.resolve_job_def(job), named)


def test_today_has_a_partition_and_so_has_every_day_that_can_be_had() -> None:
    """Partitions are UTC days from before the retention window up to today."""
    today = datetime.now(UTC).date()
    keys = partitions(here=datetime.now(UTC)).get_partition_keys()
    assert keys[-1] == today.isoformat()
    assert (today - timedelta(days=30)).isoformat() in keys


def test_a_range_of_partitions_is_one_run_with_numbers_for_each(
    sandbox: Sandbox, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Both partitioned assets are materialised for every day of the range, with the rows of that day."""
    today = datetime.now(UTC).date()
    first = today - timedelta(days=6)
    result = dg.materialize(
        exporting(),
        instance=instance,
        tags=partition_tags(first, today),
    )
    assert result.success
    published = str(tmp_path / "data" / "addons.duckdb")
    with duckdb.connect(published, read_only=True) as db:
        (rows,) = db.execute("SELECT count(*) FROM add_on_results WHERE completed_date = ?", [first]).fetchall()
    events = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey("add_on_results"), asset_partitions=[first.isoformat()]), limit=1
    )
    materialisation = events.records[0].asset_materialization
    assert materialisation is not None
    assert materialisation.metadata["dagster/partition_row_count"].value == rows[0]
    for name in NAMES:
        materialised = instance.get_materialized_partitions(dg.AssetKey(name))
        assert {(first + timedelta(days=n)).isoformat() for n in range(7)} <= materialised


def test_a_failed_run_says_why_and_leaves_its_partitions_failed(
    sandbox: Sandbox, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event carries our one sentence and neither token nor content."""
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "not-the-token")
    day = datetime.now(UTC).date()
    result = dg.materialize(
        exporting(),
        instance=instance,
        tags=partition_tags(day, day),
        raise_on_error=False,
    )
    assert not result.success
    failure = next(e for e in result.all_events if e.is_step_failure)
    text = str(failure.step_failure_data)
    assert "credentials" in text
    assert "not-the-token" not in text


def test_every_column_is_described_in_the_asset() -> None:
    """The UI shows the columns that analysts find, from the same source."""
    for spec in (*export_add_ons.specs, RECORDINGS_SPEC):
        schema = spec.metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema | dg.TableSchemaMetadataValue)
        columns = schema.columns if isinstance(schema, dg.TableSchema) else schema.value.columns
        assert all(column.description for column in columns)
        assert len(columns) > 10
