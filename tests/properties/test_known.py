"""What is known of sealed files changes no answer: the same, over any history, as when every row is read."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.monitoring import checks
from pipelines.monitoring.checks import Reading
from pipelines.monitoring.completeness import completeness, unfinished_results
from pipelines.monitoring.days import by_day
from pipelines.monitoring.deadlines import deadlines
from pipelines.monitoring.status import status
from pipelines.settings import Windows
from tests.properties.examples import EXAMPLES, store
from tests.warehouse.made_up import NOON, Row, content, land_rows, later, payload, recording, result
from warehouse import known
from warehouse.landed import owing_recordings
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, RECORDINGS
from warehouse.states import RETENTION
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.opening import open_archive
from warehouse.upkeep.compact import compact

SETTLE = timedelta(hours=48)

RESULTS = 6
"""So few that histories come back to the same ones."""


@st.composite
def landings(draw: st.DrawFn) -> list[Row]:
    """Rows about one recording as an export may hand them on: some of them, in any state."""
    number, hours = draw(st.integers(0, RESULTS - 1)), draw(st.integers(0, 40 * 24))
    at, day = later(hours), draw(st.sampled_from([None, NOON, later(24), later(48)]))
    rows: list[Row] = []
    if draw(st.booleans()):
        listed = draw(st.sampled_from([None, at, later(hours + 24 * 60)]))
        created = draw(st.sampled_from([NOON, None, later(24)]))
        rows.append(
            recording(number, at=at, listed_at=listed, date_created=created, open_results=draw(st.integers(0, 1)))
        )
    if draw(st.booleans()):
        values = {
            "exported_at": draw(st.sampled_from([None, at])),
            "deleted_at": draw(st.sampled_from([None, None, None, at])),
            "gone_at": draw(st.sampled_from([None, None, at])),
            "expires_at": draw(st.sampled_from([None, NOON + RETENTION, NOON])),
            "status": draw(st.sampled_from(["completed", "in-progress", "failed", "who-knows", None])),
        }
        rows.append(result(number, at=at, done=day, **values))
    for n in draw(st.sets(st.integers(0, 1))):
        data = draw(st.sampled_from([None, b"said"]))
        rows.append(payload(2 * number + n, of=number, data=data, at=at, done=day))
        rows += [content(2 * number + n, data, done=day)] if data else []
    return rows


STEPS = st.one_of(landings(), landings(), landings(), st.sampled_from(["keep", "reopen", "compact"]))


@settings(store, max_examples=EXAMPLES * 4 or 6)
@given(steps=st.lists(STEPS, min_size=1, max_size=9), hours=st.integers(0, 45 * 24))
def test_no_answer_is_another_when_every_row_is_read(steps: list[list[Row] | str], hours: int) -> None:
    """Whatever lands in whatever order, what is kept between, and however late it is asked."""
    with TemporaryDirectory() as folder:
        archive = open_archive(Path(folder) / "data")
        for step in steps:
            if step == "keep":
                known.keep(archive.newest())
            elif step == "reopen":
                archive = open_archive(archive.root)
            elif step == "compact":
                compact(archive, now=later(24 * 30), run_id="test", most_files=2)
            elif not isinstance(step, str):
                land_rows(archive, step)
        assert dict(_answers(archive, hours)) == dict(_answers(_ignorant(archive), hours))


def _ignorant(archive: Archive) -> Archive:
    """The archive as one that must read every file."""
    fresh = open_archive(archive.root)
    for table in (RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS):
        for path, of_file in known._counted(fresh, table, fresh.newest().files(table)).items():
            fresh.facts[path] = replace(
                of_file, exported=0, deleted=0, open=1, missing=1, unsettled=1, unknown=1, vouchers=None
            )
    return fresh


def _answers(archive: Archive, hours: int) -> Iterable[tuple[str, object]]:
    now = later(hours)
    days = {(NOON + timedelta(days=n)).date() for n in range(4)}
    reading = Reading(archive, now, SETTLE, Windows(timedelta(days=7), timedelta(days=3)))
    snapshot: Snapshot = archive.newest()
    yield "owing", owing_recordings(snapshot, now=now, kept=RETENTION)
    yield "by_day", by_day(snapshot, days, now=now, run_id="test", preview=20)
    yield "deadlines", deadlines(archive, now=now, within=timedelta(days=7), settle=SETTLE)
    yield "completeness", completeness(archive, first=min(days), last=max(days), now=now, settle=SETTLE)
    yield "status", status(archive, now=now, settle=SETTLE)
    with archive.database() as db:
        yield "unfinished", unfinished_results(snapshot, db, now=now)
    for check in (
        checks.unique(RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS),
        checks.have_result,
        checks.statuses_known,
        checks.days_complete,
        checks.before_deadline,
        checks.nothing_lost,
    ):
        yield getattr(check, "__name__", "unique"), check(reading)
