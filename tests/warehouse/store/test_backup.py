"""The page on backups is true: its commands make whole copies while the archive changes; other orders are found out."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.warehouse.made_up import NOON, land_rows, later, logical, whole
from tests.warehouse.processes import hear, keep_changing, start
from warehouse.errors import RepairWarehouse
from warehouse.published.publish import publish
from warehouse.store.archive import Archive
from warehouse.store.names import PUBLISHED
from warehouse.store.opening import open_archive
from warehouse.upkeep.compact import compact
from warehouse.upkeep.verify import verify

PAGE = (Path(__file__).parents[3] / "docs" / "backup.md").read_text()

TAR, COPY, RESTORE = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)

TABLES, COMMITS = "[a-z]*", "_[ac]*"


@pytest.fixture
def data(tmp_path: Path) -> Archive:
    """An archive in the folder that the page calls `data`."""
    archive = open_archive(tmp_path / "data")
    land_rows(archive, whole(1))
    publish(archive, "parquet", now=NOON)
    return archive


def run(commands: str, folder: Path) -> None:
    """Run commands of the page; what they say of files that change meanwhile is no fault."""
    done = subprocess.run(["bash", "-c", commands], cwd=folder, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "Exiting with failure" not in line]
    assert all(re.search("changed as we read it|removed before we read it|No such file", line) for line in said)


def restored(folder: Path, *, tar: bool) -> Archive:
    """The copy, opened and published."""
    if tar:
        run("\n".join(line for line in RESTORE.splitlines() if "addon-export" not in line), folder)
    archive = open_archive(folder / ("restored" if tar else "backup"))
    publish(archive, "duckdb", now=NOON, afresh=True)
    return archive


@pytest.mark.parametrize("tar", [True, False], ids=["tar", "cp"])
def test_a_copy_by_the_page_is_whole_while_the_archive_changes(data: Archive, tmp_path: Path, *, tar: bool) -> None:
    """Another process lands, compacts, collects and publishes all the time; every copy verifies."""
    process, talk = start(keep_changing, data.root)
    assert hear(talk) == "begun"
    seen = set()
    for number in range(2):
        (folder := tmp_path / str(number)).mkdir()
        (folder / "data").symlink_to(data.root)
        run(TAR if tar else COPY, folder)
        copy = restored(folder, tar=tar)
        assert (verify(copy).mismatches, verify(copy).strangers) == ((), ())
        seen.add(copy.head().number)
    talk.send("stop")
    assert hear(talk) >= 1
    process.join()
    assert max(seen) <= data.head().number


def copied(data: Archive, target: Path, pattern: str) -> None:
    """Copy what is there now of some names."""
    target.mkdir(exist_ok=True)
    for path in data.root.glob(pattern):
        if path.is_dir():
            shutil.copytree(path, target / path.name, dirs_exist_ok=True)
        elif path.name != PUBLISHED:
            shutil.copy2(path, target)


@pytest.mark.parametrize("order", [(COMMITS, TABLES), (TABLES, COMMITS)], ids=["commits first", "commits last"])
def test_the_order_of_a_copy_decides(data: Archive, tmp_path: Path, order: tuple[str, str]) -> None:
    """What is landed and joined between the steps: the right order misses nothing, the wrong one names the files."""
    for pattern in order:
        copied(data, tmp_path / "backup", pattern)
        land_rows(data, whole(2), now=later(1))
        compact(data, now=later(48), run_id="test", thorough=True)
    copy = open_archive(tmp_path / "backup")
    missing = [each.subject for each in verify(copy).mismatches if each.kind == "file"]
    if order[0] == COMMITS:
        assert missing == []
        publish(copy, "duckdb", now=NOON)
        assert verify(copy).mismatches == ()
    else:
        assert missing
        assert all("No such file" in m.sentence for m in verify(copy).mismatches if m.kind == "file")
        with pytest.raises(RepairWarehouse, match="is damaged or missing"):
            publish(copy, "duckdb", now=NOON)


def test_a_copy_without_its_commits_is_refused(data: Archive, tmp_path: Path) -> None:
    """Its files would be collected as leftovers."""
    open_archive(data.root)
    copied(data, tmp_path / "backup", "_archive.json")
    copied(data, tmp_path / "backup", TABLES)
    with pytest.raises(RepairWarehouse, match="restore the folder _commits"):
        open_archive(tmp_path / "backup")


def test_an_older_copy_goes_on_from_its_own_state(data: Archive, tmp_path: Path) -> None:
    """Also where what was published since lies beside it."""
    copied(data, tmp_path / "backup", COMMITS)
    copied(data, tmp_path / "backup", TABLES)
    before = logical(data)
    land_rows(data, whole(2), now=later(1))
    publish(data, "duckdb", now=NOON)
    shutil.copytree(data.root, tmp_path / "backup", symlinks=True, dirs_exist_ok=True, ignore=lambda *_: TABLE_FOLDERS)
    copy = open_archive(tmp_path / "backup")
    assert logical(copy) == before
    land_rows(copy, whole(3), now=later(2))
    publish(copy, "duckdb", now=NOON)
    assert verify(copy).mismatches == ()


TABLE_FOLDERS = ("_commits", "recordings", "add_on_results", "add_on_payloads", "contents", "loads")
