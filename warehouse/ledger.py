"""The ledger of deletions: every step, in one chain of hashes, written before and after each DELETE at the source.

Each row's id is the SHA-256 over the row and the id of the one before, so a row that is changed, lost or put in breaks
the chain. A step is appended to the commit it was decided on and to no other: when another process commits first, it
is decided again. The rows hold SIDs, times and hashes, never content. An outcome and `deleted_at` are one commit.
"""

import hashlib
import json
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import pyarrow.parquet as pq

from warehouse.schema import ADD_ON_RESULTS, DELETIONS
from warehouse.store.archive import Snapshot
from warehouse.store.damage import reading_errors

STARTED, SPENT = "started", "spent"
"""Steps of a whole plan: a run of it begins to delete; the plan is done and cannot be applied again."""

INTENT = "intent"
"""Written before a DELETE is sent; open until an outcome follows."""

WITHDRAWN, DELETED, ABSENT, VANISHED, UNKNOWN, PRESENT = (
    "withdrawn",
    "deleted",
    "absent",
    "vanished",
    "unknown",
    "present",
)
"""Outcomes: no DELETE was sent; a direct 204; not there any more after a DELETE that may have been processed; gone
although none was sent; not known; still there after a DELETE that was not acknowledged."""

UNSENT = (WITHDRAWN, VANISHED)
"""Outcomes of an intent after which no DELETE was sent."""

GONE = (DELETED, ABSENT)
"""Outcomes that mean: deleted at the source by us."""

UNSETTLED = (INTENT, UNKNOWN, PRESENT)
"""Last steps after which the source must be asked: a DELETE may have been processed, or may still be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step as somebody takes it; `proof` and `reply` are JSON."""

    step: str
    at: datetime
    plan_hash: str
    apply_id: str
    host: str
    account_sid: str
    add_on_result_sid: str | None = None
    reference_sid: str | None = None
    proof: str | None = None
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One step in the chain."""

    deletion_id: str
    previous_id: str | None
    sequence: int
    step: Step


@dataclass(frozen=True, slots=True)
class Ledger:
    """All steps, in order."""

    entries: tuple[Entry, ...]

    @property
    def head(self) -> str | None:
        """Id of the newest step."""
        return self.entries[-1].deletion_id if self.entries else None

    def broken(self) -> str | None:
        """Why this is not the chain that was written, in one sentence; None when it is."""
        for number, entry in enumerate(self.entries, start=1):
            if entry.sequence != number:
                return f"Step {number} of the deletions is missing."
            if entry.deletion_id != _id(entry.sequence, entry.previous_id, entry.step):
                return f"Step {number} of the deletions was changed after it was written."
        for before, after in pairwise(self.entries):
            if after.previous_id != before.deletion_id:
                return f"Step {after.sequence} of the deletions does not follow the one before it."
        if self.entries and self.entries[0].previous_id is not None:
            return "Step 1 of the deletions follows one that is missing."
        return None

    def last(self) -> Mapping[str, Entry]:
        """The newest step of each result."""
        return {e.step.add_on_result_sid: e for e in self.entries if e.step.add_on_result_sid is not None}

    def last_started(self) -> Step | None:
        """The newest start of a plan."""
        return next((e.step for e in reversed(self.entries) if e.step.step == STARTED), None)

    def claimed_since(self, at: datetime) -> set[str]:
        """Results for which a DELETE was sent, or may have been, by an intent of after `at`."""
        claimed: set[str] = set()
        for step in (entry.step for entry in self.entries if entry.step.add_on_result_sid is not None):
            if step.step == INTENT and step.at > at:
                claimed.add(step.add_on_result_sid or "")
            elif step.step in UNSENT:
                claimed.discard(step.add_on_result_sid or "")
        return claimed

    def spent(self, plan_hash: str) -> bool:
        """Whether a plan is done."""
        return any(e.step.step == SPENT and e.step.plan_hash == plan_hash for e in self.entries)


def read_ledger(snapshot: Snapshot) -> Ledger:
    """The ledger as of one commit; the caller asks whether it is `broken`.

    Raises:
        RepairWarehouse: a file of it cannot be read or is not what was committed.
    """
    archive, entries = snapshot.archive, list[Entry]()
    with reading_errors(archive.root):
        for file in snapshot.files(DELETIONS):
            path = archive.root / archive.sound(file).path
            rows = pq.read_table(path, partitioning=None, page_checksum_verification=True).to_pylist()
            entries += [_entry(row) for row in rows]
    return Ledger(tuple(sorted(entries, key=lambda entry: entry.sequence)))


def deleted_results(snapshot: Snapshot) -> set[str]:
    """SIDs of the results that are marked as deleted in `add_on_results`."""
    archive, relation = snapshot.archive, snapshot.relation(ADD_ON_RESULTS)
    with reading_errors(archive.root), archive.database() as db:
        return {row[0] for row in db.execute(f"SELECT sid FROM {relation} WHERE deleted_at IS NOT NULL").fetchall()}


def contradictions(ledger: Ledger, deleted: Collection[str], erased: Container[str] = frozenset()) -> list[str]:
    """Sentences on each result that is deleted in `add_on_results` or in the ledger, but not in both.

    One that was erased here is in the ledger only.
    """
    gone = {e.step.add_on_result_sid for e in ledger.entries if e.step.step in GONE}
    by_ledger = {sid for sid in gone if sid not in erased}
    return [
        *(f"Result {sid} has a deleted_at but no step of a deletion." for sid in sorted(set(deleted) - by_ledger)),
        *(
            f"Result {sid} was deleted at Twilio but has no deleted_at."
            for sid in sorted(sid for sid in by_ledger if sid is not None and sid not in deleted)
        ),
    ]


def chained(ledger: Ledger, steps: Sequence[Step]) -> list[dict[str, object]]:
    """The rows of `deletions` for steps that go on where a ledger ends."""
    rows: list[dict[str, object]] = []
    previous, sequence = ledger.head, len(ledger.entries)
    for step in steps:
        sequence += 1
        identity = _id(sequence, previous, step)
        rows.append(
            {
                "deletion_id": identity,
                "previous_id": previous,
                "sequence": sequence,
                "step": step.step,
                "step_at": step.at,
                "add_on_result_sid": step.add_on_result_sid,
                "reference_sid": step.reference_sid,
                "account_sid": step.account_sid,
                "plan_hash": step.plan_hash,
                "apply_id": step.apply_id,
                "host": step.host,
                "proof": step.proof,
                "reply": step.reply,
            }
        )
        previous = identity
    return rows


def _id(sequence: int, previous: str | None, step: Step) -> str:
    """SHA-256 (hex) over the canonical form: a JSON array of all values, the time in microseconds since 1970."""
    values = [
        previous,
        sequence,
        step.step,
        round(step.at.timestamp() * 1_000_000),
        step.add_on_result_sid,
        step.reference_sid,
        step.account_sid,
        step.plan_hash,
        step.apply_id,
        step.host,
        step.proof,
        step.reply,
    ]
    return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()


def _entry(row: Mapping[str, object]) -> Entry:
    values = {**row, "at": row["step_at"]}
    step = Step(**{name: values[name] for name in Step.__slots__})  # type: ignore[arg-type]  # typed by the schema
    return Entry(row["deletion_id"], row["previous_id"], row["sequence"], step)  # type: ignore[arg-type]  # as above
