"""The checks in Dagster: what a run does when one fails, and what the UI is given."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from assets.asking import partition_tags
from assets.checks import CHECKS, ROWS, evaluate, open_reading
from assets.definitions import build_definitions
from pipelines.monitoring import checks
from pipelines.monitoring.checks import GUARDS
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.assets.instances import instance_in
from tests.pipelines.monitoring.test_checks import add
from tests.warehouse.made_up import land_rows, recording, result, whole
from warehouse.schema import ADD_ON_RESULTS
from warehouse.store.archive import Archive
from warehouse.store.opening import open_archive

TODAY = datetime.now(UTC).date()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance as users have it."""
    with instance_in(tmp_path / "home") as made:
        yield made


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """An empty warehouse, without credentials."""
    monkeypatch.setenv("EXPORT_ROOT", str(tmp_path / "data"))
    for name in ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return open_archive(tmp_path / "data")


def run(instance: dg.DagsterInstance, selection: dg.AssetSelection) -> dg.ExecuteInProcessResult:
    """One run over a selection of the graph."""
    made = build_definitions()
    job = dg.Definitions(
        assets=made.assets,
        asset_checks=made.asset_checks,
        resources=made.resources,
        jobs=[dg.define_asset_job("those", selection=selection)],
        executor=dg.in_process_executor,
    ).resolve_job_def("those")
    return job.execute_in_process(instance=instance, tags=partition_tags(TODAY, TODAY), raise_on_error=False)


def test_the_checks_that_guard_deletion_are_those_that_an_export_ends_with() -> None:
    """They block in Dagster; without it they make the exit code."""
    blocking = {(spec.asset_key.to_user_string(), spec.name) for spec, _ in CHECKS.values() if spec.blocking}
    assert blocking == set(GUARDS)


CHECKS_ALONE = dg.AssetSelection.checks(*CHECKS)


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """What was found, by check; those of payloads under their asset's name too."""
    return {f"{e.asset_key.to_user_string()}:{e.check_name}": e for e in result.get_asset_check_evaluations()}


def test_an_export_evaluates_all_checks(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the run that exports, and nothing but completeness may fail after it; the numbers are there to plot."""
    with Sandbox(made_up_world(now=datetime.now(UTC), recordings=10)) as sandbox:
        for name, value in {**sandbox.environment, "EXPORT_ROOT": str(tmp_path / "data")}.items():
            monkeypatch.setenv(name, value)
        result = (
            build_definitions()
            .resolve_job_def("export")
            .execute_in_process(
                instance=instance,
                tags=partition_tags(TODAY, TODAY),
                run_config={"ops": {"export_add_ons": {"config": {"everything": True}}}},
            )
        )
    found = evaluations(result)
    assert len(found) == len(CHECKS)
    failed = {name for name, e in found.items() if not e.passed}
    assert failed <= {"add_on_results:days_complete"}
    assert found["add_on_payloads:contents_match"].metadata["files_read_back"].value
    assert "backlog" in found["add_on_results:before_deadline"].metadata


def test_checks_need_neither_credentials_nor_a_warehouse(instance: dg.DagsterInstance, archive: Archive) -> None:
    """By themselves, on an empty folder; one of them alone too."""
    result = run(instance, CHECKS_ALONE)
    assert result.success
    assert all(e.passed for e in result.get_asset_check_evaluations())
    one = run(instance, dg.AssetSelection.checks(next(iter(CHECKS))))
    assert len(one.get_asset_check_evaluations()) == 1


def test_a_failed_check_that_blocks_fails_its_run(instance: dg.DagsterInstance, archive: Archive) -> None:
    """What is landed does not hold together; a deletion looks for itself, so it needs no check before it."""
    land_rows(archive, whole(1))
    add(archive, ADD_ON_RESULTS, result(1))
    finished = run(instance, CHECKS_ALONE)
    assert not finished.success
    found = evaluations(finished)["add_on_results:unique_sids"]
    assert (found.passed, found.blocking) == (False, True)


def test_a_table_of_what_and_why_is_bounded(archive: Archive) -> None:
    """Its rows are few enough for the event log; the number counts all."""
    land_rows(
        archive, [row for n in range(ROWS + 9) for row in (recording(n), result(n, status="pondering", done=None))]
    )
    land_rows(
        archive,
        [
            row
            for n in range(ROWS + 9)
            for row in (recording(n), result(n, status=f"{chr(97 + n // 26)}-{chr(97 + n % 26)}"))
        ],
    )
    (key,) = (key for key in CHECKS if key.name == "statuses_known")
    (found,) = evaluate(open_reading(now=datetime.now(UTC)), [key])
    table = found.metadata["found"]
    assert isinstance(table, dg.TableMetadataValue)
    assert len(table.records) == ROWS
    assert found.metadata["rows_found"].value == ROWS + 9
    assert [(column.name, column.type) for column in table.schema.columns] == [
        ("status", "string"),
        ("results", "int"),
        ("example", "string"),
    ]


def test_a_check_that_cannot_read_is_a_failed_check(instance: dg.DagsterInstance, archive: Archive) -> None:
    """Damage never reads as health: each check says so by itself, and the one for damage says where."""
    land_rows(archive, whole(1))
    path = next(archive.root / p for p in archive.head().tables["add_on_results"])
    path.write_bytes(b"PAR1 no more")
    result = run(instance, CHECKS_ALONE)
    assert not result.success
    found = evaluations(result)
    assert not found["add_on_results:unique_sids"].passed
    assert not found["add_on_results:nothing_lost"].passed
    where = found["add_on_payloads:contents_match"].metadata["found"]
    assert isinstance(where, dg.TableMetadataValue)
    assert path.name in str(where.records[0].data["subject"])


def test_reading_back_goes_on_where_the_last_run_ended(
    instance: dg.DagsterInstance, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a budget of one file, three runs read three files."""
    monkeypatch.setattr(checks, "BYTES", 1)
    for n in range(3):
        day = datetime.now(UTC) - timedelta(days=n)
        land_rows(archive, whole(n, done=day))
    ends = []
    for _ in range(3):
        result = run(instance, CHECKS_ALONE)
        ends.append(evaluations(result)["add_on_payloads:contents_match"].metadata["read_back_up_to"].value)
    assert ends == sorted(set(map(str, ends)))
    assert len(ends) == 3
