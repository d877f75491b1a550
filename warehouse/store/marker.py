"""`_archive.json`: the root is ours, which format it has, and what belongs to the archive as a whole.

Accounts and settings that whoever reads or writes the archive must know are kept here and not in an environment. The
file is replaced whole and durably, under a lock, so two processes that change it lose nothing of each other. Members
that this version does not know are written back as they were. An archive that was made before there were markers gets
one when it is first written to again.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from warehouse.errors import RepairWarehouse, Untrusted
from warehouse.store.files import Access, cannot, put, storage_errors
from warehouse.store.flocks import flock
from warehouse.store.names import COMMITS, MARKER
from warehouse.store.opens import read_bytes
from warehouse.store.stamp import OURS, VERSION, Stamp, stamp_of

_CLOCK = ("shown_at", "clock_ahead")

_READ = ("listed_at", "exported_at")

_KNOWN = {"format", "written_by", "created_at", "committed", "accounts", "settings", "retention", *_CLOCK, *_READ}

Value = object
"""Anything that JSON can hold."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What belongs to an archive: `accounts` by account SID, `settings` by name, and when it was made (UTC).

    `committed`: there has been a commit, so that sealed files without any mean that the commits are lost.
    `shown_at`: the time that the source said when it was asked last (UTC); `clock_ahead`: the seconds that the clock
    here was ahead of it, if more than a few minutes. `retention`: see `pipelines.erase.retention`. `listed_at`: by
    account SID, when the list of all that the source may still hold was last read to its end, with news in it or not
    (when reading began, UTC). `exported_at`: when everything was last exported whole (UTC).
    """

    created_at: datetime
    committed: bool = False
    accounts: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    settings: Mapping[str, Value] = field(default_factory=dict)
    shown_at: datetime | None = None
    clock_ahead: int | None = None
    retention: Mapping[str, Value] = field(default_factory=dict)
    listed_at: Mapping[str, datetime] = field(default_factory=dict)
    exported_at: datetime | None = None
    stamp: Stamp = OURS
    others: Mapping[str, Value] = field(default_factory=dict)
    """Members of a later version."""

    def with_setting(self, name: str, value: Value) -> "Marker":
        """The same with one setting as given."""
        return replace(self, settings={**self.settings, name: value})


def read_marker(root: Path) -> Marker | None:
    """The marker of the archive at `root`; None when there is none.

    Raises:
        UpdateProgram: it is of a format that this version cannot read.
        RepairWarehouse: it is damaged.
        FixWarehouse: it cannot be read.
    """
    path = root / MARKER
    try:
        body = json.loads(read_bytes(root, MARKER))
        stamp = replace(stamp_of(body), version=str(body.get("written_by", "")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, AttributeError, RecursionError, Untrusted) as error:
        raise _damaged() from error
    except OSError as error:
        raise cannot("read", path, error) from error
    if not stamp.readable:
        raise stamp.refusal(MARKER)
    try:
        return Marker(
            datetime.fromisoformat(body["created_at"]),
            bool(body.get("committed")),
            {sid: dict(facts) for sid, facts in body["accounts"].items()},
            dict(body["settings"]),
            None if body.get("shown_at") is None else _aware(body["shown_at"]),
            None if body.get("clock_ahead") is None else int(body["clock_ahead"]),
            dict(body.get("retention", {})),
            {sid: _aware(at) for sid, at in body.get("listed_at", {}).items()},
            None if body.get("exported_at") is None else _aware(body["exported_at"]),
            stamp,
            {name: value for name, value in body.items() if name not in _KNOWN},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged() from error


class Place(Protocol):
    """A root, and who may read there: an archive, or whatever stands for one."""

    @property
    def root(self) -> Path:
        """The folder everything is kept in."""

    @property
    def access(self) -> Access:
        """The permission bits of new files."""


def kept_accounts(root: Path) -> Mapping[str, Mapping[str, Value]]:
    """The accounts that the marker keeps; none where there is no marker, or a damaged one, which `verify` names."""
    return {} if (marker := _undamaged(root)) is None else marker.accounts


def kept_listings(root: Path) -> Mapping[str, datetime]:
    """When whole lists were last read to their end, by account; as `kept_accounts`."""
    return {} if (marker := _undamaged(root)) is None else marker.listed_at


def kept_setting(root: Path, name: str) -> Value:
    """A setting that the marker keeps; None as `kept_accounts`."""
    return None if (marker := _undamaged(root)) is None else marker.settings.get(name)


def _undamaged(root: Path) -> Marker | None:
    with contextlib.suppress(RepairWarehouse):
        return read_marker(root)
    return None


def update_marker(archive: Place, change: Callable[[Marker], Marker]) -> Marker:
    """Replace the marker by what `change` makes of it, alone and durably; a new one where there is none.

    Nothing is written where nothing changes.

    Raises:
        UpdateProgram: a newer version wrote it.
        RepairWarehouse: it is damaged.
        FixWarehouse: the root cannot be written.
    """
    with _alone(archive.root):
        before = read_marker(archive.root)
        if before is not None and not before.stamp.writable:
            raise before.stamp.refusal(MARKER)
        after = replace(change(before or Marker(datetime.now(UTC))), stamp=OURS)
        if after != before:
            _write(archive, after)
        return after


def _write(archive: Place, marker: Marker) -> None:
    body = {
        "format": marker.stamp.members()["format"],
        "written_by": VERSION,
        "created_at": marker.created_at.isoformat(),
        "committed": marker.committed,
        "accounts": marker.accounts,
        "settings": marker.settings,
        "shown_at": None if marker.shown_at is None else marker.shown_at.isoformat(),
        "clock_ahead": marker.clock_ahead,
        "retention": marker.retention,
        "listed_at": {sid: at.isoformat() for sid, at in marker.listed_at.items()},
        "exported_at": None if marker.exported_at is None else marker.exported_at.isoformat(),
        **marker.others,
    }
    with storage_errors(archive.root):
        put(archive.root, "", MARKER, json.dumps(body, indent=2).encode() + b"\n", archive.access)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One writer of the marker at a time; the folder of the commits is locked, which every archive has."""
    with storage_errors(root):
        handle = os.open(root / COMMITS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        held = None
        try:
            held = flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
            if held is not None and held != handle:
                os.close(held)


def _aware(text: str) -> datetime:
    """A time; ValueError when it does not say its zone."""
    if (at := datetime.fromisoformat(text)).tzinfo is None:
        raise ValueError("no zone")
    return at


def _damaged() -> RepairWarehouse:
    return RepairWarehouse(f"{MARKER} is damaged; restore it from a backup, or run `addon-export rebuild --archive`.")
