"""Compacting joins small files in one commit and changes no row."""

import contextlib
import os
import shutil
import signal
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.warehouse.made_up import NOON, land_rows, later, live_files, logical, result, rows_by_key, sid, whole
from tests.warehouse.processes import CONTEXT, compact_and_die
from tests.warehouse.published.test_publish import shown
from warehouse.errors import RepairWarehouse
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_RESULTS, CONTENTS
from warehouse.store.archive import Archive
from warehouse.store.collect import collect
from warehouse.store.commits import load
from warehouse.store.names import PUBLISHED, Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep import compact as compaction
from warehouse.upkeep.compact import compact
from warehouse.upkeep.verify import verify


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

    def lose_once(source: Path, target: Path, **folders: Any) -> None:
        if not raced:
            raced.append(1)
            land_rows(fragmented, whole(9))
        link(source, target, **folders)

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


# Days that are over, and everything


def partitions(archive: Archive) -> dict[str, int]:
    """Number of live files by table and partition."""
    counts: dict[str, int] = {}
    for path in live_files(archive):
        folder = path.rpartition("/")[0]
        counts[folder] = counts.get(folder, 0) + 1
    return counts


def test_a_day_gets_one_file_a_table_once_it_is_over(fragmented: Archive) -> None:
    """Not on the day itself; the day after, every table has one file of it, and the rows are the same."""
    rows = logical(fragmented, without=())
    day = [folder for folder in partitions(fragmented) if folder.endswith("=2026-11-20")]
    assert compact(fragmented, now=later(11), run_id="test") == 0
    assert min(partitions(fragmented)[folder] for folder in day) > 1
    assert compact(fragmented, now=later(13), run_id="test") > 0
    assert [partitions(fragmented)[folder] for folder in day] == [1] * len(day)
    assert logical(fragmented, without=()) == rows
    assert compact(fragmented, now=later(14), run_id="test") == 0


def test_a_little_that_comes_late_does_not_write_a_large_day_again(archive: Archive) -> None:
    """Only from a quarter of it on; asked for everything, it is done all the same."""
    land_rows(archive, [row for n in range(40) for row in whole(n, os.urandom(5_000))])
    land_rows(archive, whole(50, b"late"))
    contents = f"{CONTENTS.name}/completed_date=2026-11-20"
    compact(archive, now=later(24), run_id="test")
    assert partitions(archive)[contents] == 2
    assert compact(archive, now=later(24), run_id="test", thorough=True) > 0
    assert set(partitions(archive).values()) == {1}


def test_no_export_waits_for_all_days(archive: Archive) -> None:
    """A few partitions are joined at the end of each export, the rest at the end of the next ones."""
    for day in range(6):
        done = NOON + timedelta(days=day)
        for number in (day, day + 10):
            land_rows(archive, whole(number, b"x", done=done))
    sizes = []
    while compact(archive, now=later(240), run_id="test"):
        sizes.append(len(live_files(archive)))
    assert len(sizes) >= 2
    assert max(count for folder, count in partitions(archive).items() if "=2026" in folder) == 1


def test_rows_larger_than_memory_allows_are_sorted_by_key(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Divided by key into temporary files first; in order, none lost, none twice, nothing left behind."""
    monkeypatch.setattr(compaction, "SORT_BYTES", 20_000)
    numbers = list(range(60))
    Random(1).shuffle(numbers)
    for start in range(0, 60, 20):
        land_rows(archive, [row for n in numbers[start : start + 20] for row in whole(n, os.urandom(3_000))])
    rows = logical(archive, without=())
    compact(archive, now=later(1), run_id="test", thorough=True)
    assert logical(archive, without=()) == rows
    (path,) = archive.head().tables[CONTENTS.name]
    keys = pq.read_table(archive.root / path, partitioning=None)["payload_sid"].to_pylist()
    assert keys == sorted(keys)
    assert not list(archive.root.glob(".*spill*"))
    publish(archive, "parquet", now=NOON)
    assert verify(archive).mismatches == ()


def test_one_content_is_found_without_reading_its_day(archive: Archive) -> None:
    """The day's file has several row groups whose ranges of keys do not overlap."""
    for start in range(3):
        land_rows(archive, [row for n in range(start, 12, 3) for row in whole(n, os.urandom(1_500_000))])
    compact(archive, now=later(24), run_id="test", thorough=True)
    (path,) = archive.head().tables[CONTENTS.name]
    data = pq.read_metadata(archive.root / path)
    column = data.schema.names.index("payload_sid")
    ranges = [data.row_group(n).column(column).statistics for n in range(data.num_row_groups)]
    assert len(ranges) >= 3
    for before, after in pairwise(ranges):
        assert before.max < after.min


def test_a_key_that_is_there_twice_is_not_joined(fragmented: Archive) -> None:
    """It would be a defect; the files stay as they are for whoever looks into it."""
    head = fragmented.head()
    path, file = next(iter(head.tables[CONTENTS.name].items()))
    twin = f"{path.rpartition('/')[0]}/{'0' * 32}.parquet"
    shutil.copyfile(fragmented.root / path, fragmented.root / twin)
    fragmented.commit(head, drop=[], add=[replace(file, path=twin)], at=NOON, run_id="test")
    with pytest.raises(RepairWarehouse, match="twice"):
        compact(fragmented, now=later(24), run_id="test", thorough=True)
    assert len(fragmented.head().tables[CONTENTS.name]) == len(head.tables[CONTENTS.name]) + 1


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_a_reader_gets_the_same_answers_before_during_and_after(fragmented: Archive, destination: Destination) -> None:
    """Also one that has had the file open since before, over files that are no longer live."""
    publish(fragmented, destination, now=NOON)
    question = "SELECT payload_sid, content, completed_date FROM contents ORDER BY ALL"
    with contextlib.closing(duckdb.connect(str(fragmented.root / PUBLISHED), read_only=True)) as early:
        before = early.execute(question).fetchall()
        assert compact(fragmented, now=later(24), run_id="test", thorough=True) > 0
        assert early.execute(question).fetchall() == before
        publish(fragmented, destination, now=later(24))
        collect(fragmented, now=later(24), grace=timedelta(hours=24))
        assert early.execute(question).fetchall() == before
    assert [row for row in shown(fragmented)["contents"] if row] != []
    assert verify(fragmented).mismatches == ()


def test_a_kill_at_each_step_of_a_compaction_leaves_every_row(fragmented: Archive) -> None:
    """Killed right before the first, second, ... fsync, rename, link or unlink: the rows are there, once, readable."""
    rows = logical(fragmented, without=())
    before = live_files(fragmented)
    compacted = 0
    for step in range(1, 200):
        process = CONTEXT.Process(target=compact_and_die, args=(fragmented.root, step))
        process.start()
        process.join()
        assert logical(fragmented, without=()) == rows
        compacted += live_files(fragmented) != before
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert step > 10
    assert compacted
    assert set(partitions(fragmented).values()) == {1}
    publish(fragmented, "parquet", now=NOON)
    assert verify(fragmented).mismatches == ()
