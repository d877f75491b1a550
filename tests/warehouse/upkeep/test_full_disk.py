"""A repair or an erasure that fails leaves nothing behind: on a full disk each attempt would make it fuller."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.erase.choice import erase_sids
from pipelines.records.sids import recording_sid
from tests.warehouse.made_up import NOON, bad, land_rows, path_of, sid, whole
from warehouse.errors import FixWarehouse
from warehouse.land import land
from warehouse.published.publish import publish
from warehouse.store.archive import Archive
from warehouse.store.commits import commit_path
from warehouse.store.opening import open_archive
from warehouse.upkeep.repair import repair


@pytest.fixture
def landed(tmp_path: Path) -> Archive:
    """A small published archive."""
    archive = open_archive(tmp_path / "root")
    land_rows(archive, [row for n in range(6) for row in whole(n, b"made up %d " % n * 30)])
    land(archive, bad("The payload has no SID."), run_id="test", now=NOON)
    publish(archive, "duckdb", now=NOON)
    return archive


def _repair_files(archive: Archive) -> None:
    for table in ("recordings", "contents", "add_on_results", "quarantine"):
        path = next((archive.root / table).rglob("*.parquet"))
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    repair(archive, now=NOON)


def _repair_commit(archive: Archive) -> None:
    commit_path(archive.root, 2).write_bytes(b"zeroed")
    repair(archive, now=NOON)


def _erase(archive: Archive) -> None:
    erase_sids(archive, "duckdb", recordings=[recording_sid(sid("RE", 2))], now=NOON)


@pytest.mark.parametrize("begin", [_repair_files, _repair_commit, _erase])
@pytest.mark.parametrize("full", ["the fourth file", "the commit"])
def test_what_fails_on_a_full_disk_leaves_no_sealed_file(
    landed: Archive, begin: Callable[[Archive], None], full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a file or the commit finds no space, three times over; with space it succeeds."""
    before = {*landed.root.rglob("*.parquet")}
    sealed: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        path = Path(path_of(handle))
        if path.suffix == ".tmp" and path.parent != landed.root:
            sealed.append(path.parent.name)
            fails = len(sealed) % 4 == 0 if full == "the fourth file" else sealed[-1] == "_commits"
            if fails:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        for _ in range(3):
            with pytest.raises(FixWarehouse, match="No space left"):
                begin(landed)
            assert {path for path in landed.root.rglob("*.parquet") if path.parent.name != "_damaged"} == before
    begin(landed)
