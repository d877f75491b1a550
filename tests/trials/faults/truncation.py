"""Truncation trial: contents cut after every byte in turn, under a length, in chunks, or ended by closing alone.

    make trial NAME=truncation

None may pass for whole; a plain httpx client, the control, takes every one that is ended by closing.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass
from functools import partial
from random import Random

import httpx

from pipelines.errors import SourceError
from tests.pipelines.twilio.made_up import RE, SIGNATURE, XH, XR
from tests.pipelines.twilio.sockets import CUT, ONE_ATTEMPT, on_sockets, reply, serving

KINDS = ("length", "chunked", "close")


@dataclass(frozen=True, slots=True)
class Found:
    """How many cut replies were given, how many of them the product took, and how many the control."""

    cases: int
    taken: int
    control: int


def contents(number: int, random: Random) -> list[bytes]:
    """Made-up contents of up to 200 bytes; some are text, some are not."""
    return [
        random.randbytes(n) if n % 2 else b'{"text":"%b"}' % (b"a" * n) for n in random.sample(range(1, 190), number)
    ]


def whole(body: bytes, kind: str) -> tuple[bytes, int]:
    """A reply, and how many of its bytes must arrive for all of the body to be known: one short is cut."""
    if kind == "length":
        return reply(body), len(reply(body))
    if kind == "close":
        data = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + body
        return data, len(data)
    middle = len(body) // 2
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:middle], body[middle:]) if part)
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    return data, len(data) - 1  # the last byte only ends the last line: a reader may do without


def truncate(bodies: list[bytes], kind: str, *, step: int = 1) -> Found:
    """Cut every `step`th length of the body (and what frames it) and count who takes it."""

    async def run() -> Found:
        cases = taken = control = 0
        cut = b""
        ports: list[int] = []

        def answer(head: bytes) -> bytes:
            if b"/Data.json " in head:
                place = f"Location: http://127.0.0.1:{ports[0]}/signed?{SIGNATURE}"
                return reply(b"{}", place, status="307 Temporary Redirect")
            return cut + CUT

        async with serving(answer) as server:
            ports.append(server.port)
            async with on_sockets(server.url, tuning=ONE_ATTEMPT) as twilio, httpx.AsyncClient() as plain:
                for body in bodies:
                    data, enough = whole(body, kind)
                    for n in range(data.index(b"\r\n\r\n") + 4, enough, step):
                        cut = data[:n]
                        cases += 1
                        try:
                            await twilio.content(RE, XR, XH)
                            taken += 1
                        except SourceError:
                            pass
                        if n % 10 == 0:
                            try:
                                await plain.get(f"{server.url}/signed")
                                control += 1
                            except httpx.HTTPError:
                                pass
        return Found(cases, taken, control)

    return asyncio.run(run())


def main() -> None:
    """Cut 50 contents everywhere; exit code 1 when one passes for whole, or the control took none."""
    parser = argparse.ArgumentParser(description="Cut replies after every byte and see who takes them for whole.")
    parser.add_argument("--contents", type=int, default=50)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    say = partial(print, flush=True)
    say(f"seed {options.seed}")
    bodies = contents(options.contents, Random(options.seed))
    found = {kind: truncate(bodies, kind) for kind in KINDS}
    for kind, one in found.items():
        say(f"{kind}: {one.cases} cut replies, {one.taken} taken for whole; control took {one.control}")
    sys.exit(1 if any(one.taken for one in found.values()) or not found["close"].control else 0)


if __name__ == "__main__":
    main()
