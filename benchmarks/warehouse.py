"""How landing and publishing keep up with a large warehouse: CPU, wall and peak memory of each step.

`make ROOT` builds an old, compacted warehouse by sealing its files directly: results spread over 60 days, each with a
recording, a payload and 3 KB of JSON. `measure ROOT` runs each step in a fresh process on a copy that shares the
sealed files, and prints one line a step. Only the steps named are run when steps are given.

    python -m benchmarks.warehouse make /tmp/million --results 1000000
    python -m benchmarks.warehouse measure /tmp/million
"""

import argparse
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import md5, sha256
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.conclude import conclude
from pipelines.monitoring.completeness import completeness
from pipelines.monitoring.days import by_day
from pipelines.monitoring.deadlines import deadlines
from pipelines.monitoring.status import status
from warehouse import known
from warehouse.land import land
from warehouse.landed import landed_recordings, owing_recordings
from warehouse.memory import return_freed_memory
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, RECORDINGS
from warehouse.states import RETENTION
from warehouse.store.archive import Archive, Snapshot
from warehouse.store.opening import open_archive
from warehouse.upkeep.verify import verify

DAYS = 60
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ACCOUNT = f"AC{0:032x}"

TABLES = (RECORDINGS, ADD_ON_RESULTS, ADD_ON_PAYLOADS, CONTENTS)

Rows = Mapping[str, pa.Table]


def sid(kind: str, number: int) -> str:
    """A SID that sorts anywhere."""
    return kind + md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest()


class Talk:
    """Made-up transcripts as JSON."""

    def __init__(self) -> None:
        random = Random(1)  # made-up data
        letters = "abcdefghijklmnopqrstuvwxyz"
        words = ["".join(random.choices(letters, k=random.randint(2, 9))) for _ in range(4000)]
        self._phrases = [" ".join(random.choices(words, k=5)) for _ in range(20_000)]

    def content(self, number: int) -> bytes:
        """About 3 KB."""
        random = Random(number)  # made-up data
        text = " ".join(random.choices(self._phrases, k=random.randint(40, 140)))
        return (
            '{"results": [{"results": [{"alternatives": [{"confidence": '
            f'{random.random():.3f}, "transcript": "{text}"}}], "final": true}}]}}]}}'
        ).encode()


def rows_of(numbers: range, day: date, talk: Talk) -> Rows:
    """Whole results that were completed on `day`."""
    values: dict[str, list[dict[str, Any]]] = {table.name: [] for table in TABLES}
    for number in numbers:
        at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=number % 80_000)
        recording, result, payload = (sid(kind, number) for kind in ("RE", "XR", "XH"))
        data = talk.content(number)
        common = {"account_sid": ACCOUNT, "date_created": at, "date_updated": at, "observed_at": NOW}
        values[RECORDINGS.name].append(
            {
                **common,
                "sid": recording,
                "call_sid": sid("CA", number),
                "status": "completed",
                "source": "OutboundAPI",
                "channels": 1,
                "duration_seconds": number % 600,
                "start_time": at,
                "created_date": day,
                "media_url": f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Recordings/{recording}",
                "soft_deleted": False,
                "listed_at": NOW,
                "open_results": 0,
                "first_seen_at": NOW,
            }
        )
        values[ADD_ON_RESULTS.name].append(
            {
                **common,
                "sid": result,
                "reference_sid": recording,
                "status": "completed",
                "date_completed": at,
                "completed_date": day,
                "payload_count": 1,
                "exported_at": NOW,
                "expires_at": at + timedelta(days=30),
                "first_seen_at": NOW,
                "load_id": "made",
                "raw": f'{{"sid": "{result}", "status": "completed", "reference_sid": "{recording}", "at": "{at}"}}',
            }
        )
        values[ADD_ON_PAYLOADS.name].append(
            {
                **common,
                "sid": payload,
                "add_on_result_sid": result,
                "reference_sid": recording,
                "label": "Transcription",
                "content_type": "application/json",
                "completed_date": day,
                "content_length": len(data),
                "content_sha256": sha256(data).hexdigest(),
                "fetched_at": NOW,
                "load_id": "made",
                "raw": f'{{"sid": "{payload}", "reference_sid": "{recording}", "created": "{at}"}}',
            }
        )
        values[CONTENTS.name].append({"payload_sid": payload, "completed_date": day, "content": data, "is_text": True})
    return {table.name: pa.Table.from_pylist(values[table.name], schema=table.schema) for table in TABLES}


def make(root: Path, results: int) -> None:
    """Build the warehouse and publish it in both ways."""
    archive = open_archive(root)
    talk, files = Talk(), []
    for n in range(DAYS):
        day = NOW.date() - timedelta(days=DAYS - n)
        rows = rows_of(range(n * results // DAYS, (n + 1) * results // DAYS), day, talk)
        for table in TABLES:
            ordered = rows[table.name].sort_by(table.key)
            files.append(archive.seal(table, day, ordered.to_batches(max_chunksize=256)))
    archive.commit(archive.head(), drop=[], add=files, at=NOW, run_id="made")


# The steps


def new(numbers: range, *, days: int = 2) -> Iterator[Rows]:
    """Batches of new results as an export lands them: 5,000 rows at once, of the latest days."""
    talk = Talk()
    for start in range(numbers.start, numbers.stop, 1250):
        some = range(start, min(start + 1250, numbers.stop))
        half = len(some) // days
        parts = [
            rows_of(some[n * half : (n + 1) * half if n + 1 < days else None], NOW.date() - timedelta(days=n), talk)
            for n in range(days)
        ]
        yield {table.name: pa.concat_tables([part[table.name] for part in parts]) for table in TABLES}


FRESH = range(10_000_000, 10_010_000)


def timed(what: str, do: Callable[[], object]) -> object:
    """Run and print one line: CPU and wall seconds, peak memory of this process in MB until then."""
    cpu, wall = time.process_time(), time.perf_counter()
    value = do()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{what:<58} {cpu:7.2f} s CPU {wall:7.2f} s {peak:6d} MB", flush=True)  # noqa: T201  # its purpose
    return value


def step_land(archive: Archive, destination: str, results: int) -> None:
    """Eight landings of 5,000 rows; then the same again, unchanged."""
    batches = list(new(FRESH))
    timed("land 5,000 new rows", lambda: land(archive, batches[0], run_id="b", now=NOW))
    timed("land 35,000 more in 7 landings", lambda: [land(archive, b, run_id="b", now=NOW) for b in batches[1:]])
    timed("land these 40,000 rows unchanged", lambda: [land(archive, b, run_id="b", now=NOW) for b in batches])


def step_unchanged(archive: Archive, destination: str, results: int) -> None:
    """Rows that have been there for long."""
    day = 50
    numbers = range(day * results // DAYS, day * results // DAYS + 2500)
    rows = rows_of(numbers, NOW.date() - timedelta(days=DAYS - day), Talk())
    timed("land 10,000 old rows unchanged", lambda: land(archive, rows, run_id="b", now=NOW))


def step_conclude(archive: Archive, destination: str, results: int) -> None:
    """Publish before, land 10,000 results, conclude."""
    since = archive.head().number
    for batch in new(FRESH):
        land(archive, batch, run_id="b", now=NOW)
    del batch
    subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.warehouse",
            "step",
            "concluding",
            str(archive.root),
            destination,
            str(since),
        ],
        check=True,
    )


def step_concluding(archive: Archive, destination: str, since: int) -> None:
    """In a process of its own, for its peak."""
    timed(
        "conclude after 10,000 new results",
        lambda: conclude(archive, destination, since=since, now=NOW, trusted=NOW, run_id="b"),  # type: ignore[arg-type]  # argparse has checked it
    )


def step_lookups(archive: Archive, destination: str, results: int) -> None:
    """The start of an export with nothing new: publish, then every day of the last 41, as discovery asks."""
    head = archive.head()
    timed("publish with nothing new", lambda: publish(archive, destination, now=NOW))  # type: ignore[arg-type]  # argparse has checked it

    def look_up(first: int, last: int, *, wanted: bool) -> None:
        for n in range(first, last):
            sids = [sid("RE", number) for number in range(n * results // DAYS, (n + 1) * results // DAYS)]
            since = NOW.date() - timedelta(days=DAYS - n)
            found = landed_recordings(Snapshot(archive, head), sids, since=since, with_results=lambda *_: wanted)
            assert len(found) == len(sids)

    timed("look up the recordings of one day", lambda: look_up(19, 20, wanted=True))
    timed("look up those of 38 days without their results", lambda: look_up(20, 58, wanted=False))
    timed("look up those of 2 days with their results", lambda: look_up(58, 60, wanted=True))
    timed("look up those of 40 days with their results", lambda: look_up(20, 60, wanted=True))


def step_quiet(archive: Archive, destination: str, results: int) -> None:
    """An hour with nothing new, without its lists: what an export, the checks and `status` read of what is landed."""
    timed("know all files, once", lambda: known.keep(archive.newest()))
    subprocess.run(
        [sys.executable, "-m", "benchmarks.warehouse", "step", "reading", str(archive.root), destination, "0"],
        check=True,
    )


def step_reading(archive: Archive, destination: str, results: int) -> None:
    """In a process of its own, which knows what is on the disk."""
    settle = timedelta(hours=24)
    days = {NOW.date() - timedelta(days=n) for n in range(31)}
    snapshot = archive.newest()
    timed("what is owed", lambda: owing_recordings(snapshot, now=NOW, kept=RETENTION))
    timed("the outcome by day", lambda: by_day(snapshot, days, now=NOW, run_id="b", preview=20))
    timed("deadlines", lambda: deadlines(archive, now=NOW, within=timedelta(7), settle=settle))
    timed("completeness", lambda: completeness(archive, first=min(days), last=max(days), now=NOW, settle=settle))
    timed("status", lambda: status(archive, now=NOW, settle=settle))
    timed("no SID twice", lambda: [known.all_apart(snapshot, table) for table in TABLES[:3]])


def step_rebuild(archive: Archive, destination: str, results: int) -> None:
    """Everything anew."""
    timed("rebuild", lambda: publish(archive, destination, now=NOW, afresh=True))  # type: ignore[arg-type]  # argparse has checked it


def step_verify(archive: Archive, destination: str, results: int) -> None:
    """Everything read back."""
    found = timed("verify", lambda: verify(archive))
    assert not found.mismatches  # type: ignore[attr-defined]  # a Verification


QUESTIONS = {
    "day count by status": "SELECT completed_date, status, count(*) FROM add_on_results GROUP BY ALL",
    "transcript by SID": "SELECT text FROM transcripts WHERE payload_sid = $sid",
    "content by SID": "SELECT content FROM contents WHERE payload_sid = $sid",
    "every result's state": "SELECT state, count(*) FROM retention GROUP BY state",
    "the last week in numbers": f"FROM days WHERE completed_date >= DATE '{NOW.date() - timedelta(days=7)}'",
}


def step_ask(archive: Archive, destination: str, results: int) -> None:
    """Questions, each over a connection of its own, the median of five with different SIDs."""
    path = str(archive.root / "addons.duckdb")
    for what, sql in QUESTIONS.items():
        times = []
        for number in range(0, results, -(-results // 5)):
            given = {"sid": sid("XH", number)} if "$sid" in sql else {}
            wall, cpu = time.perf_counter(), time.process_time()
            with duckdb.connect(path, read_only=True) as db:
                assert db.execute(sql, given).fetchall()
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
        wall, cpu = sorted(times)[len(times) // 2]
        print(f"{what:<58} {cpu:7.3f} s CPU {wall:7.3f} s", flush=True)  # noqa: T201  # its purpose


STEPS = ("ask", "land", "unchanged", "lookups", "quiet", "conclude", "rebuild", "verify")


def measure(root: Path, results: int, steps: Sequence[str], destinations: Sequence[str]) -> None:
    """Each step on a copy of its own."""
    for destination in destinations:
        print(f"-- {destination}", flush=True)  # noqa: T201  # its purpose
        subprocess.run(
            [sys.executable, "-m", "benchmarks.warehouse", "step", "publish", str(root), destination, "0"], check=True
        )
        for step in steps:
            copy = root.with_name(f"{root.name}-copy")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(root, copy, symlinks=True, copy_function=_share)
            command = [sys.executable, "-m", "benchmarks.warehouse", "step", step, str(copy), destination, str(results)]
            try:
                subprocess.run(command, check=True)
            finally:
                shutil.rmtree(copy)


def _share(source: str, target: str) -> None:
    """A second name for a sealed file; the rest is copied."""
    if source.endswith(".lock"):
        shutil.copyfile(source, target)
    else:
        Path(target).hardlink_to(source)


def main() -> None:
    """Read the arguments and do what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("make", "measure"):
        command = commands.add_parser(name)
        command.add_argument("root", type=Path)
        command.add_argument("--results", type=int, default=1_000_000)
        if name == "measure":
            command.add_argument("--destination", choices=("duckdb", "parquet"), action="append")
            command.add_argument("steps", nargs="*", default=STEPS)
    command = commands.add_parser("step")
    for name in ("step", "root", "destination", "number"):
        command.add_argument(name)
    given = parser.parse_args()
    if given.command == "make":
        make(given.root, given.results)
    elif given.command == "measure":
        measure(given.root, given.results, given.steps, given.destination or ("duckdb", "parquet"))
    elif given.step == "publish":
        publish(open_archive(Path(given.root)), given.destination, now=NOW)
    else:
        return_freed_memory()
        globals()[f"step_{given.step}"](open_archive(Path(given.root)), given.destination, int(given.number))


if __name__ == "__main__":
    main()
