"""Days asked for where the clock here is days off: today is Twilio's, as far as the archive knows it."""

from datetime import UTC, datetime, timedelta

import pytest

from assets.partitions import partitions
from pipelines.shown_time import remember
from tests.assets.conftest import CommandLine
from warehouse.store.opening import open_archive


@pytest.mark.parametrize("ahead", [timedelta(days=-3), timedelta(days=400)])
def test_today_is_twilios(command: CommandLine, ahead: timedelta) -> None:
    """Neither is a day that has been "in the future", nor is one that Twilio still keeps "no longer kept"."""
    here = datetime.now(UTC)
    remember(open_archive(command.root), here - ahead, ahead=ahead)
    today = (here - ahead).date()
    done = command("export", "--from", f"{today + timedelta(days=2)}")
    assert done.returncode == 2, done.stderr
    assert f"today is {today}" in done.stderr


def test_partitions_reach_twilios_today_with_a_clock_that_is_behind(
    command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster alone would count them up to the clock here."""
    here = datetime.now(UTC)
    remember(open_archive(command.root), here + timedelta(days=3), ahead=timedelta(days=-3))
    monkeypatch.setenv("EXPORT_ROOT", str(command.root))
    daily = partitions(here=here)
    assert daily.get_last_partition_key() == (here + timedelta(days=3)).date().isoformat()
    assert daily.has_partition_key((here - timedelta(days=30)).date().isoformat())
