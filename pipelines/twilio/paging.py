"""Bodies of the API: what a page holds, and whether the next page may be asked for.

Pure. `next_page_uri` comes from outside. It is a URI reference in whatever spelling, and followed only when it resolves
to the list that is being read, at the same origin; what is asked is then that list's own path, and nothing but the
query is theirs. So no spelling leads to another host, account or resource. A page that has far more rows than were
asked for is refused before they are read. Items are handed on as the bytes that arrived;
of an account, which carries its auth token, only SID, status and friendly name are ever decoded.
"""

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit

import msgspec

from pipelines.errors import SourceUntrusted
from pipelines.records.items import cut
from pipelines.records.sids import account_sid
from pipelines.twilio.splitting import split_array, split_object
from pipelines.twilio.values import Subaccount

PAGE_SIZE = 1000  # the most Twilio gives

_LONGEST_QUERY = 4 << 10
"""Bytes; Twilio's has about 150. A list may have thousands of pages, and where it has been is remembered."""

_LONGEST_REDIRECT = 64 << 10
MOST_ROWS = 10 * PAGE_SIZE
"""In a page. A server may take little notice of what was asked; one that takes none costs a minute for each page."""

_MOST_COMMAS = 64 * MOST_ROWS
"""In the text of a page; a row of Twilio's has up to 25 of its own."""

_UNRESERVED = re.compile(r"%(2[DEde]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])", re.ASCII)
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_KEPT = "-._~!$&'()*+,;=:@/?%[]"
_DEFAULT_PORTS = MappingProxyType({"https": 443, "http": 80})
_ESCAPED_LETTER = re.compile(rb"\\u00[5-7]")
"""How a name of the page may be spelled otherwise; no serializer escapes letters, so real pages do not have it."""
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of the API: `path` of the resource, `key` of its array in the page, `subject` for messages.

    `stops`: whoever is refused it is refused all that is the account's.
    """

    path: str
    key: str
    subject: str
    filters: tuple[tuple[str, str], ...] = ()
    stops: bool = True

    @property
    def first_uri(self) -> str:
        """Path and query of the first page."""
        filters = f"{urlencode(self.filters)}&" if self.filters else ""
        return f"{self.path}?{filters}PageSize={PAGE_SIZE}"


@dataclass(frozen=True, slots=True)
class Page:
    """The items of one page as the JSON text received, and the URI of the next page, None at the end."""

    items: tuple[bytes, ...]
    next_uri: str | None


def read_page(body: bytes, listing: Listing, *, base_url: str = "") -> Page:
    """Split the body of a page, which came from `base_url`, into items.

    Raises:
        SourceUntrusted: the body is not a JSON object with the list's array, or its next page is elsewhere.
    """
    if body.count(b",") > _MOST_COMMAS:
        raise SourceUntrusted(_TOO_MANY.format(listing.subject))
    try:
        following, items = _read_envelope(body.removeprefix(codecs.BOM_UTF8), listing.key)
    except KeyError as missing:
        name = missing.args[0] if isinstance(missing.args[0], str) else missing.args[0].decode("ascii")
        raise SourceUntrusted(f"{listing.subject}: the page has no `{name}`") from None
    except (*_BROKEN, ValueError):
        raise SourceUntrusted(f"{listing.subject}: the page is not the JSON that is documented") from None
    except OverflowError:
        raise SourceUntrusted(_TOO_MANY.format(listing.subject)) from None
    # Twilio's own library, too, stops on an empty text.
    next_uri = next_page(following, listing, base_url=base_url) if following else None
    return Page(items, next_uri)


_TOO_MANY = f"{{}}: the page has far more rows than the {PAGE_SIZE} that were asked for"


def next_page(uri: str, listing: Listing, *, base_url: str = "") -> str:
    """Return path and query of a further page of the same list.

    Args:
        uri: a reference, relative to the page or absolute; of its query is escaped what may not be sent.
        listing: the list.
        base_url: where it is read; an absolute reference must be to there.

    Raises:
        SourceUntrusted: it leads anywhere else.
    """
    elsewhere = SourceUntrusted(f"{listing.subject}: the next page is not a page of the same list")
    base = base_url or _NOWHERE
    try:
        if _UNFIT.search(uri):
            raise elsewhere
        target = urlsplit(urljoin(base + listing.path, uri.strip(" ")))
        same = _origin(target) == _origin(urlsplit(base)) and _plain(target.path) == listing.path
        query = quote(target.query, safe=_KEPT)
    except ValueError:  # no port, no host of IPv6, half a surrogate pair
        raise elsewhere from None
    if not (same and query and len(query) <= _LONGEST_QUERY):
        raise elsewhere
    return f"{listing.path}?{query}"


_NOWHERE = "https://nowhere.invalid"
"""For what is read without a base: nothing absolute is at the same origin."""


def _origin(url: SplitResult) -> tuple[str, str, int | None, str | None]:
    return url.scheme, url.hostname or "", url.port or _DEFAULT_PORTS.get(url.scheme), url.username or url.password


def _plain(path: str) -> str:
    """A path in which no character is escaped that need not be (RFC 3986 6.2.2.2)."""
    return _UNRESERVED.sub(lambda escaped: chr(int(escaped[1], 16)), path)


def read_subaccount(item: bytes, subject: str) -> Subaccount:
    """Read SID, status and friendly name of an account and nothing else of it.

    Raises:
        SourceUntrusted: it has no valid SID.
    """
    try:
        row = msgspec.json.decode(item, type=_Account)
        return Subaccount(account_sid(row.sid), row.status, row.friendly_name)
    except (*_BROKEN, ValueError):
        raise SourceUntrusted(f"{subject}: an account without a valid SID") from None


def redirect_in(body: bytes, *, required: bool, subject: str) -> str | None:
    """Where the body of a redirect leads; None when it is something else and no redirect is `required`.

    Raises:
        SourceUntrusted: it should say and does not.
    """
    if not required and (len(body) > _LONGEST_REDIRECT or not body.lstrip().startswith(b"{")):
        return None
    try:
        return msgspec.json.decode(body, type=_Redirect if required else _NothingElse).redirect_to
    except _BROKEN:
        if not required:
            return None
        raise SourceUntrusted(f"{subject}: Twilio names no place to fetch it from") from None


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_text: Callable[[msgspec.Raw | bytes], str | None] = msgspec.json.Decoder(str | None).decode
_number = msgspec.json.Decoder(int).decode


def _read_envelope(body: bytes, key: str) -> tuple[str | None, tuple[bytes, ...]]:
    try:
        envelope = _members(body)
        rows = _rows(envelope[key])
        _limit(rows)
        items = tuple(cut(memoryview(item)) for item in rows)
        names = (key.encode("ascii"), b"next_page_uri")
        if any(body.count(b'"%b"' % name) > 1 for name in names) or _ESCAPED_LETTER.search(body):
            split_object(body)  # refuses a member given twice: readers take the first or the last
        return _following(envelope.get("next_page_uri"), envelope.get("page_size"), len(items)), items
    except _BROKEN:  # by one value of one row, perhaps
        members = split_object(body)
        parts = split_array(members[key.encode("ascii")])
        _limit(parts)
        items = tuple(map(cut, parts))
        return _following(members.get(b"next_page_uri"), members.get(b"page_size"), len(items)), items


def _limit(rows: Sequence[object]) -> None:
    if len(rows) > MOST_ROWS:
        raise OverflowError


def _following(uri: msgspec.Raw | bytes | None, size: msgspec.Raw | bytes | None, count: int) -> str | None:
    """The next page's URI; a page that lacks the member is the last one only if it is visibly not full.

    Raises:
        KeyError: it is full, so that there may be more.
    """
    if uri is not None:
        return _text(uri)
    stated = PAGE_SIZE if size is None else _number(size)
    if count >= min(stated, PAGE_SIZE):
        raise KeyError("next_page_uri")
    return None


class _Account(msgspec.Struct):
    sid: str
    status: str | None = None
    friendly_name: str | None = None


class _Redirect(msgspec.Struct):
    redirect_to: str


class _NothingElse(_Redirect, forbid_unknown_fields=True):
    """A redirect that cannot be anything else, such as a content that has a member of this name."""
