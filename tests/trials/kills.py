"""Three exports at once into one warehouse, killed again and again, while somebody reads what is published.

    make trial NAME=kills ARGS="--kills 1000"

Kills come at random moments and right before chosen steps that make something durable or visible; some exports are
stopped half way instead and go on when others have committed. The judge reads the disk with pyarrow and DuckDB alone,
and knows the truth of the source. Naive ways to land and to publish run as controls; the judge must catch each of them.
"""

import argparse
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import batches as lander
from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.pipelines.conftest import NOW
from tests.trials.deletions import CONTEXT, PATIENCE, Place, child_export, ended, is_stopped
from tests.warehouse.processes import be_killed_before, read_again_and_again
from warehouse import land
from warehouse.published import publish
from warehouse.schema import TABLES
from warehouse.store import commits
from warehouse.store.collect import collect
from warehouse.store.commit import Commit
from warehouse.store.files import Access, sha256_of
from warehouse.store.names import PUBLISH_LOCK
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

CONTEXT.set_forkserver_preload(["tests.trials.kills"])

WORKERS = 3
RECORDINGS = 14
LONGEST = 2.5
"""Seconds after which at the latest an export is killed."""

LONGEST_COMMAND = 15.0
"""The same for a command, which takes longer to start and waits for its turn."""

PIECE = 16 << 10
"""Bytes that the naive publication writes at once."""

COMMANDS = 8
"""One series in so many kills the command itself, six times; the others what it calls, twelve times."""

STEPS = 160
"""Steps of an export before one of which it is killed."""

Work = Callable[[Place], None]


def export_until(work: Work, step: int, place: Place) -> None:
    """Export, killed right before the given of all steps; 0 for none."""
    if step:
        be_killed_before(step)
    work(place)


def command_line(place: Place) -> None:
    """The command as users run it, with its history in a folder of Dagster's: they take turns there."""
    from assets.cli.main import main as run

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.chdir(place.root.parent)
    for name in [name for name in os.environ if name.startswith(("TWILIO_", "EXPORT_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ |= {
        "TWILIO_BASE_URL": place.base_url,
        "TWILIO_ACCOUNT_SID": place.account,
        "TWILIO_AUTH_TOKEN": place.token,
        "EXPORT_ROOT": str(place.root),
        "DAGSTER_HOME": str(place.root.parent / "home"),
    }
    lander.BATCH_ROWS = 6
    run(["export"])


# -- controls: ways to land and to publish that must be caught ---------------------------------------------------


def naive_keys(place: Place) -> None:
    """Lands without looking whether a row is there already."""
    land._Landing._landed_keys = lambda *_: {}  # type: ignore[method-assign]  # the naive variant
    child_export(place)


def naive_commits(place: Place) -> None:
    """Writes a commit over whatever has its number: the last one wins."""

    def save(root: Path, commit: Commit, access: Access, *, sealed: Callable[[str], str] | None = None) -> Commit:
        path = commits.commit_path(root, commit.number)
        before = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        saved = os_save(root, commit, access)
        assert before is None or path.read_bytes() != before
        return saved

    os_save = commits.save
    commits.save = save
    child_export(place)


def naive_publication(place: Place) -> None:
    """Writes the published file where readers open it."""

    def swap(archive: object, temporary: Path, target: Path) -> None:
        target.unlink(missing_ok=True)
        (target.parent / PUBLISH_LOCK).write_text(sha256_of(temporary))
        with temporary.open("rb") as source, target.open("wb") as file:
            while block := source.read(PIECE):
                file.write(block)
                file.flush()
                os.fsync(file.fileno())

    publish._swap = swap
    child_export(place)


CONTROLS: dict[Work, tuple[str, ...]] = {
    naive_keys: (" times in ",),
    naive_commits: ("is lost", "was changed", "shrank"),
    naive_publication: ("a reader met", "the reader died", "what is published went"),
}
"""Naive ways, and words of what the judge must find: nothing else that goes wrong with them counts."""


# -- the judge -------------------------------------------------------------------------------------------------


@dataclass
class Watched:
    """What was seen of a warehouse while it was written to: nothing of it may change or go backwards afterwards."""

    root: Path
    commits: dict[str, bytes] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Remember each commit as it was first seen, and notice those that are others now."""
        for path in (self.root / "_commits").glob("[0-9]*.json"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                self.violations.append(f"{path.name} vanished")
                continue
            if self.commits.setdefault(path.name, data) != data:
                self.violations.append(f"{path.name} was changed after it was made")
                self.commits[path.name] = data

    def backwards(self) -> list[str]:
        """Tables that have fewer keys in one commit than in the one before."""
        counts = [
            {name: sum(_keys(f) for f in files.items()) for name, files in json.loads(data)["tables"].items()}
            for _, data in sorted(self.commits.items())
        ]
        return [
            f"{name} shrank from {before[name]} to {after.get(name, 0)}"
            for before, after in pairwise(counts)
            for name in before
            if after.get(name, 0) < before[name]
        ]


def _keys(file: tuple[str, dict[str, int]]) -> int:
    path, facts = file
    return 1 if path.endswith(".chunks.parquet") else facts["rows"]


def judge(root: Path, sandbox: Sandbox) -> list[str]:
    """What is wrong with a warehouse into which an undisturbed export has just ended."""
    truth = list(sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid))
    results = {each.result.sid for each in truth}
    contents = {payload.sid: payload.content for each in truth for payload in each.payloads}
    newest = json.loads(max((root / "_commits").glob("[0-9]*.json")).read_bytes())["tables"]
    wrong = []
    here: dict[str, list[dict[str, object]]] = {}
    for name, files in newest.items():
        try:
            here[name] = [row for path in files for row in pq.read_table(root / path, partitioning=None).to_pylist()]
        except (OSError, pa.ArrowException) as error:
            return [f"{name} cannot be read: {error}"]
        keys = Counter((row[TABLES[name].key], row.get("chunk")) for row in here[name])
        wrong += [f"{key} is {count} times in {name}" for (key, _), count in keys.items() if count > 1]
    landed = {str(row["payload_sid"]): row["content"] for row in here["contents"] if row["chunk"] is None}
    wrong += [f"result {sid} is lost" for sid in results - {row["sid"] for row in here["add_on_results"]}]
    wrong += [f"content {sid} is lost" for sid, data in contents.items() if landed.get(sid) != data]
    with duckdb.connect(str(root / "addons.duckdb"), read_only=True) as db:
        shown = db.execute("SELECT payload_sid, content FROM contents").fetchall()
        published = db.execute("SELECT sid FROM add_on_results").fetchall()
    wrong += ["addons.duckdb shows other contents"] * (dict(shown) != contents or len(shown) != len(contents))
    wrong += ["addons.duckdb shows other results"] * (sorted(published) != [(sid,) for sid in sorted(results)])
    archive = open_archive(root)
    wrong += [mismatch.sentence for mismatch in verify(archive).mismatches]
    collect(archive, now=datetime.now(UTC) + timedelta(hours=1), grace=timedelta(0), keep=1)
    live = {path for files in newest.values() for path in files}
    left = {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")} - live
    left |= {path.name for path in root.rglob(".*.tmp")}
    return wrong + [f"{path} is left over" for path in sorted(left)]


# -- the kills -------------------------------------------------------------------------------------------------


@dataclass
class Series:
    """One warehouse, three exports at a time into it, and somebody who reads."""

    place: Place
    random: Random
    tally: Counter[str]
    work: Work
    longest: float
    running: list[tuple[BaseProcess, float]] = field(default_factory=list)
    stopped: dict[int, int] = field(default_factory=dict)
    """Commits there must be before a stopped export goes on, by process id."""

    def run(self, kills: int, watched: Watched) -> None:
        """Keep WORKERS exports going until so many have been killed."""
        target = self.tally["kills"] + kills
        ends, ended = time.monotonic() + PATIENCE, self._ended()
        while self.tally["kills"] < target and time.monotonic() < ends:
            while len(self.running) < WORKERS:
                self._start()
            self._step(watched)
            if ended != (ended := self._ended()):
                ends = time.monotonic() + PATIENCE
        for process, _ in self.running:
            process.kill()
            process.join()
        if self.tally["kills"] < target:
            watched.violations.append("nothing more happens")

    def _ended(self) -> int:
        return self.tally["kills"] + self.tally["ended"]

    def _start(self) -> None:
        by_step, to_its_end = self.random.random() < 0.4, self.random.random() < 0.15
        step = self.random.randrange(1, STEPS) if by_step and not to_its_end else 0
        process = CONTEXT.Process(target=partial(export_until, self.work, step), args=(self.place,), daemon=True)
        process.start()
        seconds = PATIENCE if step or to_its_end else self.random.uniform(0, self.longest)
        self.running.append((process, time.monotonic() + seconds))

    def _step(self, watched: Watched) -> None:
        watched.look()
        for each in list(self.running):
            process, until = each
            pid = process.pid or 0
            if self.stopped.get(pid, sys.maxsize) <= len(watched.commits):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                del self.stopped[pid]
            if process.is_alive() and time.monotonic() > until:
                if self.random.random() < 0.15 and not is_stopped(process):
                    with suppress(ProcessLookupError):  # it has just ended
                        os.kill(pid, signal.SIGSTOP)
                    self.stopped[pid] = len(watched.commits) + 1
                    self.tally["stopped"] += 1
                    self.running[self.running.index(each)] = (process, time.monotonic() + self.longest)
                    continue
                process.kill()
            process.join(0.003)
            if process.exitcode is None:
                continue
            self.running.remove(each)
            self.stopped.pop(pid, None)
            self.tally["kills" if process.exitcode == -signal.SIGKILL else "ended"] += 1
            if process.exitcode not in (0, -signal.SIGKILL):
                watched.violations.append(f"an export ended with exit code {process.exitcode}")


def series(folder: Path, random: Random, kills: int, tally: Counter[str], *, work: Work = child_export) -> list[str]:
    """Kills, then an undisturbed export; sentences on what is wrong."""
    now = datetime.now(UTC) if work is command_line else NOW  # a command has no other clock
    with Sandbox(made_up_world(now=now, recordings=RECORDINGS), now=now) as sandbox:
        root = folder / "root"
        open_archive(root)
        place = Place(root, sandbox.base_url, sandbox.account_sid, sandbox.auth_token)
        watched = Watched(root)
        publish.publish(open_archive(root), "duckdb", now=now)
        ours, theirs = CONTEXT.Pipe()
        reader = CONTEXT.Process(target=_read, args=(root, theirs), daemon=True)
        reader.start()
        theirs.close()
        longest = LONGEST_COMMAND if work is command_line else LONGEST
        Series(place, random, tally, work, longest).run(kills, watched)
        process = CONTEXT.Process(target=work, args=(place,), daemon=True)
        process.start()
        if not ended(process) or process.exitcode != 0:
            watched.violations.append(f"the undisturbed export ended with exit code {process.exitcode}")
        watched.look()
        wrong = [*watched.violations, *watched.backwards(), *_what_was_read(ours, reader, tally)]
        return wrong + judge(root, sandbox)


def _read(root: Path, talk: Connection) -> None:
    """Read until told to stop; say what went wrong instead of answers if something did."""
    try:
        read_again_and_again(root, talk)
    except duckdb.Error as error:
        talk.send(f"a reader met {type(error).__name__}")


def _what_was_read(talk: Connection, reader: BaseProcess, tally: Counter[str]) -> list[str]:
    try:
        if not talk.poll():
            return ["the reader says nothing"]
        first = talk.recv()
        if first != "reading":
            return [str(first)]
        talk.send("stop")
        found = talk.recv()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return ["the reader died"]
    finally:
        reader.join(PATIENCE)
    if isinstance(found, str):
        return [found]
    reads, answers = found
    tally["reads"] += reads
    numbers = [tuple(-1 if value is None else value for value in answer) for answer in answers]
    return [
        f"what is published went from {before} to {after}"
        for before, after in pairwise(numbers)
        if any(new < old for old, new in zip(before, after, strict=True))
    ]


def main() -> None:
    """Kill so often, in series; then the controls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    options = parser.parse_args()
    CONTEXT.set_forkserver_preload(["tests.trials.kills", "assets.definitions"])
    print(f"{options.kills} kills, seed {options.seed}", flush=True)  # noqa: T201  # a command
    tally, bad, number, began = Counter[str](), 0, 0, time.monotonic()
    while tally["kills"] < options.kills:
        number += 1
        random = Random(f"{options.seed}/{number}")
        with tempfile.TemporaryDirectory() as folder:
            left = options.kills - tally["kills"]
            if number % COMMANDS == 0:
                wrong = series(Path(folder), random, min(6, left), tally, work=command_line)
            else:
                wrong = series(Path(folder), random, min(12, left), tally)
        bad += bool(wrong)
        for sentence in wrong[:5]:
            print(f"series {number}: {sentence}", flush=True)  # noqa: T201  # as above
        if number % 10 == 0:
            print(f"{dict(tally)}, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201  # as above
    missed = [control.__name__ for control, words in CONTROLS.items() if not _caught(control, words, options.seed)]
    print(  # noqa: T201  # as above
        f"{dict(tally)} in {number} series, {bad} with violations, {time.monotonic() - began:.0f} s; "
        f"controls {'missed: ' + ', '.join(missed) if missed else 'all caught'}"
    )
    sys.exit(bool(bad or missed))


def _caught(control: Work, words: tuple[str, ...], seed: int) -> bool:
    """Whether a naive way is found out, for what it does wrong, within a few series."""
    for attempt in range(8):
        with tempfile.TemporaryDirectory() as folder:
            found = series(Path(folder), Random(f"{seed}/{attempt}"), 6, Counter(), work=control)
            if any(word in sentence for sentence in found for word in words):
                return True
    return False


if __name__ == "__main__":
    main()
