"""One cycle of landing, compacting, publishing and collecting, in a forked child under the shim, and its judge.

The judge reads with pyarrow and DuckDB alone before it lets the product resume. Everything that touches DuckDB runs in
children, so that the process that forks stays free of threads.
"""

import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from tests.trials.crash import shim
from tests.warehouse.made_up import NOON, content, land_rows, leftovers, logical, payload, recording, result, whole
from warehouse.errors import ExportError
from warehouse.published.delta import read_log
from warehouse.published.publish import publish
from warehouse.published.shown import published
from warehouse.schema import TABLES
from warehouse.store import commits
from warehouse.store.collect import collect
from warehouse.store.commit import Commit
from warehouse.store.files import Access
from warehouse.store.names import PUBLISHED, Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.compact import compact
from warehouse.upkeep.verify import verify

Ack = Callable[[str], None]
FAR = datetime(2200, 1, 1, tzinfo=UTC)
"""A time at which every leftover is old enough to be collected."""

BODIES = {1: b"one", 2: b"two", 3: os.urandom(30_000)}
"""Contents by number; the last takes several pages of a disk."""


def seed(root: Path, destination: Destination) -> None:
    """An archive with one landed, published result."""
    archive = open_archive(root)
    land_rows(archive, whole(1, BODIES[1]))
    publish(archive, destination, now=NOON)


def cycle(root: Path, destination: Destination, ack: Ack) -> None:
    """Land two results (the second changes its partition), compact, publish, collect, rebuild."""
    archive = open_archive(root)
    land_rows(archive, whole(2, BODIES[2]))
    ack("2")
    three = [recording(3), result(3, done=None), payload(3, data=BODIES[3], done=None)]
    land_rows(archive, [*three, content(3, BODIES[3], done=None)])
    ack("3")
    publish(archive, destination, now=NOON)
    land_rows(archive, [result(3, at=NOON + timedelta(hours=1))])
    compact(archive, now=NOON, run_id="test", most_files=2)
    publish(archive, destination, now=NOON)
    collect(archive, now=FAR, grace=timedelta(0), keep=1)
    publish(archive, destination, now=NOON, afresh=True)
    ack("end")


# -- naive variants: each must be caught by the same judge ------------------------------------------------------


def naive_save(root: Path, commit: Commit, access: Access, *, sealed: Callable[[str], str] | None = None) -> Commit:
    """A commit written straight to its final name, unsynced, in many pieces."""
    with tempfile.TemporaryDirectory() as name:
        elsewhere = Path(name)
        commits.commit_path(elsewhere, 1).parent.mkdir()
        _SAVE(elsewhere, commit, access)
        data = commits.commit_path(elsewhere, commit.number).read_bytes()
    with commits.commit_path(root, commit.number).open("wb", buffering=0) as file:
        for at in range(0, len(data), len(data) // 40):
            file.write(data[at : at + len(data) // 40])
    return commit


_SAVE = commits.save


def naive_commits() -> None:
    """Commits appear under their names before they are whole."""
    commits.save = naive_save


def naive_syncs() -> None:
    """Nothing is ever synced."""
    os.fsync = lambda fd: None


NAIVE: dict[str, Callable[[], None]] = {"": lambda: None, "commits": naive_commits, "syncs": naive_syncs}


# -- children ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: killed, or what it said last; what it acknowledged; how many calls it made."""

    killed: bool
    said: list[str]
    error: str
    calls: int

    @property
    def acknowledged(self) -> set[int]:
        """Contents that were said to be landed."""
        return {1, *(int(line) for line in self.said if line.isdigit())}


def run(
    work: Callable[[Ack], None], *, root: Path, mode: int = 0, at: int = 0, error: int = 0, trace: Path | None = None
) -> Ended:
    """Run `work` in a forked child with the shim armed; it ends well, with an error of the product, or killed."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _be_child(work, theirs, root=root, mode=mode, at=at, error=error, trace=trace)
    os.close(theirs)
    with os.fdopen(ours, "rb") as stream:
        lines = stream.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    calls = max((int(line[6:]) for line in lines if line.startswith("calls ")), default=0)
    errors = [line[6:] for line in lines if line.startswith("error ")]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and status != 0 and not errors:
        errors = [f"unexpected: ended with status {status}"]
    said = [line for line in lines if not line.startswith(("calls ", "error "))]
    return Ended(killed, said, errors[0] if errors else "", calls)


def _be_child(
    work: Callable[[Ack], None], talk: int, *, root: Path, mode: int, at: int, error: int, trace: Path | None
) -> None:
    record = -1 if trace is None else os.open(trace, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    armed = shim.armed(root, mode, at=at, error=error, record=record)

    def say(line: str) -> None:
        armed.shim_mark(line.encode())
        os.write(talk, f"{line}\n".encode())

    code = 0
    try:
        work(say)
    except ExportError as problem:
        os.write(talk, f"error {type(problem).__name__}: {problem}\n".replace("\n", " ").encode() + b"\n")
        code = 6
    except BaseException:  # whatever it is, it is the finding
        text = traceback.format_exc().replace("\n", " | ")
        os.write(talk, f"error unexpected: {text[-1500:]}\n".encode())
        code = 1
    armed.shim_disarm()
    os.write(talk, f"calls {armed.shim_calls()}\n".encode())
    sys.stdout.flush()
    os._exit(code)


# -- the judge --------------------------------------------------------------------------------------------------


def look(root: Path, acknowledged: set[int], *, partials: bool = True) -> list[str]:
    """What is wrong before anything is resumed: read without the product's SQL, in a child."""

    def judge(say: Ack) -> None:
        archive = open_archive(root)
        rows = logical(archive)["contents"]
        found = [(int(row["payload_sid"].removeprefix("XH"), base=16), row["content"]) for row in rows]
        if len({number for number, _ in found}) != len(found):
            say("a content is there twice")
        for number in acknowledged - {number for number, data in found if data == BODIES[number]}:
            say(f"acknowledged content {number} is missing")
        archive.head()
        for number in commits.numbers(root):
            commits.load(root, number)
        if partials:
            for path in root.glob("[a-z]*/**/[!.]*.parquet"):
                pq.read_table(path, partitioning=None)
        for table in TABLES.values():
            log = read_log(archive, table)
            if log is None:
                say(f"the Delta log of {table.name} cannot be read")
            elif missing := [path for path in log.adds if not (root / table.name / path).exists()]:
                say(f"the Delta log of {table.name} names {missing}, which are gone")
        if (root / PUBLISHED).is_symlink():
            with duckdb.connect(str(root / PUBLISHED), read_only=True) as db:
                db.execute("SELECT count(*), sum(octet_length(content)) FROM contents")
        elif (root / PUBLISHED).exists():
            say("the published file is no link")

    ended = run(judge, root=root)
    return [*ended.said, *([ended.error] if ended.error else [])]


def recover(root: Path, destination: Destination, *, runs: int = 2) -> list[str]:
    """Run the cycle again until it ends well; then everything must be there once and verify must be green."""
    errors: list[str] = []
    for _ in range(runs):
        ended = run(lambda ack: cycle(root, destination, ack), root=root)
        if not ended.error:
            break
        errors.append(ended.error)
    else:
        return [f"not recovered after {runs} runs: {errors[-1]}"]
    wrong = look(root, {1, 2, 3})

    def judge(say: Ack) -> None:
        archive = open_archive(root)
        for mismatch in verify(archive).mismatches:
            say(mismatch.sentence)
        rows = logical(archive)
        counts = {len(rows[name]) for name in ("recordings", "add_on_results", "add_on_payloads", "contents")}
        if counts != {3}:
            say(f"rows: {counts}")
        if (shown := published(archive)) is None or shown.commit != archive.head().number:
            say("the published file does not show the newest commit")
        if left := leftovers(root):
            say(f"leftovers: {sorted(left)}")

    ended = run(judge, root=root)
    return [*wrong, *ended.said, *([ended.error] if ended.error else [])]


def as_json(value: object) -> None:
    """One line for whoever started this process."""
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()
