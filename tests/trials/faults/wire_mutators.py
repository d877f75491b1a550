"""Mutators of the connection, of HTTP's framing, of encodings and of statuses: for every level alike."""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random

import pyarrow as pa

from tests.trials.faults.mutator import Make, Mutator
from tests.trials.faults.replies import ALL, API, LISTS, End, Honest, Level, Wire, chunked, framed, head, saying

CONTENT = frozenset({Level.CONTENT})
DATA = frozenset({Level.DATA})
BOMB_BYTES = 256 << 20
"""What one layer of a bomb unfolds to."""

DRIP_SECONDS = 0.2
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>"
S3_ERROR = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message>'
    b"<RequestId>4442587FB7D0A2F9</RequestId><HostId>vlR7PnpV2Ce81l0PRw6jlUpck7Jo5ZsQjryTjKlc5aLWGVHPZLj5NeC6qMa0em</HostId></Error>"
)


def _cut(data: bytes, random: Random) -> bytes:
    """A beginning of `data` that is shorter."""
    return data[: random.randrange(len(data))] if data else data


def _cut_in_head(honest: Honest, random: Random) -> bytes:
    start = framed(honest)
    return start[: random.randrange(1, start.index(b"\r\n\r\n"))]


def _cut_in_body(honest: Honest, random: Random) -> bytes:
    start = head(honest.status, honest.headers) + b"Content-Length: %d\r\n\r\n" % (len(honest.body) + 1)
    return start + _cut(honest.body, random)


def _lengths(*lines: str) -> Make:
    """The whole body under other Content-Length lines; `{}` stands for its real length."""

    def make(honest: Honest, random: Random) -> Wire:
        said = "".join(f"{line.replace('{}', str(len(honest.body)))}\r\n" for line in lines).encode()
        return Wire(head(honest.status, honest.headers) + said + b"\r\n" + honest.body, End.CLOSE)

    return make


def _too_long(honest: Honest, random: Random) -> Wire:
    return Wire(_cut_in_body(honest, random), End.CLOSE)


def _too_short(honest: Honest, random: Random) -> Wire:
    told = random.randrange(len(honest.body)) if honest.body else 0
    return Wire(head(honest.status, honest.headers) + b"Content-Length: %d\r\n\r\n" % told + honest.body)


def _chunk_cut(honest: Honest, random: Random) -> Wire:
    whole = chunked(honest, random)
    start = whole.index(b"\r\n\r\n") + 4
    return Wire(whole[: random.randrange(start, len(whole) - 4)], End.CLOSE)


def _chunk_size(text: bytes) -> Make:
    def make(honest: Honest, random: Random) -> Wire:
        start = head(honest.status, honest.headers) + b"Transfer-Encoding: chunked\r\n\r\n"
        return Wire(start + text + b"\r\n" + honest.body + b"\r\n0\r\n\r\n", End.CLOSE)

    return make


def _unframed_cut(honest: Honest, random: Random) -> Wire:
    return Wire(
        head(honest.status, honest.headers) + b"Connection: close\r\n\r\n" + _cut(honest.body, random), End.CLOSE
    )


def _encoded(make: "type[bytes] | object", encoding: str) -> Make:
    def encode(honest: Honest, random: Random) -> Wire:
        assert callable(make)
        return saying(honest, honest.status, make(honest.body), *honest.headers[1:], ("Content-Encoding", encoding))

    return encode


@cache
def bomb(layers: int) -> bytes:
    """`BOMB_BYTES` zeros, packed so many times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    packed = b"".join(packer.compress(piece) for _ in range(BOMB_BYTES >> 20)) + packer.flush()
    for _ in range(layers - 1):
        packed = gzip.compress(packed, 9)
    return packed


def _bomb(layers: int) -> Make:
    def make(honest: Honest, random: Random) -> Wire:
        return saying(honest, 200, bomb(layers), ("Content-Encoding", ", ".join(["gzip"] * layers)))

    return make


def _half(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    def half(body: bytes) -> bytes:
        packed = pack(body)
        return packed[: len(packed) // 2]

    return half


def _arrow(name: str) -> Callable[[bytes], bytes]:
    return lambda body: pa.Codec(name).compress(body).to_pybytes()


def _status(status: int, body: bytes = b"", *headers: tuple[str, str], kind: str = "application/json") -> Make:
    return lambda honest, random: saying(honest, status, body, *headers, kind=kind)


def _throttled(retry_after: str | None) -> Make:
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    return _status(429, b'{"code":20429,"message":"Too Many Requests","status":429}', *headers)


def _to_trap(status: int) -> Make:
    return lambda honest, random: saying(honest, status, b"{}", ("Location", f"{honest.trap}/elsewhere"))


def _leading(target: str) -> Make:
    """Data leads elsewhere."""

    def make(honest: Honest, random: Random) -> Wire:
        place = target.replace("TRAP", honest.trap)
        return saying(honest, 307, b'{"redirect_to":"%b"}' % place.encode(), ("Location", place))

    return make


def _raw(data: bytes, end: End = End.CLOSE) -> Make:
    return lambda honest, random: Wire(data, end)


def _before(data: bytes) -> Make:
    """Something before the honest reply."""
    return lambda honest, random: Wire(data + framed(honest))


def _header(line: bytes) -> Make:
    """One more line among the headers of the honest reply."""

    def make(honest: Honest, random: Random) -> Wire:
        status, rest = framed(honest).split(b"\r\n", 1)
        return Wire(status + b"\r\n" + line + b"\r\n" + rest, End.CLOSE)

    return make


def _drip(honest: Honest, random: Random) -> Wire:
    whole = framed(honest)
    return Wire(whole, dripping=min(len(whole), 100), pause=DRIP_SECONDS)


def _forged(honest: Honest, random: Random) -> Wire:
    other = framed(replace(honest, status=200, body=b'{"forged":true}'))
    return Wire(framed(honest) + other)


def _all(honest: Honest, random: Random) -> Wire:
    size = len(honest.body)
    return saying(honest, 206, honest.body, ("Content-Range", f"bytes 0-{size - 1}/{size}"))


def _part(honest: Honest, random: Random) -> Wire:
    return saying(honest, 206, _cut(honest.body, random), ("Content-Range", f"bytes 0-9/{len(honest.body)}"))


_404 = b'{"code":20404,"message":"The requested resource was not found","status":404}'
_401 = b'{"code":20003,"message":"Authenticate","status":401}'
_500 = b'{"code":20500,"message":"Internal Server Error","status":500}'
_BUSY = b"<html><body><h1>503 Service Unavailable</h1></body></html>"

WIRE = (
    Mutator("reset before the reply", "the connection is reset where the reply should begin", _raw(b"", End.RESET)),
    Mutator(
        "reset in the head", "... or within status line and headers", lambda h, r: Wire(_cut_in_head(h, r), End.RESET)
    ),
    Mutator("reset in the body", "... or within the body", lambda h, r: Wire(_cut_in_body(h, r), End.RESET)),
    Mutator("closed without a word", "the connection is closed where the reply should begin", _raw(b"")),
    Mutator("closed in the head", "... or within the head", lambda h, r: Wire(_cut_in_head(h, r), End.CLOSE)),
    Mutator("silence", "no reply, and the connection stays open", _raw(b"", End.HANG)),
    Mutator("silence in the head", "half a head, then nothing", lambda h, r: Wire(_cut_in_head(h, r), End.HANG)),
    Mutator(
        "silence in the body", "a beginning of the body, then nothing", lambda h, r: Wire(_cut_in_body(h, r), End.HANG)
    ),
    Mutator("drip", "the honest reply, its last 100 bytes one by one", _drip),
    Mutator("HTTP/0.9", "a body without status line", lambda h, r: Wire(h.body + b"\r\n\r\n", End.CLOSE)),
    Mutator("another protocol", "an SSH banner", _raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")),
    Mutator("broken status line", "a status of two digits", _raw(b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n")),
    Mutator("giant header", "a header of 100 KB", _header(b"X-Large: " + b"a" * 100_000)),
    Mutator("many headers", "20,000 headers", _header(b"\r\n".join(b"X-%d: a" % n for n in range(20_000)))),
    Mutator("header without colon", "a line that is no header", _header(b"this is no header"), tolerable=True),
    Mutator("NUL in a header", "a header with a NUL", _header(b"X-Nul: a\0b")),
    Mutator(
        "100 Continue",
        "an interim reply nobody asked for, then the honest one",
        _before(b"HTTP/1.1 100 Continue\r\n\r\n"),
        tolerable=True,
    ),
    Mutator(
        "103 Early Hints", "another one", _before(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), tolerable=True
    ),
    Mutator(
        "101 Switching Protocols",
        "another protocol from here on",
        _raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
    ),
    Mutator("garbage before", "other bytes before the status line", _before(b"\x00\x01\x02garbage\r\n")),
    Mutator("length too long", "fewer bytes than announced, then the end", _too_long),
    Mutator("length too short", "more bytes than announced", _too_short, plausible=CONTENT),
    Mutator("length negative", "Content-Length: -1", _lengths("Content-Length: -1")),
    Mutator("length no number", "Content-Length: many", _lengths("Content-Length: many")),
    Mutator("length in hexadecimal", "Content-Length: 0x10", _lengths("Content-Length: 0x10")),
    Mutator("length with a sign", "Content-Length: +n", _lengths("Content-Length: +{}")),
    Mutator("length huge", "Content-Length: 10^30", _lengths("Content-Length: 1" + "0" * 30)),
    Mutator("two lengths", "two that differ", _lengths("Content-Length: {}", "Content-Length: 7")),
    Mutator(
        "length and chunks",
        "both, which contradict each other",
        _lengths("Content-Length: {}", "Transfer-Encoding: chunked"),
    ),
    Mutator("transfer encoding unknown", "Transfer-Encoding: gzip", _lengths("Transfer-Encoding: gzip")),
    Mutator("chunks cut", "chunked, and closed before the last chunk", _chunk_cut),
    Mutator("chunk size no number", "a size that is none", _chunk_size(b"xyz")),
    Mutator("chunk size negative", "a size below zero", _chunk_size(b"-5")),
    Mutator("chunk size huge", "a size of 10^20", _chunk_size(b"f" * 20)),
    Mutator("chunk size wrong", "a size that does not fit the chunk", _chunk_size(b"1")),
    Mutator("no length, cut", "no length and no chunks, closed early", _unframed_cut),
    Mutator("a second reply", "the honest reply, followed by one that nobody asked for", _forged, tolerable=True),
    Mutator("gzip", "packed although identity was asked for", _encoded(gzip.compress, "gzip"), tolerable=True),
    Mutator("brotli", "packed another way", _encoded(_arrow("brotli"), "br"), tolerable=True),
    Mutator("zstd", "packed another way", _encoded(_arrow("zstd"), "zstd"), tolerable=True),
    Mutator("brotli cut", "half of it, with the length of the half", _encoded(_half(_arrow("brotli")), "br")),
    Mutator("zstd cut", "half of it, with the length of the half", _encoded(_half(_arrow("zstd")), "zstd")),
    Mutator("deflate cut", "half of it, with the length of the half", _encoded(_half(zlib.compress), "deflate")),
    Mutator("gzip and more", "packed, with something behind it", _encoded(lambda b: gzip.compress(b) + b"x", "gzip")),
    Mutator("a word that is no coding", "aws-chunked", _encoded(bytes, "aws-chunked"), tolerable=True),
    Mutator(
        "203",
        "changed by somebody on the way",
        lambda h, r: saying(h, 203, h.body),
        levels=LISTS | CONTENT,
        tolerable=True,
    ),
    Mutator("206 of all", "a part that is the whole", _all, levels=LISTS | CONTENT, tolerable=True),
    Mutator("gzip cut", "half of it, with the length of the half", _encoded(_half(gzip.compress), "gzip")),
    Mutator(
        "gzip of two members",
        "a second member that readers drop",
        _encoded(lambda b: gzip.compress(b[: len(b) // 2]) + gzip.compress(b[len(b) // 2 :]), "gzip"),
        tolerable=True,
    ),
    Mutator("deflate", "packed another way", _encoded(zlib.compress, "deflate"), tolerable=True),
    Mutator("encoding that is none", "says br, sends plain bytes", _encoded(bytes, "br"), tolerable=True),
    Mutator("bomb", "256 MB of zeros, packed once", _bomb(1)),
    Mutator("bomb of 2 layers", "... twice", _bomb(2)),
    Mutator("bomb of 3 layers", "... three times", _bomb(3)),
    Mutator("429", "too many requests", _throttled(None)),
    Mutator("429, Retry-After 0", "at once", _throttled("0")),
    Mutator("429, Retry-After negative", "before it was asked", _throttled("-60")),
    Mutator("429, Retry-After a year", "31,536,000 seconds", _throttled("31536000")),
    Mutator("429, Retry-After past", "a date long gone", _throttled("Mon, 01 Jan 1990 00:00:00 GMT")),
    Mutator("429, Retry-After NaN", "not a number", _throttled("NaN")),
    Mutator("500", "a fault of the server", _status(500, _500)),
    Mutator("502 in HTML", "a gateway's page", _status(502, _BUSY, kind="text/html")),
    Mutator(
        "503, Retry-After a century",
        "a date far away",
        _status(503, _BUSY, ("Retry-After", "Fri, 01 Jan 2126 00:00:00 GMT"), kind="text/html"),
    ),
    Mutator("599", "a status that no standard has", _status(599)),
    Mutator("999", "a status beyond all", _status(999)),
    Mutator("404", "not found, though it is there", _status(404, _404)),
    Mutator("401", "credentials refused, though they are good", _status(401, _401), levels=API, stray=True),
    Mutator("410", "gone", _status(410, _404)),
    Mutator(
        "204 with a body",
        "no content, followed by one",
        lambda h, r: Wire(head(204, h.headers) + b"Content-Length: 2\r\n\r\n{}", End.CLOSE),
    ),
    Mutator("206", "a part, though the whole was asked for", _part),
    Mutator("304", "not modified, though nothing was said of a version", _status(304)),
    Mutator("HTML as 200", "the sign-in page of some network", _status(200, HTML, kind="text/html")),
    Mutator("error document as 200", "Twilio's error, with a status of success", _status(200, _404)),
    Mutator("empty body", "nothing at all, well framed", _status(200, b""), plausible=CONTENT),
    Mutator(
        "redirect to another host",
        "302 to a host that must not see the credentials",
        _to_trap(302),
        levels=LISTS | CONTENT,
    ),
    Mutator("redirect 308", "308 to that host", _to_trap(308), levels=LISTS | CONTENT),
    Mutator(
        "redirect to itself",
        "307 to the same path",
        lambda h, r: saying(h, 307, b"", ("Location", h.path)),
        levels=LISTS | CONTENT,
    ),
    Mutator("redirect to nowhere", "307 without any place", _status(307, b"{}"), levels=DATA),
    Mutator("redirect to plain text", "307 whose body is no JSON", _status(307, b"over there"), levels=DATA),
    Mutator("data leads to a private host", "http://10.0.0.1", _leading("http://10.0.0.1/x"), levels=DATA),
    Mutator(
        "data leads to the metadata service",
        "http://169.254.169.254",
        _leading("http://169.254.169.254/latest/meta-data"),
        levels=DATA,
    ),
    Mutator("data leads to a file", "file:///etc/passwd", _leading("file:///etc/passwd"), levels=DATA),
    Mutator(
        "data leads to a user name", "a host behind an @", _leading("https://bucket.example@10.0.0.1/x"), levels=DATA
    ),
    Mutator("data leads to dot segments", "a path that climbs", _leading("TRAP/a/../../etc"), levels=DATA),
    Mutator("data leads to another host", "a host that has nothing", _leading("TRAP/nothing"), levels=DATA),
    Mutator(
        "expired URL",
        "storage refuses the signed URL with S3's XML",
        _status(403, S3_ERROR, kind="application/xml"),
        levels=CONTENT,
    ),
    Mutator(
        "S3 error as 200",
        "the same XML with a status of success",
        _status(200, S3_ERROR, kind="application/xml"),
        levels=CONTENT,
    ),
)
assert all(m.levels <= ALL for m in WIRE)
