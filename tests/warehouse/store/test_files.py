"""Files: private, whole, durable in the right order, and a clean error when the disk or the path says no."""

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from tests.warehouse.made_up import (
    NOON,
    land_rows,
    later,
    leftovers,
    logical,
    path_of,
    result,
    rows_by_key,
    sid,
    whole,
)
from tests.warehouse.processes import hear, land_with_small_files_only, open_as_somebody_else, start
from warehouse.errors import FixWarehouse, RepairWarehouse
from warehouse.published.publish import publish
from warehouse.published.shown import published
from warehouse.schema import CONTENTS
from warehouse.store.archive import Archive
from warehouse.store.commits import commit_path
from warehouse.store.damage import reading_errors
from warehouse.store.names import PUBLISHED
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

# Permissions


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Set the umask; it is put back afterwards."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize(
    ("mask", "shared_read", "file", "folder", "database"),
    [(0o000, "none", 0o600, 0o700, 0o400), (0o077, "group", 0o640, 0o750, 0o440), (0o077, "all", 0o644, 0o755, 0o444)],
    ids=["none, umask 000", "group, umask 077", "all, umask 077"],
)
def test_permissions_are_those_asked_for_whatever_the_umask(
    tmp_path: Path, umask: Callable[[int], int], mask: int, shared_read: str, file: int, folder: int, database: int
) -> None:
    """Sealed files, commits, folders and the published file have exactly the bits of EXPORT_SHARED_READ."""
    umask(mask)
    archive = open_archive(tmp_path / "made" / "root", shared_read=shared_read)
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    land_rows(archive, whole(2))
    publish(archive, "duckdb", now=NOON)
    made = [tmp_path / "made", *(tmp_path / "made").rglob("*")]
    assert {_bits(path) for path in made if path.is_dir()} == {folder}
    assert {_bits(path) for path in made if path.suffix in (".parquet", ".json")} == {file}
    assert _bits(archive.root / PUBLISHED) == database


def test_nothing_is_open_to_others_even_for_a_moment(
    archive: Archive, umask: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a file or folder gets its final bits nobody else can read it, by its own bits or its folder's."""
    umask(0)
    seen: list[tuple[str, int]] = []
    chmod, fchmod = os.chmod, os.fchmod

    def note(path: Path) -> None:
        within_private = path.parent.name.startswith(".") and not _bits(path.parent) & 0o077
        seen.append((str(path), 0 if within_private else _bits(path) & 0o077))

    def watched_chmod(path: Path, mode: int, **options: bool) -> None:
        note(Path(path))
        chmod(path, mode, **options)

    def watched_fchmod(handle: int, mode: int) -> None:
        note(Path(path_of(handle)))
        fchmod(handle, mode)

    monkeypatch.setattr(os, "chmod", watched_chmod)
    monkeypatch.setattr(os, "fchmod", watched_fchmod)
    for number in (1, 2):
        land_rows(archive, whole(number))
        publish(archive, "duckdb", now=NOON)
    assert len(seen) > 10
    assert [entry for entry in seen if entry[1]] == []


def test_new_files_have_dot_names_until_they_are_whole(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rename and link goes from a dot-name, or out of a dot-folder, to a name; afterwards none is left."""
    moved: list[tuple[Path, Path]] = []
    for name in ("rename", "link"):
        monkeypatch.setattr(os, name, _noting(getattr(os, name), lambda a, b: moved.append((Path(a), Path(b)))))
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    visible = [source.relative_to(archive.root) for source, target in moved if not target.name.startswith(".")]
    assert len(visible) >= 7  # five tables, one commit, one published file
    assert all(any(part.startswith(".") for part in source.parts) for source in visible)
    assert leftovers(archive.root) == set()


# Order of syncing


def test_everything_is_synced_before_the_commit_has_its_name(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """File before its rename; folder and any new folder's parent before the commit's link; that folder after it."""
    land_rows(archive, whole(1))
    events = _watch(monkeypatch)
    land_rows(archive, whole(2, done=NOON + timedelta(days=1)))
    ((commit, temporary, number),) = _all(events, "link")
    renames = _all(events, "rename")
    assert len(renames) == 5
    for position, source, target in renames:
        assert _synced(events, source, until=position)
        assert _synced(events, str(Path(target).parent), since=position, until=commit)
    made = _all(events, "mkdir")
    assert len(made) == 3
    for position, folder, _ in made:
        assert _synced(events, str(Path(folder).parent), since=position, until=commit)
    assert _synced(events, temporary, until=commit)
    assert _synced(events, str(Path(number).parent), since=commit)


def test_the_first_landing_syncs_every_folder_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first missing parent of the root down to the partition folders."""
    events = _watch(monkeypatch)
    land_rows(open_archive(tmp_path / "above" / "root"), whole(1))
    commit, _, _ = _all(events, "link")[-1]  # the probe of the file system links before
    made = _all(events, "mkdir")
    assert [folder for _, folder, _ in made][:2] == [str(tmp_path / "above"), str(tmp_path / "above" / "root")]
    for position, folder, _ in made:
        assert _synced(events, str(Path(folder).parent), since=position, until=commit)


def test_the_published_file_is_synced_before_it_replaces_the_old_one(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, rename, folder, in this order."""
    land_rows(archive, whole(1))
    events = _watch(monkeypatch)
    publish(archive, "duckdb", now=NOON)
    renames = _all(events, "rename")
    assert renames[-1][2] == str(archive.root / PUBLISHED)
    for position, source, target in renames:
        assert Path(target).is_symlink() or _synced(events, source, until=position)
    assert _synced(events, str(archive.root), since=renames[-1][0])


Event = tuple[str, str, str]
"""What was done to which path, and the second path if it takes two."""


def _watch(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Note every fsync, rename, link and mkdir from now on, in order."""
    events: list[Event] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        fsync(handle)
        events.append(("fsync", path_of(handle), ""))

    monkeypatch.setattr(os, "fsync", watched)
    for name in ("rename", "link"):
        monkeypatch.setattr(
            os, name, _noting(getattr(os, name), lambda a, b, name=name: events.append((name, str(a), str(b))))
        )
    monkeypatch.setattr(os, "mkdir", _noting(os.mkdir, lambda path, *_: events.append(("mkdir", str(path), ""))))
    return events


def _all(events: list[Event], kind: str) -> list[tuple[int, str, str]]:
    """Position and paths of all events of a kind."""
    return [(n, first, second) for n, (name, first, second) in enumerate(events) if name == kind]


def _synced(events: list[Event], path: str, *, since: int = 0, until: int | None = None) -> bool:
    """Whether `path` was synced between two events."""
    return ("fsync", path, "") in events[since:until]


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root's rights")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_harms_nothing_and_is_said_in_one_sentence(small_disk: Path) -> None:
    """Landing and publishing raise FixWarehouse; what was landed and published stays, and goes on with space again."""
    archive = open_archive(small_disk / "root")
    land_rows(archive, whole(1, b"before"))
    publish(archive, "duckdb", now=NOON)
    before, shown = logical(archive), published(archive)
    filler = small_disk / "filler"
    _fill(filler, leave=8192)
    with pytest.raises(FixWarehouse, match="space"):
        land_rows(archive, whole(2, os.urandom(100_000)))
    assert logical(archive) == before
    with pytest.raises(FixWarehouse, match="space"):
        publish(archive, "duckdb", now=NOON, afresh=True)
    with pytest.raises(FixWarehouse, match="space"):
        publish(archive, "parquet", now=NOON)
    assert published(archive) == shown
    with duckdb.connect(str(archive.root / PUBLISHED), read_only=True) as db:
        assert db.execute("SELECT content FROM contents").fetchall() == [(b"before",)]
    filler.unlink()
    land_rows(archive, whole(2, b"after"))
    publish(archive, "duckdb", now=NOON)
    assert {row["content"] for row in rows_by_key(archive, CONTENTS).values()} == {b"before", b"after"}
    assert verify(archive).mismatches == ()
    assert leftovers(archive.root) == set()


def test_a_refresh_that_meets_a_full_disk_is_a_clean_error(small_disk: Path) -> None:
    """When the copy of the previous file does not fit, the previous file stays and the error says to free space."""
    archive = open_archive(small_disk / "root")
    land_rows(archive, whole(1, b"before"))
    publish(archive, "duckdb", now=NOON)
    land_rows(archive, whole(2, b"after"))
    _fill(small_disk / "filler", leave=200_000)
    with pytest.raises(FixWarehouse, match="space"):
        publish(archive, "duckdb", now=NOON)
    found = published(archive)
    assert found is not None
    assert found.commit == 1


def test_a_file_that_may_not_grow_is_a_clean_error(archive: Archive) -> None:
    """A limit on file size stops the large content with FixWarehouse; the small one before it stays."""
    process, connection = start(land_with_small_files_only, archive.root, 200_000)
    outcome, sentence = hear(connection)
    process.join()
    assert outcome == "FixWarehouse"
    assert str(archive.root) in sentence
    assert set(rows_by_key(archive, CONTENTS)) == {sid("XH", 1)}
    assert archive.head().number == 1
    assert list(archive.root.rglob(".*.tmp")) == []


@pytest.mark.parametrize(
    "said", ["FATAL Error: fsync failed!", "Failed to commit: Cannot open file: Input/output error", "something new"]
)
def test_whether_a_file_is_damaged_is_read_from_the_files_not_from_the_words(archive: Archive, said: str) -> None:
    """What DuckDB says while every live file is sound is the disk's; with a damaged file it is that file's."""
    land_rows(archive, whole(1))
    with pytest.raises(FixWarehouse, match="the disk fails"), reading_errors(archive.root):
        raise duckdb.FatalException(said)
    damaged = archive.root / next(iter(archive.head().tables[CONTENTS.name]))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(RepairWarehouse, match=damaged.name), reading_errors(archive.root):
        raise duckdb.FatalException(said)


def unreadable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read of it ends with an I/O error, as those of a bad disk do."""
    opened = os.open

    def bad(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        # the first page of a process is never mapped
        return opened("/proc/self/mem" if Path(name).name == path.name else name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", bad)


def test_a_disk_that_does_not_read_is_said_in_one_sentence(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the newest commit and of a live file; verify names the commit, and judges the published file all the same."""
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    live = archive.root / next(iter(archive.head().tables[CONTENTS.name]))
    unreadable(live, monkeypatch)
    with pytest.raises(FixWarehouse, match=r"Cannot read .*Input/output error"), reading_errors(archive.root):
        archive.sound(archive.head().tables[CONTENTS.name][live.relative_to(archive.root).as_posix()])
    commit = commit_path(archive.root, 1)
    unreadable(commit, monkeypatch)
    with pytest.raises(FixWarehouse, match=f"Cannot read .*{commit.name}: Input/output error"):
        archive.head()
    (mismatch,) = verify(archive).mismatches
    assert (mismatch.kind, mismatch.subject) == ("commit", commit.name)


def _fill(path: Path, *, leave: int) -> None:
    """Write zeros until the disk is full, then give `leave` bytes back."""
    with path.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)):
                pass
        except OSError:
            stream.truncate(stream.tell() - leave)


# Paths that cannot be used


@pytest.mark.parametrize("name", ["a*", "a?", "a[1]", "sid=1/root"])
def test_a_root_that_duckdb_would_take_for_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    """Wildcards and `name=value` folders are refused before anything is made."""
    with pytest.raises(FixWarehouse, match="choose another folder"):
        open_archive(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The file stays as it is."""
    root = tmp_path / "root"
    root.write_text("mine")
    for path in (root, root / "below"):
        with pytest.raises(FixWarehouse, match="check EXPORT_ROOT"):
            open_archive(path)
    assert root.read_text() == "mine"


def test_a_root_in_a_folder_where_nothing_can_be_made_is_refused() -> None:
    """/proc takes no folders, whoever asks."""
    with pytest.raises(FixWarehouse, match="check EXPORT_ROOT"):
        open_archive(Path("/proc/addon-export"))


@pytest.mark.parametrize("exists", [True, False], ids=["archive", "nothing"])
def test_a_root_that_may_not_be_written_is_refused(exists: bool) -> None:
    """Somebody without the right to write gets FixWarehouse, with and without an archive there."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        Path(folder).chmod(0o755)
        if exists:
            open_archive(root, shared_read="all")
        Path(folder).chmod(0o555)
        for path in root.rglob("*"):
            path.chmod(0o555)
        if exists:
            root.chmod(0o555)
        process, connection = start(open_as_somebody_else, root)
        outcome, sentence = hear(connection)
        process.join()
        Path(folder).chmod(0o755)
    assert outcome == "FixWarehouse"
    assert "Permission denied" in sentence


def test_rows_of_a_root_that_was_moved_are_still_there(archive: Archive) -> None:
    """Commits name files relative to the root, so the folder may be renamed or restored elsewhere."""
    land_rows(archive, whole(1))
    before = logical(archive)
    moved = open_archive(archive.root.rename(archive.root.with_name("moved")))
    assert logical(moved) == before
    land_rows(moved, [result(1, at=later(1), status="failed")])
    publish(moved, "parquet", now=NOON)
    assert verify(moved).mismatches == ()


def _bits(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _noting(function: Callable[..., object], note: Callable[..., object]) -> Callable[..., object]:
    def call(*args: object, **kwargs: object) -> object:
        handles = [handle for name, handle in kwargs.items() if name.endswith("dir_fd") and handle is not None]
        note(
            *(f"{path_of(int(str(handle)))}/{name}" for handle, name in zip(handles, args, strict=False)),
            *args[len(handles) :],
        )
        return function(*args, **kwargs)

    return call
