"""The footer of a Parquet file has no checksum: a row that it hides is neither landed twice nor kept twice."""

import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.conclude import conclude
from pipelines.monitoring.status import status
from tests.warehouse.made_up import NOON, land_rows, later, logical, rows_by_key, sid, whole
from warehouse.errors import RepairWarehouse
from warehouse.landed import landed_recordings
from warehouse.published.publish import publish
from warehouse.published.shown import published
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, Table
from warehouse.store.archive import Archive
from warehouse.store.commits import commit_path
from warehouse.store.damage import reading_errors
from warehouse.store.names import Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.repair import repair
from warehouse.upkeep.verify import verify

ROWS = 5


@pytest.fixture
def landed(tmp_path: Path) -> Archive:
    """A few rows in one file of each table, published."""
    archive = open_archive(tmp_path / "root")
    land_rows(archive, [row for n in range(ROWS) for row in whole(n, b"made up %d " % n * 30)])
    publish(archive, "duckdb", now=NOON)
    return archive


def miscounting(path: Path) -> Iterator[bytes]:
    """The file with one flipped bit in its footer, so that its key column reads without an error and is shorter."""
    good = path.read_bytes()
    footer = len(good) - 8 - struct.unpack("<I", good[-8:-4])[0]
    for place in (n for n in range(footer, len(good) - 8) if good[n] == 2 * ROWS):  # as Thrift writes a number
        for bit in range(8):
            data = bytearray(good)
            data[place] ^= 1 << bit
            try:
                with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as reader:
                    rows = reader.read(columns=[reader.schema_arrow.names[0]], use_threads=False).num_rows
            except (pa.ArrowException, OSError):
                continue
            if rows < ROWS:
                yield bytes(data)


@pytest.mark.parametrize("table", [ADD_ON_PAYLOADS, ADD_ON_RESULTS], ids=lambda table: table.name)
def test_a_row_that_a_flipped_bit_hides_is_not_landed_again(landed: Archive, table: Table) -> None:
    """The file is told as damaged instead, whichever of its counts is wrong, by landing and by reading."""
    (file,) = landed.head().tables[table.name].values()
    before = logical(landed, without=())
    good = (landed.root / file.path).read_bytes()
    damages = [*miscounting(landed.root / file.path)]
    assert damages
    for damaged in damages:
        (landed.root / file.path).write_bytes(damaged)
        fresh = open_archive(landed.root)
        with pytest.raises(RepairWarehouse, match=file.path):
            land_rows(fresh, whole(ROWS - 1, b"made up %d " % (ROWS - 1) * 30, at=later(1)), now=later(1))
        with pytest.raises(pa.ArrowException, match=r"\d rows of 5"):
            [*fresh.read(file, table, [table.key])]
    (landed.root / file.path).write_bytes(good)
    assert logical(landed, without=()) == before


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_a_row_that_was_landed_again_while_damage_hid_it_is_restored_once(
    tmp_path: Path, destination: Destination
) -> None:
    """Whether the damaged file is restored from the copy or only what still reads of it."""
    archive = open_archive(tmp_path / "root")
    land_rows(archive, [row for n in range(ROWS) for row in whole(n, b"made up %d " % n * 30)])
    publish(archive, destination, now=NOON)
    hidden = [file for name in ("add_on_payloads", "contents") for file in archive.head().tables[name].values()]
    archive.commit(archive.head(), drop=hidden, add=[], at=NOON, run_id="test")
    land_rows(archive, whole(3, b"made up 3 " * 30, at=later(1)), now=later(1))
    archive.commit(archive.head(), drop=[], add=hidden, at=NOON, run_id="test")
    for file in hidden:
        path = archive.root / file.path
        data = path.read_bytes()
        path.write_bytes(data.replace(b"ARROW:schema", b"ARROW:Schema"))  # the pages still read
    done = repair(archive, now=later(2))
    assert len(done.aside) == 2
    assert set(rows_by_key(archive, ADD_ON_PAYLOADS)) >= {sid("XH", 3)}
    publish(archive, destination, now=later(2), afresh=True)
    assert not [m for m in verify(archive).mismatches if "more than once" in m.sentence]


def test_a_column_that_a_footer_names_otherwise_is_told_as_damage(landed: Archive) -> None:
    """Neither DuckDB's complaint about our SQL nor the lack of a column is taken for a defect."""
    (file,) = landed.head().tables[ADD_ON_RESULTS.name].values()
    path = landed.root / file.path
    path.write_bytes(path.read_bytes().replace(b"reference_sid", b"reference_sie"))
    with pytest.raises(RepairWarehouse, match=file.path):
        status(landed, now=later(2), settle=timedelta(hours=1))
    with pytest.raises(RepairWarehouse, match=file.path):
        landed_recordings(landed.newest(), [sid("RE", 1)], since=None)


@pytest.mark.parametrize("error", [duckdb.BinderException("no such column"), KeyError("sid")], ids=type)
def test_with_every_file_sound_it_is_a_defect_of_our_own(landed: Archive, error: Exception) -> None:
    """It is raised as it is, not as the disk's."""
    with pytest.raises(type(error)), reading_errors(landed.root):
        raise error


def test_an_export_shows_what_it_landed_though_older_files_cannot_be_joined(landed: Archive) -> None:
    """Damage stops the joining of files, is raised, and hides nothing that came since."""
    land_rows(landed, whole(20), now=later(1))
    old = min((landed.root / "recordings").rglob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    old.write_bytes(old.read_bytes()[:-1] + b"?")
    with pytest.raises(RepairWarehouse, match=old.name):
        conclude(landed, "duckdb", since=1, now=later(48), trusted=None, run_id="test")
    shown = published(landed)
    assert shown is not None
    assert shown.commit == landed.head().number == 2


def test_where_the_commit_before_is_collected_everything_is_read_back(landed: Archive) -> None:
    """An export that began before it was: it ends as always, and says more and not less."""
    land_rows(landed, whole(20), now=later(1))
    commit_path(landed.root, 1).unlink()
    assert conclude(landed, "duckdb", since=1, now=later(1), trusted=None, run_id="test").mismatches == ()
    old = next((landed.root / "recordings").rglob("*.parquet"))
    old.write_bytes(old.read_bytes()[:-1] + b"?")
    (mismatch,) = conclude(landed, "duckdb", since=1, now=later(1), trusted=None, run_id="test").mismatches
    assert mismatch.subject == old.relative_to(landed.root).as_posix()
