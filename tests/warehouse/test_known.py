"""What is known of sealed files is no truth: it is worked out anew when it cannot be believed, and holds no SID."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.warehouse.made_up import NOON, land_rows, later, recording, result, sid, whole
from warehouse import known
from warehouse.errors import RepairWarehouse
from warehouse.landed import owing_recordings
from warehouse.schema import ADD_ON_RESULTS, RECORDINGS
from warehouse.states import RETENTION
from warehouse.store import facts
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.collect import collect
from warehouse.store.facts import FileFacts
from warehouse.store.keys import Keys
from warehouse.store.names import FACTS
from warehouse.store.opening import open_archive
from warehouse.store.seal import seal_key
from warehouse.store.strangers import strangers
from warehouse.upkeep.erase import Selection, erase


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Three results that are whole and one that is owed, and all that is known of their files on the disk."""
    archive = open_archive(tmp_path / "data")
    land_rows(archive, [row for n in range(3) for row in whole(n)])
    land_rows(archive, [recording(3), result(3)])
    known.keep(archive.newest())
    return archive


def owing(archive: Archive) -> frozenset[str]:
    """What is owed, as a new process sees it."""
    return owing_recordings(again(archive).newest(), now=later(1), kept=RETENTION)


def again(archive: Archive) -> Archive:
    """The archive as a new process opens it."""
    key = archive.seal_key
    return replace(open_archive(archive.root), seal_key=key, keys=Keys(key))


def kept(archive: Archive) -> list[Path]:
    """What is on the disk."""
    return sorted((archive.root / FACTS).iterdir())


def sealed(archive: Archive) -> Path:
    """A file of results."""
    return archive.root / next(iter(archive.head().tables[ADD_ON_RESULTS.name]))


def flip(path: Path) -> None:
    """Change the last byte, which belongs to what is said."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def link(path: Path) -> None:
    """Put a link in its place."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("spoil", [Path.unlink, flip, link, lambda path: path.write_bytes(b"")])
def test_what_is_missing_or_wrong_is_worked_out_anew(archive: Archive, spoil: Callable[[Path], object]) -> None:
    """Whatever became of it, what is owed is owed, and what is landed is found and not landed twice."""
    for path in kept(archive):
        spoil(path)
    assert owing(archive) == {sid("RE", 3)}
    held = again(archive).newest().holding(ADD_ON_RESULTS, [sid("XR", 1), sid("XR", 9)])
    assert set().union(*held.values()) == {sid("XR", 1)}


def test_what_is_known_is_not_read_again(archive: Archive) -> None:
    """A file that says to be as it was is not opened for a key that it does not hold."""
    path = sealed(archive)
    then = path.stat()
    path.write_bytes(bytes(then.st_size))
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert again(archive).newest().holding(ADD_ON_RESULTS, [sid("XR", 9)]) == {}


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(bytes(path.stat().st_size)), Path.unlink])
def test_a_file_that_was_written_to_is_known_no_longer(archive: Archive, change: Callable[[Path], object]) -> None:
    """Nor is one that is missing: whoever needs it says that it is damaged, as if nothing had been known."""
    change(sealed(archive))
    with pytest.raises(RepairWarehouse):
        owing(archive)
    known.keep(again(archive).newest())  # is for others to say


def test_without_the_key_nobody_makes_anybody_believe_anything(archive: Archive) -> None:
    """With a seal key only what its holder has kept counts; forged facts would hide what is owed."""
    snapshot = archive.newest()
    for file in snapshot.files(ADD_ON_RESULTS):
        archive.facts[file.path] = FileFacts(rows=file.rows, exported=file.rows)
    known.keep(snapshot)
    assert owing(archive) == frozenset()  # what is forged is believed without a key: who may write there may do more
    key = seal_key("a secret")
    assert owing(replace(archive, seal_key=key)) == {sid("RE", 3)}


def test_no_sid_is_on_the_disk(archive: Archive) -> None:
    """Numbers, paths and hashes only, in files that count as ours."""
    assert strangers(archive.root) == []
    for path in kept(archive):
        held = path.read_bytes()
        for kind in ("RE", "XR", "XH", "AC"):
            assert not any(sid(kind, n).encode() in held for n in range(4))


def test_an_erasure_leaves_nothing_of_what_it_erased(archive: Archive) -> None:
    """Neither the hashes of a file that had it, nor numbers of that file."""
    dead = {path.rpartition("/")[2].partition(".")[0] for path in archive.head().tables[RECORDINGS.name]}
    before = {path.name.partition(".")[0] for path in kept(archive)}

    def choose(snapshot: Snapshot) -> Selection:
        chosen = Selection()
        chosen.add(RECORDINGS, snapshot.holding(RECORDINGS, [sid("RE", n) for n in range(4)]))
        return chosen

    erase(archive, "parquet", choose, reason="asked for", now=later(1))
    assert dead <= before
    assert {path.name.partition(".")[0] for path in kept(archive)} == before - dead - {"all"}


def test_facts_go_with_their_files(archive: Archive) -> None:
    """Those of files that no commit names any more are collected; those of live ones stay."""
    land_rows(archive, [result(3, at=later(2), exported_at=later(2), payload_count=0)])
    live = {path.rpartition("/")[2].partition(".")[0] for files in archive.head().tables.values() for path in files}
    collect(archive, now=NOON + timedelta(days=40), grace=timedelta(hours=1), keep=1)
    left = {path.name.partition(".")[0] for path in kept(archive)}
    assert left <= live | {"all"}
    assert left & live
    assert facts.names(archive.root)
