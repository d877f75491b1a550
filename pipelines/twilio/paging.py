"""Bodies of the API: what a page holds, and whether the next page may be asked for.

Pure. `next_page_uri` comes from outside, so it is followed only when its path is, character for
character, the path of the list that is being read; that one comparison excludes another host, account or
resource, `//`, dot segments and percent-encoding tricks. Items are handed on as the bytes that arrived;
of an account, which carries its auth token, only SID and status are ever decoded.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec

from pipelines.errors import SourceUntrusted
from pipelines.items import cut
from pipelines.sids import account_sid
from pipelines.twilio.splitting import split_array, split_object
from pipelines.twilio.values import Subaccount

PAGE_SIZE = 1000  # the most Twilio gives

_LONGEST_QUERY = 4 << 10
"""Bytes; Twilio's has about 150. A list may have thousands of pages, and where it has been is remembered."""

_QUERY = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@/?%\[\]]+", re.ASCII)
_ESCAPED_LETTER = re.compile(rb"\\u00[5-7]")
"""How a name of the page may be spelled otherwise; no serializer escapes letters, so real pages do not have it."""
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of the API: `path` of the resource, `key` of its array in the page, `subject` for messages."""

    path: str
    key: str
    subject: str
    filters: tuple[tuple[str, str], ...] = ()

    @property
    def first_uri(self) -> str:
        """Path and query of the first page."""
        return f"{self.path}?{urlencode([*self.filters, ('PageSize', str(PAGE_SIZE))])}"


@dataclass(frozen=True, slots=True)
class Page:
    """The items of one page as the JSON text received, and the URI of the next page, None at the end."""

    items: tuple[bytes, ...]
    next_uri: str | None


def read_page(body: bytes, listing: Listing) -> Page:
    """Split the body of a page into items.

    Raises:
        SourceUntrusted: the body is not a JSON object with the list's array, or its next page is elsewhere.
    """
    try:
        following, items = _read_envelope(body, listing.key)
    except KeyError as missing:
        name = missing.args[0] if isinstance(missing.args[0], str) else missing.args[0].decode("ascii")
        raise SourceUntrusted(f"{listing.subject}: the page has no `{name}`") from None
    except (*_BROKEN, ValueError):
        raise SourceUntrusted(f"{listing.subject}: the page is not the JSON that is documented") from None
    # Twilio's own library, too, stops on an empty text.
    next_uri = next_page(following, listing) if following else None
    return Page(items, next_uri)


def next_page(uri: str, listing: Listing) -> str:
    """Return `uri` if it is a further page of the same list.

    Raises:
        SourceUntrusted: it is anything else.
    """
    path, _, query = uri.partition("?")
    if path != listing.path or len(query) > _LONGEST_QUERY or _QUERY.fullmatch(query) is None:
        raise SourceUntrusted(f"{listing.subject}: the next page is not a page of the same list")
    return uri


def read_subaccount(item: bytes, subject: str) -> Subaccount:
    """Read SID and status of an account and nothing else of it.

    Raises:
        SourceUntrusted: it has no valid SID.
    """
    try:
        row = msgspec.json.decode(item, type=_Account)
        return Subaccount(account_sid(row.sid), row.status)
    except (*_BROKEN, ValueError):
        raise SourceUntrusted(f"{subject}: an account without a valid SID") from None


def read_redirect(body: bytes, subject: str) -> str:
    """Read where the body of a redirect leads.

    Raises:
        SourceUntrusted: it does not say.
    """
    try:
        return msgspec.json.decode(body, type=_Redirect).redirect_to
    except _BROKEN:
        raise SourceUntrusted(f"{subject}: Twilio names no place to fetch it from") from None


def _read_envelope(body: bytes, key: str) -> tuple[str | None, tuple[bytes, ...]]:
    try:
        envelope = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        items = tuple(cut(memoryview(item)) for item in msgspec.json.decode(envelope[key], type=list[msgspec.Raw]))
        names = (key.encode("ascii"), b"next_page_uri")
        if any(body.count(b'"%b"' % name) > 1 for name in names) or _ESCAPED_LETTER.search(body):
            split_object(body)  # refuses a member given twice: readers take the first or the last
        return _following(envelope.get("next_page_uri"), envelope.get("page_size"), len(items)), items
    except _BROKEN:  # by one value of one row, perhaps
        members = split_object(body)
        items = tuple(map(cut, split_array(members[key.encode("ascii")])))
        return _following(members.get(b"next_page_uri"), members.get(b"page_size"), len(items)), items


def _following(uri: msgspec.Raw | bytes | None, size: msgspec.Raw | bytes | None, count: int) -> str | None:
    """The next page's URI; a page that lacks the member is the last one only if it is visibly not full.

    Raises:
        KeyError: it is full, so that there may be more.
    """
    if uri is not None:
        return msgspec.json.decode(uri, type=str | None)
    stated = PAGE_SIZE if size is None else msgspec.json.decode(size, type=int)
    if count >= min(stated, PAGE_SIZE):
        raise KeyError("next_page_uri")
    return None


class _Account(msgspec.Struct):
    sid: str
    status: str | None = None


class _Redirect(msgspec.Struct):
    redirect_to: str
