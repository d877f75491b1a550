"""Twilio's recordings, add-on results and payloads as values, read from the JSON of one list item.

Pure. Every field may be null or missing. What cannot be read becomes null and a problem that says so; only an
item without a usable SID is refused whole. Nothing is guessed.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import msgspec

from pipelines.records import sids
from pipelines.records.dates import parse_timestamp
from pipelines.records.items import LARGEST_ITEM
from pipelines.records.sids import AddOnResultSid, PayloadSid, RecordingSid

_Sid = TypeVar("_Sid")

DEEPEST = 64
"""Levels of nesting accepted in an item; the deepest documented one has 3."""

_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


class Malformed(ValueError):
    """An item that is not a JSON object with a usable SID; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A call recording. Times are UTC, duration in seconds."""

    sid: RecordingSid
    account_sid: str | None
    call_sid: str | None
    conference_sid: str | None
    status: str | None
    source: str | None
    channels: int | None
    duration_seconds: int | None
    price: Decimal | None
    price_unit: str | None
    error_code: int | None
    start_time: datetime | None
    date_created: datetime | None
    date_updated: datetime | None
    encryption_details: str | None
    media_url: str | None
    problems: tuple[str, ...]

    @property
    def soft_deleted(self) -> bool:
        """Whether the recording has been deleted; its metadata stays listed for 40 days."""
        return self.status == "deleted"


@dataclass(frozen=True, slots=True)
class AddOnResult:
    """One run of an add-on on a recording. Times are UTC; `raw` is the JSON as received."""

    sid: AddOnResultSid
    account_sid: str | None
    reference_sid: str | None
    status: str | None
    add_on_sid: str | None
    add_on_configuration_sid: str | None
    date_created: datetime | None
    date_updated: datetime | None
    date_completed: datetime | None
    raw: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Payload:
    """One thing an add-on result delivered. Times are UTC; `raw` is the JSON as received."""

    sid: PayloadSid
    add_on_result_sid: str | None
    reference_sid: str | None
    account_sid: str | None
    label: str | None
    add_on_sid: str | None
    add_on_configuration_sid: str | None
    content_type: str | None
    date_created: datetime | None
    date_updated: datetime | None
    raw: str
    problems: tuple[str, ...]


def parse_recording(raw: bytes) -> Recording:
    """Read one item of a recordings list.

    Raises:
        Malformed: no JSON object, or no usable SID.
    """
    item = _Item(raw)
    return Recording(
        sid=item.sid(sids.recording_sid),
        account_sid=item.text("account_sid"),
        call_sid=item.text("call_sid"),
        conference_sid=item.text("conference_sid"),
        status=item.text("status"),
        source=item.text("source"),
        channels=item.number("channels"),
        duration_seconds=item.number("duration"),
        price=item.decimal("price"),
        price_unit=item.text("price_unit"),
        error_code=item.number("error_code"),
        start_time=item.time("start_time"),
        date_created=item.time("date_created"),
        date_updated=item.time("date_updated"),
        encryption_details=item.json("encryption_details"),
        media_url=item.text("media_url"),
        problems=item.found(),
    )


def parse_add_on_result(raw: bytes) -> AddOnResult:
    """Read one item of an add-on results list.

    Raises:
        Malformed: no JSON object, or no usable SID.
    """
    item = _Item(raw)
    return AddOnResult(
        sid=item.sid(sids.add_on_result_sid),
        account_sid=item.text("account_sid"),
        reference_sid=item.text("reference_sid"),
        status=item.text("status"),
        add_on_sid=item.text("add_on_sid"),
        add_on_configuration_sid=item.text("add_on_configuration_sid"),
        date_created=item.time("date_created"),
        date_updated=item.time("date_updated"),
        date_completed=item.time("date_completed"),
        raw=item.source,
        problems=item.found(),
    )


def parse_payload(raw: bytes) -> Payload:
    """Read one item of a payloads list.

    Raises:
        Malformed: no JSON object, or no usable SID.
    """
    item = _Item(raw)
    return Payload(
        sid=item.sid(sids.payload_sid),
        add_on_result_sid=item.text("add_on_result_sid"),
        reference_sid=item.text("reference_sid"),
        account_sid=item.text("account_sid"),
        label=item.text("label"),
        add_on_sid=item.text("add_on_sid"),
        add_on_configuration_sid=item.text("add_on_configuration_sid"),
        content_type=item.text("content_type"),
        date_created=item.time("date_created"),
        date_updated=item.time("date_updated"),
        raw=item.source,
        problems=item.found(),
    )


class _Item:
    """One JSON object being read; collects what is wrong with it."""

    __slots__ = ("_fields", "_problems", "source")

    _fields: Mapping[str, Any]

    def __init__(self, raw: bytes) -> None:
        if len(raw) > LARGEST_ITEM:
            raise Malformed(f"is larger than {LARGEST_ITEM >> 10} KB")
        self._problems: list[str] = []
        if (plain := _plain(raw)) is not None:
            self.source, self._fields = raw.decode(), plain
            return
        try:
            self.source = raw.decode()
            fields = _decoded(self.source)
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            raise Malformed(f"is not valid JSON: {type(error).__name__}") from error
        if not isinstance(fields, dict):
            raise Malformed(f"is not a JSON object but {type(fields).__name__}")
        if _too_deep(fields, DEEPEST):
            raise Malformed(f"is nested deeper than {DEEPEST} levels")
        self._fields = fields

    def sid(self, check: Callable[[str], _Sid]) -> _Sid:
        value = self._fields.get("sid")
        if not isinstance(value, str):
            raise Malformed("has no SID")
        try:
            return check(value)
        except ValueError as error:
            raise Malformed("has a SID of the wrong form") from error

    def found(self) -> tuple[str, ...]:
        if not self._problems and _HALF_PAIR.search(self.source) and _is_lossy(self.source):
            self._problems.append("holds half a surrogate pair")
        return tuple(self._problems)

    def text(self, key: str) -> str | None:
        value = self._fields.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                self._problems.append(f"{key} holds half a surrogate pair")
                return None
            return value
        self._problems.append(f"{key} is not text")
        return None

    def time(self, key: str) -> datetime | None:
        value = self.text(key)
        if value is None:
            return None
        try:
            return parse_timestamp(value)
        except (ValueError, OverflowError) as error:
            self._problems.append(f"{key} is not a date: {error}")
            return None

    def number(self, key: str) -> int | None:
        """An integer, or a text of one: Twilio sends durations as text."""
        value = self._fields.get(key)
        if value is None or value == "":
            return None
        try:
            if isinstance(value, bool) or not isinstance(value, int | str) or len(str(value)) > 18:
                raise ValueError
            return int(value)
        except ValueError:
            self._problems.append(f"{key} is not a whole number")
            return None

    def decimal(self, key: str) -> Decimal | None:
        value = self._fields.get(key)
        if value is None or value == "":
            return None
        try:
            amount = Decimal(str(value)).quantize(Decimal("1e-8"))
        except InvalidOperation:
            self._problems.append(f"{key} is not an amount")
            return None
        if not amount.is_finite() or abs(amount) >= Decimal(10) ** 12:
            self._problems.append(f"{key} is not an amount")
            return None
        return amount

    def json(self, key: str) -> str | None:
        value = self._fields.get(key)
        try:
            return None if value is None else msgspec.json.encode(value).decode()
        except (ValueError, OverflowError):  # half a surrogate pair, or a number that no JSON writer takes
            self._problems.append(f"{key} cannot be written as JSON")
            return None


def _plain(raw: bytes) -> Mapping[str, Any] | None:
    """The members of an object about which no two readers can differ; None of anything that has to be looked at.

    It is what a writer makes of what was read, but for blanks: so no member is given twice, nothing is escaped, no
    number is out of the ordinary.
    """
    if raw.count(b"{") + raw.count(b"[") > DEEPEST:
        return None
    try:
        fields = _read(raw)
        if isinstance(fields, dict) and msgspec.json.encode(fields) == msgspec.json.format(raw, indent=-1):
            return fields
    except (ValueError, RecursionError):  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        pass
    return None


_read: Callable[[bytes], Any] = msgspec.json.Decoder(Any).decode


def _decoded(text: str) -> Any:
    """Strictly: no member given twice, of which readers would take one or the other; no number that is none."""
    return json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_constant, parse_float=_finite)


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member is given twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number beyond all floats")
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _is_lossy(text: str) -> bool:
    """Whether strict readers of JSON, DuckDB among them, do not take it."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return True
    return False


def _too_deep(value: object, levels: int) -> bool:
    if levels == 0:
        return True
    if isinstance(value, dict):
        return any(_too_deep(v, levels - 1) for v in value.values() if isinstance(v, dict | list))
    if isinstance(value, list):
        return any(_too_deep(v, levels - 1) for v in value if isinstance(v, dict | list))
    return False
