"""The rules for one reply's body: of the length announced, complete, decoded to the end, and not too large.

A body cut short must never pass for a whole one: transcripts are deleted at the source on the strength of
what was read here. So the length must match, a part (206) must be all of it, a coding must be whole (httpx and others
accept half a gzip stream without a word), and a body whose end is marked only by the closed connection is flagged as
not `framed`: a document of the API is believed after a second, identical fetch. A content that cannot be proven to be
whole is handed on with a doubt, so that its bytes can be kept.
"""

import codecs
import io
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from pipelines.holding import SpoolFile
from pipelines.twilio.codings import TooMuch, Undecodable, decode, is_plain, most_decoded
from pipelines.twilio.failure import Cause


class WireFault(Exception):
    """The reply breaks a rule of this module."""

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


IN_MEMORY_BYTES = 4 << 20
"""Bodies announced to be larger than this are spooled, where there is a spool."""

UNANNOUNCED_BYTES = 256 << 10
"""The same for bodies whose length is not announced."""

SPOOLING_BYTES = 1 << 20
"""What a spooled body takes of the byte budget: its buffers, and so that not all contents are spooled at once."""

_WHOLE_RANGE = re.compile(r"bytes[ \t]+0-([0-9]{1,18})/([0-9]{1,18})", re.ASCII | re.IGNORECASE)
_SPACE = b" \t\r\n"


class Digest(Protocol):
    """The part of a hashlib object used here."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the hash of all bytes added."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How a reply marks its end: by `length` in bytes, by chunks, or not at all."""

    length: int | None
    chunked: bool

    @property
    def framed(self) -> bool:
        """Whether a body cut short can be told from a whole one."""
        return self.chunked or self.length is not None

    @property
    def in_memory(self) -> int:
        """Bytes up to which the body is held in memory, where there is a spool for larger ones."""
        if self.length is None:
            return UNANNOUNCED_BYTES
        return self.length if self.length <= IN_MEMORY_BYTES else 0


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply; `sha256` (hex) if asked for; `reserved` bytes are still held in the byte budget.

    `body` is empty when the reply was spooled to `file`, which whoever takes the reply closes. `encoded_sha256` is that
    of the body as it came, where that was coded. With a `doubt` nothing proves that these bytes are the whole body.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)  # may hold a signed URL
    body: bytes = field(repr=False)
    framed: bool = True
    sha256: str = ""
    reserved: int = 0
    file: SpoolFile | None = field(default=None, repr=False)
    encoded_sha256: str = ""
    doubt: WireFault | None = None

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) if self.file is None else self.file.length


def framing(headers: Mapping[str, str], *, cap: int) -> Framing:
    """Read how the body of a reply is framed.

    Raises:
        WireFault: it is framed in a contradictory way, or longer than `cap` bytes.
    """
    transfer, announced = headers.get("transfer-encoding"), headers.get("content-length")
    if transfer is not None:
        if transfer.strip(" \t").lower() != "chunked" or announced is not None:
            raise WireFault(Cause.BROKEN, "contradictory framing")
        return Framing(length=None, chunked=True)
    if announced is None:
        return Framing(length=None, chunked=False)
    if not (announced.isascii() and announced.isdigit() and len(announced) < 19):
        raise WireFault(Cause.BROKEN, "its length is not a number")
    if int(announced) > cap:
        raise WireFault(Cause.TOO_LARGE, f"more than {cap} bytes")
    return Framing(length=int(announced), chunked=False)


def is_whole_range(headers: Mapping[str, str], length: int) -> bool:
    """Whether a part (206) of `length` bytes is all there is, as its Content-Range says."""
    said = _WHOLE_RANGE.fullmatch(headers.get("content-range", "").strip(" \t"))
    return said is not None and int(said[1]) + 1 == int(said[2]) == length


def no_document(body: bytes) -> str | None:
    """What a reply is that cannot be a document of the API, whatever its status; None when it may be one."""
    start = body.removeprefix(codecs.BOM_UTF8).lstrip(_SPACE)[:1]
    if not start:
        return "an empty reply with a status of success"
    return "a page of markup with a status of success" if start == b"<" else None


class Body:
    """Collects the bytes of a body; what exceeds `in_memory` bytes goes to a file of the `spool`, if there is one.

    `digest` gets every byte. As a context manager it closes the file when something is raised.
    """

    def __init__(
        self,
        *,
        cap: int,
        in_memory: int = 0,
        spool: Callable[[], SpoolFile] | None = None,
        digest: Digest | None = None,
    ) -> None:
        self._cap, self._in_memory, self._spool, self._digest = cap, in_memory, spool, digest
        self._buffer = io.BytesIO()
        self.file: SpoolFile | None = None
        self.length = 0

    @property
    def data(self) -> bytes:
        """The bytes, none when they are in the file."""
        return self._buffer.getvalue()

    @property
    def start(self) -> bytes:
        """The bytes, or of those in a file the first."""
        return self.data if self.file is None else next(self.file.chunks())

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the bytes, empty without a digest."""
        return "" if self._digest is None else self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append; WireFault when there are more than `cap` bytes."""
        self.length += len(chunk)
        if self.length > self._cap:
            raise WireFault(Cause.TOO_LARGE, f"more than {self._cap} bytes")
        if self._digest is not None:
            self._digest.update(chunk)
        if self.file is None and self._spool is not None and self.length > self._in_memory:
            self.file = self._spool()
            self.file.write(self._buffer.getvalue())
            self._buffer = io.BytesIO()
        (self._buffer if self.file is None else self.file).write(chunk)

    def close(self) -> None:
        """Let go of the file."""
        if self.file is not None:
            self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.close()


async def receive(
    read: Callable[[], Awaitable[bytes]],
    frame: Framing,
    body: Body,
    *,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Call `read` to the end of a body and collect it; `progress` is told of the bytes received so far.

    Raises:
        WireFault: it is longer than its cap, or not of the length announced.
    """
    while chunk := await read():
        body.write(chunk)
        if progress is not None:
            progress(body.length)
    if frame.length is not None and body.length != frame.length:
        raise WireFault(Cause.TRUNCATED, f"{body.length} of {frame.length} bytes")


def unpack(coded: Body, codings: Sequence[str], into: Body, *, cap: int) -> bool:
    """Write a body without its codings to `into`; False when it has none, whatever was said.

    Raises:
        WireFault: it is not whole, or unfolds to more than it may.
    """
    source = coded.data if coded.file is None else coded.file.file
    most = most_decoded(coded.length, cap=cap)
    try:
        decode(source, codings, into.write, most=most)
    except TooMuch:
        cause = Cause.TOO_LARGE if most == cap else Cause.ENCODED
        raise WireFault(cause, f"it unfolds to more than {most} bytes") from None
    except Undecodable as reason:
        if is_plain(coded.start, codings):
            return False
        raise WireFault(Cause.ENCODED, str(reason)) from None
    return True
