"""The standing questions: each is answered yes on a whole warehouse, and no for the one thing that is wrong."""

from collections.abc import Callable
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import IncompleteExport
from pipelines.findings import QUESTIONS, Finding, days_to_read_back, findings
from pipelines.sandbox.run import Sandbox
from pipelines.sandbox.world import World
from tests.pipelines.conftest import NOW, Exporter
from warehouse.archive import Archive
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, RECORDINGS, Table


def asked(exporter: Exporter, sandbox: Sandbox) -> dict[str, Finding]:
    """Every answer by the name of its question."""
    found = list(findings(exporter.archive, now=sandbox.now, settle=timedelta(hours=48)))
    assert [finding.question.name for finding in found] == list(QUESTIONS)
    return {finding.question.name: finding for finding in found}


@pytest.fixture
def exported(world: World, sandbox: Sandbox, exporter: Exporter) -> Exporter:
    """A few days of whole results."""
    for day in (1, 2, 3, 20):
        recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=day))
        world.add_payload(world.add_result(recording), b"{}")
    exporter().verdict()
    return exporter


def test_an_empty_warehouse_answers_every_question(exporter: Exporter, sandbox: Sandbox) -> None:
    """With yes: there is nothing wrong with nothing."""
    assert all(finding.passed for finding in asked(exporter, sandbox).values())


def test_a_whole_warehouse_answers_every_question_with_yes(exported: Exporter, sandbox: Sandbox) -> None:
    """And with numbers."""
    found = asked(exported, sandbox)
    assert [name for name, finding in found.items() if not finding.passed] == []
    assert found["partitions_are_complete"].numbers == {"found": 0, "complete": 30, "days": 30}
    assert found["result_sids_are_unique"].numbers["rows"] == 4


def rewritten(table: Table, change: Callable[[list[dict[str, object]]], None]) -> Callable[[Archive], None]:
    """Commit a changed file of yesterday's in place of a sound one: wrong, and sound in itself."""

    def apply(archive: Archive) -> None:
        head, day = archive.head(), NOW.date() - timedelta(days=1)
        file = next(f for f in head.tables[table.name].values() if f"{day}" in f.folder)
        rows = pq.read_table(archive.root / file.path, partitioning=None).to_pylist()
        change(rows)
        sealed = archive.seal(table, day, pa.Table.from_pylist(rows, schema=table.file_schema).to_batches())
        archive.commit(head, drop=[file], add=[sealed], at=NOW, run_id="wrong")

    return apply


def twice(rows: list[dict[str, object]]) -> None:
    """The first row a second time."""
    rows.append(rows[0])


def flip(archive: Archive) -> None:
    """One bit of a content file of yesterday's."""
    day = NOW.date() - timedelta(days=1)
    path = next(archive.root / p for p in archive.head().tables[CONTENTS.name] if f"{day}" in p)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "severity", "wrong"),
    [
        ("recording_sids_are_unique", "error", rewritten(RECORDINGS, twice)),
        ("result_sids_are_unique", "error", rewritten(ADD_ON_RESULTS, twice)),
        ("payload_sids_are_unique", "error", rewritten(ADD_ON_PAYLOADS, twice)),
        (
            "payloads_have_results",
            "error",
            rewritten(ADD_ON_PAYLOADS, lambda rows: rows[0].update(add_on_result_sid="XR0")),
        ),
        ("contents_hash_as_received", "error", rewritten(CONTENTS, lambda rows: rows[0].update(content=b"other"))),
        ("contents_hash_as_received", "error", flip),
        ("statuses_are_known", "warning", rewritten(ADD_ON_RESULTS, lambda rows: rows[0].update(status="dreaming"))),
    ],
)
def test_one_wrong_thing_is_found_and_named(
    name: str, severity: str, wrong: Callable[[Archive], None], exported: Exporter, sandbox: Sandbox
) -> None:
    """By its own question, with a row that says what."""
    wrong(exported.archive)
    found = asked(exported, sandbox)
    assert not found[name].passed
    assert (found[name].severity, len(found[name].rows)) == (severity, 1)
    assert found[name].sentence.startswith("1 ")


def test_deadlines_warn_at_seven_days_and_are_errors_at_three(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """Then it is lost, which stays an error."""
    result = world.add_result(world.add_recording(sandbox.account_sid, NOW - timedelta(days=20)), outcome=None)
    exporter().verdict()
    near, lost = "nothing_is_near_its_deadline", "nothing_is_lost"
    assert asked(exporter, sandbox)[near].passed
    for hours, severity in ((96, "warning"), (73, "error")):
        sandbox.advance(timedelta(hours=hours))
        found = asked(exporter, sandbox)
        assert (found[near].passed, found[near].severity, found[lost].passed) == (False, severity, True)
        assert found[near].rows[0]["sid"] == result.sid
    sandbox.advance(timedelta(days=4))
    found = asked(exporter, sandbox)
    assert (found[near].passed, found[lost].passed, found[lost].rows) == (True, False, ({"sid": result.sid},))


def test_days_that_are_not_complete_are_in_a_table(exported: Exporter, sandbox: Sandbox) -> None:
    """No export came after them."""
    sandbox.advance(timedelta(days=2))
    found = asked(exported, sandbox)["partitions_are_complete"]
    assert not found.passed
    assert [row["day"] for row in found.rows] == [f"{NOW.date()}", f"{NOW.date() + timedelta(days=1)}"]
    assert found.rows[0]["not_listed"] == 1


def test_what_is_in_quarantine_is_in_a_table_without_its_bytes(
    world: World, sandbox: Sandbox, exporter: Exporter
) -> None:
    """SIDs and reasons only: the table is kept in Dagster's history."""
    recording = world.add_recording(sandbox.account_sid, NOW - timedelta(days=2))
    result = world.add_result(recording, overrides={"date_created": "the day of MARKER"})
    world.add_payload(result, b"MARKER in the content")
    with pytest.raises(IncompleteExport):
        exporter().verdict()
    found = asked(exporter, sandbox)["quarantine_is_empty"]
    assert (found.passed, found.severity) == (False, "warning")
    assert found.rows[0]["sid"] == result.sid
    assert "in the content" not in repr(found)


def test_every_day_of_a_month_is_read_back() -> None:
    """The newest two each time, and each of the others in turn."""
    first = date(2026, 11, 20)
    seen = {
        (first + timedelta(days=n)) - day for n in range(29) for day in days_to_read_back(first + timedelta(days=n))
    }
    assert seen == {timedelta(days=n) for n in range(31)}
