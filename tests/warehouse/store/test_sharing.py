"""EXPORT_SHARED_READ is true of all that is there: given, taken back, not given, and after a kill in between."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.warehouse.made_up import NOON, land_rows, whole
from warehouse.published.publish import publish
from warehouse.store.archive import Archive
from warehouse.store.files import ACCESS
from warehouse.store.marker import read_marker
from warehouse.store.opening import open_archive


@pytest.fixture(params=[0o000, 0o077], ids=["umask 000", "umask 077"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    """A private one with a commit, published, in which others keep something; under either umask."""
    before = os.umask(request.param)
    made = open_archive(tmp_path / "root")
    land_rows(made, whole(1))
    publish(made, "duckdb", now=NOON)
    (made.root / "contents" / "notes.txt").write_text("theirs")
    (made.root / "contents" / "notes.txt").chmod(0o604)
    (made.root / "_damaged").mkdir(0o700)
    yield made
    os.umask(before)


def bits(root: Path) -> dict[str, set[int]]:
    """Permission bits of what is ours, by kind."""
    ours = [path for path in (root, *root.rglob("*")) if path.name not in ("notes.txt", "_damaged")]
    found = {path: path.lstat().st_mode & 0o777 for path in ours if not path.is_symlink()}
    published = {mode for path, mode in found.items() if path.name == "addons.duckdb"}
    folders = {mode for path, mode in found.items() if path.is_dir()}
    return {
        "published": published,
        "folder": folders,
        "file": {m for p, m in found.items() if not p.is_dir() and p.name != "addons.duckdb"},
    }


def shared_as(name: str) -> dict[str, set[int]]:
    """What the bits are to be."""
    access = ACCESS[name]
    return {"published": {access.published}, "folder": {access.folder}, "file": {access.file}}


def test_what_is_there_follows_in_both_directions_and_others_files_stay(archive: Archive) -> None:
    """It is said once, and kept: not given means as it is."""
    for name in ("all", "group", "none"):
        opened = open_archive(archive.root, shared_read=name)
        (sentence,) = opened.notices
        assert sentence.startswith(f"EXPORT_SHARED_READ is {name}: ")
        assert bits(archive.root) == shared_as(name) | {"folder": bits(archive.root)["folder"]}
        assert bits(archive.root / "contents") == shared_as(name) | {"published": set()}
        again = open_archive(archive.root)
        assert (again.notices, again.access.file) == ((), ACCESS[name].file)
        land_rows(again, whole(2))
        assert bits(archive.root / "contents") == shared_as(name) | {"published": set()}
    assert (archive.root / "contents" / "notes.txt").stat().st_mode & 0o777 == 0o604
    assert (archive.root / "_damaged").stat().st_mode & 0o777 == 0o700


def test_a_root_that_strangers_use_stays_open_and_one_of_ours_is_closed(archive: Archive) -> None:
    """What they keep in it may be for others; what is ours is private by its own folder."""
    open_archive(archive.root, shared_read="group")
    assert archive.root.stat().st_mode & 0o777 == 0o750
    open_archive(archive.root, shared_read="none")
    assert archive.root.stat().st_mode & 0o777 == 0o750
    (archive.root / "contents" / "notes.txt").unlink()
    open_archive(archive.root, shared_read="group")
    open_archive(archive.root, shared_read="none")
    assert archive.root.stat().st_mode & 0o777 == 0o700


def test_a_kill_in_between_is_made_good_when_it_is_opened_next(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nothing is given then: what was begun is finished."""
    give, done = os.fchmod, []

    def killed(handle: int, mode: int) -> None:
        done.append(handle)
        if len(done) == 5:
            raise KeyboardInterrupt
        give(handle, mode)

    monkeypatch.setattr(os, "fchmod", killed)
    with pytest.raises(KeyboardInterrupt):
        open_archive(archive.root, shared_read="group")
    monkeypatch.setattr(os, "fchmod", give)
    (sentence,) = open_archive(archive.root).notices
    assert "group" in sentence
    assert bits(archive.root / "contents") == shared_as("group") | {"published": set()}


def test_what_a_process_lands_that_began_before_follows_too(archive: Archive) -> None:
    """It was opened while the archive was private, and lands after that was changed."""
    open_archive(archive.root, shared_read="all")
    land_rows(archive, whole(2))
    assert bits(archive.root / "contents")["file"] == {0o600, 0o644}
    assert open_archive(archive.root).notices
    assert bits(archive.root / "contents") == shared_as("all") | {"published": set()}


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_text("{")])
def test_an_archive_without_a_marker_is_shared_as_it_is(archive: Archive, change: Callable[[Path], object]) -> None:
    """As an older version has left it, or damage."""
    open_archive(archive.root, shared_read="group")
    change(archive.root / "_archive.json")
    opened = open_archive(archive.root)
    assert (opened.access.file, opened.notices) == (0o640, ())
    marker = archive.root / "_archive.json"
    if marker.read_text() != "{":
        found = read_marker(archive.root)
        assert found is not None
        assert found.settings == {"shared_read": "group"}


def test_a_first_export_says_nothing_of_sharing(tmp_path: Path) -> None:
    """There was nothing that could follow; a folder that somebody made for it keeps its own bits."""
    (tmp_path / "root").mkdir(0o755)
    (tmp_path / "root").chmod(0o755)
    assert open_archive(tmp_path / "root").notices == ()
    assert (tmp_path / "root").stat().st_mode & 0o777 == 0o755
    assert open_archive(tmp_path / "new", shared_read="group").notices == ()
