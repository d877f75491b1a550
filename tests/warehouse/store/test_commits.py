"""Commits: each number once, whoever races for it, and damage is said and not guessed around."""

import errno
import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.made_up import NOON, land_rows, later, logical, path_of, result, rows_by_key, sid, whole
from tests.warehouse.processes import hear, land_each, start
from warehouse.errors import CommitRace, ExportError, FixWarehouse, RepairWarehouse
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_RESULTS, CONTENTS
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.store.commit import Commit
from warehouse.store.files import ACCESS
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify


def test_a_number_is_given_once(archive: Archive) -> None:
    """The second commit with the same number is refused and changes nothing."""
    first = Commit(1, NOON, "first", {})
    commits.save(archive.root, first, ACCESS["none"])
    with pytest.raises(CommitRace):
        commits.save(archive.root, Commit(1, NOON, "second", {}), ACCESS["none"])
    assert archive.head().run_id == "first"
    assert [path.name for path in (archive.root / "_commits").iterdir()] == ["000000000001.json"]


def test_threads_landing_at_once_all_succeed(archive: Archive) -> None:
    """Different rows from three threads are all there once, and the numbers have no gap."""
    with ThreadPoolExecutor(3) as pool:
        loads = list(pool.map(lambda n: land_rows(archive, whole(n, b"%d" % n)), range(6)))
    assert sorted(load.commit for load in loads) == commits.numbers(archive.root) == list(range(1, 7))
    assert set(rows_by_key(archive, CONTENTS)) == {sid("XH", n) for n in range(6)}


def test_processes_landing_at_once_all_succeed(archive: Archive) -> None:
    """Different rows from three processes, some moving between days meanwhile, are all there once."""
    shares = [list(range(first, first + 3)) for first in (10, 20, 30)]
    children = [start(land_each, archive.root, share) for share in shares]
    for share, (process, connection) in zip(shares, children, strict=True):
        assert [hear(connection) for _ in range(len(share) + 2)] == ["ready", *share, "done"]
        process.join()
    everything = [n for share in shares for n in share]
    assert {row["content"] for row in rows_by_key(archive, CONTENTS).values()} == {b"%d" % n for n in everything}
    assert {row["completed_date"] for row in rows_by_key(archive, ADD_ON_RESULTS).values()} == {NOON.date()}
    landings = len(everything) + sum(n % 2 for n in everything)
    assert commits.numbers(archive.root) == list(range(1, landings + 1))
    publish(archive, "parquet", now=NOON)
    assert verify(archive).mismatches == ()


def test_the_loser_of_a_race_leaves_no_files(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first files are removed again; only files of commits are in the folders."""
    link = os.link
    raced: list[int] = []

    def lose_once(source: Path, target: Path, **folders: Any) -> None:
        if not raced:
            raced.append(1)
            land_rows(archive, whole(2))
        link(source, target, **folders)

    monkeypatch.setattr(os, "link", lose_once)
    load = land_rows(archive, whole(1))
    assert load.commit == 2
    assert set(rows_by_key(archive, CONTENTS)) == {sid("XH", 1), sid("XH", 2)}
    on_disk = {path.relative_to(archive.root).as_posix() for path in archive.root.rglob("*.parquet")}
    assert on_disk == {path for files in archive.head().tables.values() for path in files}


def test_a_commit_that_an_erasure_removes_while_it_is_looked_up_is_looked_up_anew(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between listing and reading there is a newer one; a newest one that cannot be there is still an error."""
    land_rows(archive, whole(1))
    first = commits.commit_path(archive.root, 1)
    read = os.open

    def gone_first(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == first.name and first.exists():
            monkeypatch.setattr(os, "open", read)
            land_rows(archive, whole(2))
            monkeypatch.setattr(os, "open", gone_first)
            first.unlink()
        return read(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", gone_first)
    assert archive.head().number == 2
    commits.commit_path(archive.root, 3).symlink_to("nowhere")
    with pytest.raises(RepairWarehouse):
        archive.head()


def test_a_commit_that_may_be_durable_keeps_its_files(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """When syncing the folder fails after the commit has its name, others may have built on it: its files stay."""
    fsync, state = os.fsync, {"failed": False}

    def fail_after_the_link(handle: int) -> None:
        name = Path(path_of(handle))
        if name.name == "_commits" and commits.numbers(archive.root) == [1] and not state["failed"]:
            state["failed"] = True
            land_rows(archive, whole(2))
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(name))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail_after_the_link)
    with pytest.raises(FixWarehouse):
        land_rows(archive, whole(1))
    monkeypatch.undo()
    assert {sid("XH", 1), sid("XH", 2)} == set(rows_by_key(archive, CONTENTS))
    land_rows(archive, whole(3))
    publish(archive, "parquet", now=NOON)
    assert verify(archive).mismatches == ()


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an archive with one result."""
    archive = open_archive(tmp_path_factory.mktemp("landed") / "root")
    land_rows(archive, [result(1)])
    return archive.root


@pytest.fixture
def one_commit(archive: Archive, landed: Path) -> Path:
    """The only commit file of a copy of it."""
    shutil.copytree(landed, archive.root, dirs_exist_ok=True)
    return commits.commit_path(archive.root, 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: b"",
        lambda body: b"{}",
        lambda body: b"[]",
        lambda body: b"null",
        lambda body: body[:-7],
        lambda body: b"\xff\xfe" + body,
        lambda body: body.replace(b'"recordings":{}', b'"recordings":[]'),
        lambda body: body.replace(b'"commit":1', b'"commit":2'),
        lambda body: body.replace(b'"add_on_results":', b'"add_on_resultz":'),
        lambda body: body.replace(b'"rows":1', b'"rows":2'),
        lambda body: body.replace(b'"tables":', b'"tablez":'),
    ],
    ids=["empty", "no keys", "list", "null", "cut", "no text", "wrong type", "number", "table", "rows", "tables"],
)
def test_a_damaged_commit_is_said_and_not_guessed_around(archive: Archive, one_commit: Path, damage: "object") -> None:
    """Reading, landing and publishing raise RepairWarehouse, which names the file."""
    assert callable(damage)
    body = one_commit.read_bytes()
    damaged = damage(body)
    assert damaged != body
    one_commit.write_bytes(damaged)
    for act in (archive.head, lambda: land_rows(archive, [result(2)]), lambda: publish(archive, "parquet", now=NOON)):
        with pytest.raises(RepairWarehouse, match=one_commit.name):
            act()


def test_every_flipped_bit_of_a_commit_is_noticed(archive: Archive, one_commit: Path) -> None:
    """No single bit of a commit file can change without an error."""
    body = one_commit.read_bytes()
    head = archive.head()
    unnoticed = []
    for position in range(0, len(body), 3):
        damaged = bytearray(body)
        damaged[position] ^= 1 << position % 8
        one_commit.write_bytes(damaged)
        try:
            if archive.head() != head:
                unnoticed.append((position, bytes(damaged[max(0, position - 9) : position + 9])))
        except RepairWarehouse:
            pass
    assert unnoticed == []


@pytest.mark.parametrize(
    "name", ["abcdefghijkl.json", "00000000001x.json", ".00000000001.json", "notes.txt", "backup.json"]
)
def test_other_files_among_the_commits_are_not_commits(archive: Archive, one_commit: Path, name: str) -> None:
    """A stray file neither counts nor stops anything."""
    one_commit.with_name(name).write_text("stray")
    assert archive.head().number == 1
    assert land_rows(archive, [result(2)]).commit == 2


def test_a_newest_commit_that_went_missing_leaves_the_one_before(archive: Archive) -> None:
    """Losing the newest commit file falls back to a consistent older state, and landing goes on from there."""
    land_rows(archive, whole(1))
    before = logical(archive)
    land_rows(archive, [result(1, at=later(1), status="failed")])
    commits.commit_path(archive.root, 2).unlink()
    assert logical(archive) == before
    assert land_rows(archive, [result(1, at=later(2), status="failed")]).commit == 2


def test_a_commit_written_by_an_older_version_may_lack_tables(archive: Archive, one_commit: Path) -> None:
    """A table added since has no rows; the others are read as they are."""
    body = json.loads(one_commit.read_bytes())
    del body["tables"]["quarantine"], body["sha256"]
    body["sha256"] = hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).hexdigest()
    one_commit.write_text(json.dumps(body))
    assert (archive.head().rows("quarantine"), archive.head().rows("add_on_results")) == (0, 1)


def test_errors_name_no_content(archive: Archive) -> None:
    """An error of the tree carries paths and counts, never what was landed."""
    land_rows(archive, whole(1, b"the caller said: hush", is_text=True))
    shutil.rmtree(archive.root / "contents")
    with pytest.raises(ExportError) as caught:
        publish(archive, "duckdb", now=NOON)
    assert "hush" not in str(caught.value)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Paths that are synced from here on."""
    found: set[str] = set()
    sync = os.fsync

    def recorded(handle: int) -> None:
        found.add(path_of(handle))
        sync(handle)

    monkeypatch.setattr(os, "fsync", recorded)
    return found


def test_folders_that_another_process_made_are_made_durable_too(archive: Archive, synced: set[str]) -> None:
    """It may not have synced their names yet, and a power cut would take what is in them along."""
    day = archive.root / "contents" / f"completed_date={NOON:%Y-%m-%d}"
    day.mkdir(parents=True)
    land_rows(archive, whole(1))
    assert {str(day), str(day.parent), str(archive.root)} <= synced


def test_what_is_landed_already_is_durable_before_that_is_said(archive: Archive, synced: set[str]) -> None:
    """Whoever made the newest commit may not have synced its name yet."""
    land_rows(archive, whole(1))
    synced.clear()
    assert land_rows(open_archive(archive.root), whole(1)).load_id is None
    assert str(archive.root / "_commits") in synced
