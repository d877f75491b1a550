"""Compacting joins small files in one commit and changes no row."""

import os
import shutil
from pathlib import Path

import pytest

from pipelines.verify import verify
from tests.warehouse.made_up import NOON, land_rows, later, live_files, logical, result, rows_by_key, sid, whole
from tests.warehouse.test_publish import shown
from warehouse.archive import Archive, open_archive
from warehouse.commits import load
from warehouse.compact import compact
from warehouse.errors import RepairWarehouse
from warehouse.publish import publish
from warehouse.schema import ADD_ON_RESULTS, CONTENTS


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an archive with three landings into one day, and one that does not know its day yet."""
    archive = open_archive(tmp_path_factory.mktemp("landed") / "root")
    for number in range(3):
        land_rows(archive, whole(number, b"%d" % number))
    land_rows(archive, whole(3, b"3", done=None))
    return archive.root


@pytest.fixture
def fragmented(archive: Archive, landed: Path) -> Archive:
    """A copy of it."""
    shutil.copytree(landed, archive.root, dirs_exist_ok=True)
    return archive


def test_compacting_changes_files_and_no_rows(fragmented: Archive) -> None:
    """One file a day instead of three, the null partition untouched, the old files there for who has them open."""
    rows, files = logical(fragmented, without=()), live_files(fragmented)
    assert compact(fragmented, now=later(1), run_id="test", most_files=3) == 17
    assert logical(fragmented, without=()) == rows
    assert all(len(files) <= 2 for files in fragmented.head().tables.values())
    assert all((fragmented.root / path).exists() for path in files)
    assert compact(fragmented, now=later(2), run_id="test", most_files=3) == 0
    assert fragmented.head().number == 5


def test_a_refresh_over_a_compaction_equals_a_rebuild(fragmented: Archive) -> None:
    """What was published before it, with a landing on top, is brought up to date exactly."""
    publish(fragmented, "duckdb", now=NOON)
    compact(fragmented, now=later(1), run_id="test", most_files=2)
    land_rows(fragmented, whole(9))
    publish(fragmented, "duckdb", now=NOON)
    refreshed = shown(fragmented)
    publish(fragmented, "duckdb", now=NOON, afresh=True)
    assert shown(fragmented) == refreshed
    assert verify(fragmented).mismatches == ()


def test_compacting_gives_way_to_a_landing(fragmented: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another process commits first, nothing is joined and no file is left; its rows are there."""
    link, before = os.link, live_files(fragmented)
    raced: list[int] = []

    def lose_once(source: Path, target: Path) -> None:
        if not raced:
            raced.append(1)
            land_rows(fragmented, whole(9))
        link(source, target)

    monkeypatch.setattr(os, "link", lose_once)
    assert compact(fragmented, now=later(1), run_id="test", most_files=3) == 0
    assert sid("XH", 9) in rows_by_key(fragmented, CONTENTS)
    on_disk = {path.relative_to(fragmented.root).as_posix() for path in fragmented.root.rglob("*.parquet")}
    assert on_disk == before | live_files(fragmented)


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_damage_is_not_joined(fragmented: Archive, damage: str) -> None:
    """A damaged file stays damaged under its own name, where verify finds it."""
    head = fragmented.head()
    path = fragmented.root / next(path for path in head.tables["contents"] if "2026" in path)
    data = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    with pytest.raises(RepairWarehouse):
        compact(fragmented, now=later(1), run_id="test", most_files=3)
    assert fragmented.head() == head == load(fragmented.root, 4)


def test_landing_itself_keeps_the_small_files_of_a_day_few(archive: Archive) -> None:
    """Nine landings into one day never leave more than a handful of files, and all nine rows."""
    most = 0
    for number in range(9):
        land_rows(archive, [result(number)])
        most = max(most, len(archive.head().tables[ADD_ON_RESULTS.name]))
    assert most <= 5
    assert set(rows_by_key(archive, ADD_ON_RESULTS)) == {sid("XR", number) for number in range(9)}
