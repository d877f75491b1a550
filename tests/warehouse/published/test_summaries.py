"""The summaries, against numbers worked out by hand."""

from datetime import timedelta

from tests.warehouse.made_up import NOON, Row, content, payload, recording, result, sid
from tests.warehouse.published.test_views import AHEAD, NOW, PAST, views_over

ONE, TWO = sid("XB", 1), sid("XB", 2)


def _rows() -> list[Row]:
    """Four results of one add-on on a day, one of another add-on the day after, one unfinished without a day."""
    rows: list[Row] = []
    for number, seconds in ((1, 10), (2, 20), (3, 60)):
        rows += [
            recording(number, duration_seconds=100 * number),
            result(
                number,
                add_on_sid=ONE,
                date_created=NOON - timedelta(seconds=seconds),
                exported_at=NOW,
                expires_at=AHEAD,
            ),
            payload(number, data=b"12345"),
            content(number, b"12345"),
        ]
    rows.append(result(4, add_on_sid=ONE, status="failed", exported_at=NOW, expires_at=AHEAD))
    rows.append(result(5, add_on_sid=TWO, done=NOON + timedelta(days=1), expires_at=PAST))
    rows.append(result(6, add_on_sid=TWO, done=None, expires_at=AHEAD))
    return rows


def test_each_day_in_numbers() -> None:
    """Counts by status and state, failure rate, latency, audio, payloads, bytes and the next deadline."""
    with views_over(*_rows()) as db:
        columns = (
            "results, completed, failed, exported, pending, unfinished, lost, failure_rate, latency_seconds_median, "
            "recording_seconds, payloads, content_bytes, next_deadline IS NULL"
        )
        found = db.execute(f"SELECT {columns} FROM days ORDER BY completed_date NULLS LAST").fetchall()
    assert found == [
        (4, 3, 1, 4, 0, 0, 0, 0.25, 20.0, 600, 3, 15, True),
        (1, 1, 0, 0, 0, 0, 1, 0.0, 86400.0, 0, 0, 0, True),
        (1, 0, 0, 0, 0, 1, 0, None, None, 0, 0, 0, False),
    ]


def test_each_add_on_in_numbers_and_those_that_are_only_named() -> None:
    """The 95th percentile lies between the two slowest; an add-on without results has none."""
    with views_over(*_rows()) as db:
        db.execute("INSERT INTO add_on_names VALUES (?, 'Watson'), (?, 'Never ran')", [ONE, sid("XB", 9)])
        found = db.execute(
            "SELECT name, results, failed, round(latency_seconds_p95, 1) FROM add_ons ORDER BY results DESC"
        ).fetchall()
    assert found == [("Watson", 4, 1, 56.0), (None, 2, 0, 86400.0), ("Never ran", 0, None, None)]


def test_each_result_with_its_recording_and_latency() -> None:
    """One row for each result, whatever is missing beside it."""
    with views_over(*_rows()) as db:
        found = db.execute(
            "SELECT sid, state, latency_seconds, duration_seconds, payloads FROM add_on_result_details ORDER BY sid"
        ).fetchall()
    assert found[0] == (sid("XR", 1), "exported", 10.0, 100, 1)
    assert found[4] == (sid("XR", 5), "lost", 86400.0, None, 0)
    assert [row[1] for row in found] == ["exported"] * 4 + ["lost", "unfinished"]


def test_an_unknown_length_is_no_length() -> None:
    """Twilio says -1 second for a recording whose length it does not know yet."""
    rows = [recording(1, duration_seconds=60), result(1), recording(2, duration_seconds=-1), result(2)]
    with views_over(*rows) as db:
        assert db.execute("SELECT recording_seconds FROM days").fetchall() == [(60,)]
        assert db.execute("SELECT duration_seconds FROM recordings WHERE sid = ?", [sid("RE", 2)]).fetchall() == [(-1,)]
