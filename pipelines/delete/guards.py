"""Guards of a deletion that ask the disk: is this the warehouse of the plan, is it whole, is nobody else deleting.

Each refuses by raising; none changes what is stored. Their place is before the first DELETE.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from pipelines.delete.plan import Binding
from pipelines.errors import PlanAgain
from pipelines.records.sids import AccountSid
from warehouse.erasures import read_erased
from warehouse.errors import FixWarehouse
from warehouse.ledger import Ledger, contradictions, deleted_results, read_ledger
from warehouse.published.shown import untouched
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.commits import FOLDER, commit_path
from warehouse.store.damage import is_sound
from warehouse.store.files import sha256_of, storage_errors
from warehouse.store.lock import lock, make_lock
from warehouse.store.names import DELETE_LOCK, PUBLISHED

LOCK = DELETE_LOCK
"""Held by the one process that deletes; it goes with the process, so a kill leaves none behind."""


def here(
    archive: Archive,
    ledger: Ledger,
    *,
    account: AccountSid,
    destination: str,
    commit: int,
    ledger_steps: int | None = None,
) -> Binding:
    """What a plan made here is bound to, at `commit` and after `ledger_steps` steps (all when None)."""
    count = len(ledger.entries) if ledger_steps is None else ledger_steps
    step = ledger.entries[count - 1].deletion_id if 0 < count <= len(ledger.entries) else None
    try:
        commit_sha256 = sha256_of(commit_path(archive.root, commit))
    except FileNotFoundError:
        commit_sha256 = ""
    return Binding(
        account_sid=account,
        root=str(archive.root.resolve()),
        identity=identity(archive),
        destination=destination,
        commit=commit,
        commit_sha256=commit_sha256,
        ledger_steps=count,
        ledger_head=step,
    )


def identity(archive: Archive) -> str:
    """SHA-256 (hex) over where the archive is: path, device and inode; a copy or a restored backup has another."""
    folder = (archive.root / FOLDER).resolve()
    try:
        state = folder.stat()
    except OSError as error:
        raise FixWarehouse(f"Nothing has been exported to {archive.root}; check EXPORT_ROOT.") from error
    return hashlib.sha256(json.dumps([str(folder), state.st_dev, state.st_ino]).encode()).hexdigest()


def whole_warehouse(snapshot: Snapshot) -> Ledger:
    """Refuse a warehouse that is not whole: one damaged file anywhere, and it is no place for the only copy.

    Returns:
        The ledger of deletions, which is not broken.

    Raises:
        PlanAgain: a live file, the published file or the ledger is not as it was written.
    """
    archive, head = snapshot.archive, snapshot.commit
    if damaged := [file.path for file in head.files() if not is_sound(archive.root, file)]:
        raise PlanAgain(
            f"{damaged[0]} is missing or damaged; run `addon-export verify`.",
            reasons=[f"{path} is missing or damaged." for path in damaged],
        )
    if head.number and not untouched(archive):
        raise PlanAgain(f"{PUBLISHED} is not the file that was published; run `addon-export rebuild`.")
    ledger = read_ledger(snapshot)
    if broken := ledger.broken():
        raise PlanAgain(broken)
    if wrong := contradictions(ledger, deleted_results(snapshot), read_erased(snapshot)):
        raise PlanAgain(wrong[0], reasons=wrong)
    return ledger


@contextlib.contextmanager
def only_deleter(archive: Archive) -> Iterator[None]:
    """Be the one process that deletes from this warehouse's account.

    Raises:
        PlanAgain: another one is at work.
        FixWarehouse: the file system has no locks that exclude.
    """
    path = archive.root / LOCK
    with storage_errors(path):
        make_lock(archive.root, LOCK, archive.access)
    handle = _locked(archive.root)
    if handle is None:
        raise PlanAgain("Another deletion is at work on this warehouse; wait until it has ended.")
    try:
        # a lock that a second handle gets too excludes nobody
        if (second := _locked(archive.root)) is not None:
            os.close(second)
            raise FixWarehouse(f"Locks on {path} exclude nobody; delete where EXPORT_ROOT is a local folder.")
        yield
    finally:
        os.close(handle)


def _locked(root: Path) -> int | None:
    try:
        return lock(root, LOCK, fcntl.LOCK_EX, wait=False, local=False)
    except OSError as error:
        raise FixWarehouse(f"{root / LOCK} cannot be locked; delete where EXPORT_ROOT is a local folder.") from error
