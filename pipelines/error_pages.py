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
_TWILIO_ERROR = frozenset({"code", "message", "more_info", "status", "details"})
_PROBLEM = frozenset({"type", "title", "status", "detail", "instance"})


def error_document(data: bytes, content_type: str | None) -> str | None:
    """What a content is taken for when it is an error page sent with a status of success; None for any other.

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
        return _json_error(text, kind)
    return None


def _json_error(text: bytes, kind: str) -> str | None:
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if {"code", "message", "status"} <= members.keys() <= _TWILIO_ERROR:
        return "an error document of Twilio"
    failed = re.fullmatch(rb"\s*[45]\d\d\s*", bytes(members.get("status", b""))) is not None
    if failed and {"title", "status"} <= members.keys() <= _PROBLEM and "problem" not in kind:
        return "an error document of the kind of RFC 9457"
    return None
