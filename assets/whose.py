"""Whose history DAGSTER_HOME holds: one history belongs to one archive, so that no days of another are green in it.

The home keeps the archive's folder and the time it was made at, which goes with it when it is moved. The history of a
demo, or of an archive that is gone, gives way: it is set aside, never removed. Any other archive is refused.
"""

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from assets.terminal import say
from pipelines.environment import environment, trusted_writers
from pipelines.errors import FixConfiguration
from warehouse.errors import WarehouseError
from warehouse.files import ACCESS, sync_and_hash, sync_folder, unnamed
from warehouse.marker import Marker, read_marker
from warehouse.opens import open_lock, read_bytes

RECORD = "archive.json"

SETTING = "demo"
"""In the marker's settings: the archive is of a demo, which the next one may replace."""

_HISTORY = ("history", "schedules", "storage")
"""The folders of a home that Dagster keeps what happened in; plans to delete and the configuration stay."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The archive that a history is of: its folder, when it was made (ISO, its identity), whether it is a demo's."""

    root: str
    created_at: str
    demo: bool

    @classmethod
    def of(cls, root: Path, marker: Marker) -> "Owner":
        """That of an archive."""
        return cls(str(root.absolute()), marker.created_at.isoformat(), marker.settings.get(SETTING) is True)

    def gives_way(self) -> bool:
        """Whether another archive may take the home: nobody misses this one's history there."""
        if self.demo:
            return True
        try:
            marker = read_marker(Path(self.root))
        except WarehouseError:
            return False
        return marker is None or marker.created_at.isoformat() != self.created_at


def claim(home: Path, root: Path) -> None:
    """Make the history in `home` that of the archive at `root`; an archive without a marker claims nothing.

    A history that nobody has claimed, of an earlier version, is taken as it is.

    Raises:
        FixConfiguration: it is the history of another archive.
    """
    if (marker := read_marker(root)) is None:
        return
    ours = Owner.of(root, marker)
    lock = open_lock(home, ".open.lock", 0o600, writers=trusted_writers(environment()))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _recorded(home)
        if found == ours:
            return
        if found is not None and found.created_at != ours.created_at:
            if not found.gives_way():
                raise FixConfiguration(
                    f"DAGSTER_HOME {home} holds the history of {found.root}; set DAGSTER_HOME to another folder for "
                    f"{ours.root}, which keeps its own."
                )
            _set_aside(home, found)
        _record(home, ours)
    finally:
        os.close(lock)


def is_free_for_a_demo(home: Path) -> bool:
    """Whether a demo may keep its history in `home`: there is none, or it is a demo's."""
    found = _recorded(home)
    return found.demo if found is not None else not (home / _HISTORY[0]).exists()


def _recorded(home: Path) -> Owner | None:
    """Whose it is; None when nobody has claimed it, or the record cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        body = json.loads(read_bytes(home, RECORD))
        return Owner(str(body["root"]), str(body["created_at"]), body["demo"] is True)
    return None


def _record(home: Path, owner: Owner) -> None:
    access = replace(ACCESS["none"], writers=trusted_writers(environment()))
    with unnamed(home, "", access) as (stream, file):
        stream.write(json.dumps(asdict(owner), indent=2).encode() + b"\n")
        sync_and_hash(stream)
        file.become(RECORD)
    sync_folder(home)


def _set_aside(home: Path, before: Owner) -> None:
    """Move the history out of the way; a record that is left by a crash in between says whose the rest is."""
    number = 1
    while (aside := home / f"aside-{number}").exists() and not _is_begun(home, aside):
        number += 1
    aside.mkdir(mode=0o700, exist_ok=True)
    for name in _HISTORY:
        with suppress(FileNotFoundError):
            (home / name).rename(aside / name)
    sync_folder(aside)
    sync_folder(home)
    say(f"DAGSTER_HOME held the history of {before.root}, which is set aside in {aside}.")


def _is_begun(home: Path, aside: Path) -> bool:
    """Whether a crash ended a move into this folder: nothing in it is in the home still."""
    return not any((home / name).exists() and (aside / name).exists() for name in _HISTORY)
