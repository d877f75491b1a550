"""Readers at every moment: while one process lands, compacts and publishes in a loop, others open and ask all the time.

Each commit adds one row to every table, so an answer whose counts differ is torn. One reader keeps one connection
for the whole time and must always get the answer it got first; others open anew for each question, or now and then.
The writer runs alone first, to see whether readers make it wait. The suite runs a second of it.

    make trial NAME=readers ARGS="--seconds 30"
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import duckdb

from tests.warehouse.made_up import NOON, land_rows, later, result, whole
from tests.warehouse.processes import start
from warehouse.published.publish import publish
from warehouse.store.collect import collect
from warehouse.store.names import PUBLISHED, Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.compact import compact

LEAST = 3
"""Publications that are waited for, however busy the machine is."""

WAIT = 60.0
"""Seconds a child may take longer than it was told to."""

QUESTION = (
    "SELECT (SELECT count(*) FROM recordings), (SELECT count(*) FROM add_on_results), (SELECT count(*) FROM "
    "add_on_payloads), (SELECT count(*) FROM contents), (SELECT count(DISTINCT payload_sid) FROM transcripts), "
    "(SELECT sum(results)::BIGINT FROM days), (SELECT count(*) FROM retention WHERE state = 'exported')"
)


@dataclass(frozen=True, slots=True)
class Written:
    """What the writer did: publications, and how long each took from landing on (seconds of wall and of CPU)."""

    publications: int
    seconds: list[float]
    cpu: float


@dataclass(frozen=True, slots=True)
class Read:
    """What one reader met: answers, errors by their text, torn answers, and answers older than ones before."""

    reads: int
    errors: list[str]
    torn: list[tuple[int, ...]]
    backwards: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trial: the writer alone, the writer beside readers, and the readers by kind."""

    destination: Destination
    alone: Written
    beside: Written
    readers: dict[str, Read]


def write(root: Path, destination: Destination, first: int, seconds: float, talk: Connection) -> None:
    """Land one whole result and publish, again and again; each fifth moves to another day, each tenth compacts."""
    archive = open_archive(root)
    until = time.monotonic() + seconds
    took: list[float] = []
    cpu, number = time.process_time(), first
    while time.monotonic() < until or len(took) < LEAST:
        begun = time.monotonic()
        moves = number % 5 == 0
        land_rows(archive, whole(number, b'{"text": "made up"}', is_text=True, done=None if moves else NOON))
        if moves:
            land_rows(archive, [result(number, at=later(1), done=NOON + timedelta(days=1))])
        if number % 10 == 0:
            compact(archive, now=later(72), run_id="readers", thorough=True)
        publish(archive, destination, now=NOON)
        collect(archive, now=NOON, grace=timedelta(hours=24))
        took.append(time.monotonic() - begun)
        number += 1
    talk.send(Written(number - first, took, time.process_time() - cpu))


def read(root: Path, again: float, talk: Connection) -> None:
    """Ask until told to stop, over connections that live for `again` seconds; checks every answer."""
    os.nice(10)  # they take every idle moment of the processor, and should not take the writer's
    reads = backwards = 0
    errors: list[str] = []
    torn: list[tuple[int, ...]] = []
    newest = 0
    while not talk.poll():
        try:
            with duckdb.connect(str(root / PUBLISHED), read_only=True, config={"threads": "1"}) as db:
                opened, held = time.monotonic(), None
                while True:
                    answer: tuple[int, ...] = db.execute(QUESTION).fetchall()[0]
                    reads += 1
                    if len(set(answer)) != 1 or answer != (held or answer):
                        torn.append(answer)
                    held = held or answer
                    if reads == 1:
                        talk.send("reading")
                    if talk.poll() or time.monotonic() - opened >= again:
                        break
                backwards += held[0] < newest
                newest = max(newest, held[0])
        except duckdb.Error as error:
            errors.append(str(error))
    talk.send(Read(reads, errors, torn, backwards))


READERS = {"new connections": 0.0, "sessions of 2 s": 2.0, "one session": 1e9}
"""Kinds of readers, and how long each keeps a connection (seconds)."""


def trial(root: Path, destination: Destination, seconds: float) -> Outcome:
    """Run one."""
    publish(open_archive(root), destination, now=NOON)
    alone = _written(root, destination, 1, min(seconds, 10.0))
    waiting = {name: start(read, root, again) for name, again in READERS.items()}
    for _, connection in waiting.values():
        assert _heard(connection, WAIT) == "reading"
    beside = _written(root, destination, 1 + alone.publications, seconds)
    found = {}
    for name, (process, connection) in waiting.items():
        connection.send("stop")
        found[name] = _heard(connection, WAIT)
        process.join()
    assert all(isinstance(read, Read) for read in found.values())
    return Outcome(destination, alone, beside, found)  # type: ignore[arg-type]  # as just asserted


def _written(root: Path, destination: Destination, first: int, seconds: float) -> Written:
    process, connection = start(write, root, destination, first, seconds)
    written = _heard(connection, seconds + WAIT)
    process.join()
    assert isinstance(written, Written)
    return written


def _heard(connection: Connection, patience: float) -> object:
    assert connection.poll(patience), "a child says nothing"
    return connection.recv()


def main(say: Callable[[str], None] = print) -> None:
    """Run the trial for both destinations and print what happened; exits 1 when anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
    wrong = 0
    destinations: tuple[Destination, ...] = ("duckdb", "parquet")
    for destination in destinations:
        with tempfile.TemporaryDirectory() as folder:
            found = trial(Path(folder) / "root", destination, seconds)
        for name, written in (("alone", found.alone), ("beside readers", found.beside)):
            say(
                f"{destination:<8} writer {name:<15} {written.publications:>5} publications, median "
                f"{median(written.seconds):.3f} s, longest {max(written.seconds):.3f} s, "
                f"{written.cpu / written.publications:.3f} s CPU each"
            )
        for name, read in found.readers.items():
            say(
                f"{destination:<8} {name:<22} {read.reads:>5} answers, {len(read.errors)} errors, "
                f"{len(read.torn)} torn, {read.backwards} older than before"
            )
            wrong += len(read.errors) + len(read.torn) + read.backwards
            for error in sorted(set(read.errors))[:3]:
                say(error)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
