"""What is open in quarantine, by what it is about: which recordings are worth listing again, and what that resolves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from warehouse.archive import Archive, reading_errors
from warehouse.commits import Commit
from warehouse.contents import DIFFERS
from warehouse.landed import rows_with
from warehouse.quarantine import open_rows
from warehouse.schema import ADD_ON_RESULTS, QUARANTINE, RESOLUTIONS

_SIDS = {
    kind: re.compile(prefix + rb"[0-9a-fA-F]{32}")
    for kind, prefix in (("recording", b"RE"), ("add_on_result", b"XR"), ("payload", b"XH"))
}

_LONGEST = 64 << 10
"""Bytes of an entry without a SID that are searched for one."""


@dataclass(frozen=True, slots=True)
class OpenEntries:
    """The open entries by kind and SID of what they are about, and what they make worth asking for again.

    `recordings` have results, and `results` payloads, of which something is in quarantine that Twilio may still have.
    """

    ids: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    recordings: frozenset[str] = frozenset()
    results: frozenset[str] = frozenset()


def open_entries(archive: Archive, commit: Commit, *, since: datetime) -> OpenEntries:
    """What is open in quarantine at `commit`; what got there before `since` is not worth asking for again.

    A content that differs from the one landed first is left out: no listing says which of them is right.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    if not commit.rows(QUARANTINE.name):
        return OpenEntries()
    quarantine, resolutions = (
        archive.relation(table, commit.tables[table.name]) for table in (QUARANTINE, RESOLUTIONS)
    )
    with reading_errors(archive.root), archive.database() as db:
        rows = db.execute(
            "SELECT quarantine_id, kind, sid, parent_sid, quarantined_at >= $since, "
            f"CASE WHEN sid IS NULL AND octet_length(raw) <= {_LONGEST} THEN raw END "
            f"FROM {open_rows(quarantine, resolutions)} WHERE NOT starts_with(reason, $differs)",
            {"since": since, "differs": DIFFERS},
        ).fetchall()
    ids: dict[tuple[str, str], list[str]] = {}
    recordings: set[str | None] = set()
    results: set[str | None] = set()
    for identity, kind, sid, parent, recent, raw in rows:
        subject = sid or _only_sid(kind, raw)
        if subject is not None:
            ids.setdefault((kind, subject), []).append(identity)
        if recent and kind in ("payload", "content"):
            results.add(parent)
        elif recent:
            recordings.add(subject if kind == "recording" else parent)
    again = frozenset(sid for sid in results if sid)
    recordings |= _recordings_of(archive, commit, again)
    return OpenEntries(ids, frozenset(sid for sid in recordings if sid), again)


def open_count(archive: Archive) -> int:
    """How many entries are open in quarantine now.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    with archive.reading() as head:
        if not head.rows(QUARANTINE.name):
            return 0
        quarantine, resolutions = (
            archive.relation(table, head.tables[table.name]) for table in (QUARANTINE, RESOLUTIONS)
        )
        with archive.database() as db:
            return int(db.execute(f"SELECT count(*) FROM {open_rows(quarantine, resolutions)}").fetchall()[0][0])


def _only_sid(kind: str, raw: bytes | None) -> str | None:
    """The one SID of its kind that the bytes of an entry hold: what cannot be read may still say what it is about."""
    found = set(_SIDS[kind].findall(raw)) if raw is not None and kind in _SIDS else set()
    return found.pop().decode() if len(found) == 1 else None


def _recordings_of(archive: Archive, commit: Commit, results: frozenset[str]) -> set[str]:
    wanted, files = pa.array(sorted(results), pa.string()), commit.tables[ADD_ON_RESULTS.name]
    with reading_errors(archive.root):
        batches = rows_with(archive, ADD_ON_RESULTS, ADD_ON_RESULTS.key, wanted, files, columns=["reference_sid"])
        return {sid for batch in batches for sid in batch["reference_sid"].to_pylist()}
