"""What lies under a root by whose it is: what is ours and no longer needed, and what is not ours and never touched."""

import contextlib
import os
import shutil
import stat
from collections.abc import Collection, Container, Iterator, Sequence
from pathlib import Path

from warehouse.errors import ChooseRoot, RepairWarehouse
from warehouse.schema import TABLES
from warehouse.store import commits
from warehouse.store.marker import Marker, read_marker
from warehouse.store.names import (
    ARCHIVE_LOCK,
    ASIDE,
    COMMITS,
    ERASING,
    FACTS,
    MARKER,
    OF_ALL,
    PUBLISH_LOCK,
    PUBLISHED,
    SHAPES,
    SHELF,
    TURN_LOCK,
    Made,
    identity,
    is_folder,
    made,
)

_PLACES = (*TABLES, COMMITS, ASIDE, SHELF, FACTS)
"""Folders right under the root that are ours."""

NAMED = 3
"""Names of strangers that a sentence gives."""


def files_under(root: Path, start: Sequence[str] = ("",)) -> Iterator[tuple[str, Made | None]]:
    """Every file in the folders `start` of `root` by its path from there, with what it is of ours; no link is followed.

    A link is ours only where we make one; one in a folder's place is a stranger's, and so is what is in a folder of
    his. The folder of shapes is left out.
    """
    waiting = [*start]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        for entry in found:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield path, _kind(path, is_link=entry.is_symlink())
            elif path != SHAPES:
                waiting.append(path)


def folders_under(root: Path) -> Iterator[str]:
    """Every folder under `root` in which we keep files, by its path from there; no link is followed."""
    waiting: list[str] = [*_PLACES]
    while waiting:
        folder = waiting.pop()
        if not is_folder(folder) or (root / folder).is_symlink() or not (root / folder).is_dir():
            continue
        yield folder
        waiting += [f"{folder}/{entry.name}" for entry in (root / folder).iterdir()]


def _kind(path: str, *, is_link: bool) -> Made | None:
    kind = made(path)
    return None if is_link and path != PUBLISHED and kind is not Made.BEGUN else kind


def strangers(root: Path) -> list[str]:
    """Paths of the files under `root` that this program did not make, in order."""
    return sorted(path for path, kind in files_under(root) if kind is None)


def leftovers(root: Path, live: Collection[str]) -> list[str]:
    """What is ours among the tables, the commits and right under `root`, and neither `live` nor in its own place.

    Sealed files, facts of files that are not live, files and folders that were begun, and spills, by their paths from
    there.
    """
    found = [
        path
        for path, kind in files_under(root, (*TABLES, COMMITS))
        if kind is Made.BEGUN or (kind is Made.SEALED and path not in live)
    ]
    known = {*map(identity, live), OF_ALL}
    found += [
        path
        for path, kind in files_under(root, (FACTS,))
        if kind is Made.BEGUN or (kind is Made.FACTS and identity(path) not in known)
    ]
    with os.scandir(root) as entries:
        found += [entry.name for entry in entries if made(entry.name) in (Made.BEGUN, Made.SPILL)]
    return found


def published_under(root: Path) -> list[tuple[str, Made]]:
    """Every published file of ours, and every log beside one, by its path from `root`."""
    with os.scandir(root) as entries:
        right_here = [(entry.name, made(entry.name)) for entry in entries]
    found = [*right_here, *files_under(root, (SHELF,))]
    return [(path, kind) for path, kind in found if kind in (Made.SHOWN, Made.LOG)]


def remove_published(root: Path, path: str) -> None:
    """Remove one of them, and its folder when nothing else is in it."""
    (root / path).unlink(missing_ok=True)
    if path.startswith(f"{SHELF}/"):
        with contextlib.suppress(OSError):  # a log, or somebody's file, is in it
            (root / path).parent.rmdir()


def remove(path: Path) -> None:
    """Remove a file, a link or a folder; a link in it is not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_ours(root: Path, *, but: Container[str] = ()) -> None:
    """Remove an archive, with every folder that is empty then, but for some paths; what others made stays."""
    if not root.is_dir():
        return
    for path in leftovers(root, live=()):
        remove(root / path)
    for path, _ in published_under(root):
        remove_published(root, path)
    for path, kind in files_under(root):
        if kind is not None and path not in but:
            remove(root / path)
    for path in (*sorted(folders_under(root), key=lambda path: path.count("/"), reverse=True), SHELF):
        with contextlib.suppress(OSError):  # somebody's files are in it
            (root / path).rmdir()


def refuse_others(root: Path) -> None:
    """Refuse a root that is not ours yet and has files of others where ours would be, or that has lost its commits.

    Raises:
        ChooseRoot: it has some of others; nothing was written.
        RepairWarehouse: it holds our sealed files, and the commits that named them are gone.
    """
    if commits.numbers(root):
        return
    ours, others = _in_our_places(root)
    marker = _marker(root)
    if others and marker is None:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        raise ChooseRoot(
            f"EXPORT_ROOT {root} holds files that addon-export did not make where its own would be "
            f"({', '.join(others[:NAMED])}{more}); nothing was written: set EXPORT_ROOT to another folder."
        )
    if ours and (marker is None or marker.committed):
        raise RepairWarehouse(
            f"{root} holds sealed files ({ours[0]}) and no commit that names them; nothing was written: restore the "
            f"folder {COMMITS} from a backup, or move those files away."
        )


def _marker(root: Path) -> Marker | None:
    """The marker; None where there is none, or something else has its name."""
    try:
        return read_marker(root)
    except RepairWarehouse:
        return None


def _in_our_places(root: Path) -> tuple[list[str], list[str]]:
    """Sealed files, and files of others in our folders or under our names, each in order."""
    ours, others = [], []
    for path, kind in files_under(root, _PLACES):
        if kind is None:
            others.append(path)
        elif kind is Made.SEALED:
            ours.append(path)
    folders, files = _PLACES, (ARCHIVE_LOCK, PUBLISH_LOCK, TURN_LOCK, ERASING)
    others += [name for name in (*folders, *files) if _is_other(root / name, folder=name in folders)]
    published = root / PUBLISHED
    shown = published.is_symlink() and _is_shown(published.readlink())
    # a folder there, as Docker makes one, cannot be replaced: whoever publishes says it, after all has landed
    if os.path.lexists(published) and not shown and (published.is_symlink() or not published.is_dir()):
        others.append(PUBLISHED)
    if os.path.lexists(root / MARKER) and _marker(root) is None:
        others.append(MARKER)
    return sorted(ours), sorted(others)


def _is_other(path: Path, *, folder: bool) -> bool:
    """Whether something else than a folder, or a plain file, of ours stands at `path`."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode))


def _is_shown(target: Path) -> bool:
    return made(str(target)) is Made.SHOWN
