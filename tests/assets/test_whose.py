"""One history belongs to one archive: no order of commands shows the days of one for those of another."""

import json
import os
import shutil
from pathlib import Path

import dagster as dg
import pytest

from assets.demo import history_of_demo
from assets.whose import RECORD, SETTING, claim, is_free_for_a_demo
from pipelines.errors import FixConfiguration
from tests.assets.conftest import CommandLine
from warehouse.archive import open_archive
from warehouse.marker import update_marker


def archive(root: Path, *, demo: bool = False) -> Path:
    """A root with a marker, a demo's if asked."""
    update_marker(open_archive(root), lambda found: found.with_setting(SETTING, demo))
    return root


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which something has happened, of which nobody has said whose it is."""
    (tmp_path / "home" / "history").mkdir(parents=True)
    (tmp_path / "home" / "history" / "runs.db").write_text("earlier")
    (tmp_path / "home" / "plans").mkdir()
    return tmp_path / "home"


def test_a_home_of_an_earlier_version_is_taken_by_the_first_and_refused_to_the_next(home: Path, tmp_path: Path) -> None:
    """The sentence says which setting to change; nothing is moved."""
    claim(home, archive(tmp_path / "a"))
    with pytest.raises(FixConfiguration, match=rf"{home} holds the history of {tmp_path}/a; set DAGSTER_HOME to"):
        claim(home, archive(tmp_path / "b"))
    assert (home / "history" / "runs.db").read_text() == "earlier"


def test_an_archive_that_was_moved_keeps_its_history(home: Path, tmp_path: Path) -> None:
    """It is known by when it was made, and where it is now is noted."""
    claim(home, archive(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "moved")
    claim(home, tmp_path / "moved")
    assert (home / "history" / "runs.db").exists()
    assert json.loads((home / RECORD).read_text())["root"] == str(tmp_path / "moved")


@pytest.mark.parametrize("gone", [False, True])
def test_a_demos_history_and_one_of_an_archive_that_is_gone_are_set_aside(
    home: Path, tmp_path: Path, *, gone: bool
) -> None:
    """The next archive begins its own; nothing is removed, and plans stay; so again the next time."""
    for number in (1, 2):
        claim(home, archive(tmp_path / f"old-{number}", demo=not gone))
        if gone:
            shutil.rmtree(tmp_path / f"old-{number}")
        claim(home, archive(tmp_path / "new"))
        assert not (home / "history").exists()
        assert (home / f"aside-{number}" / "history" / "runs.db").read_text() == "earlier"
        assert (home / "plans").is_dir()
        (home / RECORD).unlink()
        (home / "history").mkdir()
        (home / "history" / "runs.db").write_text("earlier")


def test_a_folder_that_is_no_archive_claims_nothing(home: Path, tmp_path: Path) -> None:
    """`ui` after the demo, with EXPORT_ROOT not set, shows the demo's run."""
    claim(home, archive(tmp_path / "demo-data", demo=True))
    claim(home, tmp_path / "data")
    assert (home / "history").is_dir()


def test_a_demo_takes_no_home_that_may_be_a_real_archives(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of an earlier version, which says nothing of whose it is."""
    assert not is_free_for_a_demo(home)
    claim(home, archive(tmp_path / "a"))
    assert not is_free_for_a_demo(home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    assert history_of_demo(home) == f"DAGSTER_HOME={home}-demo addon-export ui"
    assert os.environ["DAGSTER_HOME"] == f"{home}-demo"
    assert history_of_demo(tmp_path / "new") == "addon-export ui"


def test_after_the_demo_an_export_begins_a_history_of_its_own(command: CommandLine) -> None:
    """README's order. Before, the demo's days were green for the real account."""
    home = command.folder / ".dagster_home"
    shown = command("demo", TWILIO_API_BASE_URL="")
    assert "in Dagster with `addon-export ui`" in shown.stdout, shown.stderr
    exported = command("export")
    assert (exported.returncode, "is set aside in" in exported.stderr) == (0, True), exported.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert len(instance.get_runs()) == 1
    refused = command("export", EXPORT_ROOT=str(command.folder / "other"))
    assert (refused.returncode, "set DAGSTER_HOME to another folder" in refused.stderr) == (2, True), refused.stderr
