"""Whose history a folder of Dagster's holds: one history belongs to one archive, so that no days of another are green.

DAGSTER_HOME itself is for the first archive that is not a demo's. Each other one has a home of its own in `archives/`
there, and is found again by the record in it: the archive's folder, and the time it was made at, which goes with it
when it is moved. Where the archive of a home is gone, its days are taken out of the history, which is the next one's.
"""

import contextlib
import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.errors import WarehouseError
from warehouse.store.files import ACCESS, put
from warehouse.store.flocks import flock, unlock
from warehouse.store.marker import Marker, read_marker
from warehouse.store.names import COMMITS
from warehouse.store.opens import folder, open_lock, read_bytes
from warehouse.store.trust import Writers

if TYPE_CHECKING:
    import dagster as dg

RECORD = "archive.json"

ARCHIVES = "archives"

SETTING = "demo"
"""In the marker's settings: the archive is of a demo, which the next one may replace."""

ASSETS = frozenset(
    {
        "twilio_api",
        "recordings",
        "add_on_results",
        "add_on_payloads",
        "transcripts",
        "turns",
        "analyses",
        "calls",
        "retention",
        "deleted_add_on_results",
    }
)
"""Assets that are ours: their names are here too, so that nobody loads all definitions for them."""

HISTORY = "history"
"""The folder of a home that Dagster keeps its events in."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The archive that a history is of.

    `root`: its folder. `created_at`: when it was made (ISO), its identity; "" before it is made, None where its marker
    cannot be read. `demo`: it is a demo's.
    """

    root: str
    created_at: str | None
    demo: bool = False

    @classmethod
    def of(cls, root: Path) -> "Owner":
        """That of the archive in a folder."""
        where = str(root.absolute())
        try:
            marker = read_marker(root)
        except WarehouseError:
            return cls(where, None)
        return cls(where, "" if marker is None else _identity(marker), _is_demo(marker))

    def is_of(self, ours: "Owner") -> bool:
        """Whether this record means the archive `ours`: at its place, or moved from the one that the record names."""
        if self.root == ours.root:
            return ours.created_at is None or self.created_at in (None, "", ours.created_at)
        moved = bool(self.created_at) and self.created_at == ours.created_at
        return moved and not (self._is_there() and not _same(self.root, ours.root))

    def gives_way(self) -> bool:
        """Whether another archive may take the home: nobody misses this one's history there."""
        return self.demo or not self._is_there()

    def _is_there(self) -> bool:
        try:
            marker = read_marker(Path(self.root))
        except WarehouseError:
            return True
        if marker is None:
            return not self.created_at and _is_archive(Path(self.root))
        return self.created_at in (None, "", _identity(marker))


def home_of(base: Path, root: Path, writers: Writers) -> tuple[Path, str | None]:
    """The home in `base` for the archive at `root`, made if need be; and a sentence if that is new and not `base`.

    A history that nobody has claimed, of an earlier version, goes to the first archive that is there already.

    Raises:
        Untrusted: others may change what is relied on.
        OSError: `base` cannot be used.
    """
    ours = Owner.of(root)
    with _alone(base, writers):
        if (home := found_home(base, root)) is not None:
            _note(home, ours, writers)
            return home, None
        before = recorded(base)
        if not ours.demo and before is not None and before.gives_way():
            return base, None  # whoever opens the history claims it
        if not ours.demo and before is None and (_is_archive(root) or not (base / HISTORY).exists()):
            _note(base, ours, writers)
            return base, None
        home = _new_home(base, writers)
        _note(home, ours, writers)
    holder = "another root" if before is None else before.root
    said = f"DAGSTER_HOME {base} holds the history of {holder}; that of {root} is kept in {home}."
    return home, None if ours.demo else said


def found_home(base: Path, root: Path) -> Path | None:
    """The home in `base` that the archive at `root` has already; None where it has none."""
    ours = Owner.of(root)
    kept = [(home, owner) for home in (base, *_others(base)) if (owner := recorded(home)) is not None]
    kept.sort(key=lambda each: each[1].root != ours.root)  # where it is rather than where it was
    return next((home for home, owner in kept if owner.is_of(ours)), None)


def claim(instance: "dg.DagsterInstance", root: Path, writers: Writers) -> str | None:
    """Make an open history that of the archive at `root`; else a sentence that says whose it is.

    The events of our assets are taken out of the history of an archive that is gone; all else stays there.
    """
    home, ours = Path(instance.root_directory), Owner.of(root)
    with _alone(home, writers):
        found = recorded(home)
        if found is not None and not found.is_of(ours):
            if not found.gives_way():
                return stranger(found, home, root)
            instance.wipe_assets([key for key in instance.all_asset_keys() if key.to_user_string() in ASSETS])
        _note(home, ours, writers)
    return None


def stranger(found: Owner, home: Path, root: Path) -> str:
    """What is wrong when Dagster runs on the history of another archive."""
    return (
        f"Dagster runs on DAGSTER_HOME {home}, which holds the history of {found.root}, so the days of {root} are not "
        f"shown there. Start it with `addon-export ui`, or set DAGSTER_HOME to another folder."
    )


def of_another(instance: "dg.DagsterInstance", root: Path) -> str | None:
    """A sentence if the history is of another archive than the one at `root`; nothing is changed."""
    found = recorded(home := Path(instance.root_directory))
    return stranger(found, home, root) if found is not None and not found.is_of(Owner.of(root)) else None


def recorded(home: Path) -> Owner | None:
    """Whose home it is; None when nobody has claimed it, or the record cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError, WarehouseError):
        body = json.loads(read_bytes(home, RECORD))
        made = body["created_at"]
        return Owner(str(body["root"]), None if made is None else str(made), body["demo"] is True)
    return None


def _is_archive(root: Path) -> bool:
    """Whether something was landed there, or is about to be; earlier versions made no marker."""
    return (root / COMMITS).is_dir()


def _identity(marker: Marker) -> str:
    return marker.created_at.isoformat()


def _is_demo(marker: Marker | None) -> bool:
    return marker is not None and marker.settings.get(SETTING) is True


def _same(one: str, other: str) -> bool:
    """Whether two paths lead to one folder, as mounts and links do."""
    with suppress(OSError):
        return Path(one).samefile(other)
    return False


def _others(base: Path) -> Sequence[Path]:
    """Homes that are not `base`, in the order in which they were made."""
    with suppress(OSError):
        numbers = sorted(int(path.name) for path in (base / ARCHIVES).iterdir() if path.name.isdecimal())
        return [base / ARCHIVES / str(number) for number in numbers]
    return []


def _new_home(base: Path, writers: Writers) -> Path:
    others = _others(base)
    name = f"{ARCHIVES}/{int(others[-1].name) + 1 if others else 1}"
    with folder(base, name, writers=writers, make=0o700) as (_, home):
        return home


def _note(home: Path, owner: Owner, writers: Writers) -> None:
    """Record durably whose home it is; what is known of it is not replaced by nothing."""
    found = recorded(home)
    if found == owner or (found is not None and owner.created_at is None):
        return
    body = json.dumps(asdict(owner), indent=2).encode() + b"\n"
    put(home, "", RECORD, body, replace(ACCESS["none"], writers=writers))


@contextlib.contextmanager
def _alone(home: Path, writers: Writers) -> Iterator[None]:
    """One process at a time says whose a home is."""
    lock = open_lock(home, ".whose.lock", 0o600, writers=writers)
    held = None
    try:
        held = flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        unlock(lock, held)
