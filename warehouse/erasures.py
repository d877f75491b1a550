"""What was erased, known by the SHA-256 of its SID alone: so that it is neither asked for nor landed again.

A SID has 128 random bits, so nobody finds it from its hash; who has the SID can tell that it was erased.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from warehouse.contents import SpooledContent
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, ERASURES, QUARANTINE, RECORDINGS
from warehouse.store.archive import Snapshot

SIDS_OF: Mapping[str, tuple[str, ...]] = {
    RECORDINGS.name: ("sid",),
    ADD_ON_RESULTS.name: ("sid", "reference_sid"),
    ADD_ON_PAYLOADS.name: ("sid", "add_on_result_sid", "reference_sid"),
    CONTENTS.name: ("payload_sid",),
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


def without_erased(
    erased: Erased, batch: Mapping[str, pa.Table], spooled: Sequence[SpooledContent]
) -> tuple[Mapping[str, pa.Table], Sequence[SpooledContent]]:
    """What is left of a batch to be landed when nothing that was erased may come back."""
    if not erased.fingerprints:
        return batch, spooled
    left = dict(batch)
    payloads: set[str] = set()
    for name, columns in SIDS_OF.items():
        rows = left.get(name)
        if rows is None or not rows.num_rows:
            continue
        gone = [
            any(sid in erased for sid in sids) for sids in zip(*(rows[c].to_pylist() for c in columns), strict=True)
        ]
        if name == CONTENTS.name:
            gone = [out or sid in payloads for out, sid in zip(gone, rows["payload_sid"].to_pylist(), strict=True)]
        if name == QUARANTINE.name:
            raws = (value.as_py() for value in rows["raw"])
            gone = [out or erased.mentioned(raw) for out, raw in zip(gone, raws, strict=True)]
        if name == ADD_ON_PAYLOADS.name:
            payloads = {sid for out, sid in zip(gone, rows["sid"].to_pylist(), strict=True) if out}
        left[name] = rows.filter(pa.array([not out for out in gone], pa.bool_()))
    return left, [c for c in spooled if c.payload_sid not in erased and c.payload_sid not in payloads]
