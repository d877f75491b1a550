"""Normalise: extracted values become Arrow tables in the warehouse's schemas.

Pure: values in, tables out. Derives the partition day, the deadline and whether a content is text; everything
else is carried over as it was read. Works on columns: cells are gathered and derived without Python code for each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.holding import Content
from pipelines.records.charsets import as_text
from pipelines.records.dates import utc_day
from pipelines.records.rows import AddOnResult, Payload, Recording
from warehouse.quarantine import QuarantineRow, quarantine_rows
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, LISTINGS, RECORDINGS, UTC_TIME, Table
from warehouse.states import RETENTION


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
class ExtractedPayload:
    """A payload, with its content unless that is landed already or could not be had."""

    payload: Payload
    result: AddOnResult
    recording_sid: str
    account_sid: str
    content: Content | None
    observed_at: datetime
    fetched_at: datetime | None = None
    """When the content came, if it did."""


@dataclass(frozen=True, slots=True)
class ExtractedListing:
    """The recordings of an account created from `first_day` to `last_day` (UTC) have been listed to the end."""

    account_sid: str
    first_day: date
    last_day: date
    listed_at: datetime


@dataclass(frozen=True, slots=True)
class ExtractedAbsence:
    """A landed add-on result that is not whole, and that Twilio has no more."""

    sid: str
    gone_at: datetime


Extracted = (
    ExtractedRecording | ExtractedResult | ExtractedPayload | ExtractedAbsence | QuarantineRow | ExtractedListing
)
"""What extraction hands on, in an order in which every prefix may be landed: contents before the result that
is whole with them, results before the recording that is listed with them, a listing after all it speaks for."""


def normalize(extracted: Iterable[Extracted], *, now: datetime) -> Mapping[str, pa.Table]:
    """One table for each kind of row; `now` becomes `exported_at` of results that are whole (UTC).

    Contents in files are not among the rows of `contents`; their lengths and hashes are in the payloads' rows.
    """
    recordings: list[ExtractedRecording] = []
    results: list[ExtractedResult] = []
    payloads: list[ExtractedPayload] = []
    quarantine: list[QuarantineRow] = []
    listings: list[ExtractedListing] = []
    absences: list[ExtractedAbsence] = []
    for value in extracted:
        match value:
            case ExtractedRecording():
                recordings.append(value)
            case ExtractedResult():
                results.append(value)
            case ExtractedPayload():
                payloads.append(value)
            case QuarantineRow():
                quarantine.append(value)
            case ExtractedListing():
                listings.append(value)
            case ExtractedAbsence():
                absences.append(value)
    return {
        RECORDINGS.name: _recordings(recordings),
        ADD_ON_RESULTS.name: pa.concat_tables([_results(results, now=now), _absences(absences)]),
        ADD_ON_PAYLOADS.name: _payloads(payloads),
        CONTENTS.name: _contents([p for p in payloads if p.content is not None and p.content.file is None]),
        "quarantine": quarantine_rows(quarantine, now=now),
        LISTINGS.name: _listings(listings),
    }


def _absences(values: Sequence[ExtractedAbsence]) -> pa.Table:
    rows = [{"sid": value.sid, "gone_at": value.gone_at} for value in values]
    return pa.Table.from_pylist(rows, schema=ADD_ON_RESULTS.schema)


def _listings(values: Sequence[ExtractedListing]) -> pa.Table:
    rows = [
        {
            "listing_id": f"{v.account_sid} {utc_day(v.listed_at)}: {v.first_day} to {v.last_day}",
            "account_sid": v.account_sid,
            "first_day": v.first_day,
            "last_day": v.last_day,
            "listed_at": v.listed_at,
        }
        for v in values
    ]
    return pa.Table.from_pylist(rows, schema=LISTINGS.schema)


def _recordings(values: Sequence[ExtractedRecording]) -> pa.Table:
    carried = (
        *("sid", "call_sid", "conference_sid", "status", "source", "channels", "duration_seconds", "price"),
        *("price_unit", "error_code", "start_time", "date_created", "date_updated", "encryption_details", "media_url"),
    )
    cells = _cells(RECORDINGS, values, "recording", carried)
    cells |= _cells(RECORDINGS, values, "", ("observed_at", "listed_at", "open_results"))
    cells["account_sid"] = _account(values, "recording")
    cells["created_date"] = _utc_day(cells["date_created"])
    cells["soft_deleted"] = pc.fill_null(pc.equal(cells["status"], "deleted"), fill_value=False)
    cells["first_seen_at"] = cells["observed_at"]
    return _table(RECORDINGS, cells)


def _results(values: Sequence[ExtractedResult], *, now: datetime) -> pa.Table:
    carried = (
        *("sid", "status", "add_on_sid", "add_on_configuration_sid"),
        *("date_created", "date_updated", "date_completed", "raw"),
    )
    cells = _cells(ADD_ON_RESULTS, values, "result", carried)
    cells |= _cells(ADD_ON_RESULTS, values, "", ("observed_at", "payload_count"))
    cells["account_sid"] = _account(values, "result")
    cells["reference_sid"] = _found_under(values)
    cells["completed_date"] = _utc_day(cells["date_completed"])
    whole = pa.array(map(attrgetter("whole"), values), pa.bool_())
    cells["exported_at"] = pc.if_else(whole, pa.scalar(now, UTC_TIME), pa.scalar(None, UTC_TIME))
    cells["expires_at"] = pc.add(_earliest(cells["date_created"], cells["date_completed"]), pa.scalar(RETENTION))
    cells["first_seen_at"] = cells["observed_at"]
    return _table(ADD_ON_RESULTS, cells)


def _payloads(values: Sequence[ExtractedPayload]) -> pa.Table:
    carried = (
        *("sid", "label", "add_on_sid", "add_on_configuration_sid", "content_type"),
        *("date_created", "date_updated", "raw"),
    )
    cells = _cells(ADD_ON_PAYLOADS, values, "payload", carried)
    cells |= _cells(ADD_ON_PAYLOADS, values, "", ("observed_at",))
    cells["account_sid"] = _account(values, "payload")
    cells["reference_sid"] = _found_under(values)
    cells["add_on_result_sid"] = pa.array(map(attrgetter("result.sid"), values), pa.string())
    cells["completed_date"] = _completed_date(values)
    contents = [value.content for value in values]
    cells["content_length"] = pa.array([c and c.length for c in contents], pa.int64())
    cells["content_sha256"] = pa.array([c and c.sha256 for c in contents], pa.string())
    cells["encoded_sha256"] = pa.array([c and c.encoded_sha256 for c in contents], pa.string())
    cells["fetched_at"] = pa.array([value.fetched_at for value in values], UTC_TIME)
    return _table(ADD_ON_PAYLOADS, cells)


def _contents(values: Sequence[ExtractedPayload]) -> pa.Table:
    contents = [(v.payload.content_type, v.content.data) for v in values if v.content is not None]
    texts = [as_text(content_type, data) for content_type, data in contents]
    cells = {
        "payload_sid": pa.array(map(attrgetter("payload.sid"), values), pa.string()),
        "completed_date": _completed_date(values),
        "content": pa.array(map(attrgetter("content.data"), values), pa.binary()),
        "is_text": pa.array([itself for itself, _ in texts], pa.bool_()),
        "text": pa.array([other for _, other in texts], pa.string()),
    }
    return _table(CONTENTS, cells)


_Values = Sequence[ExtractedRecording] | Sequence[ExtractedResult] | Sequence[ExtractedPayload]


def _cells(table: Table, values: _Values, record: str, columns: Sequence[str]) -> dict[str, pa.Array]:
    """Columns gathered from the attributes of the same names, of the values or of their `record`."""
    paths = [f"{record}.{column}" if record else column for column in columns]
    types = [table.schema.field(column).type for column in columns]
    return {
        column: pa.array(map(attrgetter(path), values), kind)
        for column, path, kind in zip(columns, paths, types, strict=True)
    }


def _account(values: _Values, record: str) -> pa.Array:
    """The account a record names, or the one it was found in."""
    named = pa.array(map(attrgetter(f"{record}.account_sid"), values), pa.string())
    return pc.coalesce(named, pa.array(map(attrgetter("account_sid"), values), pa.string()))


def _found_under(values: _Values) -> pa.Array:
    """The recording whose list a value was found in; `raw` keeps what it said itself."""
    return pa.array(map(attrgetter("recording_sid"), values), pa.string())


def _completed_date(values: Sequence[ExtractedPayload]) -> pa.Array:
    return _utc_day(pa.array(map(attrgetter("result.date_completed"), values), UTC_TIME))


def _earliest(one: pa.Array, other: pa.Array) -> pa.Array:
    """The earlier of two times, or the one that is known."""
    return pc.coalesce(pc.if_else(pc.less(other, one), other, one), one, other)


def _utc_day(times: pa.Array) -> pa.Array:
    return pc.cast(times, pa.date32())


def _table(table: Table, cells: Mapping[str, pa.Array]) -> pa.Table:
    """The table in its schema; columns that are not extracted are null."""
    rows = len(cells[table.schema.names[0]])
    return pa.table([cells.get(f.name, pa.nulls(rows, f.type)) for f in table.schema], schema=table.schema)
