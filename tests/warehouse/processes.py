"""What child processes of these tests do. They are forked from a server that has everything imported already."""

import os
import resource
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import duckdb

from tests.warehouse.made_up import NOON, land_rows, result, whole
from warehouse.errors import FixWarehouse
from warehouse.published.publish import publish
from warehouse.store.collect import collect
from warehouse.store.names import PUBLISHED
from warehouse.store.opening import open_archive
from warehouse.upkeep.compact import compact

CONTEXT: ForkServerContext = get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.warehouse.processes"])

WAIT = 120.0
"""Seconds until a child that does not answer fails a test."""


def start(function: Callable[..., None], *args: object) -> tuple[BaseProcess, Connection]:
    """Run `function(*args, connection)` in a child and return the other end of the connection."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=function, args=(*args, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def hear(connection: Connection) -> Any:
    """The next thing a child says; fails when it says nothing for WAIT seconds or has ended."""
    assert connection.poll(WAIT), "the child says nothing"
    return connection.recv()


def land_each(root: Path, numbers: list[int], acknowledge: Connection) -> None:
    """Land one whole result after another and acknowledge each when `land` has returned.

    Each odd result is landed without its day first and moved afterwards, so that files are replaced too.
    """
    archive = open_archive(root)
    acknowledge.send("ready")
    for number in numbers:
        moves = number % 2
        land_rows(archive, whole(number, b"%d" % number, done=None if moves else NOON))
        if moves:
            land_rows(archive, [result(number, at=NOON + timedelta(hours=1))])
        acknowledge.send(number)
    acknowledge.send("done")


def land_and_publish(root: Path, seed: int, acknowledge: Connection) -> None:
    """Land and publish until killed."""
    archive = open_archive(root)
    random = Random(seed)
    number = seed * 1000
    while True:
        land_rows(archive, whole(number, random.randbytes(random.randrange(40_000))))
        acknowledge.send(number)
        publish(archive, "duckdb", now=NOON, afresh=random.random() < 0.3)
        number += 1


def be_killed_before(step: int) -> None:
    """Have this process killed right before the given of all steps that make something durable or visible."""
    left = [step]

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for name in ("fsync", "rename", "link", "unlink", "mkdir", "symlink"):
        setattr(os, name, counted(getattr(os, name)))


def die_at(root: Path, step: int) -> None:
    """Land one whole result, killed right before the given of all steps."""
    archive = open_archive(root)
    be_killed_before(step)
    land_rows(archive, whole(2, b"two"))


def compact_and_die(root: Path, step: int) -> None:
    """Compact everything, killed right before the given of all steps."""
    archive = open_archive(root)
    be_killed_before(step)
    compact(archive, now=NOON + timedelta(days=2), run_id="test", thorough=True)


def hold_open(root: Path, talk: Connection) -> None:
    """Open the published file, say what it shows each time when asked, and never let go of it."""
    with duckdb.connect(str(root / PUBLISHED), read_only=True) as db:
        while True:
            talk.send(
                db.execute(
                    "SELECT (SELECT number FROM _commit), count(*), sum(octet_length(content)) FROM contents"
                ).fetchall()[0]
            )
            if talk.recv() == "stop":
                return


Answer = tuple[int, ...]
"""Commit, recordings, results, payloads, contents, distinct contents and their bytes, in one statement."""


def read_once(root: Path) -> Answer:
    """Open, ask and close."""
    with duckdb.connect(str(root / PUBLISHED), read_only=True) as db:
        answer: Answer = db.execute(
            "SELECT (SELECT number FROM _commit), (SELECT count(*) FROM recordings), (SELECT count(*) FROM "
            "add_on_results), (SELECT count(*) FROM add_on_payloads), count(*), count(DISTINCT payload_sid), "
            "sum(octet_length(content)) FROM contents"
        ).fetchall()[0]
    return answer


def read_again_and_again(root: Path, talk: Connection) -> None:
    """Read until told to stop; says every distinct answer in the order met, and how many reads."""
    answers: list[Answer] = []
    reads = 0
    while not talk.poll():
        answer = read_once(root)
        reads += 1
        if not answers or answers[-1] != answer:
            answers.append(answer)
        if reads == 1:
            talk.send("reading")
    talk.send((reads, answers))


def read_times(root: Path, times: int, talk: Connection) -> None:
    """Read so many times, then say what was met: answers, and errors by name."""
    talk.send("reading")
    met: set[object] = set()
    for _ in range(times):
        try:
            met.add(read_once(root))
        except duckdb.Error as error:
            met.add(type(error).__name__)
    talk.send(met)


def land_with_small_files_only(root: Path, limit: int, talk: Connection) -> None:
    """Land one small and one large content where no file may grow over `limit` bytes; says how the large one failed."""
    archive = open_archive(root)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    land_rows(archive, whole(1, b"small"))
    try:
        land_rows(archive, whole(2, os.urandom(2 * limit)))
    except FixWarehouse as error:
        talk.send(("FixWarehouse", str(error)))
    else:
        talk.send(("landed", ""))


def open_as_somebody_else(root: Path, talk: Connection) -> None:
    """Open the archive at `root` without root's rights."""
    os.chdir(root.parent)
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        open_archive(root)
    except FixWarehouse as error:
        talk.send(("FixWarehouse", str(error)))
    else:
        talk.send(("opened", ""))


def at(seconds: float) -> datetime:
    """A time of publication."""
    return NOON + timedelta(seconds=seconds)


def keep_changing(root: Path, talk: Connection) -> None:
    """Land, compact, collect and publish until something is said; says how many rounds that were."""
    archive = open_archive(root)
    rounds = 0
    while not talk.poll():
        rounds += 1
        for number in range(rounds * 10, rounds * 10 + 3):
            land_rows(archive, whole(number, b"%d" % number))
        compact(archive, now=NOON + timedelta(days=2), run_id="test", thorough=True)
        collect(archive, now=datetime.now(UTC), grace=timedelta(hours=24), keep=1)
        publish(archive, "parquet", now=NOON)
        if rounds == 1:
            talk.send("begun")
    talk.send(rounds)
