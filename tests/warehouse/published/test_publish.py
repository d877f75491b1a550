"""Publishing: both destinations answer alike, refreshing equals rebuilding, and readers are never in the way."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from tests.warehouse.made_up import (
    NOON,
    bad,
    content,
    land_rows,
    later,
    leftovers,
    live_files,
    logical,
    payload,
    recording,
    result,
    sid,
    whole,
)
from tests.warehouse.processes import hear, hold_open, read_times, start
from warehouse.errors import FixWarehouse, RepairWarehouse
from warehouse.land import land
from warehouse.pieces import PART_BYTES
from warehouse.published import parts
from warehouse.published import publish as publishing
from warehouse.published.publish import publish
from warehouse.published.query import read_only
from warehouse.published.shown import published
from warehouse.published.views import RELATIONS
from warehouse.schema import CONTENTS, TABLES
from warehouse.store.archive import Archive
from warehouse.store.collect import collect
from warehouse.store.names import PUBLISHED, SHELF, Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

NAMES = {*TABLES, *(relation.name for relation in RELATIONS)}


@contextlib.contextmanager
def opened(archive: Archive) -> Iterator[duckdb.DuckDBPyConnection]:
    """The published file as an analyst opens it."""
    with contextlib.closing(duckdb.connect(str(archive.root / PUBLISHED), read_only=True)) as db:
        db.execute("SET TimeZone = 'UTC'")
        yield db


def shown(archive: Archive) -> dict[str, list[tuple[Any, ...]]]:
    """Every answer the published file gives, with columns, types and comments; without what names the file itself."""
    with opened(archive) as db:
        relations = [
            name
            for (name,) in db.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY ALL"
            ).fetchall()
        ]
        answers = {
            "columns": db.execute(
                "SELECT table_name, column_index, column_name, data_type, comment FROM duckdb_columns() "
                "WHERE schema_name = 'main' AND NOT internal ORDER BY ALL"
            ).fetchall()
        }
        for name in relations:
            columns = {"retention": "* EXCLUDE (hours_left)", "_commit": "number, committed_at, layout"}.get(name, "*")
            answers[name] = db.execute(f"SELECT {columns} FROM {name} ORDER BY ALL").fetchall()
    return answers


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an archive with text, bytes, nothing, no day yet, no content, odd JSON and quarantine."""
    archive = open_archive(tmp_path_factory.mktemp("landed") / "root")
    land_rows(
        archive,
        [
            *whole(1, b'{"transcription": "made up"}', is_text=True),
            *whole(2, bytes(range(256))),
            *whole(3, b"", is_text=True),
            *whole(4, "grüß dich".encode(), done=None, is_text=True),
            recording(5, price=None, encryption_details='{"a": 1}', channels=2),
            result(5, done=NOON + timedelta(days=1), raw='{"half": "\\ud800"}'),
            payload(5, raw="not JSON"),
        ],
    )
    land(archive, bad("The payload has no SID."), run_id="test", now=NOON)
    return archive.root


@pytest.fixture
def varied(archive: Archive, landed: Path) -> Archive:
    """A copy of it."""
    shutil.copytree(landed, archive.root, dirs_exist_ok=True)
    return archive


# What is published


def test_both_destinations_have_the_same_names_columns_types_comments_and_answers(varied: Archive) -> None:
    """An analyst cannot tell them apart but by `_commit`, and both read back as landed."""
    publish(varied, "duckdb", now=NOON)
    native = shown(varied)
    assert verify(varied).mismatches == ()
    publish(varied, "parquet", now=NOON)
    assert shown(varied) == native
    assert verify(varied).mismatches == ()
    assert set(native) == {*NAMES, "columns"}
    assert len(native["contents"]) == 4


def test_what_is_shown_is_what_was_landed(varied: Archive) -> None:
    """Contents byte by byte, times in UTC with their zone, days as dates."""
    publish(varied, "duckdb", now=NOON)
    with opened(varied) as db:
        found = db.execute("SELECT payload_sid, content, completed_date FROM contents ORDER BY 1").fetchall()
        when = db.execute(
            "SELECT date_completed, date_completed::VARCHAR FROM add_on_results WHERE sid = ?", [sid("XR", 1)]
        )
        assert when.fetchall() == [(NOON, "2026-11-20 12:00:00+00")]
    assert found == [
        (row["payload_sid"], row["content"], row["completed_date"]) for row in logical(varied)[CONTENTS.name]
    ]


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_every_table_view_and_column_has_a_comment_even_without_rows(
    archive: Archive, destination: Destination
) -> None:
    """Analysts find all names in the file, and the meaning of everything."""
    publish(archive, destination, now=NOON)
    answers = shown(archive)
    known = ("columns", "_commit", "transcript_shapes")
    assert {name: rows for name, rows in answers.items() if rows and name not in known} == {}
    assert set(answers) == {*NAMES, "columns"}
    with opened(archive) as db:
        bare = db.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal "
            "AND coalesce(comment, '') = '' UNION ALL "
            "SELECT table_name, NULL FROM duckdb_tables() WHERE schema_name = 'main' AND coalesce(comment, '') = '' "
            "UNION ALL SELECT view_name, NULL FROM duckdb_views() WHERE NOT internal AND coalesce(comment, '') = ''"
        ).fetchall()
    assert bare == []


def test_the_published_file_is_read_only(varied: Archive) -> None:
    """Its bits say so, and it needs no second file beside it."""
    publish(varied, "duckdb", now=NOON)
    assert stat.S_IMODE((varied.root / PUBLISHED).stat().st_mode) == 0o400
    assert [path.name for path in varied.root.iterdir() if path.name.startswith(PUBLISHED)] == [PUBLISHED]


def test_no_inner_table_of_contents_grows_over_its_bound(archive: Archive) -> None:
    """Also across refreshes; the memory a checkpoint needs depends on it."""
    three = 3 << 20
    for first in (0, 6):
        land_rows(archive, [row for n in range(first, first + 6) for row in whole(n, bytes([n]) * three)])
        publish(archive, "duckdb", now=NOON)
    with opened(archive) as db:
        parts = [
            name
            for (name,) in db.execute(
                "SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, 'part_')"
            ).fetchall()
        ]
        sizes = [
            db.execute(f"SELECT sum(octet_length(content)) FROM _contents.{name}").fetchall()[0][0] for name in parts
        ]
        assert db.execute("SELECT count(*), sum(octet_length(content)) FROM contents").fetchall() == [(12, 12 * three)]
    assert sum(sizes) == 12 * three
    assert max(sizes) <= PART_BYTES
    assert len(sizes) <= 2 * sum(sizes) // PART_BYTES  # and not one for every content


# Refreshing


def test_publishing_again_is_a_no_op(archive: Archive) -> None:
    """The file stays the very same one until there is something new or it is asked for afresh."""
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    inode = (archive.root / PUBLISHED).stat().st_ino
    publish(archive, "duckdb", now=later(1))
    assert (archive.root / PUBLISHED).stat().st_ino == inode
    publish(archive, "duckdb", now=later(1), afresh=True)
    assert (archive.root / PUBLISHED).stat().st_ino != inode


def test_a_changed_destination_is_published(archive: Archive) -> None:
    """Views become tables and tables views, at the same commit."""
    land_rows(archive, whole(1))
    for destination in ("duckdb", "parquet", "duckdb"):
        publish(archive, destination, now=NOON)
        found = published(archive)
        assert found is not None
        assert found.destination == destination


def _refreshed_and_rebuilt(archive: Archive) -> tuple[object, object]:
    publish(archive, "duckdb", now=NOON)
    refreshed = shown(archive)
    publish(archive, "duckdb", now=NOON, afresh=True)
    return refreshed, shown(archive)


def test_a_refresh_after_moves_and_changes_equals_a_rebuild(varied: Archive) -> None:
    """Rows change, move with their contents, come and stay, over several commits at once."""
    publish(varied, "duckdb", now=NOON)
    land_rows(varied, [result(4, at=later(1), done=NOON)])
    land_rows(varied, [result(2, at=later(1), done=NOON + timedelta(days=3), status="failed")])
    land_rows(varied, [payload(5, data=b"late", done=NOON, at=later(2)), content(5, b"late"), *whole(9)])
    land_rows(varied, [result(2, at=later(3), done=NOON, status="completed")])
    refreshed, rebuilt = _refreshed_and_rebuilt(varied)
    assert refreshed == rebuilt


def test_a_refresh_describes_the_same_as_a_rebuild(varied: Archive) -> None:
    """Views, comments and shapes, whether they are as they were, so that they are not written anew, or not."""
    words = r"list_sort(regexp_extract_all(sql, '\w+'))"  # DuckDB writes the names of an EXCLUDE in any order
    described = (
        f"SELECT schema_name, view_name, {words}, comment FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
        "SELECT schema_name, table_name, sql, comment FROM duckdb_tables() ORDER BY ALL",
        "SELECT schema_name, table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal ORDER BY ALL",
        "FROM transcript_shapes ORDER BY ALL",
        "SELECT number, definitions FROM _commit",
    )
    publish(varied, "duckdb", now=NOON)
    (varied.root / "_shapes").mkdir()
    for number, said in ((8, None), (9, "as it was"), (10, "in other words"), (11, "in other words")):
        if said is not None:
            shape = f"description = '[{said}]'\nwhen = 'true'\ntext = 'content_text'"
            (varied.root / "_shapes" / "mine.toml").write_text(shape)
        land_rows(varied, whole(number))
        found = []
        for afresh in (False, True):
            publish(varied, "duckdb", now=NOON, afresh=afresh)
            with opened(varied) as db:
                found.append([db.execute(sql).fetchall() for sql in described])
        assert found[0] == found[1]
        assert (f"[{said}]" in str(found[0])) == (said is not None)


@pytest.mark.parametrize("commits_too", [True, False], ids=["collected", "files lost"])
def test_a_refresh_without_the_superseded_files_equals_a_rebuild(varied: Archive, commits_too: bool) -> None:
    """When the files or the commit of the old state are gone, the archive decides."""
    publish(varied, "duckdb", now=NOON)
    for hour in (1, 2):
        land_rows(varied, [result(1, at=later(hour), status=f"s{hour}", done=NOON + timedelta(days=hour))])
    superseded = {varied.root / path for path in live_files(varied)} ^ {*varied.root.rglob("*.parquet")}
    assert superseded
    if commits_too:
        for path in superseded:
            os.utime(path, (0, 0))
        assert collect(varied, now=later(100_000), grace=timedelta(hours=1), keep=1) == len(superseded)
    else:
        for path in superseded:
            path.unlink()
    refreshed, rebuilt = _refreshed_and_rebuilt(varied)
    assert refreshed == rebuilt


def test_a_file_of_another_history_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """After restoring the archive from a backup, a commit of the same number may hold something else."""
    archive = open_archive(tmp_path / "root")
    land_rows(archive, whole(1), now=later(1))
    publish(archive, "duckdb", now=NOON)
    kept = (archive.root / PUBLISHED).read_bytes()
    restored = open_archive(tmp_path / "restored")
    land_rows(restored, whole(2), now=later(2))
    (restored.root / PUBLISHED).write_bytes(kept)
    publish(restored, "duckdb", now=NOON)
    assert [row[0] for row in shown(restored)[CONTENTS.name]] == [sid("XH", 2)]


# A previous file that is not as it was left


def test_a_deleted_file_is_rebuilt(varied: Archive) -> None:
    """`addons.duckdb` is disposable."""
    publish(varied, "duckdb", now=NOON)
    before = shown(varied)
    (varied.root / PUBLISHED).unlink()
    publish(varied, "duckdb", now=NOON)
    assert shown(varied) == before


def test_a_deleted_file_is_rebuilt_although_this_process_still_has_it_open(archive: Archive) -> None:
    """DuckDB shares instances by path inside a process; publishing does not believe them."""
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    with opened(archive) as db:
        db.execute("SELECT count(*) FROM contents").fetchall()
        (archive.root / PUBLISHED).unlink()
        publish(archive, "duckdb", now=NOON)
        assert (archive.root / PUBLISHED).exists()
        land_rows(archive, whole(2))
        publish(archive, "duckdb", now=NOON)
    assert len(shown(archive)[CONTENTS.name]) == 2


@pytest.mark.parametrize(
    ("log", "something_new"),
    [(b"stray", True), (b"stray", False), (b"", False)],
    ids=["new commit", "same commit", "same commit, empty log"],
)
def test_a_stray_log_beside_the_file_is_removed(archive: Archive, log: bytes, something_new: bool) -> None:
    """It would make the file unreadable for everybody, or be replayed into it."""
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    (archive.root / f"{PUBLISHED}.wal").write_bytes(log)
    if something_new:
        land_rows(archive, whole(2))
    publish(archive, "duckdb", now=NOON)
    assert not (archive.root / f"{PUBLISHED}.wal").exists()
    assert len(shown(archive)[CONTENTS.name]) == 1 + something_new


def test_a_forged_log_is_not_believed(archive: Archive) -> None:
    """Whoever may run SQL as the owner can write one: `sql` refuses, `verify` names it, publishing removes it."""
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    shown_file = archive.root / (archive.root / PUBLISHED).readlink()
    copy = archive.root.parent / "copy.duckdb"
    shutil.copyfile(shown_file, copy)
    copy.chmod(0o600)
    with duckdb.connect(str(copy)) as db:
        db.execute("PRAGMA disable_checkpoint_on_shutdown; UPDATE recordings SET call_sid = 'FORGED'")
    log = Path(f"{shown_file}.wal")
    shutil.copyfile(f"{copy}.wal", log)
    with opened(archive) as db:  # the control: DuckDB believes it
        assert db.execute("SELECT call_sid FROM recordings").fetchall() == [("FORGED",)]
    with pytest.raises(FixWarehouse, match="was not written by addon-export"), read_only(archive.root):
        pass
    assert any(
        log.name in mismatch.sentence or PUBLISHED in mismatch.sentence for mismatch in verify(archive).mismatches
    )
    publish(archive, "duckdb", now=NOON)
    with read_only(archive.root) as db:
        assert db.execute("SELECT count(*) FILTER (call_sid = 'FORGED') FROM recordings").fetchall() == [(0,)]
    assert verify(archive).mismatches == ()


def test_a_publication_that_fails_leaves_nothing_behind(archive: Archive) -> None:
    """Something else is in the way: the sentence names it, and no file is left that nobody shows."""
    land_rows(archive, whole(1))
    (archive.root / PUBLISHED).mkdir()
    for _ in range(2):
        with pytest.raises(FixWarehouse, match=f"{PUBLISHED} is a folder, .* remove it and run"):
            publish(archive, "duckdb", now=NOON)
    assert {path.name for path in archive.root.glob(".*")} <= {".archive.lock", ".publish.lock", SHELF}
    assert not list((archive.root / SHELF).iterdir())


def test_a_previous_file_damaged_anywhere_never_shows_in_the_next(varied: Archive) -> None:
    """One flipped byte in the previous file, wherever it is, and the next one still shows the archive."""
    publish(varied, "duckdb", now=NOON)
    good = (varied.root / PUBLISHED).read_bytes()
    land_rows(varied, whole(8))
    publish(varied, "duckdb", now=NOON, afresh=True)
    wanted = shown(varied)
    used = [n for n in range(0, len(good), 4096) if any(good[n : n + 4096])]
    for position in used[:: max(1, len(used) // 3)]:
        damaged = bytearray(good)
        damaged[position + 100] ^= 0x20
        _replace(varied, bytes(damaged))
        publish(varied, "duckdb", now=NOON)
        assert shown(varied) == wanted, f"damage at {position}"


@pytest.mark.parametrize("previous", [b"", bytes(20_000)], ids=["empty", "zeros"])
def test_a_previous_file_that_is_no_database_is_replaced(archive: Archive, previous: bytes) -> None:
    """Whatever lies at the name, the next publication is good."""
    land_rows(archive, whole(1))
    (archive.root / PUBLISHED).write_bytes(previous)
    publish(archive, "duckdb", now=NOON)
    assert len(shown(archive)[CONTENTS.name]) == 1


def _replace(archive: Archive, data: bytes) -> None:
    """Put another file at the published name, as a restore would: not into the old inode, which may be open."""
    beside = archive.root / "beside"
    beside.write_bytes(data)
    beside.rename(archive.root / PUBLISHED)


@pytest.mark.parametrize(("destination", "table"), [("duckdb", "contents"), ("parquet", "add_on_results")])
def test_a_missing_live_file_is_said_and_the_old_file_stays(
    archive: Archive, destination: Destination, table: str
) -> None:
    """RepairWarehouse, nothing half built left behind, and analysts keep what they had."""
    land_rows(archive, whole(1))
    publish(archive, destination, now=NOON)
    before = (archive.root / PUBLISHED).read_bytes()
    land_rows(archive, whole(2))
    for path in archive.head().tables[table]:
        (archive.root / path).unlink()
    with pytest.raises(RepairWarehouse):
        publish(archive, destination, now=NOON)
    assert (archive.root / PUBLISHED).read_bytes() == before
    assert leftovers(archive.root) == set()


# Readers


def test_a_reader_that_stays_open_keeps_its_answers_and_stops_nobody(archive: Archive) -> None:
    """It shows the commit it opened until it is opened again; a new reader sees the new commit."""
    land_rows(archive, whole(1, b"12345"))
    publish(archive, "duckdb", now=NOON)
    process, reader = start(hold_open, archive.root)
    assert hear(reader) == (1, 1, 5)
    for number in (2, 3):
        land_rows(archive, whole(number, b"12345"))
        publish(archive, "duckdb", now=NOON)
        reader.send("again")
        assert hear(reader) == (1, 1, 5)
        assert len(shown(archive)[CONTENTS.name]) == number
    reader.send("stop")
    process.join()
    assert process.exitcode == 0


_TWO_STATES: tuple[tuple[int, Destination], ...] = ((1, "duckdb"), (2, "parquet"))


def test_a_publication_in_the_middle_of_opening_shows_one_state_or_the_other(archive: Archive) -> None:
    """DuckDB opens a file three times to open it once; a swap in between must not give it parts of two files.

    Two published states are swapped, the way publishing swaps them, as fast as possible while another process opens.
    """
    states = []
    for number, destination in _TWO_STATES:
        land_rows(archive, whole(number, b"1"))
        publish(archive, destination, now=NOON)
        states.append(_kept(archive, number))
    process, reader = start(read_times, archive.root, 40)
    assert hear(reader) == "reading"
    turn = 0
    while not reader.poll():
        _swap_in(archive, states[turn % 2])
        turn += 1
    met = hear(reader)
    process.join()
    assert met <= {(1,) * 7, (2,) * 7}


def _kept(archive: Archive, number: int) -> str:
    """Another name of the published state, or what the link that stands for it points to."""
    name = archive.root / PUBLISHED
    if name.is_symlink():
        return str(name.readlink())
    kept = archive.root / f".kept{number}"
    kept.hardlink_to(name)
    return str(kept)


def _swap_in(archive: Archive, kept: str) -> None:
    name = archive.root / PUBLISHED
    fresh = archive.root / ".fresh"
    if name.is_symlink():
        fresh.symlink_to(kept)
    else:
        fresh.hardlink_to(kept)
    fresh.rename(name)


def test_what_needs_more_memory_gets_it(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is landed by then, and must not stay unpublished for want of memory that the machine has."""
    land_rows(archive, [row for n in range(200) for row in whole(n, Random(n).randbytes(20_000))])
    monkeypatch.setattr(parts, "MEMORY_MB", 4)
    monkeypatch.setattr(publishing, "MEMORY_TIMES", (1,))
    with pytest.raises(FixWarehouse, match="too little memory"):
        publish(archive, "duckdb", now=NOON)
    monkeypatch.setattr(publishing, "MEMORY_TIMES", (1, 2, 4, 8, 16, 32))
    publish(archive, "duckdb", now=NOON)
    with opened(archive) as db:
        assert db.sql("SELECT count(*), sum(octet_length(content)) FROM contents").fetchall() == [(200, 4_000_000)]
