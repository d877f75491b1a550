"""Facts on the disk: what was worked out of sealed files, so that nobody reads them for it again.

Sealed files are immutable, so what follows from one of them stays so. Facts are never the truth: each is kept with a
proof over what it is about and what it says, and one that is missing, damaged, of a file that has changed or of another
version is worked out anew. They hold numbers, paths and hashes, no SID and no content. Nothing fails for want of them.
"""

import contextlib
import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import WarehouseError
from warehouse.store import opens
from warehouse.store.commit import LiveFile
from warehouse.store.files import Access, unnamed
from warehouse.store.names import FACTS
from warehouse.store.seal import SealKey

VERSION = 1
"""Of everything that is kept here; another version's is worked out anew."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What follows from one sealed file, in numbers; 0 or empty where it is of a table that they are not about.

    Attributes:
        rows: its rows.
        exported: results with `exported_at`, and not deleted.
        deleted: results with `deleted_at`.
        open: the other results.
        unknown: results whose status is not one that this version knows.
        missing: payloads without a content.
        contents: payloads with one.
        content_bytes: bytes of these.
        unsettled: recordings never listed, of unknown age, or with open results.
        soonest_us: least time from the creation of a recording to its listing; None without any.
        latest_us: latest listing of a recording, since 1970; None without any.
        loads: the `load_id`s of its rows.
        apart: whether no key is twice in it, nor in another file of the table that is `apart`.
        vouchers: files of the same day that hold the result of every payload; None while that is not known.
    """

    rows: int = 0
    exported: int = 0
    deleted: int = 0
    open: int = 0
    unknown: int = 0
    missing: int = 0
    contents: int = 0
    content_bytes: int = 0
    unsettled: int = 0
    soonest_us: int | None = None
    latest_us: int | None = None
    loads: tuple[str, ...] = ()
    apart: bool = False
    vouchers: tuple[str, ...] | None = None


_PROOF_BYTES = hashlib.sha256().digest_size


def state_of(root: Path, file: LiveFile) -> str | None:
    """The file that a path leads to now, told from what was or will be there; None when it is not as committed.

    Raises:
        OSError: it is missing.
    """
    found = os.lstat(root / file.path)
    return f"{file.path} {file.sha256} {found.st_mtime_ns}" if found.st_size == file.bytes else None


def recall(root: Path, name: str, about: str, key: SealKey | None) -> bytes | None:
    """What was kept under `name`, if it is `about` this; None when it must be worked out.

    With a key, it is only what a holder of the key has kept.
    """
    try:
        held = opens.read_bytes(root, f"{FACTS}/{name}")
    except (OSError, WarehouseError):
        return None
    proof, says = held[:_PROOF_BYTES], held[_PROOF_BYTES:]
    return says if hmac.compare_digest(proof, _proof(name, about, says, key)) else None


def names(root: Path) -> frozenset[str]:
    """The names under which something is kept."""
    try:
        return frozenset(os.listdir(root / FACTS))  # noqa: PTH208  # names are all that is wanted
    except OSError:
        return frozenset()


def keep(root: Path, name: str, about: str, says: bytes, *, access: Access, key: SealKey | None) -> None:
    """Keep what a name says, whole or not at all. It is not synced: what a power cut leaves of it has no proof."""
    with (
        contextlib.suppress(OSError, WarehouseError),  # whoever may not, or has no room, works it out again
        unnamed(root, FACTS, access) as (stream, file),
    ):
        stream.write(_proof(name, about, says, key) + says)
        stream.flush()
        file.become(name)


def _proof(name: str, about: str, says: bytes, key: SealKey | None) -> bytes:
    return hmac.digest(key or b"addon-export: facts", f"{VERSION} {name}\n{about}\n".encode() + says, hashlib.sha256)
