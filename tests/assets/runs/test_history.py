"""What runs leave in Dagster's history: partitions that tell the truth, numbers that plot, and nothing anybody said."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from assets.asking import op_config, partition_tags
from assets.graph import EXTERNAL, PAYLOADS_SPEC, RECORDINGS_SPEC, RESULTS_SPEC, SOURCE, VIEW_TYPES, VIEWS
from assets.runs.history import cause
from assets.runs.whose import claim
from pipelines.sandbox.exchange import Reply, Request
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.assets.instances import exporting
from tests.warehouse.made_up import land_rows, whole
from warehouse.store.opening import open_archive
from warehouse.store.trust import NOBODY_ELSE

PARTITIONED = ("add_on_results", "add_on_payloads")


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


def export(
    instance: dg.DagsterInstance,
    first: date,
    last: date,
    *,
    everything: bool = False,
    **tags: str,
) -> dg.ExecuteInProcessResult:
    """One run of the export for these partitions."""
    return dg.materialize(
        exporting(),
        instance=instance,
        tags={**partition_tags(first, last), **tags},
        run_config=dg.RunConfig(ops=op_config(everything=everything, full=False)),
        raise_on_error=False,
    )


def latest(instance: dg.DagsterInstance, name: str, day: date | None = None) -> Mapping[str, dg.MetadataValue]:
    """Metadata of the newest materialisation of an asset or of one of its partitions."""
    days = None if day is None else [day.isoformat()]
    wanted = dg.AssetRecordsFilter(dg.AssetKey(name), asset_partitions=days)
    (record,) = instance.fetch_materializations(wanted, limit=1).records
    assert record.asset_materialization is not None
    return record.asset_materialization.metadata


def published(tmp_path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What an analyst's query answers."""
    with duckdb.connect(str(tmp_path / "data" / "addons.duckdb"), read_only=True) as db:
        return db.execute(sql).fetchall()


def test_a_run_on_the_history_of_another_archive_lands_everything_and_shows_nothing_there(
    sandbox: Sandbox, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Dagster itself was started there: nothing is lost, and the run fails with a sentence that says what to set."""
    claim(instance, open_archive(tmp_path / "other").root, NOBODY_ELSE)
    today = datetime.now(UTC).date()
    result = export(instance, today - timedelta(days=1), today, everything=True)
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert f"which holds the history of {tmp_path / 'other'}" in str(failure.step_failure_data)
    assert published(tmp_path, "SELECT count(*) FROM add_on_results WHERE exported_at IS NOT NULL") > [(0,)]
    assert not any(instance.get_materialized_partitions(dg.AssetKey(name)) for name in PARTITIONED)


def test_an_export_of_everything_tells_every_partition_once(
    sandbox: Sandbox, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Also those in which there was nothing to land; the next run, which changes nothing, tells its own only."""
    today = datetime.now(UTC).date()
    assert export(instance, today, today, everything=True).success
    days = {(today - timedelta(days=n)).isoformat() for n in range(31)}
    rows = dict(published(tmp_path, "SELECT completed_date, count(*) FROM add_on_results GROUP BY 1"))
    for name in PARTITIONED:
        assert days <= instance.get_materialized_partitions(dg.AssetKey(name))
    for day in days:
        metadata = latest(instance, "add_on_results", date.fromisoformat(day))
        assert metadata["dagster/partition_row_count"].value == rows.get(date.fromisoformat(day), 0)
    counts = {name: len(instance.fetch_materializations(dg.AssetKey(name), limit=500).records) for name in PARTITIONED}
    assert export(instance, today, today, everything=True).success
    for name in PARTITIONED:
        assert len(instance.fetch_materializations(dg.AssetKey(name), limit=500).records) == counts[name] + 1


def test_a_day_that_owes_a_content_is_not_called_materialised(sandbox: Sandbox, instance: dg.DagsterInstance) -> None:
    """An incomplete run fails, its days that are whole do not, and those of the same range that owe something do."""
    now = datetime.now(UTC)
    broken, completed = next(
        (each.result, each.state.date_completed)
        for each in sandbox.world.truth(now, account_sid=sandbox.account_sid)
        if each.payloads and each.state.date_completed is not None
    )
    owing = completed.astimezone(UTC).date()

    def unavailable(request: Request) -> Reply | None:
        return Reply(404, b"{}") if broken.sid in request.sids else None

    sandbox.settings.intercept = unavailable
    first, last = owing - timedelta(days=2), min(owing + timedelta(days=2), now.date())
    assert not export(instance, first, last).success
    told = instance.get_materialized_partitions(dg.AssetKey("add_on_results"))
    assert owing.isoformat() not in told
    assert {(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)} - told == {
        owing.isoformat()
    }


def test_in_a_new_history_every_landed_day_is_green_again_whatever_its_age(
    sandbox: Sandbox, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """A lost DAGSTER_HOME loses nothing: the next export tells it what the warehouse holds."""
    today = datetime.now(UTC).date()
    old = today - timedelta(days=200)
    at = datetime(old.year, old.month, old.day, 12, tzinfo=UTC)
    land_rows(open_archive(tmp_path / "data"), whole(1, b"made up", at=at, done=at))
    assert export(instance, today, today, everything=True).success
    for name in PARTITIONED:
        told = instance.get_materialized_partitions(dg.AssetKey(name))
        assert {old.isoformat(), today.isoformat()} <= told
    assert len(told) < 40, "days between of which nothing is known are not called landed"


def test_a_range_that_cannot_be_is_said_in_a_sentence(sandbox: Sandbox, instance: dg.DagsterInstance) -> None:
    """Reversed, in the future, long before the first partition, or none: what is wrong and no class of an error."""
    today = datetime.now(UTC).date()
    for first, last, reason in (
        (today, today - timedelta(days=3), "is after its last"),
        (today + timedelta(days=1), today + timedelta(days=2), "has no partition"),
        (today - timedelta(days=900), today - timedelta(days=899), "has no partition"),
    ):
        (failure,) = [event for event in export(instance, first, last).all_events if event.is_step_failure]
        said = failure.step_failure_data.user_failure_data
        assert said is not None
        assert reason in (said.description or "")
    for_none = dg.materialize(exporting(), instance=instance, raise_on_error=False)
    (failure,) = [event for event in for_none.all_events if event.is_step_failure]
    assert "for no day" in str(failure.step_failure_data.user_failure_data)


def test_the_run_as_a_whole_plots_over_time(sandbox: Sandbox, instance: dg.DagsterInstance) -> None:
    """Every number is a number, those asked for are there, and `recordings` has one value for each run."""
    today = datetime.now(UTC).date()
    for _ in range(2):
        assert export(instance, today - timedelta(days=3), today, everything=True).success
    records = instance.fetch_materializations(dg.AssetKey("recordings"), limit=10).records
    assert len(records) == 2
    whole = latest(instance, "recordings")
    on_partitions = latest(instance, "add_on_results", today)
    for name in ("requests", "requests_refused_429", "requests_retried", "seconds", "backlog", "commit"):
        assert isinstance(whole[name].value, int | float)
        assert isinstance(on_partitions[name].value, int | float)
    for name in ("rows", "archive_bytes", "content_bytes", "hours_to_nearest_deadline"):
        assert isinstance(whole[name].value, int | float)
    for name in ("bytes", "exported", "pending", "unfinished", "lost"):
        assert isinstance(on_partitions[name].value, int)
    assert "preview" not in latest(instance, "add_on_results", today - timedelta(days=1))
    assert "data:image/svg" in str(on_partitions["results_by_day"].value)


def test_nothing_that_anybody_said_is_in_the_history(
    sandbox: Sandbox, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """No word of six letters or more that only transcripts have, no token, no signed address, in any event."""
    today = datetime.now(UTC).date()
    result = export(instance, today - timedelta(days=30), today, everything=True)
    assert result.success
    history = "\n".join(str(entry) for entry in instance.all_logs(result.run_id))
    texts = [str(text) for (text,) in published(tmp_path, "SELECT text FROM transcripts WHERE text IS NOT NULL")]
    phrases = {" ".join(words[n : n + 3]) for text in texts for words in [text.split()] for n in range(len(words) - 3)}
    assert len(phrases) > 50
    assert not [phrase for phrase in phrases if phrase in history]
    assert sandbox.auth_token not in history
    assert not re.search(r"[?&](Signature|X-Amz)", history)


def test_tags_say_which_account_what_where_to_and_why(sandbox: Sandbox, instance: dg.DagsterInstance) -> None:
    """A list of runs can be searched by them."""
    today = datetime.now(UTC).date()
    result = export(instance, today, today, addon_export="cli")
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    tags = {name.removeprefix("addon_export/"): v for name, v in run.tags.items() if name.startswith("addon_export/")}
    assert tags == {"account": sandbox.account_sid, "cause": "cli", "destination": "duckdb", "scope": "range"}


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"dagster/backfill": "abc", "addon_export": "cli"}, "backfill"),
        ({"addon_export": "<!channel> https://evil.example"}, "by hand"),
        ({"dagster/schedule_name": "hourly_export"}, "schedule"),
        ({"dagster/sensor_name": "urgent_export"}, "sensor"),
        ({}, "by hand"),
    ],
)
def test_the_cause_of_a_run(tags: Mapping[str, str], word: str) -> None:
    """From what Dagster says of it."""
    assert cause(tags) == word


def test_twilio_is_observed_and_never_materialised(sandbox: Sandbox, instance: dg.DagsterInstance) -> None:
    """A sign of life at the end of each run at least, with the traffic so far."""
    today = datetime.now(UTC).date()
    assert export(instance, today, today).success
    assert instance.fetch_materializations(SOURCE, limit=1).records == []
    (record,) = instance.fetch_observations(SOURCE, limit=5).records
    assert record.asset_observation is not None
    assert "requests" in record.asset_observation.metadata
    assert re.search(r"\d+ recordings seen, \d+ done", record.asset_observation.description or "")


def test_every_asset_says_who_owns_it_what_it_is_and_where_it_belongs() -> None:
    """Groups, kinds, owners and words for every node of the graph."""
    for spec in (*EXTERNAL, RESULTS_SPEC, PAYLOADS_SPEC):
        assert spec.owners
        assert spec.kinds
        assert spec.group_name in {"twilio", "warehouse"}
        assert len(spec.description or "") > 80
    assert "UTC day" in (RESULTS_SPEC.description or "")
    assert RECORDINGS_SPEC.partitions_def is None


def test_the_views_columns_are_those_that_analysts_find(
    sandbox: Sandbox, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Names, order and types, compared with the published file."""
    today = datetime.now(UTC).date()
    assert export(instance, today, today).success
    for spec in VIEWS:
        schema = spec.metadata["dagster/column_schema"]
        columns = schema if isinstance(schema, dg.TableSchema) else schema.value
        name = spec.key.to_user_string()
        assert name in VIEW_TYPES
        found = published(tmp_path, f"SELECT column_name, column_type FROM (DESCRIBE {name})")
        assert [(column.name, column.type) for column in columns.columns] == found
