"""Whoever is in Dagster's UI cannot silence what watches: it is noticed, said, written down; the pool opens again."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

from assets.channels.alert import Alert
from assets.channels.plain_text import plain_text
from assets.channels.watch import Said, deadline_alert
from assets.runs.off import MEMBER, THE_POOL, read_off, sentence_on
from assets.runs.pool import POOL, limit_pool, pool_is_shut
from assets.runs.switched_off import notice, switched_off
from assets.sensors import _kept
from pipelines.monitoring.deadlines import Deadlines
from pipelines.sandbox.run import Sandbox
from pipelines.settings import Windows
from tests.assets.conftest import CommandLine
from tests.assets.instances import instance_in
from warehouse.store.archive import Archive
from warehouse.store.marker import read_marker
from warehouse.store.opening import open_archive

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ORIGIN = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("addon_export"), "__repository__")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance as users have it."""
    with instance_in(tmp_path / "home") as made:
        yield made


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty warehouse."""
    return open_archive(tmp_path / "data")


def switch(instance: dg.DagsterInstance, name: str, *, on: bool) -> None:
    """Switch a schedule or sensor, as the UI does."""
    is_schedule = name in ("hourly_export", "daily_sweep")
    state = InstigatorState(
        ORIGIN.get_instigator_origin(name),
        InstigatorType.SCHEDULE if is_schedule else InstigatorType.SENSOR,
        InstigatorStatus.RUNNING if on else InstigatorStatus.STOPPED,
        ScheduleInstigatorData("0 * * * *") if is_schedule else SensorInstigatorData(),
    )
    known = {each.instigator_name for each in instance.all_instigator_state()}
    (instance.update_instigator_state if name in known else instance.add_instigator_state)(state)


def test_what_is_switched_off_is_noticed_and_what_never_ran_is_not(instance: dg.DagsterInstance) -> None:
    """A new history, where everything runs by its default, has nothing to say; other people's sensors neither."""
    assert switched_off(instance) == []
    for name in ("hourly_export", "deadline_alert_log", "deadline_alert_of_another", "somebodys_sensor"):
        switch(instance, name, on=False)
    assert switched_off(instance) == ["the schedule hourly_export", "the sensor deadline_alert_log"]
    switch(instance, "hourly_export", on=True)
    instance.event_log_storage.set_concurrency_slots(POOL, 0)
    assert switched_off(instance) == [THE_POOL, "the sensor deadline_alert_log"]


def test_a_history_without_schedules_has_nothing_to_say() -> None:
    """As that of a single run that is kept nowhere."""
    with dg.DagsterInstance.ephemeral() as instance:
        assert switched_off(instance) == []


def test_switching_off_is_written_down_with_when_and_by_which_run_it_was_noticed(
    instance: dg.DagsterInstance, archive: Archive
) -> None:
    """Once, until it is on again; nothing is written where there is no news, nor is anything else lost."""

    def kept() -> list[dict[str, str | None]]:
        marker = read_marker(archive.root)
        found = [] if marker is None else marker.settings.get(MEMBER, [])
        assert isinstance(found, list)
        return found

    assert notice(instance, archive, by="run 0", now=NOW) == []
    assert kept() == []
    switch(instance, "daily_sweep", on=False)
    for hour in range(3):
        off = notice(instance, archive, by=f"run {hour}", now=NOW + timedelta(hours=hour))
        assert off == ["the schedule daily_sweep"]
    first = {"what": off[0], "noticed_at": NOW.isoformat(), "noticed_by": "run 0", "until": None}
    assert kept() == [first]
    switch(instance, "daily_sweep", on=True)
    later = NOW + timedelta(hours=5)
    assert notice(instance, archive, by="a tick", now=later) == []
    assert kept() == [{**first, "until": later.isoformat()}]
    switch(instance, "daily_sweep", on=False)
    notice(instance, archive, by="run 9", now=later)
    assert [entry["noticed_by"] for entry in kept()] == ["run 0", "run 9"]


def test_a_pool_without_places_gets_one_and_another_limit_stays(instance: dg.DagsterInstance) -> None:
    """With 0 no export would ever begin."""
    storage = instance.event_log_storage
    for chosen, then in ((0, 1), (3, 3)):
        storage.set_concurrency_slots(POOL, chosen)
        assert pool_is_shut(instance) == (chosen == 0)
        limit_pool(instance)
        assert {pool.name: pool.limit for pool in storage.get_pool_limits()}[POOL] == then


def test_an_export_and_the_status_say_it(command: CommandLine, sandbox: Sandbox) -> None:
    """Whatever else is off: both look at Dagster's history themselves. The exit codes are what they were."""
    command("export", "--from", "2026-01-01", "--to", "2026-01-01")
    with instance_in(command.folder / ".dagster_home") as instance:
        switch(instance, "hourly_export", on=False)
        instance.event_log_storage.set_concurrency_slots(POOL, 0)
    status = command("status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["switched_off"] == [THE_POOL, "the schedule hourly_export"]
    assert "the schedule hourly_export" in command("status").stdout
    again = command("export", "--from", "2026-01-01", "--to", "2026-01-01")
    assert again.returncode == 0, again.stderr
    assert sentence_on([THE_POOL, "the schedule hourly_export"]) in again.stderr
    marker = read_marker(command.root)
    assert marker is not None
    assert "addon-export export" in str(marker.settings[MEMBER])
    later = json.loads(command("status", "--json").stdout)["switched_off"]
    assert later == [THE_POOL, "the schedule hourly_export"], "an export needs no place in the pool; runs open it again"


def test_what_is_off_is_read_without_dagster(instance: dg.DagsterInstance) -> None:
    """As Dagster says it; of a history that is kept otherwise, or is no good, it has to be asked."""
    home = Path(instance.root_directory)
    assert read_off(home) == []
    assert read_off(home / "nowhere") == []
    for name in ("hourly_export", "daily_sweep", "landed_days", "deadline_alert_log", "somebodys_sensor"):
        switch(instance, name, on=False)
    switch(instance, "daily_sweep", on=True)
    instance.event_log_storage.set_concurrency_slots(POOL, 0)
    expected = [THE_POOL, "the schedule hourly_export", "the sensor deadline_alert_log", "the sensor landed_days"]
    assert read_off(home) == switched_off(instance) == expected
    configuration = (home / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(f"{configuration}\nstorage: {{postgres: {{}}}}\n")
    assert read_off(home) is None
    (home / "dagster.yaml").write_text(f"{configuration}\n# storage is ours\n")
    assert read_off(home) == expected
    (home / "schedules" / "schedules.db").write_bytes(b"damaged" * 100)
    assert read_off(home) is None


def test_what_is_off_is_an_alert_by_itself() -> None:
    """A warning, once a day, when nothing else is the matter."""
    quiet = Deadlines(
        at=NOW, at_risk=(), lost=(), nearest=None, backlog=0, silent_for=timedelta(hours=1), slack_hours=None
    )
    windows = Windows(timedelta(days=7), timedelta(days=3))
    off = sentence_on(["the schedule hourly_export"])
    alert, said = deadline_alert(quiet, Said(NOW), windows, off=off)
    assert alert is not None
    assert (alert.severity, alert.sentences) == ("warning", (off,))
    assert deadline_alert(quiet, said, windows, off=off)[0] is None
    assert deadline_alert(quiet, Said(NOW), windows)[0] is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "no json",
        "[]",
        "null",
        '{"since": "2099-01-01T00:00:00+00:00", "at": {"error": "2099-01-01T00:00:00+00:00"}, "lost": 0}',
        '{"since": "soon", "at": {}, "lost": 0}',
        '{"since": "2026-11-01T00:00:00+00:00", "at": {"error": 7}, "lost": 0}',
        '{"since": "2026-11-01T00:00:00", "at": {}, "lost": 0}',
    ],
)
def test_a_cursor_that_somebody_set_silences_nothing(cursor: str) -> None:
    """The UI lets whoever is in set the cursor of a sensor."""
    said = Said.read(cursor, now=NOW)
    assert said.since <= NOW
    assert said.due("error", now=NOW)
    assert said.due("warning", now=NOW)


@pytest.mark.parametrize("cursor", ['{"after": 999999, "said": {}}', "{", '{"after": "x"}', "[1]", None])
def test_a_cursor_of_failures_does_not_reach_beyond_the_newest(cursor: str | None) -> None:
    """Else the failures to come would not be told."""
    assert _kept(cursor, newest=7, now=NOW) in ((7, {}), None)


def test_what_an_alert_quotes_is_plain_text() -> None:
    """No line, mention, link, markup or change of direction of somebody else; our own sentences stay as they are."""
    own = "add_on_results XR1: 3.5 hours are left, until 2026-11-30 12:00 UTC; run `x`."
    assert plain_text(own) == own
    hostile = "a\r\nBcc: x@evil.example <!channel> <https://evil.example|pay> [pay](http://evil.example) "
    hostile += "\u202egpj\u2066\x1b[31m@here"
    alert = Alert(hostile, (hostile,), "error", {"fact": hostile})
    for text in (alert.subject, *alert.sentences, str(alert.facts["fact"])):
        assert text.isprintable()
        for part in ("<", ">", "@", "://", "](", "\n", "\u202e"):
            assert part not in text
    assert len(alert.text.splitlines()) == 3
