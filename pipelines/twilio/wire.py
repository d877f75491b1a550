"""The rules for one reply's body: unencoded, of the length announced, complete, and not too large.

A body cut short must never pass for a whole one: transcripts are deleted at the source on the strength of
what was read here. So an encoding is refused (httpx and others accept half a gzip stream without a word),
the length must match, and a body whose end is marked only by the closed connection is flagged as not `framed`:
the caller refuses it when it is a content, and believes a document of the API after a second, identical fetch.
"""

import io
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipelines.holding import SpoolFile
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

    `body` is empty when the reply was spooled to `file`, which whoever takes the reply closes.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)  # may hold a signed URL
    body: bytes = field(repr=False)
    framed: bool = True
    sha256: str = ""
    reserved: int = 0
    file: SpoolFile | None = field(default=None, repr=False)

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) if self.file is None else self.file.length


def framing(headers: Mapping[str, str], *, cap: int) -> Framing:
    """Read how the body of a reply is framed.

    Raises:
        WireFault: it is encoded, framed in a contradictory way, or longer than `cap` bytes.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", ""}:
        raise WireFault(Cause.ENCODED)
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


async def receive(
    read: Callable[[], Awaitable[bytes]],
    frame: Framing,
    *,
    cap: int,
    digest: Digest | None = None,
    progress: Callable[[int], None] | None = None,
    spool: Callable[[], SpoolFile] | None = None,
) -> tuple[bytes, SpoolFile | None]:
    """Call `read` to the end of a body; `digest` gets each chunk as it comes, `progress` the bytes received so far.

    With a `spool`, a body of more than `frame.in_memory` bytes goes to a file of it. Returns bytes and file, one empty.

    Raises:
        WireFault: it is longer than `cap` bytes, or not of the length announced.
    """
    body = io.BytesIO()
    file: SpoolFile | None = None
    received = 0
    try:
        while chunk := await read():
            received += len(chunk)
            if received > cap:
                raise WireFault(Cause.TOO_LARGE, f"more than {cap} bytes")
            if digest is not None:
                digest.update(chunk)
            if file is None and spool is not None and received > frame.in_memory:
                file = spool()
                file.write(body.getvalue())
                body = io.BytesIO()
            (body if file is None else file).write(chunk)
            if progress is not None:
                progress(received)
        if frame.length is not None and received != frame.length:
            raise WireFault(Cause.TRUNCATED, f"{received} of {frame.length} bytes")
    except BaseException:
        if file is not None:
            file.close()
        raise
    return body.getvalue(), file
