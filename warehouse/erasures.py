"""What was erased, known by the SHA-256 of its SID alone: so that it is neither asked for nor landed again.

A SID has 128 random bits, so nobody finds it from its hash; who has the SID can tell that it was erased.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from warehouse.schema import (
    ADD_ON_PAYLOADS,
    ADD_ON_RESULTS,
    ANALYSES,
    CONTENTS,
    ERASURES,
    QUARANTINE,
    RECORDINGS,
    TRANSCRIPTS,
    TURNS,
)
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.files import cannot
from warehouse.store.names import ERASING
from warehouse.store.opens import read_bytes

SIDS_OF: Mapping[str, tuple[str, ...]] = {
    RECORDINGS.name: ("sid",),
    ADD_ON_RESULTS.name: ("sid", "reference_sid"),
    ADD_ON_PAYLOADS.name: ("sid", "add_on_result_sid", "reference_sid"),
    CONTENTS.name: ("payload_sid",),
    TRANSCRIPTS.name: ("payload_sid", "add_on_result_sid", "reference_sid"),
    TURNS.name: ("payload_sid", "reference_sid"),
    ANALYSES.name: ("payload_sid", "add_on_result_sid", "reference_sid"),
    QUARANTINE.name: ("sid", "parent_sid"),
}
"""Columns that say what a row is about, or what it belongs to."""

_SID = re.compile(rb"(?:RE|XR|XH)[0-9a-fA-F]{32}")


def fingerprint(sid: str) -> str:
    """SHA-256 (hex) of a SID, whatever the case of its digits."""
    return hashlib.sha256((sid[:2] + sid[2:].lower()).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Erased:
    """The SIDs that were erased, as a container: `sid in erased`."""

    fingerprints: frozenset[str] = frozenset()

    def __contains__(self, sid: object) -> bool:
        return bool(self.fingerprints) and isinstance(sid, str) and fingerprint(sid) in self.fingerprints

    def mentioned(self, raw: bytes | None) -> bool:
        """Whether bytes name one of them."""
        return raw is not None and any(found.decode() in self for found in _SID.findall(raw))


def read_erased(snapshot: Snapshot) -> Erased:
    """What was erased up to a commit; each file is read once in a process.

    Raises:
        OSError, ArrowException: a file is missing or damaged.
    """
    archive, files = snapshot.archive, snapshot.commit.tables[ERASURES.name]
    remembered = archive.erased.get(frozenset(files))
    if remembered is None:
        rows = (
            batch["erasure_id"].to_pylist()
            for file in files.values()
            for batch in archive.read(archive.sound(file), ERASURES, ["erasure_id"])
        )
        remembered = frozenset(found for each in rows for found in each)
        archive.erased.clear()
        archive.erased[frozenset(files)] = remembered
    return Erased(remembered)


def unfinished(archive: Archive) -> bool:
    """Whether an erasure was cut off after its commit: files that hold what it erased may still be there.

    A damaged mark counts as one: to finish what is finished already does no harm.

    Raises:
        RepairWarehouse: a file of `erasures` is missing or damaged.
        FixWarehouse: the mark cannot be read.
    """
    try:
        identity = read_bytes(archive.root, ERASING).decode(errors="replace")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise cannot("read", archive.root / ERASING, error) from error
    with archive.reading() as snapshot:
        if identity in read_erased(snapshot).fingerprints:
            return True
        # of one that was cut off before its commit; the number may have been taken since
        return identity not in map(identity_of, range(1, snapshot.commit.number + 2))


def identity_of(commit: int) -> str:
    """What the erasure that makes this commit is known by in `erasures`."""
    return hashlib.sha256(f"erasure {commit}".encode()).hexdigest()
