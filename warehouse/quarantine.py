"""Quarantine: input that could not be landed as it should, kept with its bytes and the reason."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from warehouse.schema import QUARANTINE

LANDED, DISMISSED = "landed", "dismissed"
"""How a row is resolved: what it was about is landed, or somebody decided that it need not be."""


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One piece of input that could not be landed as it should."""

    kind: str
    sid: str | None
    parent_sid: str | None
    account_sid: str | None
    reason: str
    raw: bytes | None


def quarantine_rows(rows: Sequence[QuarantineRow], *, now: datetime) -> pa.Table:
    """Rows of the `quarantine` table; equal input gets an equal id, so it is kept once."""
    return pa.Table.from_pylist(
        [
            {
                "quarantine_id": quarantine_id(row),
                "kind": row.kind,
                "sid": row.sid,
                "parent_sid": row.parent_sid,
                "account_sid": row.account_sid,
                "reason": row.reason,
                "raw": row.raw,
                "quarantined_at": now,
            }
            for row in rows
        ],
        schema=QUARANTINE.schema,
    )


def open_rows(quarantine: str, resolutions: str) -> str:
    """SQL for the rows of quarantine that nothing has become of."""
    return f"(SELECT * FROM {quarantine} ANTI JOIN {resolutions} USING (quarantine_id))"


def quarantine_id(row: QuarantineRow) -> str:
    """SHA-256 (hex) over everything the row says."""
    digest = hashlib.sha256()
    for part in (row.kind, row.sid, row.parent_sid, row.account_sid, row.reason, row.raw):
        data = part if isinstance(part, bytes) else (part or "").encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
