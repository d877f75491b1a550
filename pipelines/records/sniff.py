"""Error pages that come with a status of success, in place of a content. Pure."""

import codecs
import re

import msgspec

_LARGEST_ERROR = 256 << 10
_ROOT_WITHIN = 1 << 10
_BEFORE_THE_ROOT = re.compile(rb"(?:\s|<\?xml[^>]*>|<!--.*?-->)*", re.ASCII | re.DOTALL)
_HTML = re.compile(rb"<!doctype\s+html|<(?:html|head)[\s>]", re.ASCII | re.IGNORECASE)
_STORE_ERROR = re.compile(rb"<Error(?:\s[^>]*)?>.*<Code>", re.ASCII | re.DOTALL)
_TWILIO_XML_ERROR = re.compile(rb"<TwilioResponse(?:\s[^>]*)?>.*<RestException>", re.ASCII | re.DOTALL)
_PROBLEM = frozenset({"type", "title", "status", "detail", "instance"})
_FIRST_CODE = 10_000
"""Twilio's error codes have five digits [https://www.twilio.com/docs/api/errors]."""


def error_document(data: bytes, content_type: str | None, served_as: str | None = None) -> str | None:
    """What a content is taken for when it is an error page sent with a status of success; None for any other.

    Vendors report failures in JSON as well, with members of the same names: those are contents. So it takes the values
    that Twilio's have, or the media type of a problem (RFC 9457) where the payload is of another one.

    Args:
        data: the bytes.
        content_type: what the payload is said to be.
        served_as: what the reply said it was; None when that is not known.

    It is kept in quarantine, so nothing is lost should it be what a vendor delivered.
    """
    if not data or len(data) > _LARGEST_ERROR:
        return None
    text = data.removeprefix(codecs.BOM_UTF8).lstrip()
    kind = (content_type or "").lower()
    if text.startswith(b"<") and "xml" not in kind:
        start = text[:_ROOT_WITHIN]
        root = start[_BEFORE_THE_ROOT.match(start).end() :]  # type: ignore[union-attr]  # it matches nothing, too
        if _STORE_ERROR.match(root):
            return "an error document of an object store"
        if _TWILIO_XML_ERROR.match(root):
            return "an error document of Twilio"
        if _HTML.match(root) and "html" not in kind:
            return "a page in HTML"
    if text.startswith(b"{") and b'"status"' in text and (b'"message"' in text or b'"title"' in text):
        return _json_error(text, kind, "problem" if served_as is None else served_as.lower())
    return None


def _json_error(text: bytes, kind: str, served_as: str) -> str | None:
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    failed = re.fullmatch(rb"\s*[45]\d\d\s*", bytes(members.get("status", b""))) is not None
    if failed and _is_twilios(text):
        return "an error document of Twilio"
    problem = "problem" in served_as and "problem" not in kind
    if failed and problem and {"title", "status"} <= members.keys() <= _PROBLEM:
        return "an error document of the kind of RFC 9457"
    return None


class _TwilioError(msgspec.Struct, forbid_unknown_fields=True):
    """What Twilio's error documents hold; `details` may be anything."""

    code: int
    message: str
    status: int
    more_info: str | None = None
    details: msgspec.Raw | None = None
    user_error: bool | None = None


def _is_twilios(text: bytes) -> bool:
    try:
        said = msgspec.json.decode(text, type=_TwilioError)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return said.code >= _FIRST_CODE
