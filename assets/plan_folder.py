"""Where plans of deletions are kept: a folder in DAGSTER_HOME that only its owner gets into.

A run names a plan by its id, never by a path, so that it can neither read another file nor find out which there are.
"""

import contextlib
import os
import stat
import time
from pathlib import Path

from assets.private_file import write_private
from pipelines.delete.plan import is_plan_id
from pipelines.delete.plan_file import MAX_BYTES
from pipelines.errors import FixConfiguration

KEPT_SECONDS = 48 * 3600
"""How long a plan stays in the folder; it is valid for half of that time."""


def keep_plan(home: Path, plan_id: str, text: str) -> None:
    """Put a plan into the folder, and remove those that are long past.

    Raises:
        FixConfiguration: the folder cannot be used.
    """
    folder = home / "plans"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        _check_folder(folder)
        write_private(folder / f"{plan_id}.json", text)
        for path in folder.glob("*.json"):
            if is_plan_id(path.stem) and path.lstat().st_mtime < time.time() - KEPT_SECONDS:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise FixConfiguration(f"The plan cannot be written to {folder}: {error.strerror}.") from error


def kept_plan(home: Path, plan_id: str) -> bytes:
    """A plan in the folder.

    Raises:
        FixConfiguration: there is none with this id, or the folder cannot be used. What was given is not repeated.
    """
    if not is_plan_id(plan_id):
        raise FixConfiguration("Nothing was deleted: `plan` must be the id that `addon-export delete plan` printed.")
    folder = home / "plans"
    try:
        _check_folder(folder)
        return _read(folder / f"{plan_id}.json", os.O_NOFOLLOW)
    except OSError as error:
        raise FixConfiguration(
            f"Nothing was deleted: there is no plan with this id in {folder}; make one with `addon-export delete plan`."
        ) from error


def plan_file(path: Path) -> bytes:
    """A plan in a file that somebody names on the command line.

    Raises:
        FixConfiguration: it cannot be read, is no regular file, or is too large for a plan.
    """
    try:
        return _read(path, 0)
    except OSError as error:
        raise FixConfiguration(f"The plan {path} cannot be read: {error.strerror}.") from error


def _check_folder(folder: Path) -> None:
    """Refuse a folder that others have made or may write to."""
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o077:
        raise FixConfiguration(
            f"{folder} must be a folder of your own that nobody else gets into; remove it, and make the plan again."
        )


def _read(path: Path, flags: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)  # a pipe must not be waited for
    with contextlib.closing(os.fdopen(handle, "rb")) as stream:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise FixConfiguration(f"{path} is no regular file, so it is no plan.")
        if state.st_size > MAX_BYTES:
            raise FixConfiguration(f"{path} is too large for a plan.")
        return stream.read(MAX_BYTES + 1)
