"""Archives of earlier versions are read, written on, compacted, repaired and erased from by this one."""

import json
import tarfile
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from pipelines.erase.choice import erase_sids
from pipelines.records.sids import recording_sid
from tests.warehouse.made_up import NOON, land_rows, later, logical, result, rows_by_key, sid, whole
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_RESULTS
from warehouse.store.archive import Archive
from warehouse.store.collect import collect
from warehouse.store.commits import commit_path
from warehouse.store.marker import read_marker
from warehouse.store.names import Destination
from warehouse.store.opening import existing_archive, open_archive
from warehouse.store.stamp import FORMAT, READABLE_FROM
from warehouse.upkeep.compact import compact
from warehouse.upkeep.repair import repair
from warehouse.upkeep.verify import verify

ARCHIVES = Path(__file__).with_name("archives")


VERSIONS = sorted({path.name.partition("-")[0] for path in ARCHIVES.glob("*.tar.xz")})


def unpacked(version: str, destination: Destination, folder: Path) -> Path:
    """The root of an archive that an earlier version wrote."""
    with tarfile.open(ARCHIVES / f"{version}-{destination}.tar.xz") as tar:
        tar.extractall(folder, filter="tar")
    return folder / "root"


@pytest.fixture(params=[(version, of) for version in VERSIONS for of in ("duckdb", "parquet")], ids=str)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Destination]:
    """The root of such an archive, and what it published."""
    version, destination = request.param
    return unpacked(version, destination, tmp_path), destination


def contents(archive: Archive) -> dict[str, bytes]:
    """Every content by the SID of its payload, as analysts read it."""
    with duckdb.connect(str(archive.root / "addons.duckdb"), read_only=True) as db:
        return dict(db.execute("SELECT payload_sid, content FROM contents").fetchall())


WRITTEN = {
    sid("XH", 1): b"first",
    sid("XH", 2): b"second",
    sid("XH", 3): b"no day yet",
    sid("XH", 5): b"the day after",
    sid("XH", 6): b"a long silence " * 350_000,
}
"""What `archives/make.py` landed, but for what it erased."""


def test_an_earlier_archive_is_read_as_it_is(written: tuple[Path, Destination]) -> None:
    """Every byte verifies, and nothing is made or changed by looking; views name files where they were written."""
    root, destination = written
    before = sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
    archive = existing_archive(root)
    found = verify(archive)
    assert [each for each in found.mismatches if each.kind != "published" or destination == "duckdb"] == []
    assert (found.contents, found.strangers) == (len(WRITTEN), ())
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) == before


def test_an_earlier_archive_is_written_on_and_erased_from(written: tuple[Path, Destination]) -> None:
    """What it holds stays, what it erased does not come back, and what is written now says its format."""
    root, destination = written
    before = logical(existing_archive(root))
    archive = open_archive(root)
    assert logical(archive) == before
    assert land_rows(archive, whole(4, b"of somebody who was erased")).load_id is None
    land_rows(archive, [*whole(7, b"new"), result(3, at=later(2), done=later(2))], now=later(2))
    publish(archive, destination, now=later(2))
    assert contents(archive) == {**WRITTEN, sid("XH", 7): b"new"}
    compact(archive, now=later(48), run_id="test", thorough=True)
    collect(archive, now=NOON + timedelta(days=9_999), grace=timedelta(hours=24), keep=1)
    assert rows_by_key(archive, ADD_ON_RESULTS)[sid("XR", 3)]["completed_date"] == NOON.date()
    assert erase_sids(archive, destination, recordings=[recording_sid(sid("RE", 6))], now=later(49))
    left = {key: data for key, data in WRITTEN.items() if key != sid("XH", 6)}
    assert contents(archive) == {**left, sid("XH", 7): b"new"}
    assert (verify(archive).mismatches, verify(archive).strangers) == ((), ())
    head = json.loads(commit_path(root, archive.head().number).read_bytes())
    assert head["format"] == {"read": READABLE_FROM, "write": FORMAT}
    marker = read_marker(root)
    assert marker is not None
    assert marker.committed


@pytest.mark.parametrize("version", VERSIONS)
def test_a_damaged_file_of_an_earlier_archive_is_repaired(version: str, tmp_path: Path) -> None:
    """From the tables that the earlier version published."""
    root = unpacked(version, "duckdb", tmp_path)
    archive = open_archive(root)
    path = max(path for path in archive.head().tables["contents"] if not path.endswith(".chunks.parquet"))
    (root / path).write_bytes(b"damaged")
    repair(archive, now=later(2))
    publish(archive, "duckdb", now=later(2))
    assert (verify(archive).mismatches, contents(archive)) == ((), WRITTEN)
