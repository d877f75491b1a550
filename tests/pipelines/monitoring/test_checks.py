"""Every check passes on what is whole and fails on what it is for, with a row that says what and why."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.monitoring import checks
from pipelines.monitoring.checks import Reading, Verdict, next_files
from pipelines.settings import Windows
from tests.warehouse.made_up import (
    NOON,
    Row,
    bad,
    content,
    land_rows,
    later,
    payload,
    recording,
    result,
    rows_by_key,
    sid,
    whole,
)
from warehouse.land import land
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, RECORDINGS, Table, shown_status
from warehouse.store.archive import Archive
from warehouse.store.commit import LiveFile
from warehouse.store.opening import open_archive

WINDOWS = Windows(timedelta(days=7), timedelta(days=3))
ALL: Sequence[Callable[[Reading], Verdict]] = (
    checks.unique(RECORDINGS, ADD_ON_RESULTS),
    checks.unique(ADD_ON_PAYLOADS),
    checks.have_result,
    checks.contents_match,
    checks.quarantine_empty,
    checks.statuses_known,
    checks.days_complete,
    checks.before_deadline,
    checks.nothing_lost,
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty warehouse."""
    return open_archive(tmp_path / "data")


def reading(archive: Archive, *, hours: float = 0, resume: str = "") -> Reading:
    """The archive, so many hours after noon."""
    return Reading(archive, later(hours), timedelta(hours=48), WINDOWS, resume)


def add(archive: Archive, table: Table, row: Row) -> None:
    """Seal and commit a row as it is, past the merge that would keep it from being there twice."""
    batch = pa.Table.from_pylist([row[1]], schema=table.schema).select(table.file_schema.names).to_batches()
    day = row[1].get(table.partition or "")
    file = archive.seal(table, day, batch)
    archive.commit(archive.head(), drop=[], add=[file], at=NOON, run_id="test")


@pytest.mark.parametrize("check", ALL)
def test_an_empty_warehouse_passes(check: Callable[[Reading], Verdict], tmp_path: Path) -> None:
    """Also one that is not there yet: nothing is made."""
    nowhere = Archive(tmp_path / "none", open_archive(tmp_path / "data").access)
    for archive in (open_archive(tmp_path / "data"), nowhere):
        assert check(reading(archive)).rows == []
    assert not nowhere.root.exists()


def test_what_is_whole_passes(archive: Archive) -> None:
    """All but completeness, which needs the list of recordings to have been read."""
    land_rows(archive, [row for n in range(5) for row in whole(n)])
    for check in ALL:
        if check is not checks.days_complete:
            assert check(reading(archive)).rows == []


@pytest.mark.parametrize(
    ("table", "row"), [(RECORDINGS, recording(1)), (ADD_ON_RESULTS, result(1)), (ADD_ON_PAYLOADS, payload(1))]
)
def test_a_sid_that_is_there_twice_is_found(archive: Archive, table: Table, row: Row) -> None:
    """Whichever table holds it, and on whichever days."""
    land_rows(archive, whole(1))
    add(archive, table, row)
    (found,) = checks.unique(RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS)(reading(archive)).rows
    assert found == {"table": table.name, "sid": row[1]["sid"], "rows": 2}


def test_a_payload_without_its_result_is_found(archive: Archive) -> None:
    """Unless its recording still owes something: contents are landed before their result."""
    land_rows(archive, [recording(1, open_results=1), payload(1, data=b"x"), content(1, b"x")])
    assert checks.have_result(reading(archive)).rows == []
    land_rows(archive, [recording(1, at=later(1))], now=later(1))
    (found,) = checks.have_result(reading(archive)).rows
    assert found["payload"] == sid("XH", 1)


def test_bytes_that_have_changed_at_rest_are_found(archive: Archive) -> None:
    """A flipped bit of a file, and a content that is not the one its payload names."""
    land_rows(archive, [*whole(1, b"as it came"), *whole(2, b"other")])
    assert checks.contents_match(reading(archive)).rows == []
    add(archive, ADD_ON_PAYLOADS, payload(3, data=b"named"))
    add(archive, CONTENTS, content(3, b"kept"))
    (found,) = checks.contents_match(reading(archive)).rows
    assert (found["what"], found["subject"]) == ("content", sid("XH", 3))
    path = next(archive.root / p for p in archive.head().tables["add_on_results"])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert {row["what"] for row in checks.contents_match(reading(archive)).rows} == {"content", "file"}


@given(sizes=st.lists(st.integers(1, 100), max_size=12), limit=st.integers(1, 200))
def test_reading_back_comes_round_to_every_file(sizes: list[int], limit: int) -> None:
    """Each evaluation goes on where the last one ended, within its budget or with one file; none is left out."""
    files = [
        LiveFile(f"contents/completed_date=2026-11-20/{n:02}.parquet", 1, size, "") for n, size in enumerate(sizes)
    ]
    seen: set[str] = set()
    after = ""
    for _ in files:
        chosen = next_files(files, after=after, limit=limit)
        assert len(chosen) == 1 or sum(file.bytes for file in chosen) <= limit
        assert len({file.path for file in chosen}) == len(chosen)
        seen |= {file.path for file in chosen}
        after = chosen[-1].path
    assert seen == {file.path for file in files}


def test_what_is_in_quarantine_is_an_error_while_it_may_still_be_had(archive: Archive) -> None:
    """After thirty days it is a warning: somebody should know, but nothing can be had any more."""
    land(archive, bad("It has no SID."), run_id="test", now=NOON)
    now = checks.quarantine_empty(reading(archive))
    assert (now.rows[0]["reason"], now.severity) == ("It has no SID.", "ERROR")
    assert checks.quarantine_empty(reading(archive, hours=24 * 31)).severity == "WARN"


def test_a_status_that_is_not_documented_is_a_warning(archive: Archive) -> None:
    """It is landed as sent; so is one that is null."""
    land_rows(archive, [recording(1), result(1, status="pondering"), recording(2), result(2, status=None)])
    found = checks.statuses_known(reading(archive))
    assert {row["status"] for row in found.rows} == {"pondering", "null"}
    assert found.severity == "WARN"


@pytest.mark.parametrize("status", ["Call me at 555-0100", "pondering\n", "pönde", "p" * 41, ""])
def test_a_status_that_could_say_anything_is_not_shown(archive: Archive, status: str) -> None:
    """Rows of checks are in Dagster's history, which may hold nothing that anybody said; the table holds it as sent."""
    made = later(-24 * 31)
    row = result(1, at=made, done=made, date_created=made, expires_at=later(-1), payload_count=1, status=status)
    land_rows(archive, [recording(1, at=made, date_created=made, created_date=made.date()), row])
    for found in (checks.statuses_known(reading(archive)), checks.nothing_lost(reading(archive))):
        assert [row["status"] for row in found.rows] == ["something else"]
    assert rows_by_key(archive, ADD_ON_RESULTS)[sid("XR", 1)]["status"] == status
    assert shown_status(status) == "something else"


def owed(number: int, *, left: timedelta) -> list[Row]:
    """A result that is not whole and expires so long after noon."""
    made = NOON + left - timedelta(days=30)
    return [
        recording(number, at=made, date_created=made, created_date=made.date(), open_results=1, listed_at=NOON),
        result(number, at=made, done=made, date_created=made, expires_at=NOON + left, payload_count=1),
        payload(number, at=made, done=made),
    ]


@pytest.mark.parametrize(
    ("days", "severity"), [(7.1, None), (6.9, "WARN"), (3.1, "WARN"), (2.9, "ERROR"), (0.1, "ERROR")]
)
def test_what_is_close_to_its_deadline_fails(archive: Archive, days: float, severity: str | None) -> None:
    """A warning at seven days, an error at three."""
    land_rows(archive, [*whole(1), *owed(2, left=timedelta(days=days))])
    found = checks.before_deadline(reading(archive))
    assert [row["sid"] for row in found.rows] == ([] if severity is None else [sid("XR", 2)])
    assert severity is None or found.severity == severity
    assert found.numbers["hours_to_nearest_deadline"] == round(days * 24, 1)


def test_what_is_lost_is_an_error_for_a_month(archive: Archive) -> None:
    """And is remembered after it."""
    land_rows(archive, owed(2, left=timedelta(hours=-1)))
    found = checks.nothing_lost(reading(archive))
    assert (found.rows[0]["sid"], found.severity) == (sid("XR", 2), "ERROR")
    assert checks.before_deadline(reading(archive)).rows == []
    old = checks.nothing_lost(reading(archive, hours=24 * 31))
    assert (len(old.rows), old.severity) == (1, "WARN")


def test_a_day_that_is_not_complete_is_told_with_what_is_missing_and_today_is_not(archive: Archive) -> None:
    """The missing SIDs are in the row."""
    land_rows(archive, [*whole(1), *owed(2, left=timedelta(days=28))])
    found = checks.days_complete(reading(archive))
    days = {row["day"]: row for row in found.rows}
    day = (NOON - timedelta(days=2)).date()
    assert f"{NOON.date()}" not in days
    assert days[f"{day}"]["missing"] == sid("XR", 2)
    assert "not whole here" in str(days[f"{day}"]["reasons"])
