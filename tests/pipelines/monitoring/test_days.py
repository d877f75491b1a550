"""Numbers by day: what each partition holds, and a preview that shows nothing that anybody said."""

from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.monitoring.days import by_day
from tests.warehouse.made_up import NOON, batch, content, land_rows, payload, recording, result, sid, whole
from warehouse.land import land
from warehouse.store.archive import Archive
from warehouse.store.opening import open_archive

DAY = NOON.date()
EVE = NOON - timedelta(days=1)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive."""
    return open_archive(tmp_path / "root")


def test_a_day_counts_results_by_state_payloads_and_bytes(archive: Archive) -> None:
    """Results without a day are under None; a day nobody asked for is left out."""
    rows = [
        *whole(1, b"four"),
        recording(2),
        result(2),
        payload(2),
        recording(3),
        result(3, done=None, expires_at=NOON + timedelta(hours=5)),
        recording(4),
        result(4, expires_at=NOON - timedelta(hours=1)),
        *whole(5, done=EVE),
    ]
    land_rows(archive, rows)
    found = by_day(archive.newest(), {DAY}, now=NOON, run_id="test")
    day, undated = found.of(DAY), found.of(None)
    assert dict(day.states) == {"exported": 1, "pending": 1, "unfinished": 0, "lost": 1, "gone": 0, "deleted": 0}
    assert (day.results, day.waiting, day.payloads, day.contents, day.content_bytes) == (3, 1, 2, 1, 4)
    assert day.next_deadline == NOON + timedelta(days=30)
    assert day.result_file_bytes > 0
    assert day.payload_file_bytes > day.content_bytes
    assert (undated.states["unfinished"], undated.next_deadline) == (1, NOON + timedelta(hours=5))
    assert set(found.days) == {DAY, None}
    assert found.of(EVE.date()).results == 0


def test_only_rows_of_the_run_count_as_landed(archive: Archive) -> None:
    """What another run landed on the same day is counted, but not as this run's."""
    land_rows(archive, whole(1))
    land(archive, batch(whole(2)), run_id="mine", now=NOON)
    mine = by_day(archive.newest(), {DAY}, now=NOON, run_id="mine", preview=5)
    assert (mine.of(DAY).results, mine.of(DAY).landed, mine.of(DAY).payloads_landed) == (2, 1, 1)
    assert [row.sid for row in mine.preview] == [sid("XR", 2)]
    other = by_day(archive.newest(), {DAY}, now=NOON, run_id="another", preview=5)
    assert (other.of(DAY).landed, other.preview) == (0, ())


def test_the_preview_is_the_newest_and_holds_no_content(archive: Archive) -> None:
    """As many rows as asked for, newest first, with the sizes of their payloads added up."""
    rows = [row for n in range(4) for row in whole(n, b"a secret", done=NOON - timedelta(minutes=n))]
    more = [payload(9, of=1, data=b"another secret"), content(9, b"another secret")]
    land_rows(archive, [*rows, *more])
    found = by_day(archive.newest(), {DAY}, now=NOON, run_id="test", preview=2)
    assert [(row.sid, row.payloads, row.content_bytes, row.state) for row in found.preview] == [
        (sid("XR", 0), 1, 8, "exported"),
        (sid("XR", 1), 2, 22, "exported"),
    ]
    assert "secret" not in repr(found)


def test_an_empty_archive_has_zeros(archive: Archive) -> None:
    """Before anything has landed."""
    found = by_day(archive.newest(), {DAY}, now=NOON, run_id="test", preview=3)
    assert (dict(found.days), found.preview, found.of(DAY).results) == ({}, (), 0)
