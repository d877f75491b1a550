"""Paging and date windows as Twilio has them: list queries in, page envelopes and opaque page tokens out.

A token names a place (date_created and SID), not a number, so rows that come or go meanwhile shift nothing.
It carries a keyed hash over the list's path and filters: one made up, or moved to another list, is refused.
Pure.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from pipelines.sandbox.index import Cursor
from pipelines.sandbox.wire import Json

_FILTERS = (
    *("FriendlyName", "Status"),
    *("DateCreated", "DateCreated<", "DateCreated>", "CallSid", "ConferenceSid", "IncludeSoftDeleted"),
)


class BadQuery(ValueError):  # it is an answer, not a fault
    """A query Twilio answers with 400.

    Attributes:
        code: Twilio's error code.
    """

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which list, and what part of it, a request asks for."""

    path: str
    filters: tuple[tuple[str, str], ...]
    page: int
    page_size: int

    @property
    def scope(self) -> str:
        """What a page token is bound to: the path and the filters."""
        return f"{self.path}?{urlencode(self.filters)}"

    def uri(self, page: int, token: str | None = None) -> str:
        """The relative URI of one page of this list."""
        query = [*self.filters, ("PageSize", str(self.page_size)), ("Page", str(page))]
        if token is not None:
            query.append(("PageToken", token))
        return f"{self.path}?{urlencode(query, quote_via=quote)}"


def envelope(listing: Listing, name: str, items: Sequence[Json], *, before: str | None, after: str | None) -> Json:
    """A list's body; `before` and `after` are its neighbours' page tokens, None where there are none."""
    page, start = listing.page, listing.page * listing.page_size
    return {
        "end": start + len(items) - 1 if items else 0,
        "first_page_uri": listing.uri(0),
        "next_page_uri": None if after is None else listing.uri(page + 1, after),
        "page": page,
        "page_size": listing.page_size,
        "previous_page_uri": None if before is None else listing.uri(max(page - 1, 0), before),
        name: items,
        "start": start if items else 0,
        "uri": listing.uri(page),
    }


def page_token(cursor: Cursor, scope: str, secret: bytes) -> str:
    """An opaque token for this place in the list with this scope."""
    moment, sid = cursor.key
    body = f"{'B' if cursor.newer else 'A'}{moment.isoformat()} {sid}".encode()
    return f"P{base64.urlsafe_b64encode(_mac(scope, body, secret) + body).decode().rstrip('=')}"


def read_page_token(token: str, scope: str, secret: bytes) -> Cursor | None:
    """The place a token stands for, None when it is not one that this server gave for this list."""
    try:
        raw = base64.b64decode(token[1:] + "=" * (-len(token[1:]) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    mac, body = raw[:9], raw[9:]
    if token[:1] != "P" or not hmac.compare_digest(mac, _mac(scope, body, secret)):
        return None
    moment, _, sid = body[1:].decode().partition(" ")
    return Cursor((datetime.fromisoformat(moment), sid), newer=body[:1] == b"B")


def _mac(scope: str, body: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, scope.encode() + b"\0" + body, "sha256")[:9]


def listing_of(path: str, query: Mapping[str, str]) -> Listing:
    """Which page of which list is asked for.

    Raises:
        BadQuery: PageSize or Page out of range.
    """
    try:
        page_size, page = int(query.get("PageSize", "50")), int(query.get("Page", "0"))
    except ValueError as error:
        raise BadQuery(20001, "PageSize and Page must be whole numbers") from error
    if page_size < 1 or page < 0:
        raise BadQuery(20001, "PageSize must be 1 or more and Page 0 or more")
    if page_size > 1000:
        raise BadQuery(20007, "Page size too large")
    filters = tuple((name, query[name]) for name in _FILTERS if name in query)
    return Listing(path=path, filters=filters, page=page, page_size=page_size)


def window_of(query: Mapping[str, str]) -> tuple[datetime | None, datetime | None]:
    """[since, until) of the three date filters: whole UTC days, the time of day ignored.

    Raises:
        BadQuery: not a date.
    """
    lows: Sequence[datetime] = [_day(query[name]) for name in ("DateCreated", "DateCreated>") if name in query]
    highs = [_day(query["DateCreated<"])] if "DateCreated<" in query else []
    if "DateCreated" in query:
        highs.append(_day(query["DateCreated"]) + timedelta(days=1))
    return max(lows, default=None), min(highs, default=None)


def _day(text: str) -> datetime:
    """Midnight that starts the UTC day of a date or date-time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadQuery(20001, f"Invalid date {text}") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
