"""One history belongs to one archive: no order of commands shows the days of one for those of another."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets.definitions import build_definitions
from assets.graph import SOURCE
from assets.runs.home import dagster_home, history_folder
from assets.runs.whose import ARCHIVES, ASSETS, RECORD, SETTING, claim, found_home, home_of, of_another
from tests.assets.conftest import CommandLine
from tests.assets.instances import instance_in
from warehouse.schema import ADD_ON_RESULTS
from warehouse.store.marker import update_marker
from warehouse.store.opening import open_archive
from warehouse.store.trust import NOBODY_ELSE


def archive(root: Path, *, demo: bool = False) -> Path:
    """A root with a marker, a demo's if asked."""
    update_marker(open_archive(root), lambda found: found.with_setting(SETTING, demo))
    return root


def home_for(base: Path, root: Path) -> Path:
    """The home that is chosen."""
    return home_of(base, root, NOBODY_ELSE)[0]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A home in which something has happened, of which nobody has said whose it is."""
    (tmp_path / "home" / "history").mkdir(parents=True)
    return tmp_path / "home"


def test_the_first_archive_has_dagster_home_and_each_other_one_a_home_in_it(base: Path, tmp_path: Path) -> None:
    """Nothing is refused, in whatever order and however often; a sentence says where, once."""
    roots = [archive(tmp_path / name) for name in "abc"]
    homes = [base, base / ARCHIVES / "1", base / ARCHIVES / "2"]
    said = [home_of(base, root, NOBODY_ELSE)[1] for root in roots]
    assert said[0] is None
    assert said[1] == f"DAGSTER_HOME {base} holds the history of {roots[0]}; that of {roots[1]} is kept in {homes[1]}."
    for order in (roots, roots[::-1]):
        assert {root: home_of(base, root, NOBODY_ELSE) for root in order} == {
            root: (home, None) for root, home in zip(roots, homes, strict=True)
        }
    assert home_for(homes[1], roots[1]) == homes[1]  # as `addon-export ui` hands it to the runs it starts


def test_an_archive_that_was_moved_keeps_its_history_and_a_copy_of_it_begins_one(base: Path, tmp_path: Path) -> None:
    """It is known by when it was made, and where it is now is noted; a link to it is no copy."""
    first, second = archive(tmp_path / "a"), archive(tmp_path / "b")
    homes = [home_for(base, first), home_for(base, second)]
    for root, home in zip((first, second), homes, strict=True):
        moved = root.rename(f"{root}-moved")
        assert home_for(base, moved) == home
        assert json.loads((home / RECORD).read_text())["root"] == str(moved)
        (tmp_path / f"{root.name}-link").symlink_to(moved)
        assert home_for(base, tmp_path / f"{root.name}-link") == home
        shutil.copytree(moved, copied := Path(f"{root}-copy"))
        assert home_for(base, copied) not in homes
        assert home_for(base, moved) == home


def test_an_archive_whose_marker_is_damaged_keeps_its_history(base: Path, tmp_path: Path) -> None:
    """By its place; `verify` says what is wrong with it."""
    home_for(base, archive(tmp_path / "a"))
    home = home_for(base, root := archive(tmp_path / "b"))
    record = (home / RECORD).read_text()
    (root / "_archive.json").write_text("{")
    assert home_for(base, root) == home
    assert (home / RECORD).read_text() == record


def test_a_root_that_is_not_there_yet_takes_no_history_and_keeps_the_one_it_began(base: Path, tmp_path: Path) -> None:
    """`ui` before the first export, with an EXPORT_ROOT that is mistyped or right."""
    home = home_for(base, tmp_path / "new")
    assert home == base / ARCHIVES / "1"
    assert home_for(base, archive(tmp_path / "old")) == base
    assert home_for(base, archive(tmp_path / "new")) == home
    assert home_for(tmp_path, tmp_path / "first") == tmp_path


def test_a_demo_never_takes_dagster_home(tmp_path: Path) -> None:
    """Also a new one: it is for the account that comes after."""
    (base := tmp_path / "home").mkdir()
    assert home_of(base, archive(tmp_path / "demo", demo=True), NOBODY_ELSE) == (base / ARCHIVES / "1", None)
    assert home_for(base, archive(tmp_path / "a")) == base


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A history that knows a day of ours and an asset of somebody else."""
    with instance_in(tmp_path / "base") as made:
        for key, partition in ((ADD_ON_RESULTS.name, "2026-11-01"), ("theirs", None)):
            made.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))
        yield made


def days(instance: dg.DagsterInstance) -> set[str]:
    """Days that the history shows as exported."""
    return instance.get_materialized_partitions(dg.AssetKey(ADD_ON_RESULTS.name))


@pytest.mark.parametrize("demo", [False, True])
def test_the_days_of_an_archive_that_is_gone_are_taken_out_and_nothing_else(
    instance: dg.DagsterInstance, tmp_path: Path, *, demo: bool
) -> None:
    """Also of a demo that Dagster itself was started on."""
    old, new, base = archive(tmp_path / "old", demo=demo), archive(tmp_path / "new"), tmp_path / "base"
    assert claim(instance, old, NOBODY_ELSE) is None
    assert days(instance) == {"2026-11-01"}
    if not demo:
        shutil.rmtree(old)
    assert home_of(base, new, NOBODY_ELSE) == (base, None)
    assert claim(instance, new, NOBODY_ELSE) is None
    assert days(instance) == set()
    assert dg.AssetKey("theirs") in instance.all_asset_keys()
    assert found_home(base, new) == base


def test_a_history_of_another_archive_that_is_there_is_not_touched(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Dagster itself was started on it with another EXPORT_ROOT."""
    claim(instance, archive(tmp_path / "a"), NOBODY_ELSE)
    said = claim(instance, archive(tmp_path / "b"), NOBODY_ELSE)
    assert said is not None
    assert f"holds the history of {tmp_path / 'a'}, so the days of {tmp_path / 'b'} are not shown there" in said
    assert of_another(instance, tmp_path / "b") == said
    assert of_another(instance, tmp_path / "a") is None
    assert days(instance) == {"2026-11-01"}


def test_the_assets_that_are_ours_are_those_of_the_definitions() -> None:
    """Their names are written down twice, so that `ui` need not load them."""
    keys = {key.to_user_string() for key in build_definitions().resolve_asset_graph().get_all_asset_keys()}
    assert keys == ASSETS
    assert SOURCE.to_user_string() in ASSETS


def test_status_asks_the_history_of_its_own_root_and_makes_none(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home of before has the first one's."""
    monkeypatch.setenv("DAGSTER_HOME", str(base))
    first, second = archive(tmp_path / "a"), archive(tmp_path / "b")
    assert history_folder(first) == base
    assert dagster_home(first) == base
    assert history_folder(second) is None
    assert not (base / ARCHIVES).exists()


def test_a_demo_an_export_and_another_root_have_histories_of_their_own(command: CommandLine) -> None:
    """README's order, and two roots with one DAGSTER_HOME: each is exported, and none shows another's days."""
    base = command.folder / ".dagster_home"
    shown = command("demo", TWILIO_API_BASE_URL="")
    assert "in Dagster with `EXPORT_ROOT=demo-data addon-export ui`" in shown.stdout, shown.stderr
    for root in (command.root, command.folder / "other", command.root):
        exported = command("export", EXPORT_ROOT=str(root))
        assert exported.returncode == 0, exported.stderr
    homes = [base / ARCHIVES / "1", base, base / ARCHIVES / "2"]
    assert [path for path in homes if (path / RECORD).exists()] == homes[:1], "an export needs no history"
    with pytest.MonkeyPatch.context() as patched:
        for root, home in zip((command.root, command.folder / "other"), homes[1:], strict=True):
            patched.setenv("DAGSTER_HOME", str(base))
            assert dagster_home(root) == home
    for home, runs in zip(homes, (1, 0, 0), strict=True):
        with dg.DagsterInstance.from_config(str(home)) as instance:
            assert len(instance.get_runs()) == runs
    owners = [json.loads((home / RECORD).read_text())["root"] for home in homes]
    assert owners == [str(command.folder / name) for name in ("demo-data", "data", "other")]
