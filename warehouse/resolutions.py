"""What is open in quarantine, by what it is about: which recordings are worth listing again, and what that resolves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from warehouse.contents import DIFFERS
from warehouse.landed import rows_with
from warehouse.quarantine import open_rows
from warehouse.schema import ADD_ON_RESULTS, QUARANTINE, RESOLUTIONS
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.damage import reading_errors

_PREFIXES = {"recording": "RE", "add_on_result": "XR", "payload": "XH"}

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


def open_entries(snapshot: Snapshot, *, since: datetime) -> OpenEntries:
    """What is open in quarantine then; what got there before `since` is not worth asking for again.

    A content that differs from the one landed first is left out: no listing says which of them is right.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    archive = snapshot.archive
    if not snapshot.commit.rows(QUARANTINE.name):
        return OpenEntries()
    relations = snapshot.relations(QUARANTINE, RESOLUTIONS)
    ids: dict[tuple[str, str], list[str]] = {}
    recordings: set[str | None] = set()
    results: set[str | None] = set()
    with reading_errors(archive.root), archive.database() as db:
        rows = f"{open_rows(*relations)} WHERE NOT starts_with(reason, $differs)"
        entries = db.execute(
            f"SELECT quarantine_id, kind, sid, parent_sid, quarantined_at >= $since FROM {rows}",
            {"since": since, "differs": DIFFERS},
        ).fetchall()
        named = {}
        if any(sid is None for _, _, sid, *_ in entries):
            # what cannot be read may still say what it is about, if it holds one SID only of its kind
            found = db.execute(
                "SELECT quarantine_id, list_distinct(regexp_extract_all(raw::VARCHAR, '(RE|XR|XH)[0-9a-fA-F]{32}')) "
                f"FROM {rows} AND sid IS NULL AND octet_length(raw) <= {_LONGEST}",
                {"differs": DIFFERS},
            ).fetchall()
            named = dict(found)
    for identity, kind, sid, parent, recent in entries:
        own = [said for said in named.get(identity, ()) if said.startswith(_PREFIXES.get(kind, "-"))]
        subject = own[0] if sid is None and len(own) == 1 else sid
        if subject is not None:
            ids.setdefault((kind, subject), []).append(identity)
        if recent and kind in ("payload", "content"):
            results.add(parent)
        elif recent:
            recordings.add(subject if kind == "recording" else parent)
    again = frozenset(sid for sid in results if sid)
    recordings |= _recordings_of(snapshot, again)
    return OpenEntries(ids, frozenset(sid for sid in recordings if sid), again)


def open_count(archive: Archive) -> int:
    """How many entries are open in quarantine now.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    with archive.reading() as snapshot:
        if not snapshot.commit.rows(QUARANTINE.name):
            return 0
        relations = snapshot.relations(QUARANTINE, RESOLUTIONS)
        with archive.database() as db:
            return int(db.execute(f"SELECT count(*) FROM {open_rows(*relations)}").fetchall()[0][0])


def _recordings_of(snapshot: Snapshot, results: frozenset[str]) -> set[str]:
    with reading_errors(snapshot.archive.root):
        batches = rows_with(snapshot, ADD_ON_RESULTS, ADD_ON_RESULTS.key, results, columns=["reference_sid"])
        return {sid for batch in batches for sid in batch["reference_sid"].to_pylist()}


def resolved(snapshot: Snapshot) -> Mapping[str, str]:
    """How rows are resolved (LANDED or DISMISSED), by their ids.

    Raises:
        OSError, ArrowException: a file is missing or damaged.
    """
    batches = snapshot.read(RESOLUTIONS, [RESOLUTIONS.key, "how"])
    return {key: how for batch in batches for key, how in zip(*(c.to_pylist() for c in batch.columns), strict=True)}
