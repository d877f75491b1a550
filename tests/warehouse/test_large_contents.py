"""Large contents: landed from a file in chunks, held to the rules of all contents, and whole again for analysts."""

import io
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.warehouse.made_up import (
    NOON,
    Row,
    batch,
    content,
    land_rows,
    later,
    live_files,
    logical,
    payload,
    recording,
    result,
    rows_by_key,
    sid,
    whole,
)
from tests.warehouse.processes import CONTEXT
from tests.warehouse.published.test_publish import opened, shown
from warehouse.contents import QUARANTINED_BYTES, SpooledContent
from warehouse.errors import RepairWarehouse
from warehouse.land import Load, land
from warehouse.published.publish import publish
from warehouse.published.shown import published
from warehouse.schema import CHUNK_BYTES, CONTENTS, QUARANTINE
from warehouse.store.archive import Archive
from warehouse.store.commit import EMPTY, LiveFile
from warehouse.store.names import Destination
from warehouse.store.opening import open_archive
from warehouse.transcripts.readable import LARGEST_BYTES, TOO_LARGE
from warehouse.upkeep.compact import compact
from warehouse.upkeep.verify import verify, verify_since

XH = sid("XH", 1)
TODAY = NOON.date()
NEXT_DAY = NOON + timedelta(days=1)
TEXT = ("grüß dich, made up; " * 1_000_000).encode()
"""20 MB in which a chunk ends in the middle of a character."""

BACKWARDS = TEXT[: CHUNK_BYTES + 1000].decode(errors="ignore")[::-1].encode()
"""Of two chunks."""


def spooled(number: int, data: bytes, *, done: date | None = TODAY, claimed: bytes | None = None) -> SpooledContent:
    """A content in a file; `claimed` is what came off the wire when the file holds something else."""
    wire = data if claimed is None else claimed
    return SpooledContent(sid("XH", number), done, True, len(wire), sha256(wire).hexdigest(), io.BytesIO(data))


def large(number: int, data: bytes) -> list[Row]:
    """All rows of a whole result, but for the content."""
    return [row for row in whole(number, data) if row[0] is not CONTENTS]


def land_large(archive: Archive, rows: list[Row], *contents: SpooledContent, hours: float = 0) -> Load:
    """Land rows and large contents as one batch."""
    return land(archive, batch(rows), run_id="test", now=later(hours), spooled=contents)


def chunked(archive: Archive) -> list[LiveFile]:
    """The live files of large contents."""
    return [file for file in archive.head().tables[CONTENTS.name].values() if file.chunked]


def bytes_of(archive: Archive) -> dict[str, tuple[bytes, date | None]]:
    """Content and day by payload, put together without the product's SQL."""
    found: dict[str, tuple[bytes, date | None]] = {}
    for row in sorted(logical(archive)[CONTENTS.name], key=lambda row: (row["payload_sid"], row["chunk"] or 0)):
        before, _ = found.get(row["payload_sid"], (b"", None))
        assert not before or row["chunk"], "a content is there twice"
        found[row["payload_sid"]] = (before + row["content"], row["completed_date"])
    return found


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an archive with a large and a small content of one day."""
    archive = open_archive(tmp_path_factory.mktemp("landed") / "root")
    land_large(archive, [*large(1, TEXT), *whole(2, b"small", is_text=True)], spooled(1, TEXT))
    return archive.root


@pytest.fixture
def copied(archive: Archive, landed: Path) -> Archive:
    """A copy of it."""
    shutil.copytree(landed, archive.root, dirs_exist_ok=True)
    return archive


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_a_large_content_reads_back_as_it_came(copied: Archive, destination: Destination) -> None:
    """In both destinations the bytes, the text and the day are those landed, among small contents."""
    assert [file.rows > 1 for file in chunked(copied)] == [True]
    publish(copied, destination, now=NOON)
    with opened(copied) as db:
        query = "SELECT content, content_text, completed_date FROM contents WHERE payload_sid = ?"
        found = db.execute(query, [XH]).fetchall()
        assert found == [(TEXT, TEXT.decode(), NOON.date())]
        assert db.execute("SELECT count(*), count(DISTINCT payload_sid) FROM contents").fetchall() == [(2, 2)]
        described = db.execute("DESCRIBE contents").fetchall()
    assert [column[0] for column in described] == ["payload_sid", "completed_date", "content", "content_text"]
    verification = verify(copied)
    assert (verification.mismatches, verification.contents) == ((), 2)


@pytest.mark.parametrize("sizes", [[5_200_000] * 6, [40_000_000]])
def test_what_cannot_be_compressed_is_read_back_too(archive: Archive, sizes: list[int]) -> None:
    """Audio takes in memory what it has on disk; DuckDB holds several chunks at once, however few it is asked for."""
    for number, size in enumerate(sizes):
        data = os.urandom(size)
        rows = [recording(number), result(number), payload(number, data=data)]
        land(archive, batch(rows), run_id="test", now=NOON, spooled=[spooled(number, data)])
    publish(archive, "duckdb", now=NOON)
    assert verify(archive).mismatches == ()


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_what_does_not_need_the_bytes_does_not_put_them_together(copied: Archive, destination: Destination) -> None:
    """Counting, metadata and another payload's content can be had in less memory than the large content takes."""
    publish(copied, destination, now=NOON)
    with opened(copied) as db:
        db.execute("SET memory_limit = '24MB'; SET temp_directory = ''; SET threads = 1")
        assert db.execute("SELECT count(*) FROM contents").fetchall() == [(2,)]
        assert len(db.execute("SELECT payload_sid, completed_date FROM contents").fetchall()) == 2
        small = db.execute("SELECT content FROM contents WHERE payload_sid = ?", [sid("XH", 2)])
        assert small.fetchall() == [(b"small",)]
        with pytest.raises(duckdb.OutOfMemoryException):
            db.execute("SELECT content FROM contents").fetchall()


def test_landing_it_twice_makes_one_commit(copied: Archive) -> None:
    """With its rows or alone, in a file or as a row of the batch, it is known."""
    for rows, contents in (
        (large(1, TEXT), [spooled(1, TEXT)]),
        ([], [spooled(1, TEXT)]),
        ([*large(1, TEXT), content(1, TEXT, is_text=True)], []),
    ):
        assert land_large(copied, rows, *contents, hours=1).load_id is None
    assert len(chunked(copied)) == 1


def test_a_load_counts_it_once(archive: Archive) -> None:
    """One content and its bytes, however many chunks."""
    load = land_large(archive, large(1, TEXT), spooled(1, TEXT), spooled(1, TEXT))
    assert (load.added["contents"], load.content_bytes) == (1, len(TEXT))
    assert archive.head().rows(CONTENTS.name) == 1
    assert bytes_of(archive) == {XH: (TEXT, NOON.date())}


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_any_size_may_come_in_a_file(archive: Archive, size: int) -> None:
    """Also none at all, and exactly one chunk."""
    data = bytes(size)
    land_large(archive, large(1, data), spooled(1, data))
    assert bytes_of(archive) == {XH: (data, NOON.date())}
    publish(archive, "duckdb", now=NOON)
    assert shown(archive)[CONTENTS.name] == [(XH, NOON.date(), data, data.decode())]
    assert verify(archive).mismatches == ()


@pytest.mark.parametrize(
    "data", [TEXT[:-1], TEXT + b"x", b"", b"x" + TEXT[1:]], ids=["cut", "longer", "empty", "other"]
)
def test_a_file_that_does_not_hold_what_came_is_refused(archive: Archive, data: bytes) -> None:
    """Nothing of the batch is landed, and no file is left behind that might be taken for a content."""
    with pytest.raises(RepairWarehouse, match=XH):
        land_large(archive, [*large(1, TEXT), *whole(2)], spooled(1, data, claimed=TEXT))
    assert archive.head() == EMPTY
    assert not list(archive.root.rglob("*.chunks.parquet"))


def test_another_content_goes_to_quarantine_as_far_as_it_may_be_kept(copied: Archive) -> None:
    """The first one stays; of the other the beginning is kept and the reason tells its size and hash, once."""
    other = TEXT.upper()
    for hour in (1, 2):
        land_large(copied, [payload(1, data=other, at=later(hour))], spooled(1, other), hours=hour)
    assert bytes_of(copied)[XH][0] == TEXT
    (row,) = rows_by_key(copied, QUARANTINE).values()
    assert row["raw"] == other[:QUARANTINED_BYTES]
    assert str(len(other)) in row["reason"]
    assert sha256(other).hexdigest() in row["reason"]


def test_it_lands_on_its_payloads_day_and_moves_with_it(archive: Archive) -> None:
    """Whatever the listing said that brought it; small contents of the day stay or move by themselves."""
    land_rows(archive, [result(1, at=later(2)), payload(1, at=later(2)), *whole(2, done=None), *whole(3, done=None)])
    land_large(archive, [payload(1, data=TEXT, done=None)], spooled(1, TEXT, done=None))
    assert bytes_of(archive)[XH] == (TEXT, NOON.date())
    land_rows(archive, [result(1, at=later(3), done=NEXT_DAY), result(2, at=later(3), done=NEXT_DAY)], now=later(3))
    days = {key: day for key, (_, day) in bytes_of(archive).items()}
    assert days == {XH: NEXT_DAY.date(), sid("XH", 2): NEXT_DAY.date(), sid("XH", 3): None}
    assert bytes_of(archive)[XH][0] == TEXT
    assert len(chunked(archive)) == 1
    publish(archive, "duckdb", now=NOON)
    assert verify(archive).mismatches == ()


def test_a_refresh_with_large_contents_equals_a_rebuild(copied: Archive) -> None:
    """New ones, one that moved, and one beside small ones."""
    publish(copied, "duckdb", now=NOON)
    land_large(copied, [*large(3, BACKWARDS), *whole(4)], spooled(3, BACKWARDS))
    land_rows(copied, [result(1, at=later(1), done=NEXT_DAY)])
    publish(copied, "duckdb", now=NOON)
    refreshed = shown(copied)
    publish(copied, "duckdb", now=NOON, afresh=True)
    assert refreshed == shown(copied)
    assert [row[1] for row in refreshed[CONTENTS.name] if row[0] == XH] == [NEXT_DAY.date()]


def test_compacting_leaves_it_as_it_is(copied: Archive) -> None:
    """Small contents are joined around it."""
    for number in range(3, 12):
        land_rows(copied, whole(number, b"%d" % number))
    before, (file,) = bytes_of(copied), chunked(copied)
    assert compact(copied, now=later(1), run_id="test") > 0
    assert bytes_of(copied) == before
    assert chunked(copied) == [file]
    assert len(copied.head().tables[CONTENTS.name]) == 2
    publish(copied, "parquet", now=NOON)
    assert verify(copied).mismatches == ()


def test_a_flipped_bit_in_a_chunk_is_found(copied: Archive) -> None:
    """Named by its file."""
    (file,) = chunked(copied)
    path = copied.root / file.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert [m.subject for m in verify_since(copied, EMPTY)] == [file.path]
    with pytest.raises(RepairWarehouse):
        land_rows(copied, [result(1, at=later(1), done=NEXT_DAY)])


@pytest.mark.parametrize("order", [[0, 1, 2, 4], [1, 2, 3, 4], [0, 1, 2, 3], [0, 2, 1, 3, 4], [0, 1, 2, 3, 4, 4]])
def test_a_missing_or_misplaced_chunk_is_found(copied: Archive, order: list[int]) -> None:
    """Sealed and committed that way, so that only the content's own hash tells; named by its payload."""
    (file,) = chunked(copied)
    table = pq.read_table(copied.root / file.path, partitioning=None)
    assert table.num_rows >= 5
    rows = table.take(pa.array(order))
    wrong = copied.seal(CONTENTS, NOON.date(), rows.to_batches(max_chunksize=1), ending=".chunks.parquet")
    copied.commit(copied.head(), drop=[file], add=[wrong], at=NOON, run_id="test")
    assert XH in {m.subject for m in verify(copied).mismatches if m.kind == "content"}


def edit_published(archive: Archive, sql: str) -> None:
    """Change the published file behind the archive's back."""
    name, edited = archive.root / "addons.duckdb", archive.root / "edited"
    shutil.copyfile(name, edited)
    with duckdb.connect(str(edited)) as db:
        db.execute(sql)
    edited.rename(name)


def test_a_chunk_changed_in_the_published_file_is_found(copied: Archive) -> None:
    """The archive is right, so only the published file is named."""
    publish(copied, "duckdb", now=NOON)
    edit_published(copied, "UPDATE _contents.chunks_000001 SET content = 'forged'::BLOB WHERE chunk = 1")
    assert {(m.kind, m.subject) for m in verify(copied).mismatches} == {("published", XH)}


def test_a_failure_halfway_lands_nothing(archive: Archive) -> None:
    """The file cannot be read to its end: the first large content of the batch is not landed either."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > CHUNK_BYTES:
                raise OSError(5, "Input/output error")
            return super().read(size)

    broken = SpooledContent(XH, NOON.date(), True, len(TEXT), sha256(TEXT).hexdigest(), Broken(TEXT))
    with pytest.raises(Exception, match="Input/output error"):
        land_large(archive, [*large(1, TEXT), *large(2, TEXT)], spooled(2, TEXT), broken)
    assert archive.head() == EMPTY
    assert not list(archive.root.rglob(".*.tmp"))
    land_large(archive, [*large(1, TEXT), *large(2, TEXT)], spooled(2, TEXT), spooled(1, TEXT))
    assert set(bytes_of(archive)) == {XH, sid("XH", 2)}


def _die_while_landing(root: Path, ready: Connection) -> None:
    class Deadly(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 2 * CHUNK_BYTES:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().read(size)

    ready.send("ready")
    deadly = SpooledContent(XH, NOON.date(), True, len(TEXT), sha256(TEXT).hexdigest(), Deadly(TEXT))
    land_large(open_archive(root), large(1, TEXT), deadly)


def test_a_kill_halfway_lands_nothing_and_the_next_run_does(archive: Archive) -> None:
    """What was written until then is invisible."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_die_while_landing, args=(archive.root, theirs))
    process.start()
    process.join()
    assert (ours.recv(), process.exitcode) == ("ready", -signal.SIGKILL)
    assert archive.head() == EMPTY
    land_large(archive, large(1, TEXT), spooled(1, TEXT))
    assert bytes_of(archive) == {XH: (TEXT, NOON.date())}


# Archives from before there were chunks


@pytest.fixture
def older(archive: Archive) -> Iterator[Archive]:
    """Files of contents without the column, as they were sealed before."""
    land_rows(archive, [*whole(1, b"old", is_text=True), *whole(2, b"older", done=None)])
    head = archive.head()
    old = [pq.read_table(archive.root / path, partitioning=None).drop(["chunk"]) for path in head.tables[CONTENTS.name]]
    files = []
    for path, table in zip(head.tables[CONTENTS.name], old, strict=True):
        pq.write_table(table, archive.root / path, write_page_checksum=True)
        data = (archive.root / path).read_bytes()
        files.append(LiveFile(path, table.num_rows, len(data), sha256(data).hexdigest()))
    tables = {**head.tables, CONTENTS.name: {file.path: file for file in files}}
    (archive.root / "_commits" / f"{head.number:012d}.json").unlink()
    archive.commit(
        type(head)(head.number - 1, head.at, head.run_id, tables), drop=[], add=[], at=head.at, run_id=head.run_id
    )
    yield archive
    assert [m for m in verify(archive).mismatches if m.kind != "published"] == []


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_older_files_are_published(older: Archive, destination: Destination) -> None:
    """Alone, and together with newer ones."""
    for number in (3, 4):
        publish(older, destination, now=NOON)
        assert len(shown(older)[CONTENTS.name]) == number - 1
        land_rows(older, whole(number))
    publish(older, destination, now=NOON)


def test_older_files_are_joined_and_moved(older: Archive) -> None:
    """What is written anew has the column."""
    land_rows(older, whole(3))
    assert compact(older, now=later(1), run_id="test", most_files=2) > 0
    land_rows(older, [result(2, at=later(2))])
    assert {key: value for key, (value, _) in bytes_of(older).items()} == {
        XH: b"old",
        sid("XH", 2): b"older",
        sid("XH", 3): b"made up",
    }
    assert all("chunk" in pq.read_schema(older.root / path).names for path in older.head().tables[CONTENTS.name])


def test_a_published_file_of_the_older_layout_is_built_anew(archive: Archive) -> None:
    """Not refreshed: its inner tables lack the column."""
    land_rows(archive, [recording(1)])
    publish(archive, "duckdb", now=NOON)
    edit_published(archive, "UPDATE _commit SET layout = 1; DROP SCHEMA _contents CASCADE")
    found = published(archive)
    assert found is not None
    assert found.layout == 1
    publish(archive, "duckdb", now=NOON)
    assert shown(archive)[CONTENTS.name] == []
    assert live_files(archive)


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_transcripts_read_large_contents_up_to_a_limit(archive: Archive, destination: Destination) -> None:
    """Put together from chunks that end within a character; what is larger than the limit is not read, and says so."""
    long = TEXT[: LARGEST_BYTES - 1000]
    land_large(archive, [*large(1, long), *large(2, TEXT)], spooled(1, long), spooled(2, TEXT))
    publish(archive, destination, now=NOON)
    with opened(archive) as db:
        ((text,),) = db.execute("SELECT text FROM transcripts").fetchall()
        assert db.execute("SELECT payload_sid, problem FROM analyses").fetchall() == [(sid("XH", 2), TOO_LARGE)]
    assert text.encode() == long
    assert verify(archive).mismatches == ()


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_a_large_content_in_another_charset_is_text(archive: Archive, destination: Destination) -> None:
    """Chunks end within a character; the bytes are those that came."""
    words = "a" + "🙂ü " * (CHUNK_BYTES // 6)
    data = words.encode("utf-16-le")
    file = replace(spooled(1, data), is_text=False, codec="utf-16-le")
    land_large(archive, [*large(1, data)], file)
    publish(archive, destination, now=NOON)
    with opened(archive) as db:
        assert db.execute("SELECT content, content_text FROM contents").fetchall() == [(data, words)]
        assert db.execute("SELECT text FROM transcripts").fetchall() == [(words,)]
    assert not verify(archive).mismatches
