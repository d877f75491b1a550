"""What others made, or may change, is not relied on, unless the operator says whom to trust."""

import os
from pathlib import Path

import pytest

from tests.warehouse.made_up import land_rows, whole
from warehouse.errors import Untrusted
from warehouse.store.opening import open_archive
from warehouse.store.trust import Writers, check_above, check_trusted

MALLORY = 54_321
"""A user that is not there."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file of our own that only we may change."""
    path = tmp_path / "file"
    path.touch(0o600)
    return path


@as_root
def test_a_file_of_another_user_is_refused_and_the_sentence_names_the_cure(place: Path) -> None:
    """Naming that user, his group or everybody makes it good."""
    os.chown(place, MALLORY, os.getegid())
    with pytest.raises(Untrusted, match=rf"What {place} belongs to another user .*EXPORT_TRUSTED_WRITERS={MALLORY}"):
        check_trusted("What", place, Writers())
    for writers in (Writers(frozenset({MALLORY})), Writers(group=True), Writers(everybody=True)):
        check_trusted("What", place, writers)


@as_root
def test_a_group_is_trusted_only_where_that_was_said(place: Path) -> None:
    """Root's own group is root; whoever owns the file."""
    place.chmod(0o660)
    check_trusted("What", place, Writers())
    os.chown(place, 0, MALLORY)
    with pytest.raises(Untrusted, match=rf"by the group {MALLORY}; run `chmod g-w`.*EXPORT_TRUSTED_WRITERS=group"):
        check_trusted("What", place, Writers())
    check_trusted("What", place, Writers(group=True))


def test_what_everybody_may_write_to_is_refused_unless_everybody_is_trusted(place: Path) -> None:
    """As on mounts that know no permissions."""
    place.chmod(0o666)
    for writers in (Writers(), Writers(group=True)):
        with pytest.raises(Untrusted, match=r"everybody on this machine.*EXPORT_TRUSTED_WRITERS=all"):
            check_trusted("What", place, writers)
    check_trusted("What", place, Writers(everybody=True))


@as_root
def test_a_link_counts_by_who_made_it(place: Path, tmp_path: Path) -> None:
    """Where it leads may be ours all the same."""
    link = tmp_path / "link"
    link.symlink_to(place.parent)
    check_trusted("What", link / place.name, Writers())
    os.lchown(link, MALLORY, MALLORY)
    with pytest.raises(Untrusted, match=f"through {link}, a link of another user"):
        check_trusted("What", link / place.name, Writers())
    check_trusted("What", link / place.name, Writers(frozenset({MALLORY})))


def test_a_folder_of_our_own_in_one_for_everybody_is_trusted(tmp_path: Path) -> None:
    """As under /tmp."""
    tmp_path.chmod(0o1777)
    (tmp_path / "own").mkdir(0o700)
    check_trusted("What", tmp_path / "own", Writers())


@as_root
def test_a_folder_in_which_others_can_exchange_what_is_ours_is_refused(tmp_path: Path) -> None:
    """Its owner, and whoever may write to it unless it is sticky; also where a link of ours leads to."""
    shared, link = tmp_path / "shared", tmp_path / "link"
    (shared / "own").mkdir(0o700, parents=True)
    link.symlink_to(shared / "own")
    for owner, mode, cure in ((MALLORY, 0o755, str(MALLORY)), (MALLORY, 0o1777, str(MALLORY)), (0, 0o777, "all")):
        os.chown(shared, owner, -1)
        shared.chmod(mode)
        for path in (shared / "own", shared / "not" / "yet", link):
            with pytest.raises(Untrusted, match=f"What {path} is in {shared}, which .*EXPORT_TRUSTED_WRITERS={cure}"):
                check_above("What", path, Writers())
            check_above("What", path, Writers(frozenset({MALLORY}), everybody=cure == "all"))
    shared.chmod(0o1777)
    check_above("What", link, Writers())


@as_root
@pytest.mark.parametrize("name", ["", "_commits", "contents", "_shapes", "_shapes/vendor.toml", ".archive.lock"])
def test_no_part_of_a_root_may_be_of_another_user(tmp_path: Path, name: str) -> None:
    """The folder, those in it, the locks, and the shapes, which are run."""
    archive = open_archive(tmp_path / "root")
    land_rows(archive, whole(1))
    (archive.root / "_shapes").mkdir()
    (archive.root / "_shapes" / "vendor.toml").touch()
    open_archive(archive.root)
    os.chown(archive.root / name, MALLORY, MALLORY)
    with pytest.raises(Untrusted, match=str(archive.root / name)):
        open_archive(archive.root)
    land_rows(open_archive(archive.root, writers=Writers(frozenset({MALLORY}))), whole(2))
