"""A correct reply as a value, and the bytes it becomes on the wire.

`Honest` is what the source would say; a mutator makes a `Wire` of it: bytes, how fast they go out, and how the
connection ends. Nothing here knows the product.
"""

from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random

Headers = tuple[tuple[str, str], ...]


class Level(Enum):
    """What a request asks for."""

    RECORDINGS = "recordings"
    RESULTS = "results"
    PAYLOADS = "payloads"
    DATA = "data"
    CONTENT = "content"


LISTS = frozenset({Level.RECORDINGS, Level.RESULTS, Level.PAYLOADS})
API = LISTS | {Level.DATA}
ALL = frozenset(Level)


class End(Enum):
    """What happens to the connection after the bytes."""

    KEEP = "stays open"
    CLOSE = "is closed"
    RESET = "is reset"
    HANG = "stays open and silent, though more was promised"


@dataclass(frozen=True, slots=True)
class Honest:
    """What the source would answer; `key` names what was asked for: a day, or the SID of the parent."""

    level: Level
    key: str
    path: str
    status: int
    headers: Headers
    body: bytes = field(repr=False)
    trap: str = ""
    """Base URL of a host that nobody may send credentials to."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Bytes to send, `pause` seconds after each of the last `dripping` ones, and the end of the connection."""

    data: bytes = field(repr=False)
    end: End = End.KEEP
    dripping: int = 0
    pause: float = 0.0


_REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 307: "Temporary Redirect", 404: "Not Found"}


def head(status: int, headers: Headers, *, reason: str | None = None) -> bytes:
    """Status line and headers, without any that frames the body."""
    lines = [f"HTTP/1.1 {status} {reason or _REASONS.get(status, 'Whatever')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n"


def framed(honest: Honest) -> bytes:
    """Head and body as the source sends them: with Content-Length."""
    length = b"" if honest.status == 204 else b"Content-Length: %d\r\n" % len(honest.body)
    return head(honest.status, honest.headers) + length + b"\r\n" + honest.body


def chunked(honest: Honest, random: Random) -> bytes:
    """The same in chunks of random sizes."""
    pieces, at = [], 0
    while at < len(honest.body):
        size = random.randint(1, 1 + len(honest.body) // 3)
        piece = honest.body[at : at + size]
        pieces.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += size
    return head(honest.status, honest.headers) + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(pieces) + b"0\r\n\r\n"


def saying(
    honest: Honest, status: int, body: bytes = b"", *headers: tuple[str, str], kind: str = "application/json"
) -> Wire:
    """Another reply in place of the honest one, whole and well framed."""
    return Wire(framed(replace(honest, status=status, body=body, headers=(("Content-Type", kind), *headers))))
