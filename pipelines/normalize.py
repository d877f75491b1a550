"""Normalise: extracted values become Arrow tables in the warehouse's schemas.

Pure: values in, tables out. Derives the partition day, the deadline and whether a content is text; everything
else is carried over as it was read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from pipelines.dates import expires_at, utc_day
from pipelines.records import AddOnResult, Payload, Recording
from warehouse.quarantine import QuarantineRow, quarantine_rows
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, RECORDINGS, Table


@dataclass(frozen=True, slots=True)
class ExtractedRecording:
    """A recording whose results have been listed and extracted; `open_results` of them need another visit."""

    recording: Recording
    account_sid: str
    listed_at: datetime | None
    open_results: int | None
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class ExtractedResult:
    """An add-on result; `whole` when all its contents have been extracted, now or before."""

    result: AddOnResult
    recording_sid: str
    account_sid: str
    payload_count: int | None
    whole: bool
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class ExtractedContent:
    """The bytes of a payload and their SHA-256 (hex) as they came off the wire.

    `reserved` bytes are held in the export's byte budget until the content is landed.
    """

    data: bytes = field(repr=False)
    sha256: str
    fetched_at: datetime
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class ExtractedPayload:
    """A payload, with its content unless that is landed already or could not be had."""

    payload: Payload
    result: AddOnResult
    recording_sid: str
    account_sid: str
    content: ExtractedContent | None
    observed_at: datetime


Extracted = ExtractedRecording | ExtractedResult | ExtractedPayload | QuarantineRow
"""What extraction hands on, in an order in which every prefix may be landed: contents before the result that
is whole with them, results before the recording that is listed with them."""


def normalize(extracted: Iterable[Extracted], *, now: datetime) -> Mapping[str, pa.Table]:
    """One table for each kind of row; `now` becomes `exported_at` of results that are whole (UTC)."""
    recordings: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    payloads: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    quarantine: list[QuarantineRow] = []
    for value in extracted:
        match value:
            case ExtractedRecording():
                recordings.append(_recording(value))
            case ExtractedResult():
                results.append(_result(value, now=now))
            case ExtractedPayload():
                day = utc_day(value.result.date_completed)
                payloads.append(_payload(value, day))
                if value.content is not None:
                    contents.append(_content(value.payload, value.content, day))
            case QuarantineRow():
                quarantine.append(value)
    return {
        RECORDINGS.name: _table(RECORDINGS, recordings),
        ADD_ON_RESULTS.name: _table(ADD_ON_RESULTS, results),
        ADD_ON_PAYLOADS.name: _table(ADD_ON_PAYLOADS, payloads),
        CONTENTS.name: _table(CONTENTS, contents),
        "quarantine": quarantine_rows(quarantine, now=now),
    }


def _table(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=table.schema)


def _recording(value: ExtractedRecording) -> dict[str, Any]:
    r = value.recording
    return {
        "sid": r.sid,
        "account_sid": r.account_sid or value.account_sid,
        "call_sid": r.call_sid,
        "conference_sid": r.conference_sid,
        "status": r.status,
        "source": r.source,
        "channels": r.channels,
        "duration_seconds": r.duration_seconds,
        "price": r.price,
        "price_unit": r.price_unit,
        "error_code": r.error_code,
        "start_time": r.start_time,
        "date_created": r.date_created,
        "date_updated": r.date_updated,
        "created_date": utc_day(r.date_created),
        "encryption_details": r.encryption_details,
        "media_url": r.media_url,
        "soft_deleted": r.soft_deleted,
        "listed_at": value.listed_at,
        "open_results": value.open_results,
        "observed_at": value.observed_at,
        "first_seen_at": value.observed_at,
    }


def _result(value: ExtractedResult, *, now: datetime) -> dict[str, Any]:
    r = value.result
    return {
        "sid": r.sid,
        "account_sid": r.account_sid or value.account_sid,
        "reference_sid": value.recording_sid,  # the path it was found under; `raw` keeps what it said
        "status": r.status,
        "add_on_sid": r.add_on_sid,
        "add_on_configuration_sid": r.add_on_configuration_sid,
        "date_created": r.date_created,
        "date_updated": r.date_updated,
        "date_completed": r.date_completed,
        "completed_date": utc_day(r.date_completed),
        "payload_count": value.payload_count,
        "exported_at": now if value.whole else None,
        "expires_at": expires_at(r.date_created, r.date_completed),
        "observed_at": value.observed_at,
        "first_seen_at": value.observed_at,
        "raw": r.raw,
    }


def _payload(value: ExtractedPayload, day: date | None) -> dict[str, Any]:
    p, content = value.payload, value.content
    return {
        "sid": p.sid,
        "add_on_result_sid": value.result.sid,
        "reference_sid": value.recording_sid,
        "account_sid": p.account_sid or value.account_sid,
        "label": p.label,
        "add_on_sid": p.add_on_sid,
        "add_on_configuration_sid": p.add_on_configuration_sid,
        "content_type": p.content_type,
        "date_created": p.date_created,
        "date_updated": p.date_updated,
        "completed_date": day,
        "content_length": None if content is None else len(content.data),
        "content_sha256": None if content is None else content.sha256,
        "fetched_at": None if content is None else content.fetched_at,
        "observed_at": value.observed_at,
        "raw": p.raw,
    }


def _content(payload: Payload, content: ExtractedContent, day: date | None) -> dict[str, Any]:
    return {
        "payload_sid": payload.sid,
        "completed_date": day,
        "content": content.data,
        "is_text": is_text(payload.content_type, content.data),
    }


def is_text(content_type: str | None, data: bytes) -> bool:
    """Whether the type says text or JSON and the bytes are valid UTF-8."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    says_text = kind.startswith("text/") or kind == "application/json" or kind.endswith("+json")
    if not says_text:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
