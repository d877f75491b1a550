"""Files of others under the root: named, and left alone by whatever collects, erases, repairs or publishes."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.erase.choice import erase_older, erase_sids
from pipelines.records.sids import recording_sid
from tests.warehouse.made_up import NOON, land_rows, later, sid, whole
from warehouse.errors import ChooseRoot, RepairWarehouse, Untrusted
from warehouse.published.publish import publish
from warehouse.store.archive import Archive
from warehouse.store.collect import collect
from warehouse.store.commits import commit_path
from warehouse.store.names import Made, is_live, is_within, made
from warehouse.store.opening import open_archive
from warehouse.store.strangers import remove_ours, strangers
from warehouse.upkeep.compact import compact
from warehouse.upkeep.repair import repair
from warehouse.upkeep.verify import verify

ID = "0123456789abcdef" * 2

OTHERS = (
    "recordings/call-1.wav",
    "recordings/created_date=2026-11-20/call 2.parquet",
    f"recordings/created_date=2026-11-20/{ID}.wav",
    f"recordings/completed_date=2026-11-20/{ID}.parquet",
    f"recordings/created_date=2026-11-31/{ID}.parquet",
    f"recordings/{ID}.parquet",
    f"contents/{ID.upper()}.parquet",
    f"contents/completed_date=2026-11-20/deeper/{ID}.parquet",
    "contents/.part.tmp",
    "_commits/notes.txt",
    "_commits/.draft.tmp",
    "_commits/42.json",
    "_damaged/report.pdf",
    f"_damaged/folder/contents.completed_date=2026-11-20.{ID}.parquet",
    ".upload.tmp",
    ".upload.tmp.1/part",
    "cache.spill",
    ".cache.spill/block",
    ".addons-mine.duckdb",
    ".published/mine/addons.duckdb",
    f".published/{ID}-{'0' * 64}/notes.txt",
    "addons.duckdb.wal.old",
    "loads/readme.md",
    "notes.txt",
)
"""Names near to ours; each is somebody's only copy."""


def put(root: Path) -> dict[str, bytes]:
    """Files of others, long ago; by path, what they hold."""
    for name in OTHERS:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        os.utime(path, (0, 0))
    return there(root)


def there(root: Path) -> dict[str, bytes]:
    """What is there of them."""
    return {name: (root / name).read_bytes() for name in OTHERS if (root / name).is_file()}


def test_files_of_others_are_left_alone_by_whatever_removes(archive: Archive) -> None:
    """Collected, published, compacted, erased by SID and by age, repaired: byte for byte the same, and named."""
    land_rows(archive, whole(1))
    before = put(archive.root)
    assert len(before) == len(OTHERS)
    for number in range(2, 6):
        land_rows(archive, whole(number), now=later(number))
    path = archive.root / next(iter(archive.head().tables["loads"]))
    publish(archive, "duckdb", now=NOON)
    path.write_bytes(b"damaged")
    repair(archive, now=NOON)
    compact(archive, now=later(48), run_id="test", thorough=True)
    collect(archive, now=NOON + timedelta(days=999), grace=timedelta(hours=24), keep=1)
    publish(archive, "parquet", now=NOON)
    assert erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 1))], now=NOON)
    assert erase_older(archive, "duckdb", days=30, now=NOON + timedelta(days=60))
    assert there(archive.root) == before
    found = verify(archive)
    assert (found.mismatches, found.strangers) == ((), tuple(sorted(OTHERS)))
    remove_ours(archive.root)
    assert there(archive.root) == before
    assert {path.relative_to(archive.root).as_posix() for path in archive.root.rglob("*") if path.is_file()} == {
        *OTHERS
    }


def test_a_first_export_is_refused_where_others_have_files_in_our_places(tmp_path: Path) -> None:
    """One sentence names them, and nothing is written."""
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "call.wav").write_bytes(b"audio")
    with pytest.raises(ChooseRoot, match=r"recordings/call\.wav"):
        open_archive(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["call.wav", "recordings"]


@pytest.mark.parametrize(
    "place",
    [
        lambda root: (root / "contents").write_bytes(b"a file"),
        lambda root: (root / "addons.duckdb").write_bytes(b"somebody's database"),
        lambda root: (root / "_archive.json").write_text('{"name": "web archive"}'),
        lambda root: (root / "recordings").symlink_to("/var/tmp"),
        lambda root: (root / "_commits").symlink_to("/var/tmp"),
        lambda root: (root / ".publish.lock").symlink_to("/var/tmp/victim"),
    ],
    ids=["a file for a folder", "a database", "a marker", "a linked table", "linked commits", "a linked lock"],
)
def test_what_stands_under_our_names_is_not_taken_over(tmp_path: Path, place: Callable[[Path], None]) -> None:
    """Whatever it is, it is there afterwards."""
    place(tmp_path)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.iterdir()}
    with pytest.raises((ChooseRoot, Untrusted)):
        open_archive(tmp_path)
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_folder_with_files_elsewhere_and_shapes_is_a_good_root(tmp_path: Path) -> None:
    """Nothing of ours would be where they are."""
    for name in ("notes.txt", "_shapes/acme.toml", "music/call.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    archive = open_archive(tmp_path)
    land_rows(archive, whole(1))
    assert strangers(tmp_path) == ["music/call.wav", "notes.txt"]


def test_an_archive_that_has_lost_its_commits_is_not_begun_anew(archive: Archive) -> None:
    """What is sealed would be collected as leftovers in a day."""
    land_rows(archive, whole(1))
    open_archive(archive.root)
    commit_path(archive.root, 1).unlink()
    with pytest.raises(RepairWarehouse, match="restore the folder _commits"):
        open_archive(archive.root)


def test_what_the_first_export_leaves_when_it_is_killed_does_not_stop_the_next(archive: Archive) -> None:
    """It sealed files, and had not committed yet."""
    land_rows(archive, whole(1))
    commit_path(archive.root, 1).unlink()
    land_rows(open_archive(archive.root), whole(1))


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_no_link_is_followed_to_what_a_commit_names(archive: Archive, tmp_path: Path, linked: str) -> None:
    """What it leads to is neither removed nor moved, and `verify` names the link."""
    land_rows(archive, whole(1))
    publish(archive, "parquet", now=NOON)
    name = next(iter(archive.head().tables["contents"]))
    path = archive.root / name if linked == "file" else (archive.root / name).parent
    outside = path.rename(tmp_path / "outside")
    path.symlink_to(outside)
    assert any("is a link" in mismatch.sentence for mismatch in verify(archive).mismatches)
    for act in (
        lambda: repair(archive, now=NOON),
        lambda: erase_sids(archive, "parquet", recordings=[recording_sid(sid("RE", 1))], now=NOON),
        lambda: land_rows(archive, whole(2)) if linked == "folder" else publish(archive, "duckdb", now=NOON),
    ):
        with pytest.raises(Untrusted, match="is a link"):
            act()
    collect(archive, now=NOON + timedelta(days=999), grace=timedelta(hours=24), keep=1)
    assert outside.exists()
    assert path.is_symlink()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (f"contents/completed_date=2026-11-20/{ID}.parquet", Made.SEALED),
        (f"contents/completed_date=__HIVE_DEFAULT_PARTITION__/{ID}.chunks.parquet", Made.SEALED),
        (f"loads/{ID}.parquet", Made.SEALED),
        (f"loads/{ID}.parquet\n", None),
        (f"loads/../{ID}.parquet", None),
        (f"contents/completed_date=2026-02-30/{ID}.parquet", None),
        (f"contents/completed_date=٢٠٢٦-11-20/{ID}.parquet", None),
        ("_commits/000000000001.json", Made.COMMIT),
        (f".{ID}.spill/duckdb_temp_storage_DEFAULT-0.tmp", Made.SPILL),
        (f"_damaged/recordings.created_date=2026-11-20.{ID}.parquet", Made.ASIDE),
        ("_damaged/_commits.000000000001.json", Made.ASIDE),
    ],
)
def test_what_is_ours_is_told_by_the_whole_name(path: str, kind: Made | None) -> None:
    """Nearly is not enough."""
    assert made(path) is kind


def test_names_in_a_commit_stay_within_the_root() -> None:
    """A table that only a later version knows may be named; nothing else may be new."""
    assert is_live(f"summaries/completed_date=2026-11-20/{ID}.parquet")
    for bad in ("../x", "/etc/passwd", "a//b", "./a", "a/..", "a\\b", "a\x00b", ""):
        assert not is_within(bad)
        assert not is_live(bad)
