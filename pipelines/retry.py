"""Quarantine: what is still open, and landing it with today's reading of its bytes.

Asks Twilio nothing. An entry is resolved when what it was about is landed, now or since, which an export does too for
what it reads whole, or when somebody dismisses it;
its row stays either way. What is landed from quarantine counts as observed when it got there, so that nothing newer is
overwritten, and a result or payload counts as not whole, so that the next export fetches what it lacks.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import pyarrow as pa

from pipelines.errors import FixQuery
from pipelines.extract import DOUBTFUL, GONE, belongs
from pipelines.finished import note_retry
from pipelines.holding import Content
from pipelines.normalize import (
    Extracted,
    ExtractedPayload,
    ExtractedRecording,
    ExtractedResult,
    normalize,
)
from pipelines.records.rows import Malformed, parse_add_on_result, parse_payload, parse_recording
from pipelines.records.sniff import error_document
from warehouse.clock import moment
from warehouse.contents import DIFFERS
from warehouse.land import Load, land
from warehouse.landed import rows_with
from warehouse.quarantine import DISMISSED, LANDED
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, QUARANTINE, RESOLUTIONS, Table
from warehouse.store.archive import Archive, Snapshot

RUN_ID = "quarantine"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of quarantine without its bytes; `how` and `note` say what became of it, null while it is open."""

    quarantine_id: str
    kind: str
    sid: str | None
    parent_sid: str | None
    account_sid: str
    reason: str
    bytes: int | None
    quarantined_at: datetime
    how: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry did: the entries that are resolved now, and of the others why they are not."""

    commit: int
    resolved: tuple[Entry, ...]
    still_open: Mapping[str, str]
    """Why, in one sentence, by `quarantine_id`."""


def entries(archive: Archive, *, resolved: bool = False) -> list[Entry]:
    """The open entries, oldest first; with `resolved` all of them.

    Raises:
        RepairWarehouse: a live file is missing or damaged.
    """
    with archive.reading() as snapshot, archive.database() as db:
        quarantine, resolutions = snapshot.relations(QUARANTINE, RESOLUTIONS)
        rows = db.execute(
            "SELECT q.quarantine_id, kind, sid, parent_sid, account_sid, reason, octet_length(raw), "
            f"epoch_us(quarantined_at), how, note FROM {quarantine} q LEFT JOIN {resolutions} r USING (quarantine_id) "
            f"WHERE $resolved OR r.quarantine_id IS NULL ORDER BY quarantined_at, q.quarantine_id",
            {"resolved": resolved},
        ).fetchall()
    return [
        Entry(identity, kind, sid, parent, account or "", reason, size, made, how, note)
        for identity, kind, sid, parent, account, reason, size, at, how, note in rows
        if (made := moment(at)) is not None
    ]


def named(found: Sequence[Entry], beginnings: Iterable[str]) -> list[Entry]:
    """The entries whose ids begin so, each of them exactly one.

    Raises:
        FixQuery: a beginning fits none, or more than one.
    """
    chosen = {}
    for beginning in beginnings:
        fitting = [entry for entry in found if entry.quarantine_id.startswith(beginning.lower())]
        if len(fitting) != 1:
            many = "No entry" if not fitting else f"More than one entry ({len(fitting)})"
            raise FixQuery(
                f"{many} in quarantine has an id that begins with {beginning[:64]!r}; see `quarantine list`."
            )
        chosen[fitting[0].quarantine_id] = fitting[0]
    return list(chosen.values())


def raw(archive: Archive, entry: Entry) -> bytes | None:
    """The bytes of an entry as they were received; None when there were none."""
    with archive.reading() as snapshot:
        return _raw(snapshot, entry)


def retry(archive: Archive, chosen: Sequence[Entry], *, now: datetime, as_it_is: bool = False) -> Retried:
    """Land what can be read by now, and resolve what is landed; one commit.

    Args:
        archive: where to.
        chosen: open entries.
        now: UTC.
        as_it_is: somebody has judged that the bytes of contents are the contents, whatever they were taken for.

    Raises:
        WarehouseError: the archive cannot be read or written; nothing is landed.
    """
    values: list[Extracted] = []
    resolved: list[Entry] = []
    still: dict[str, str] = {}
    with archive.reading() as snapshot:
        landed = partial(_row, snapshot)
        for entry in chosen:
            try:
                value = _read(entry, _raw(snapshot, entry), landed, as_it_is=as_it_is)
            except (Malformed, _StillOpen) as reason:
                still[entry.quarantine_id] = _sentence(entry, reason)
                continue
            resolved.append(entry)
            if value is not None:
                values.append(value)
    ids = [entry.quarantine_id for entry in resolved]
    batch = {**normalize(values, now=now), RESOLUTIONS.name: _resolutions(ids, LANDED, None, now)}
    load = land(archive, batch, run_id=RUN_ID, now=now)
    if resolved:
        note_retry(archive, run_id=RUN_ID, before=snapshot.commit.number, commit=load.commit)
    return Retried(load.commit, tuple(resolved), still)


def dismiss(archive: Archive, chosen: Sequence[Entry], note: str, *, now: datetime) -> int:
    """Say of open entries that they need not be landed, and why; returns the commit."""
    batch = {RESOLUTIONS.name: _resolutions((entry.quarantine_id for entry in chosen), DISMISSED, note, now)}
    return land(archive, batch, run_id=RUN_ID, now=now).commit


def resolve(archive: Archive, ids: Iterable[str], *, run_id: str, now: datetime) -> Load:
    """Say of open entries that what they are about is landed; the caller has read it whole and landed it since."""
    return land(archive, {RESOLUTIONS.name: _resolutions(ids, LANDED, None, now)}, run_id=run_id, now=now)


class _StillOpen(Exception):
    """An entry cannot be resolved; the message is the reason."""


class _Row(NamedTuple):
    """What is landed under a SID."""

    raw: str | None
    observed_at: datetime
    reference_sid: str | None
    content_type: str | None
    content: bool


_Landed = Callable[[Table, str], _Row | None]
"""Looks up what is landed under a SID, one at a time: entries are few."""


def _row(snapshot: Snapshot, table: Table, sid: str) -> _Row | None:
    for batch in rows_with(snapshot, table, table.key, [sid]):
        for values in batch.to_pylist():
            return _Row(
                values.get("raw"),
                values["observed_at"],
                values.get("reference_sid"),
                values.get("content_type"),
                values.get("content_sha256") is not None,
            )
    return None


def _read(entry: Entry, data: bytes | None, landed: _Landed, *, as_it_is: bool) -> Extracted | None:
    """What is to be landed for an entry; None when it is landed already.

    Raises:
        Malformed, _StillOpen: it stays open.
    """
    match entry.kind:
        case "recording":
            return _recording(entry, data or b"")
        case "add_on_result":
            return _result(entry, data or b"", landed)
        case "payload":
            return _payload(entry, data or b"", landed)
        case _:
            return _content(entry, data, landed, as_it_is=as_it_is)


def _recording(entry: Entry, data: bytes) -> Extracted:
    recording = parse_recording(data)
    belongs(recording.account_sid, entry.account_sid)
    _without_problems(recording.problems)
    return ExtractedRecording(recording, entry.account_sid, None, None, entry.quarantined_at)


def _result(entry: Entry, data: bytes, landed: _Landed) -> Extracted | None:
    if entry.reason == GONE:
        raise _StillOpen("Twilio no longer has it; dismiss it when you have seen that")
    result = parse_add_on_result(data)
    belongs(result.account_sid, entry.account_sid)
    parent = entry.parent_sid or result.reference_sid
    belongs(result.reference_sid, parent or "")
    before = landed(ADD_ON_RESULTS, result.sid)
    if before is not None and before.raw is not None and before.raw != result.raw:
        _replaced(entry, before, parse_add_on_result(before.raw.encode()).problems)
        return None
    _without_problems(result.problems)
    return ExtractedResult(result, parent or "", entry.account_sid, None, False, entry.quarantined_at)


def _payload(entry: Entry, data: bytes, landed: _Landed) -> Extracted | None:
    payload = parse_payload(data)
    belongs(payload.account_sid, entry.account_sid)
    parent = entry.parent_sid or payload.add_on_result_sid or ""
    belongs(payload.add_on_result_sid, parent)
    before = landed(ADD_ON_PAYLOADS, payload.sid)
    if before is not None and before.raw is not None and before.raw != payload.raw:
        _replaced(entry, before, parse_payload(before.raw.encode()).problems)
        return None
    _without_problems(payload.problems)
    result = landed(ADD_ON_RESULTS, parent)
    if result is None or result.raw is None:
        raise _StillOpen("its add-on result is not landed")
    belongs(payload.reference_sid, result.reference_sid or "")
    return ExtractedPayload(
        payload,
        parse_add_on_result(result.raw.encode()),
        result.reference_sid or "",
        entry.account_sid,
        None,
        entry.quarantined_at,
    )


def _content(entry: Entry, data: bytes | None, landed: _Landed, *, as_it_is: bool) -> Extracted | None:
    payload = landed(ADD_ON_PAYLOADS, entry.sid or "")
    if payload is None or payload.raw is None:
        raise _StillOpen("its payload is not landed")
    if entry.reason.startswith(DIFFERS):
        raise _StillOpen("it is another content than the one landed first; compare them, then dismiss it")
    if payload.content:
        return None
    if data is None:
        raise _StillOpen("Twilio has not given it; the next export asks again as long as it is kept")
    if not as_it_is and (doubt := _doubt(entry, data, payload.content_type)) is not None:
        raise _StillOpen(
            f"{doubt}; the next export asks again as long as Twilio keeps it, and if these bytes are the content, "
            f"`quarantine retry --as-it-is {entry.quarantine_id[:12]}` lands them"
        )
    read = parse_payload(payload.raw.encode())
    result = landed(ADD_ON_RESULTS, entry.parent_sid or read.add_on_result_sid or "")
    if result is None or result.raw is None:
        raise _StillOpen("its add-on result is not landed")
    content = Content(data, sha256(data).hexdigest())
    result_read = parse_add_on_result(result.raw.encode())
    at = entry.quarantined_at
    return ExtractedPayload(read, result_read, result.reference_sid or "", entry.account_sid, content, at, at)


def _doubt(entry: Entry, data: bytes, content_type: str | None) -> str | None:
    if entry.reason.startswith(DOUBTFUL):
        return "nothing proves that these bytes are the whole content"
    document = error_document(data, content_type)
    return None if document is None else f"it still looks like {document}"


def _replaced(entry: Entry, before: _Row, problems: Collection[str]) -> None:
    """Another version of the row is landed: that resolves the entry if it was seen later and could be read."""
    if before.observed_at <= entry.quarantined_at or problems:
        raise _StillOpen("another version of it is landed; dismiss it if that one is right")


def _without_problems(problems: Collection[str]) -> None:
    if problems:
        raise _StillOpen(f"it still cannot be read whole: {'; '.join(problems)}")


def _sentence(entry: Entry, reason: Exception) -> str:
    text = str(reason)
    return f"The {entry.kind} {text}." if isinstance(reason, Malformed) else f"{text[0].upper()}{text[1:]}."


def _resolutions(ids: Iterable[str], how: str, note: str | None, now: datetime) -> pa.Table:
    rows = [{"quarantine_id": identity, "how": how, "note": note, "resolved_at": now} for identity in ids]
    return pa.Table.from_pylist(rows, schema=RESOLUTIONS.schema)


def _raw(snapshot: Snapshot, entry: Entry) -> bytes | None:
    rows = rows_with(snapshot, QUARANTINE, QUARANTINE.key, [entry.quarantine_id], columns=["raw"])
    return next((value.as_py() for batch in rows for value in batch["raw"]), None)
