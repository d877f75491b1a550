"""A disk that cannot do all: each missing ability is said at the start, and what can be made safe is landed."""

import ctypes
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.warehouse.made_up import NOON, land_rows, later, path_of, rows_by_key, sid, whole
from warehouse.errors import CommitRace, FixWarehouse
from warehouse.published.publish import publish
from warehouse.schema import CONTENTS
from warehouse.store.lock import alone, shared
from warehouse.store.names import PUBLISHED
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

Fail = Callable[[pytest.MonkeyPatch], None]


def fails(module: object, name: str, code: int, *, of: Callable[[object], bool] = lambda _: True) -> Fail:
    """A call of the system that always ends with an error."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real = getattr(module, name)

        def failing(first: object, *rest: object, **named: object) -> object:
            if of(first):
                raise OSError(code, os.strerror(code))
            return real(first, *rest, **named)

        monkeypatch.setattr(module, name, failing)

    return patch


def is_folder(handle: object) -> bool:
    """Whether an open file is a folder."""
    return isinstance(handle, int) and stat.S_ISDIR(os.fstat(handle).st_mode)


def no_renameat2(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without it, as on other systems."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())


def under(root: Path) -> Callable[[object], bool]:
    """Whether an open file is under a root."""
    return lambda handle: str(root) in path_of(int(str(handle)))


@pytest.mark.parametrize(
    ("patches", "words"),
    [
        ([fails(os, "link", errno.EPERM)], ["hard links"]),
        ([fails(os, "link", errno.ENOTSUP), no_renameat2], ["hard links"]),
        ([fails(os, "symlink", errno.EPERM)], ["symbolic links"]),
        ([fails(os, "fsync", errno.EINVAL, of=is_folder)], ["syncing of folders"]),
        ([fails(os, "fchmod", errno.EPERM)], ["permissions"]),
        (
            [fails(os, name, errno.EPERM) for name in ("link", "symlink", "fchmod")] + [no_renameat2],
            ["hard links", "symbolic links", "permissions"],
        ),
    ],
    ids=["links", "links and renameat2", "symlinks", "sync", "modes", "as exFAT"],
)
def test_what_the_disk_cannot_do_is_said_and_everything_lands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patches: list[Fail], words: list[str]
) -> None:
    """One sentence each; two landings, two publications, and nothing to find fault with."""
    for patch in patches:
        patch(monkeypatch)
    archive = open_archive(tmp_path / "root")
    assert [any(word in sentence for word in words) for sentence in archive.notices] == [True] * len(words)
    for number in (1, 2):
        land_rows(archive, whole(number), now=later(number))
        publish(archive, "duckdb", now=NOON)
    assert set(rows_by_key(archive, CONTENTS)) == {sid("XH", 1), sid("XH", 2)}
    assert verify(archive).mismatches == ()
    if "symbolic links" in words:
        assert not (archive.root / PUBLISHED).is_symlink()


def test_without_links_a_number_that_is_taken_is_still_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way the name is given: two exports at once must not undo each other."""
    archive = open_archive(tmp_path / "root")
    before = archive.head()
    land_rows(archive, whole(1))
    fails(os, "link", errno.EPERM)(monkeypatch)
    for lacking in (lambda _: None, no_renameat2):
        lacking(monkeypatch)
        with pytest.raises(CommitRace):
            archive.commit(before, drop=[], add=[], at=NOON, run_id="late")
    assert archive.head().run_id == "test"


def test_without_locks_processes_of_this_machine_still_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that stand for the locks lie in a private folder elsewhere."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "root"
    fails(fcntl, "flock", errno.ENOLCK, of=under(root))(monkeypatch)
    archive = open_archive(root)
    assert "locks" in "".join(archive.notices)
    land_rows(archive, whole(1))
    publish(archive, "duckdb", now=NOON)
    with shared(root):
        pass
    with alone(root, wait=False) as got:
        assert got
    seen: list[bool] = []

    def other() -> None:
        with alone(root, wait=False) as free:
            seen.append(free)

    with shared(root):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert seen == [False]


def test_a_folder_in_the_place_of_the_published_file_stops_publishing_and_nothing_else(tmp_path: Path) -> None:
    """As Docker makes one for a file to be mounted that is not there."""
    (tmp_path / "root" / PUBLISHED).mkdir(parents=True)
    archive = open_archive(tmp_path / "root")
    land_rows(archive, whole(1))
    with pytest.raises(FixWarehouse, match=r"addons\.duckdb is a folder.*What was exported is landed"):
        publish(archive, "duckdb", now=NOON)
    assert set(rows_by_key(archive, CONTENTS)) == {sid("XH", 1)}
    (archive.root / PUBLISHED).rmdir()
    publish(archive, "duckdb", now=NOON)
    assert verify(archive).mismatches == ()
