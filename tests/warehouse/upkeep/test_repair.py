"""Repair puts back what a copy holds, and makes the rest honest."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.warehouse.made_up import NOON, bad, land_rows, later, live_files, logical, whole
from warehouse.errors import RepairWarehouse
from warehouse.land import land
from warehouse.published.publish import publish
from warehouse.store.archive import Archive
from warehouse.store.commits import commit_path
from warehouse.store.names import Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.repair import ASIDE, repair
from warehouse.upkeep.verify import verify


def landed(folder: Path, destination: Destination) -> Archive:
    """A small published archive of several commits."""
    archive = open_archive(folder / "root")
    for start in (0, 4):
        land_rows(archive, [row for n in range(start, start + 4) for row in whole(n, b"made up %d " % n * 30)])
    land_rows(archive, whole(20, b"the day after", done=later(24)))
    land(archive, bad("The payload has no SID."), run_id="test", now=NOON)
    publish(archive, destination, now=NOON)
    return archive


def flip(path: Path, random: Random) -> None:
    """One bit, somewhere."""
    data = bytearray(path.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)


def test_every_damaged_file_with_a_copy_is_restored_as_it_was(tmp_path: Path) -> None:
    """One flipped bit in a file of each table in turn: verify is green again and every row is what it was."""
    archive = landed(tmp_path, "duckdb")
    before = logical(archive, without=())
    random = Random(6)
    for table in {path.split("/")[0] for path in live_files(archive)}:
        path = max(path for path in live_files(archive) if path.startswith(f"{table}/"))
        flip(archive.root / path, random)
        assert [m.subject for m in verify(archive).mismatches] == [path]
        done = repair(archive, now=NOON)
        assert (len(done.aside), done.again, done.gone, done.left) == (1, {}, {}, ())
        assert logical(archive, without=()) == before
        publish(archive, "duckdb", now=NOON)
        assert verify(archive).mismatches == ()
    assert (archive.root / ASIDE).stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
@pytest.mark.parametrize("damage", [lambda path: flip(path, Random(1)), Path.unlink], ids=["flipped", "gone"])
def test_the_newest_commit_is_told_by_the_published_file(
    tmp_path: Path, destination: Destination, damage: Callable[[Path], None]
) -> None:
    """No row is missing afterwards: an older commit is never taken for it."""
    archive = landed(tmp_path, destination)
    before = logical(archive, without=())
    path = commit_path(archive.root, archive.head().number)
    damage(path)
    assert verify(archive).mismatches
    repair(archive, now=NOON)
    assert logical(archive, without=()) == before
    publish(archive, destination, now=NOON, afresh=True)
    assert verify(archive).mismatches == ()


def test_without_a_copy_the_newest_commit_is_not_guessed(tmp_path: Path) -> None:
    """The published file shows an older one: taking that would hide what was landed since."""
    archive = landed(tmp_path, "duckdb")
    land_rows(archive, whole(30))
    flip(commit_path(archive.root, archive.head().number), Random(2))
    with pytest.raises(RepairWarehouse, match="from a backup"):
        repair(archive, now=NOON)


@pytest.mark.parametrize("table", ["contents", "add_on_payloads", "add_on_results", "recordings"])
def test_what_has_no_copy_is_fetched_again(tmp_path: Path, table: str) -> None:
    """Views hold no rows, so they are gone from here: nothing says that they are whole, and landing again restores."""
    archive = landed(tmp_path, "parquet")
    before = logical(archive, without=("load_id", "observed_at", "first_seen_at", "listed_at"))
    path = next(path for path in sorted(live_files(archive)) if path.startswith(table))
    (archive.root / path).write_bytes(b"zeroed")
    done = repair(archive, now=NOON)
    assert done.again or done.gone
    publish(archive, "parquet", now=NOON, afresh=True)
    assert verify(archive).mismatches == ()
    land_rows(archive, [row for n in range(8) for row in whole(n, b"made up %d " % n * 30)])
    land_rows(archive, whole(20, b"the day after", done=later(24)))
    assert logical(archive, without=("load_id", "observed_at", "first_seen_at", "listed_at")) == before
