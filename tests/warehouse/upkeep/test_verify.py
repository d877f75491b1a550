"""Verify finds what differs, names it exactly, and says nothing of what is right."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import duckdb
import pytest

from tests.warehouse.made_up import (
    NOON,
    Row,
    bad,
    batch,
    content,
    land_rows,
    later,
    live_files,
    payload,
    recording,
    result,
    sid,
    whole,
)
from warehouse.land import land
from warehouse.published.publish import publish
from warehouse.schema import TABLES
from warehouse.store.archive import Archive
from warehouse.store.commit import EMPTY
from warehouse.store.commits import commit_path
from warehouse.store.names import PUBLISHED, Destination
from warehouse.store.opening import open_archive
from warehouse.store.sealed import by_day
from warehouse.upkeep.verify import Mismatch, verify, verify_since

FLIPS = 80
XR, XH = sid("XR", 1), sid("XH", 1)
NEXT_DAY = NOON + timedelta(days=1)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """A small published archive of every table, shared: a test puts back what it damages."""
    archive = open_archive(tmp_path_factory.mktemp("landed") / "root")
    land_rows(archive, [row for n in range(12) for row in whole(n, b"made up %d " % n * 30, is_text=True)])
    land_rows(archive, whole(20, b"the day after", done=NEXT_DAY))
    land(archive, bad("The payload has no SID."), run_id="test", now=NOON)
    publish(archive, "duckdb", now=NOON)
    return archive


@contextlib.contextmanager
def changed(path: Path, change: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """The file with other bytes, or without it, for a while."""
    good = path.read_bytes()
    data = change(good)
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(good)


def found(archive: Archive) -> set[tuple[str, str]]:
    """Kind and subject of every mismatch."""
    return {(mismatch.kind, mismatch.subject) for mismatch in verify(archive).mismatches}


def first_file(archive: Archive, table: str) -> str:
    """One live file of a table."""
    return min(archive.head().tables[table])


# Nothing to say


def test_a_good_archive_has_no_mismatch(landed: Archive) -> None:
    """Files, bytes and contents are counted."""
    verification = verify(landed)
    head = landed.head()
    files = [file for files in head.tables.values() for file in files.values()]
    assert verification.mismatches == ()
    assert (verification.commit, verification.contents) == (head.number, 13)
    assert (verification.files, verification.bytes) == (len(files), sum(file.bytes for file in files))


def test_an_empty_archive_has_no_mismatch(archive: Archive) -> None:
    """Nothing landed, nothing wrong."""
    assert verify(archive).mismatches == ()


# Damaged files


def test_every_flipped_bit_of_every_file_is_found(landed: Archive) -> None:
    """Single bits, spread at random over all live files: each is found, and named by its file alone."""
    random = Random()
    missed = []
    paths = sorted(live_files(landed))
    for flip in range(FLIPS):
        path = paths[flip % len(paths)]
        position, bit = random.randrange((landed.root / path).stat().st_size), random.randrange(8)

        def flipped(data: bytes, position: int = position, bit: int = bit) -> bytes:
            return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]

        with changed(landed.root / path, flipped):
            subjects = [mismatch.subject for mismatch in verify_since(landed, EMPTY)]
        if subjects != [path]:
            missed.append((path, position, bit, subjects))
    assert missed == []


@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "empty", "flipped", "folder"])
@pytest.mark.parametrize("table", ["add_on_results", "add_on_payloads", "contents", "loads"])
def test_a_damaged_file_is_named_and_the_others_are_still_checked(landed: Archive, table: str, damage: str) -> None:
    """One mismatch for the file, none for what is only unreadable because of it."""
    path = first_file(landed, table)
    changes: dict[str, Callable[[bytes], bytes | None]] = {
        "missing": lambda data: None,
        "cut": lambda data: data[:-9],
        "longer": lambda data: data + b"0",
        "empty": lambda data: b"",
        "flipped": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        "folder": lambda data: None,
    }
    with changed(landed.root / path, changes[damage]):
        if damage == "folder":
            (landed.root / path).mkdir()
        try:
            assert found(landed) == {("file", path)}
            assert [mismatch.subject for mismatch in verify_since(landed, EMPTY)] == [path]
        finally:
            if damage == "folder":
                (landed.root / path).rmdir()


def test_two_damaged_files_are_both_named(landed: Archive) -> None:
    """The first one found does not end the search."""
    one, two = first_file(landed, "add_on_payloads"), first_file(landed, "contents")
    with changed(landed.root / one, lambda data: None), changed(landed.root / two, lambda data: data[:-1]):
        assert found(landed) == {("file", one), ("file", two)}


def test_a_range_checks_its_partitions_and_is_not_stopped_by_damage_elsewhere(landed: Archive) -> None:
    """Asked for one day, it counts that day's contents; a damaged file of another day stops nothing."""
    day, next_day = NOON.date(), NEXT_DAY.date()
    assert verify(landed, first=next_day, last=next_day).contents == 1
    assert verify(landed, first=day, last=day).contents == 12
    (path,) = [path for path in landed.head().tables["contents"] if str(next_day) in path]
    with changed(landed.root / path, lambda data: None):
        within = verify(landed, first=day, last=day)
        assert within.contents == 12
        assert {mismatch.kind for mismatch in within.mismatches} <= {"file"}
        assert [m.subject for m in verify(landed, first=next_day, last=next_day).mismatches] == [path]


def test_only_files_added_since_a_commit_are_checked_when_asked_so(archive: Archive) -> None:
    """An export checks what it landed itself."""
    land_rows(archive, whole(1))
    before = archive.head()
    land_rows(archive, whole(2))
    (old,) = before.tables["contents"]
    (new,) = archive.head().tables["contents"].keys() - {old}
    with changed(archive.root / old, lambda data: data[:-1]):
        assert verify_since(archive, before) == ()
    with changed(archive.root / new, lambda data: data[:-1]):
        assert [mismatch.subject for mismatch in verify_since(archive, before)] == [new]


# Wrong rows: sealed and committed as they are, so every hash is right and only the rows tell


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [result(1), payload(1, data=b"other"), content(1, b"bytes")],
            {("content", XH)},
        ),
        ([result(1), payload(1, data=b"said"), content(9, b"x")], {("content", sid("XH", 9)), ("reference", XH)}),
        ([result(1), payload(1, data=b"said")], {("reference", XH)}),
        ([recording(1), payload(1, data=b"x"), content(1, b"x")], {("reference", XH)}),
        ([recording(1, open_results=1), payload(1, data=b"x"), content(1, b"x")], set()),
        ([result(1, payload_count=2, exported_at=NOON), payload(1, data=b"x"), content(1, b"x")], {("reference", XR)}),
        ([result(1, payload_count=1, exported_at=NOON)], {("reference", XR)}),
        ([recording(1), recording(1)], {("reference", sid("RE", 1))}),
        ([*whole(1), result(1)], {("reference", XR)}),
        ([*whole(1), content(1, b"made up")], {("reference", XH)}),
    ],
    ids=[
        "content of another hash",
        "content of nobody",
        "content missing",
        "result missing",
        "result still to come",
        "payload missing",
        "all payloads missing",
        "recording twice",
        "result twice",
        "content twice",
    ],
)
def test_wrong_rows_are_named_by_their_key(archive: Archive, rows: list[Row], expected: set[tuple[str, str]]) -> None:
    """Exactly the rows that are wrong."""
    seal_and_commit(archive, rows)
    assert {entry for entry in found(archive) if entry[0] != "published"} == expected


def seal_and_commit(archive: Archive, rows: list[Row]) -> None:
    """Put rows into the archive as they are, past everything that `land` would refuse or mend."""
    tables = batch(rows)
    files = [
        archive.seal(TABLES[name], day, part.to_batches())
        for name, table in tables.items()
        for day, part in by_day(TABLES[name], table).items()
    ]
    archive.commit(archive.head(), drop=[], add=files, at=NOON, run_id="test")


# The published file


@contextlib.contextmanager
def edited(archive: Archive, statement: str) -> Iterator[None]:
    """`addons.duckdb` after somebody made it writable and ran `statement` in it."""
    path = archive.root / PUBLISHED
    good = path.read_bytes()
    copy = archive.root / "edited"
    copy.write_bytes(good)
    with contextlib.closing(duckdb.connect(str(copy))) as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute(statement)
        db.execute("CHECKPOINT")
    copy.rename(path)
    try:
        yield
    finally:
        copy.write_bytes(good)
        copy.rename(path)


PART = "_contents.part_000001"


@pytest.mark.parametrize(
    ("statement", "subjects"),
    [
        (f"UPDATE {PART} SET content = 'forged'::BLOB WHERE payload_sid = '{sid('XH', 3)}'", {sid("XH", 3)}),
        (f"DELETE FROM {PART} WHERE payload_sid = '{sid('XH', 3)}'", {"contents", sid("XH", 3)}),
        (f"INSERT INTO {PART} SELECT * FROM {PART} LIMIT 1", {"contents"}),
        (f"DELETE FROM add_on_results WHERE sid = '{sid('XR', 3)}'", {"add_on_results"}),
        (f"DELETE FROM recordings WHERE sid = '{sid('RE', 3)}'", {"recordings"}),
        (f"UPDATE add_on_results SET status = 'forged' WHERE sid = '{sid('XR', 3)}'", {"add_on_results"}),
        (
            f"UPDATE {PART} SET payload_sid = '{sid('XH', 77)}' WHERE payload_sid = '{sid('XH', 3)}'",
            {"contents", sid("XH", 3), sid("XH", 77)},
        ),
        ("DROP VIEW retention", {PUBLISHED}),
        ("DROP TABLE quarantine", {PUBLISHED}),
        ("UPDATE _commit SET number = 99", {PUBLISHED}),
        ("DELETE FROM _commit", {PUBLISHED}),
    ],
    ids=[
        "content edited",
        "content deleted",
        "content twice",
        "result deleted",
        "recording deleted",
        "result edited",
        "content under another SID",
        "view dropped",
        "table dropped",
        "commit edited",
        "no commit",
    ],
)
def test_an_edited_published_file_is_found(landed: Archive, statement: str, subjects: set[str]) -> None:
    """The archive is right, so only the published file is named."""
    with edited(landed, statement):
        assert found(landed) == {("published", subject) for subject in subjects}


def test_a_stale_missing_or_damaged_published_file_is_found(landed: Archive) -> None:
    """Each time the advice is to rebuild."""
    path = landed.root / PUBLISHED
    for change in (lambda data: None, lambda data: b"", lambda data: data[:9000]):
        with changed(path, change):
            (mismatch,) = verify(landed).mismatches
            assert (mismatch.kind, mismatch.subject) == ("published", PUBLISHED)
            assert "rebuild" in mismatch.sentence


def test_a_published_file_behind_the_archive_is_judged_by_the_commit_it_shows(archive: Archive) -> None:
    """A killed export has not published yet: that is no mismatch, but an edited row in the file still is."""
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    land_rows(archive, [result(1, at=later(1), status="failed")])
    verification = verify(archive)
    assert (verification.mismatches, verification.commit, verification.published_commit) == ((), 2, 1)
    with edited(archive, "UPDATE add_on_results SET status = 'failed'"):
        assert found(archive) == {("published", "add_on_results")}


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_what_is_published_while_it_reads_is_no_mismatch(
    archive: Archive, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that ends between any two looks at the published file: what is there then is judged, as one."""
    land_rows(archive, whole(0))
    publish(archive, destination, now=NOON)
    looks: list[str] = []
    real = duckdb.connect

    def connect(*given: object, **options: object) -> object:
        if given and not looks:
            number = archive.head().number
            looks.append(str(given[0]))
            there = real(*given, **options)  # type: ignore[arg-type]  # as given
            land_rows(archive, whole(number, at=later(number)))
            publish(archive, destination, now=later(number))
            return there
        return real(*given, **options)  # type: ignore[arg-type]  # as given

    monkeypatch.setattr(duckdb, "connect", connect)
    verification = verify(archive)
    assert looks
    assert verification.mismatches == ()
    assert verification.published_commit == 2


@pytest.mark.parametrize("damage", ["contents", "commit"])
def test_damage_of_the_archive_hides_no_damage_of_the_published_file(landed: Archive, damage: str) -> None:
    """Its bytes are checked all the same, also where the newest commit itself is damaged."""
    number = landed.head().number
    path = commit_path(landed.root, number) if damage == "commit" else landed.root / first_file(landed, damage)
    flipped = {"commit": path.name, "contents": str(path.relative_to(landed.root))}[damage]
    kind = {"commit": "commit", "contents": "file"}[damage]

    def flip(good: bytes) -> bytes:
        return bytes([*good[: len(good) // 2], good[len(good) // 2] ^ 1, *good[len(good) // 2 + 1 :]])

    with changed(path, flip):
        assert found(landed) == {(kind, flipped)}
        with changed((landed.root / PUBLISHED).resolve(), flip):
            assert found(landed) == {(kind, flipped), ("published", PUBLISHED)}


def test_damage_inside_the_published_file_is_found_or_without_effect(landed: Archive) -> None:
    """A flipped byte anywhere in it is named, or changes nothing that is shown; it never stops the search."""
    path = landed.root / PUBLISHED
    good = path.read_bytes()
    used = [n for n in range(0, len(good), 4096) if any(good[n : n + 4096])]
    mismatches: list[Mismatch] = []
    for position in used[:: max(1, len(used) // 4)]:
        damaged = bytearray(good)
        damaged[position + 99] ^= 1
        with changed(path, lambda _, damaged=bytes(damaged): damaged):  # type: ignore[misc]  # a constant
            mismatches += verify(landed).mismatches
    assert {mismatch.kind for mismatch in mismatches} == {"published"}
    assert found(landed) == set()


def test_sentences_carry_no_content(landed: Archive) -> None:
    """A mismatch names SIDs, files and counts, never what was said on the phone."""
    with edited(landed, f"UPDATE {PART} SET content = 'forged'::BLOB WHERE payload_sid = '{sid('XH', 3)}'"):
        sentences = " ".join(mismatch.sentence for mismatch in verify(landed).mismatches)
    assert sid("XH", 3) in sentences
    assert "forged" not in sentences
    assert "made up" not in sentences
