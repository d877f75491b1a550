"""A root that was moved or copied: questions are answered from the files that are there, never from those elsewhere."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import FixWarehouse
from pipelines.opening import mend_moved
from pipelines.settings import warehouse_settings
from tests.warehouse.made_up import NOON, land_rows, sid, whole
from warehouse.published.publish import publish
from warehouse.published.query import answer
from warehouse.store.archive import Archive
from warehouse.store.names import PUBLISHED
from warehouse.store.opening import open_archive

NAMES = {f"XB{'0' * 32}": "Made up"}


@pytest.fixture
def published(tmp_path: Path) -> Archive:
    """Two results, published as views, in a folder whose name needs care in SQL."""
    archive = open_archive(tmp_path / "it's here", add_on_names=NAMES)
    land_rows(archive, [*whole(1), *whole(2)])
    publish(archive, "parquet", now=NOON)
    return archive


def asked(root: Path, sql: str) -> list[tuple[object, ...]]:
    """What `addon-export sql` answers."""
    mend_moved(replace(warehouse_settings({}), root=root))
    with answer(root, sql) as answered:
        return list(answered.rows)


@pytest.mark.parametrize("move", [shutil.copytree, shutil.move])
def test_what_was_moved_answers_from_its_own_files(move: object, published: Archive, tmp_path: Path) -> None:
    """Also a copy beside the original, which would answer from that one's files; names of add-ons stay."""
    assert callable(move)
    moved = tmp_path / "elsewhere"
    move(published.root, moved, **({"symlinks": True} if move is shutil.copytree else {}))
    land_rows(open_archive(moved), whole(3))
    assert asked(moved, "SELECT sid FROM add_on_results ORDER BY sid") == [(sid("XR", n),) for n in (1, 2, 3)]
    assert asked(moved, "SELECT name FROM add_on_names") == [("Made up",)]


def test_where_nothing_may_be_written_it_is_said(published: Archive, tmp_path: Path) -> None:
    """A reader without rights is told what to run, and is not given the rows of another folder."""
    moved = published.root.rename(tmp_path / "elsewhere")
    before = (moved / PUBLISHED).readlink()
    said = "the folder was moved or copied since; run `addon-export rebuild`"
    with pytest.raises(FixWarehouse, match=said), answer(moved, "FROM loads"):
        raise AssertionError
    assert (moved / PUBLISHED).readlink() == before


def test_a_root_in_its_place_is_left_alone(published: Archive) -> None:
    """Nothing is published for a question."""
    before = (published.root / PUBLISHED).readlink()
    assert asked(published.root, "SELECT count(*) FROM contents") == [(2,)]
    assert (published.root / PUBLISHED).readlink() == before
