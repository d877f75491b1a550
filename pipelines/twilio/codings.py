"""Content codings: which ones a reply names, and its bytes without them.

No I/O but reading the bytes it is given. A coding marks its own end, so a body that was cut, or has something behind
its end, is not decoded but refused; several members one after the other are one body (RFC 1952, 8878). What is decoded
is bounded, because a few bytes can stand for gigabytes.
"""

import codecs
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Protocol, cast

import pyarrow as pa

_CODECS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "gzip", "br": "brotli", "zstd": "zstd"}
"""Arrow's names of what is decoded; its `gzip` reads the frames of gzip and of zlib, whichever comes."""

_NOT_DECODED = frozenset({"compress", "x-compress", "exi", "pack200-gzip", "dcb", "dcz", "bzip2", "lzma", "xz"})
"""Codings all the same: registered ones, and some that are in use."""

_MAGIC = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_ZLIB = tuple(bytes([window << 4 | 8]) for window in range(8))
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SAMPLE = 64 << 10
_ENOUGH = 32
"""Bytes; coded ones would all pass for text once in 10^13 times."""

_PIECE = 64 << 10
_MOST_LAYERS = 4

MOST_TIMES = 100
"""Times its size to which a body may unfold; JSON that repeats itself comes to 30."""

ANY_BODY = 32 << 20
"""Bytes to which any body may unfold, however small it is."""


class Undecodable(Exception):
    """The bytes are not what the coding says, or not all of it; the message is the reason."""


class TooMuch(Exception):
    """The bytes unfold to more than they may."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, empty at the end."""


def codings_of(header: str) -> tuple[str, ...]:
    """The codings that a Content-Encoding names, in the order in which they were applied.

    Words that name none (`identity`, `utf-8`, `aws-chunked`, `binary`, `none`, `base64`, ...) say nothing of the bytes.
    """
    words = (word.strip(" \t\"'").lower() for word in header.split(","))
    return tuple(word for word in words if word in _CODECS or word in _NOT_DECODED)


def is_plain(start: bytes, codings: Sequence[str]) -> bool:
    """Whether bytes that begin so are not coded, whatever was said: without the coding's first bytes, or text.

    Nothing can be said of few bytes, which may be the beginning of what was cut.
    """
    if start.startswith(tuple(_MAGIC.values())):
        return False
    magic = _MAGIC.get(codings[-1])
    if magic is not None and len(start) >= len(magic):
        return True
    if len(start) < _ENOUGH:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start[:_SAMPLE])  # which may end within a character
    except UnicodeDecodeError:
        return False
    return _NOT_TEXT.search(start[:_SAMPLE]) is None


def most_decoded(length: int, *, cap: int) -> int:
    """Bytes to which a body of `length` bytes may unfold where no body may have more than `cap`."""
    return min(cap, max(ANY_BODY, MOST_TIMES * length))


def decode(coded: bytes | BinaryIO, codings: Sequence[str], write: Callable[[bytes], object], *, most: int) -> None:
    """Give `write` the body without its codings, piece by piece.

    It is unfolded twice: nothing is kept of what is not whole or too much.

    Raises:
        Undecodable: it is cut, damaged, followed by something, or of a coding that is not decoded.
        TooMuch: it unfolds to more than `most` bytes.
    """
    if len(codings) > _MOST_LAYERS:
        raise Undecodable(f"it has {len(codings)} codings one upon the other")
    if unknown := [coding for coding in codings if coding not in _CODECS]:
        raise Undecodable(f"{unknown[0]} is not decoded here")
    file = io.BytesIO(coded) if isinstance(coded, bytes) else coded
    decoded = 0
    try:
        for piece in _pieces(file, codings):
            decoded += len(piece)
            if decoded > most:
                raise TooMuch
    except (pa.ArrowException, zlib.error, EOFError, OSError) as error:
        raise Undecodable(f"it is no whole {', '.join(codings)}") from error
    for piece in _pieces(file, codings):
        write(piece)


def _pieces(file: BinaryIO, codings: Sequence[str]) -> Iterator[bytes]:
    file.seek(0)
    source: _Readable = file
    for coding in reversed(codings):
        source = _layer(source, coding)
    while piece := source.read(_PIECE):
        yield piece


def _layer(inner: _Readable, coding: str) -> _Readable:
    source = _Ahead(inner)
    if coding == "deflate" and not _is_framed(source.start):
        return _RawDeflate(source)
    return cast("_Readable", pa.CompressedInputStream(pa.PythonFile(source, mode="r"), _CODECS[coding]))


def _is_framed(start: bytes) -> bool:
    """Whether it is zlib's format, as `deflate` means (RFC 9110 8.4.1.2), or gzip's; some servers send neither."""
    return start == _MAGIC["gzip"] or (start[:1] in _ZLIB and int.from_bytes(start, "big") % 31 == 0)


class _Ahead(io.RawIOBase):
    """A file whose first two bytes are known, and that is not closed by who reads it."""

    def __init__(self, inner: _Readable) -> None:
        self._inner = inner
        self.start = b""
        while len(self.start) < 2 and (piece := inner.read(2 - len(self.start))):
            self.start += piece
        self._left = self.start

    def readable(self) -> bool:
        return True

    def read(self, size: int = _PIECE, /) -> bytes:
        piece, self._left = self._left, b""
        return piece or self._inner.read(size)


class _RawDeflate(io.RawIOBase):
    """Deflate without a frame: it marks its end, though nothing proves its bytes."""

    def __init__(self, inner: _Readable) -> None:
        self._inner = inner
        self._codec = zlib.decompressobj(-zlib.MAX_WBITS)

    def readable(self) -> bool:
        return True

    def read(self, size: int = _PIECE, /) -> bytes:
        piece = b""
        while not (piece or self._codec.eof):
            coded = self._codec.unconsumed_tail or self._inner.read(_PIECE)
            piece = self._codec.decompress(coded, size)
            if not (coded or piece or self._codec.eof):
                raise EOFError
        if self._codec.unused_data or (self._codec.eof and self._inner.read(1)):
            raise EOFError
        return piece
