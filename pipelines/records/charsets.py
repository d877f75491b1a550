"""Whether the bytes of a content are text, and in which charset. Pure.

Only a type that says text or JSON makes bytes text. Then a byte order mark decides, for JSON its first bytes, then the
type's `charset`, then UTF-8. Bytes that are not valid in it are no text: nothing is guessed and nothing replaced.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

UTF_8 = "utf-8"

_JSON = frozenset({"json", "x-json", "ndjson", "x-ndjson", "jsonl", "json5"})

_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?\s*([^\s"';]*)""", re.IGNORECASE)

_CODECS = re.compile(
    r"ascii|utf-(?:8|(?:16|32)(?:-[bl]e)?)|iso8859-\d+|cp\d+|koi8-[rtu]|mac-[a-z]+|tis-620|ptcp154|kz1048|hp-roman8|"
    r"gb2312|gbk|gb18030|hz|big5(?:hkscs)?|shift_jis\w*|euc_\w+|iso2022_\w+|johab"
)
"""Names of Python's codecs that are charsets; there are others, of which some cost much or do something else."""

_HEAD_BYTES = 256
"""From which it is told in which order bytes stand."""

_USUAL = re.compile(r"ascii|iso8859-\d+|cp125\d")
"""Charsets that servers name without having looked. Bytes that are valid UTF-8 are UTF-8 all the same."""

_MARKS = ((codecs.BOM_UTF8, UTF_8), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
"""Byte order marks; that of UTF-32 begins as that of UTF-16 does."""


def codec_of(content_type: str | None, pieces: Callable[[], Iterable[bytes]]) -> str | None:
    """Python's codec by which a content is text; UTF_8 where its bytes are that already, None where it is no text.

    Args:
        content_type: what the payload is said to be.
        pieces: gives all its bytes, cut anywhere; called once for each codec that is tried.
    """
    is_text, is_json, charset = _said(content_type)
    if not is_text:
        return None
    likely = _likely(_head(pieces()), charset, is_json=is_json)
    return next((codec for codec in likely if _valid(codec, pieces())), None)


def as_text(content_type: str | None, data: bytes) -> tuple[bool, str | None]:
    """Whether bytes are text as they are, which is UTF-8, and their text where it is in another charset."""
    codec = codec_of(content_type, lambda: (data,))
    return codec == UTF_8, None if codec in (None, UTF_8) else data.decode(codec)


@lru_cache(maxsize=256)
def _said(content_type: str | None) -> tuple[bool, bool, str | None]:
    """Whether a type says text, whether it says JSON, and its charset; empty where it is none that is known."""
    kind, _, _ = (content_type or "").partition(";")
    main, _, sub = kind.strip().lower().partition("/")
    is_json = (sub in _JSON and main in ("application", "text")) or sub.endswith("+json")
    found = _CHARSET.search(content_type or "")
    named = found is not None and found[1]
    return is_json or main == "text", is_json, _codec(named) if named else None


def _codec(charset: str) -> str:
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return ""
    return name if _CODECS.fullmatch(name) else ""


def _head(pieces: Iterable[bytes]) -> bytes:
    """How a content begins."""
    head = b""
    for piece in pieces:
        head += piece[:_HEAD_BYTES]
        if len(head) >= _HEAD_BYTES:
            break
    return head[:_HEAD_BYTES]


def _likely(head: bytes, charset: str | None, *, is_json: bool) -> Iterator[str]:
    """Codecs to be tried, the likeliest first."""
    yield from (codec for mark, codec in _MARKS if head.startswith(mark))
    if is_json and (detected := json.detect_encoding(head)) != UTF_8:  # by its zeros, as RFC 4627 says
        yield detected
    if charset is None or _USUAL.fullmatch(charset):
        yield UTF_8
    if charset in ("utf-16", "utf-32"):
        yield f"{charset}-{_order(head)}"
    elif charset:
        yield charset


def _order(head: bytes) -> str:
    """The order of bytes without a mark: zeros are where the high ones are; where there are none as RFC 2781 says."""
    return "le" if head[1::2].count(0) > head[::2].count(0) else "be"


def _valid(codec: str, pieces: Iterable[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        for piece in pieces:
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True
