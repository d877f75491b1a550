"""Collecting superseded files: readers keep theirs for the grace time, and nothing live ever goes."""

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.made_up import NOON, land_rows, later, live_files, logical, path_of, result, whole
from warehouse.published.publish import publish
from warehouse.schema import RESOLUTIONS
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.store.collect import collect
from warehouse.upkeep.verify import verify

GRACE = timedelta(hours=24)


def age(archive: Archive, when: datetime) -> None:
    """Make every file on the disk look as if it was written at `when`."""
    for path in archive.root.rglob("*"):
        if path.is_file():
            os.utime(path, (when.timestamp(), when.timestamp()))


def on_disk(archive: Archive) -> set[str]:
    """Parquet files there are, live or not."""
    return {path.relative_to(archive.root).as_posix() for path in archive.root.rglob("*.parquet")}


def change(archive: Archive, times: int, *, first: float) -> None:
    """Supersede the results' file a number of times, a second apart, from `first` hours after noon."""
    for step in range(times):
        when = later(first) + timedelta(seconds=step)
        land_rows(archive, [result(1, at=when, status=f"status {first} {step}")], now=when)


def test_superseded_files_go_after_the_grace_and_live_ones_never(archive: Archive) -> None:
    """Old commits and the files only they name are removed; everything still reads back."""
    land_rows(archive, whole(1))
    change(archive, 4, first=0)
    age(archive, NOON)
    before = logical(archive)
    superseded = on_disk(archive) - live_files(archive)
    assert len(superseded) == 4
    assert collect(archive, now=later(1000), grace=GRACE, keep=1) == 4
    assert on_disk(archive) == live_files(archive)
    assert commits.numbers(archive.root) == [5]
    assert logical(archive) == before
    publish(archive, "duckdb", now=NOON)
    assert verify(archive).mismatches == ()


def test_files_of_commits_within_the_grace_stay(archive: Archive) -> None:
    """A reader that opened one of them less than the grace ago still finds its files."""
    land_rows(archive, whole(1))
    change(archive, 3, first=0)
    age(archive, NOON)
    before = on_disk(archive)
    assert collect(archive, now=later(23), grace=GRACE, keep=1) == 0
    assert (on_disk(archive), commits.numbers(archive.root)) == (before, [1, 2, 3, 4])


def test_a_file_superseded_within_the_grace_stays_however_old_it_is(archive: Archive) -> None:
    """What was live when the grace began may still be open, and no number of commits since changes that."""
    land_rows(archive, whole(1))
    opened = live_files(archive)
    age(archive, NOON)
    change(archive, 4, first=72)
    collect(archive, now=later(73), grace=GRACE, keep=2)
    assert opened <= on_disk(archive)
    collect(archive, now=later(72) + GRACE + timedelta(hours=1), grace=GRACE, keep=2)
    assert not opened <= on_disk(archive)


def test_the_newest_commits_stay_whatever_their_age(archive: Archive) -> None:
    """`keep` commits and their files are never collected, so there is something to go back to."""
    land_rows(archive, whole(1))
    change(archive, 5, first=0)
    age(archive, NOON)
    collect(archive, now=later(1000), grace=GRACE, keep=3)
    assert commits.numbers(archive.root)[-3:] == [4, 5, 6]
    named = {path for n in (4, 5, 6) for files in commits.load(archive.root, n).tables.values() for path in files}
    assert named <= on_disk(archive)


def test_a_file_sealed_but_not_yet_committed_stays(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may be between sealing and committing: its new files are younger than the grace."""
    land_rows(archive, whole(1), now=NOON)
    link = os.link
    removed: list[int] = []

    def collect_first(source: Path, target: Path, **folders: Any) -> None:
        removed.append(collect(archive, now=datetime.now(tz=NOON.tzinfo), grace=timedelta(minutes=1), keep=1))
        link(source, target, **folders)

    monkeypatch.setattr(os, "link", collect_first)
    land_rows(archive, whole(2), now=later(1))
    assert removed == [0]
    publish(archive, "parquet", now=NOON)
    assert verify(archive).mismatches == ()


def test_what_was_sealed_and_is_collected_before_its_commit_is_landed_anew(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that is stopped for longer than the grace time, as a closed laptop is, commits no file that is gone."""
    land_rows(archive, whole(1))
    fsync = os.fsync
    removed: list[int] = []

    def stopped_for_long(handle: int) -> None:
        fsync(handle)
        if path_of(handle).endswith("completed_date=2026-11-20") and not removed:  # the folders come after the files
            age(archive, NOON - timedelta(days=400))
            removed.append(collect(archive, now=datetime.now(tz=NOON.tzinfo), grace=GRACE))

    monkeypatch.setattr(os, "fsync", stopped_for_long)
    load = land_rows(archive, whole(2), now=later(1))
    assert removed == [5]
    assert load.commit == 2
    publish(archive, "duckdb", now=NOON)
    assert verify(archive).mismatches == ()


@pytest.mark.parametrize(
    "leave",
    [
        lambda root: root / "contents" / "completed_date=2026-11-20" / f".{0:032x}.tmp",
        lambda root: root / "_commits" / f".{0:032x}.tmp",
        lambda root: root / f".{0:032x}.tmp",
        lambda root: root / f".{0:032x}.spill",
    ],
    ids=["sealing", "committing", "publishing", "sorting"],
)
def test_leftovers_of_a_kill_go_after_the_grace(archive: Archive, leave: Callable[[Path], Path]) -> None:
    """Dot-named files nobody will finish are removed once they are old, and not before."""
    land_rows(archive, whole(1))
    leftover = leave(archive.root)
    leftover.write_bytes(b"unfinished")
    os.utime(leftover, (NOON.timestamp(), NOON.timestamp()))
    collect(archive, now=later(23), grace=GRACE)
    assert leftover.exists()
    collect(archive, now=later(25), grace=GRACE)
    assert not leftover.exists()
    assert logical(archive)["contents"]


def test_nothing_of_somebody_else_is_collected(archive: Archive) -> None:
    """The published file, the lock and files the project did not make stay."""
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    mine = archive.root / "notes.txt"
    mine.write_text("mine")
    age(archive, NOON)
    before = {path.name for path in archive.root.iterdir()}
    collect(archive, now=later(1000), grace=GRACE)
    assert {path.name for path in archive.root.iterdir()} == before


def test_a_commit_stamped_by_a_clock_that_was_ahead_is_collected_with_those_that_follow(archive: Archive) -> None:
    """It is no younger than what came after it, so nothing stays for the years that the clock was ahead."""
    land_rows(archive, whole(1))
    change(archive, 3, first=9600)
    land_rows(archive, [result(2, at=later(1))], now=later(1))
    age(archive, NOON)
    superseded = len(on_disk(archive) - live_files(archive))
    assert superseded >= 3
    assert collect(archive, now=later(2), grace=GRACE, keep=1) == 0
    assert collect(archive, now=later(1) + GRACE + timedelta(hours=1), grace=GRACE, keep=1) == superseded
    assert on_disk(archive) == live_files(archive)


def test_a_file_from_the_future_counts_as_written_now(archive: Archive) -> None:
    """It stays for the grace, like any other that may still be committed, and then goes."""
    land_rows(archive, whole(1))
    ahead = archive.root / archive.seal(RESOLUTIONS, None, []).path
    os.utime(ahead, (later(9600).timestamp(), later(9600).timestamp()))
    assert collect(archive, now=later(1), grace=GRACE, keep=1) == 0
    assert collect(archive, now=later(26), grace=GRACE, keep=1) == 1
