"""Times: reading Twilio's dates, the UTC day they fall on, and the deadline that follows from them.

Pure. Everything returned is aware and in UTC. A text that is not a date is an error, never a guess and never
null, because null means "not finished yet" here.
"""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache

_MONTHS = dict(
    zip(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), range(1, 13), strict=True)
)

FIRST_YEAR = 2008
"""There was no Twilio before, and a day's partition for each day since would be many."""

_LAST_YEAR = 9998  # a deadline after it is beyond Python's dates

_RFC_2822 = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) "
    r"(\d{2}):(\d{2}):(\d{2}) ([+-]\d{4}|[A-Z]{1,4})",
    re.ASCII,
)
_ISO_8601 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?(Z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_NAMED_ZONES = {
    **dict.fromkeys(("GMT", "UTC", "UT", "Z"), 0),
    "EST": -5,
    "EDT": -4,
    "CST": -6,
    "CDT": -5,
    "MST": -7,
    "MDT": -6,
    "PST": -8,
    "PDT": -7,
}


@lru_cache(2048)  # the dates of one record, and of records made together, are mostly the same
def parse_timestamp(text: str) -> datetime:
    """Read an RFC 2822 or ISO 8601 time with its real offset; a missing zone or `-0000` means UTC.

    A leap second (`:60`) becomes the first second of the next minute.

    Raises:
        ValueError: the text is neither, or names a time that does not exist.
    """
    if found := _RFC_2822.fullmatch(text):
        day, month, year, hour, minute, second, zone = found.groups()
        if month not in _MONTHS:
            raise ValueError(f"{text!r} is not a date: unknown month")
        return _utc(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), 0, zone)
    if found := _ISO_8601.fullmatch(text):
        year, month, day, hour, minute, second, fraction, zone = found.groups()
        micros = int((fraction or "0")[:6].ljust(6, "0"))
        clock = (int(hour or 0), int(minute or 0), int(second or 0))
        return _utc(int(year), int(month), int(day), *clock, micros, zone or "Z")
    raise ValueError("not a date in RFC 2822 or ISO 8601 form")


def _utc(year: int, month: int, day: int, hour: int, minute: int, second: int, micros: int, zone: str) -> datetime:
    if not FIRST_YEAR <= year <= _LAST_YEAR:
        raise ValueError("a year in which nothing was recorded, or beyond all deadlines")
    leap = second == 60
    offset = _offset(zone)
    local = datetime(year, month, day, hour, minute, 59 if leap else second, micros, timezone(offset))
    return local.astimezone(UTC) + timedelta(seconds=1 if leap else 0)


@lru_cache(256)
def _offset(zone: str) -> timedelta:
    if zone in _NAMED_ZONES:
        return timedelta(hours=_NAMED_ZONES[zone])
    if zone[0] not in "+-":
        raise ValueError(f"unknown time zone {zone!r}")
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError(f"impossible time zone {zone!r}")
    return (1 if zone[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes)


def utc_day(at: datetime | None) -> date | None:
    """The UTC day of a time: the partition."""
    return None if at is None else at.astimezone(UTC).date()
