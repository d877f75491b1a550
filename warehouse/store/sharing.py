"""Who may read an archive: kept in its marker, and true of all that is there, not only of what is new.

What is not given means "as it is". What differs is written down as begun, applied to every file and folder of ours,
and then written down as done, so that a kill in between is made good when the archive is opened to write next.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from warehouse.errors import RepairWarehouse
from warehouse.store import commits
from warehouse.store.files import ACCESS, Access
from warehouse.store.marker import Marker, Place, read_marker, update_marker
from warehouse.store.names import COMMITS, Made, is_folder
from warehouse.store.opens import set_mode
from warehouse.store.strangers import files_under, strangers

SHARED_READ = "shared_read"

APPLYING = "applying"
"""In the marker's settings: names of settings that were changed, and may not be true of everything yet."""

WHOSE = {"none": "its owner alone", "group": "the group", "all": "everybody on this machine"}

_OF_ALL = {Made.SEALED, Made.COMMIT, Made.SINGLE, Made.FACTS, Made.DELTA}


def sharing(root: Path, given: str | None) -> str:
    """Who may read: what is given, else what the archive says, else what is there; "none" of what does not say.

    Raises:
        UpdateProgram: the marker is of a later version.
        FixWarehouse: it cannot be read.
    """
    stored: object = None
    with contextlib.suppress(RepairWarehouse):
        marker = read_marker(root)
        stored = None if marker is None else marker.settings.get(SHARED_READ)
    return given or (stored if isinstance(stored, str) and stored in ACCESS else _as_it_is(root))


def follow(archive: Place, shared_read: str) -> str | None:
    """Make all that is there readable as `shared_read` says; one sentence where that changed anything.

    Raises:
        FixWarehouse: the root cannot be written.
    """
    with contextlib.suppress(RepairWarehouse):  # of a damaged marker, which is left as it is
        marker = read_marker(archive.root)
        settings = {} if marker is None else marker.settings
        known = settings.get(SHARED_READ) == shared_read and SHARED_READ not in _applying(settings)
        if known and _newest_fits(archive):
            return None
        update_marker(archive, lambda found: _with(found, shared_read, applying=True))
        shared_before = settings.get(SHARED_READ) in ("group", "all")
        changed = sum(_give(path, mode) for path, mode in _modes(archive.root, archive.access))
        changed += _give(
            archive.root.resolve(), _mode_of_root(archive.root, archive.access, shared_before=shared_before)
        )
        update_marker(archive, lambda found: _with(found, shared_read, applying=False))
        if changed:
            what = "1 file or folder" if changed == 1 else f"{changed:,} files and folders"
            whose = WHOSE[shared_read]
            return f"EXPORT_SHARED_READ is {shared_read}: {what} of {archive.root} can be read by {whose} now."
    return None


def _with(marker: Marker, shared_read: str, *, applying: bool) -> Marker:
    names = sorted({*_applying(marker.settings), SHARED_READ} - ({SHARED_READ} if not applying else set()))
    settings = {name: value for name, value in marker.settings.items() if name != APPLYING}
    return replace(marker, settings={**settings, SHARED_READ: shared_read, **({APPLYING: names} if names else {})})


def _applying(settings: object) -> list[str]:
    names = settings.get(APPLYING) if isinstance(settings, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _as_it_is(root: Path) -> str:
    """Who may read what an older version has made."""
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE((root / COMMITS).lstat().st_mode)
        return next((name for name, access in ACCESS.items() if access.folder == mode), "none")
    return "none"


def _newest_fits(archive: Place) -> bool:
    """Whether nobody has landed anything since that others may read more, or less, of: a process that began before."""
    with contextlib.suppress(OSError):
        found = commits.numbers(archive.root)[-1:]
        modes = (stat.S_IMODE(commits.commit_path(archive.root, number).lstat().st_mode) for number in found)
        return all(mode == archive.access.file for mode in modes)
    return True


def _modes(root: Path, access: Access) -> Iterator[tuple[Path, int]]:
    """Every file and folder of ours that others may read if anybody may, and its permission bits; folders first."""
    for at, names, _ in os.walk(root):
        names[:] = [name for name in names if is_folder((Path(at) / name).relative_to(root).as_posix())]
        yield from ((Path(at) / name, access.folder) for name in names if not name.startswith("_damaged"))
    for path, kind in files_under(root):
        if kind in _OF_ALL:
            yield root / path, access.file
        elif kind is Made.SHOWN:
            yield root / path, access.published


def _mode_of_root(root: Path, access: Access, *, shared_before: bool) -> int:
    """The bits of the root, which need not have been made by us: opened where that is needed, closed if we opened it.

    What others keep in it may be for others.
    """
    mode = stat.S_IMODE(root.stat().st_mode) & 0o777
    closes = access.folder == ACCESS["none"].folder and shared_before and not strangers(root)
    return access.folder if closes else mode | (access.folder & 0o055)


def _give(path: Path, mode: int) -> bool:
    """Give a file or folder of ours its permission bits; False where it has them, or is no plain one of ours."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False  # it was removed meanwhile, or is the link to the published file
    try:
        state = os.fstat(handle)
        plain = stat.S_ISDIR(state.st_mode) or (stat.S_ISREG(state.st_mode) and state.st_nlink == 1)
        if not plain or stat.S_IMODE(state.st_mode) & 0o777 == mode:
            return False
        set_mode(handle, mode)
        return stat.S_IMODE(os.fstat(handle).st_mode) & 0o777 == mode
    finally:
        os.close(handle)
