"""Nothing is written through a link, a pipe or a second name of a file, wherever under the root one is put."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.delete.guards import only_deleter
from pipelines.opening import mend_moved
from pipelines.settings import warehouse_settings
from tests.warehouse.made_up import NOON, land_rows, later, whole
from warehouse.erasures import unfinished
from warehouse.errors import FixWarehouse, Untrusted
from warehouse.published.publish import publish
from warehouse.published.query import answer
from warehouse.published.shown import published, untouched, why_unopened
from warehouse.schema import CONTENTS
from warehouse.store.commits import FOLDER
from warehouse.store.names import ARCHIVE_LOCK, ERASING, PUBLISH_LOCK, PUBLISHED
from warehouse.store.opening import open_archive
from warehouse.store.opens import folder, open_lock, read_bytes
from warehouse.upkeep.verify import verify

DELETE_LOCK = ".delete.lock"


def link(place: Path, victim: Path) -> None:
    """To a file of the victim."""
    place.symlink_to(victim)


def dangling(place: Path, victim: Path) -> None:
    """To a file that would be made."""
    place.symlink_to(victim.with_name("made-elsewhere"))


def to_device(place: Path, victim: Path) -> None:
    """To a device."""
    place.symlink_to("/dev/null")


def pipe(place: Path, victim: Path) -> None:
    """A pipe that nobody reads."""
    os.mkfifo(place)


def directory(place: Path, victim: Path) -> None:
    """A folder."""
    place.mkdir()


@pytest.mark.parametrize("trick", [link, dangling, to_device, pipe, directory])
@pytest.mark.parametrize("name", [ARCHIVE_LOCK, PUBLISH_LOCK, DELETE_LOCK])
def test_a_lock_that_is_no_plain_file_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str, trick: Callable[[Path, Path], None]
) -> None:
    """Neither the victim's file nor another one changes, and nobody waits."""
    root, victim = tmp_path / "root", tmp_path / "victim"
    victim.write_text("precious")
    root.mkdir()
    trick(root / name, victim)
    with pytest.raises(Untrusted, match=f"{name} is a"):
        os.close(open_lock(root, name, 0o600))
    with pytest.raises(Untrusted, match=name):
        open_archive(root)
    assert victim.read_text() == "precious"
    assert {path.name for path in tmp_path.iterdir()} == {"root", "victim"}


def test_a_lock_that_is_another_name_of_a_file_does_not_change_it(tmp_path: Path) -> None:
    """A hard link cannot be told from a file of ours, so nothing is ever written to a lock."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    root = tmp_path / "root"
    root.mkdir()
    for name in (ARCHIVE_LOCK, PUBLISH_LOCK, DELETE_LOCK):
        (root / name).hardlink_to(victim)
    archive = open_archive(root, shared_read="all")
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    with only_deleter(archive):
        pass
    assert victim.read_text() == "precious"
    assert victim.stat().st_mode & 0o777 == 0o600
    assert untouched(archive)


@pytest.mark.parametrize(
    "name", [FOLDER, CONTENTS.name, "_damaged", "_shapes", f"{CONTENTS.name}/completed_date=2026-11-20"]
)
def test_a_folder_that_is_a_link_is_refused_and_nothing_lands_behind_it(tmp_path: Path, name: str) -> None:
    """From the folders of tables down to those of days; at the latest when something would be written there."""
    archive, elsewhere = open_archive(tmp_path / "root"), tmp_path / "elsewhere"
    land_rows(archive, whole(1))
    place = archive.root / name
    place.rename(elsewhere) if place.exists() else elsewhere.mkdir()
    place.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(Untrusted, match="is a link where a folder is needed"):
        land_rows(open_archive(archive.root), whole(2))
    assert sorted(elsewhere.rglob("*")) == before


def test_a_published_file_of_others_is_replaced_and_not_written_to(tmp_path: Path) -> None:
    """A link to a file elsewhere is not one of ours, whatever its name says."""
    victim = tmp_path / "victim.duckdb"
    victim.write_text("precious")
    archive = open_archive(tmp_path / "root")
    land_rows(archive, whole(1))
    (archive.root / PUBLISHED).symlink_to(victim)
    publish(archive, "duckdb", now=NOON)
    assert victim.read_text() == "precious"
    assert untouched(archive)


def test_a_root_may_be_reached_through_links(tmp_path: Path) -> None:
    """Its owner chose them: a mount, a bigger disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    archive = open_archive(tmp_path / "data" / "root")
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    assert (tmp_path / "disk" / "root" / PUBLISHED).exists()


def test_a_mark_of_an_erasure_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Opening it to read would never end."""
    archive = open_archive(tmp_path / "root")
    land_rows(archive, whole(1), now=later(1))
    os.mkfifo(archive.root / ERASING)
    with pytest.raises(Untrusted, match="is a pipe"):
        unfinished(archive)


def test_what_lies_behind_a_link_is_not_read_as_ours(tmp_path: Path) -> None:
    """Neither a file nor one in a folder that is a link."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("theirs")
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "file").symlink_to(tmp_path / "elsewhere" / "file")
    for name in ("file", "folder/file"):
        with pytest.raises(Untrusted):
            read_bytes(root, name)
    with pytest.raises(Untrusted), folder(root, "folder/new", make=0o700):
        pass
    assert not (tmp_path / "elsewhere" / "new").exists()


def test_a_pipe_in_place_of_the_published_file_is_not_waited_for(tmp_path: Path) -> None:
    """Whoever asks, looks or publishes goes on; the next publication takes its place."""
    archive = open_archive(tmp_path / "root")
    land_rows(archive, whole(1))
    os.mkfifo(archive.root / PUBLISHED)
    mend_moved(warehouse_settings({"EXPORT_ROOT": str(archive.root)}))
    assert published(archive) is None
    assert why_unopened(archive.root / PUBLISHED).startswith("cannot be opened")
    with pytest.raises(FixWarehouse, match=f"There is no .*{PUBLISHED}"), answer(archive.root, "SELECT 1"):
        pass
    assert verify(archive).mismatches
    publish(archive, "duckdb", now=NOON)
    assert untouched(archive)
