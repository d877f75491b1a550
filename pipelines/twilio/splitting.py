"""Splits a JSON array or object at its own commas, without looking into the values.

Pure. For pages that a JSON parser rejects because of one value in one row (half a surrogate pair in a label cut
short, a NaN, a bare control character, nesting without end): such a row must not take 999 good ones with it.
Promises that brackets and strings match up to the very end, so a page cut short is not split but refused.
"""

import re

# Possessive: what could be tried again otherwise takes 120 bytes for each character of a text.
_TEXT = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_TOKEN = re.compile(rb'"%b"|["\[\]{},]' % _TEXT, re.DOTALL)
_MEMBER = re.compile(rb'"(%b)"[ \t\r\n]*:(.*)' % _TEXT, re.DOTALL)
_CLOSING = {b"{": b"}", b"[": b"]"}
_SPACE = b" \t\r\n"


def split_array(text: bytes) -> list[bytes]:
    """Return the items of a JSON array as they are written; ValueError when it is none or not whole."""
    return _split(text, b"[")


def split_object(text: bytes) -> dict[bytes, bytes]:
    """Return the values of a JSON object by key, both as written; ValueError when it is none or not whole.

    Also when a key is given twice or has escapes: the same key in another spelling.
    """
    members: dict[bytes, bytes] = {}
    for part in _split(text, b"{"):
        member = _MEMBER.fullmatch(part)
        if member is None or member[1] in members or b"\\" in member[1]:
            raise ValueError("not a member of an object, or one given twice")
        members[member[1]] = member[2].strip(_SPACE)
    return members


def _split(text: bytes, opening: bytes) -> list[bytes]:
    text = text.strip(_SPACE)
    if not text.startswith(opening):
        raise ValueError("something else")
    parts: list[bytes] = []
    awaited: list[bytes] = []
    start, end = 1, 0
    for token in _TOKEN.finditer(text):
        symbol = token[0]
        if symbol in _CLOSING:
            awaited.append(_CLOSING[symbol])
        elif symbol == b"," and len(awaited) == 1:
            parts.append(text[start : token.start()].strip(_SPACE))
            start = token.end()
        elif symbol in {b"}", b"]"}:
            if awaited.pop() != symbol:
                raise ValueError("brackets do not match")
            if not awaited:
                end = token.end()
                break
        elif symbol == b'"':
            raise ValueError("a text without end")
    if end != len(text):
        raise ValueError("not whole, or more than one value")
    last = text[start:-1].strip(_SPACE)
    if parts or last:
        parts.append(last)
    if not all(parts):
        raise ValueError("nothing between two commas")
    return parts
