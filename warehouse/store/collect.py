"""Collect: remove what no commit names that a reader may still hold: superseded files, and leftovers of kills."""

import contextlib
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from warehouse.clock import APART
from warehouse.errors import RepairWarehouse
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.store.commit import Commit
from warehouse.store.files import storage_errors
from warehouse.store.lock import shared
from warehouse.store.strangers import leftovers, remove


def collect(archive: Archive, *, now: datetime, grace: timedelta, keep: int = 50) -> int:
    """Remove files that no commit younger than `grace` names, and commits older than that.

    Readers may hold a superseded file for `grace`. The newest `keep` commits and their files always stay.

    `now` must be a time that `warehouse.clock.trusted_now` gives: files have times by the clock of this machine,
    and one that is a year ahead must make none of them old.

    Returns:
        Number of files removed.
    """
    with shared(archive.root):
        return _collect(archive, now=now, grace=grace, keep=keep)


def _collect(archive: Archive, *, now: datetime, grace: timedelta, keep: int) -> int:
    archive.head_to_change()
    known = _readable_commits(archive.root)
    at = _made_at(known.values())
    young = [n for n in known if at[n] > now - grace]
    # a reader may have opened what was newest when the grace time began
    opened = [n for n in known if not young or n < young[0]][-1:]
    kept = {*opened, *young, *list(known)[-keep:]}
    live = {file.path for n in kept for file in known[n].files()}
    removed = 0
    with storage_errors(archive.root):
        for number in known.keys() - kept:
            commits.commit_path(archive.root, number).unlink(missing_ok=True)
        for name in leftovers(archive.root, live):  # superseded, or of killed processes
            if _older_than(archive.root / name, grace, now=now):
                remove(archive.root / name)
                removed += 1
    return removed


def _readable_commits(root: Path) -> dict[int, Commit]:
    """All commits but damaged ones: those name nothing that a neighbour or the age of the file does not keep.

    A file that only a damaged commit names was sealed for it, so it is as young as that commit.
    """
    known = {}
    for number in commits.numbers(root):
        with contextlib.suppress(RepairWarehouse):
            known[number] = commits.load(root, number)
    return known


def _made_at(commits: Iterable[Commit]) -> dict[int, datetime]:
    """When each commit was made, by number: as it says, but no later than any that came after it.

    A clock that was ahead once would keep what it stamped young for as long as it was ahead.
    """
    made: dict[int, datetime] = {}
    latest = datetime.max.replace(tzinfo=UTC)
    for commit in sorted(commits, key=lambda commit: commit.number, reverse=True):
        made[commit.number] = latest = min(latest, commit.at)
    return made


def _older_than(path: Path, age: timedelta, *, now: datetime) -> bool:
    """Whether a file was last written longer than `age` ago; one that another process has just removed was not.

    One that says it was written later than now, by a clock that was ahead, counts as written now.
    """
    try:
        written = path.lstat().st_mtime
        if written > (now + APART).timestamp():
            os.utime(path, (now.timestamp(), now.timestamp()), follow_symlinks=False)
        return written < (now - age).timestamp()
    except FileNotFoundError:
        return False
