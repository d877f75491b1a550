"""One process at a time asks Twilio for an archive: whoever exports or deletes has the turn, Dagster's runs too.

Twilio limits concurrent requests per account, and an export adapts to that limit by itself. Two exports together would
halve each other's pace and land nothing sooner. The turn is a lock in EXPORT_ROOT, so it is one for all who export to
it, whatever started them and wherever their history is kept; it goes with the process, so a kill leaves none behind.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from pipelines.errors import RunLater
from warehouse.store.files import storage_errors
from warehouse.store.lock import lock, make_lock
from warehouse.store.marker import Place
from warehouse.store.names import TURN_LOCK

POLL_SECONDS = 0.5

BUSY = "Another export or deletion of this EXPORT_ROOT is using Twilio"
"""The beginning of a sentence."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Whether whoever asks Twilio waits for its turn. Of those of one `kind`, which do the same, only one waits."""

    waits: bool = True
    kind: str | None = None


WAITS = Patience()


@contextlib.contextmanager
def turn(
    archive: Place, *, waits: Callable[[str], None], sleep: Callable[[float], None], patience: Patience = WAITS
) -> Iterator[None]:
    """Be the only one who asks Twilio for this archive while the block lasts.

    Args:
        archive: where the lock lies.
        waits: told once if it has to wait, in a sentence that says for what.
        sleep: waits so many seconds; may raise to stop waiting.
        patience: whether it may wait, and for whom it makes way.

    Raises:
        RunLater: somebody else has the turn, and it is not to wait.
        FixWarehouse: the lock cannot be made.
    """
    held = _taken(archive, TURN_LOCK)
    if held is None:
        with only_one(patience, BUSY, partial(_waiting, archive)):
            waits(f"{BUSY}; waiting until it is done. Ctrl-C stops waiting.")
            while (held := _taken(archive, TURN_LOCK)) is None:
                sleep(POLL_SECONDS)
    try:
        yield
    finally:
        os.close(held)


@contextlib.contextmanager
def only_one(
    patience: Patience, reason: str, claim: Callable[[str], contextlib.AbstractContextManager[bool]]
) -> Iterator[None]:
    """Wait as the only one of a kind; whoever does the same work may leave it to the one that waits already.

    Args:
        patience: whether it may wait, and its kind.
        reason: what it waits for, the beginning of a sentence.
        claim: a lock for a kind, which yields whether it was free.

    Raises:
        RunLater: one of this kind waits, or none of it may.
    """
    if not patience.waits:
        raise RunLater(f"{reason}, and --no-wait was given; run again when it is done.")
    if patience.kind is None:
        yield
        return
    with claim(patience.kind) as is_free:
        if not is_free:
            raise RunLater(f"{reason}, and an export of the same waits for it already: nothing is left to do.")
        yield


@contextlib.contextmanager
def _waiting(archive: Place, kind: str) -> Iterator[bool]:
    held = _taken(archive, f".turn-{kind}.lock")
    try:
        yield held is not None
    finally:
        if held is not None:
            os.close(held)


def _taken(archive: Place, name: str) -> int | None:
    """A handle that holds a lock until it is closed; None when somebody else has it."""
    with storage_errors(archive.root):
        make_lock(archive.root, name, archive.access)
        return lock(archive.root, name, fcntl.LOCK_EX, wait=False)
