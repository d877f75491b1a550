"""The folder everything is kept in, looked at before anything is written to it."""

import stat
from pathlib import Path

from warehouse.errors import Untrusted
from warehouse.schema import TABLES
from warehouse.store.names import (
    ARCHIVE_LOCK,
    ASIDE,
    COMMITS,
    DELETE_LOCK,
    ERASING,
    MARKER,
    PUBLISH_LOCK,
    SHAPES,
    TURN_LOCK,
)
from warehouse.store.trust import Writers, check_trusted, objection

_FOLDERS = (COMMITS, *TABLES, ASIDE, SHAPES)

_FILES = (MARKER, ARCHIVE_LOCK, PUBLISH_LOCK, DELETE_LOCK, TURN_LOCK, ERASING)


def check_root(root: Path, writers: Writers) -> None:
    """Refuse a root, or a place in it with one of our names, that somebody else made, may change, or put a link in.

    Raises:
        Untrusted: the sentence names what it is, and the cure.
        OSError: it cannot be looked at.
    """
    check_trusted("EXPORT_ROOT", root, writers)
    for name in (*_FOLDERS, *_FILES):
        _check(root / name, writers, folder=name in _FOLDERS)
    shapes = root / SHAPES
    for path in sorted(shapes.glob("*.toml")) if shapes.is_dir() else ():
        _check(path, writers, folder=False)  # each holds SQL that is run


def _check(path: Path, writers: Writers, *, folder: bool) -> None:
    try:
        state = path.lstat()
    except FileNotFoundError:
        return
    if (stat.S_ISDIR if folder else stat.S_ISREG)(state.st_mode):
        if (reason := objection(state, writers)) is not None:
            raise Untrusted(f"{path} {reason}.")
        return
    kind = "a link" if stat.S_ISLNK(state.st_mode) else "something else"
    wanted = "a folder" if folder else "a file"
    raise Untrusted(f"{path} is {kind} where {wanted} is needed, and nothing is written through it; remove it.")
