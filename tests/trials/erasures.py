"""Erasures: is every byte gone? Warehouses are made, something is erased, and all files are searched.

    make trial NAME=erasures ARGS="--erasures 100"

The search knows nothing of the product: it looks at the bytes of every file under the root, and at every value that
pyarrow and DuckDB can read from them. The control, DELETE and CHECKPOINT in DuckDB, must be found by it.
"""

import argparse
import contextlib
import io
import json
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import BinaryIO, cast

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.erase.choice import erase_sids
from pipelines.records.sids import add_on_result_sid, recording_sid
from tests.warehouse.made_up import (
    NOON,
    Row,
    batch,
    content,
    land_rows,
    later,
    logical,
    payload,
    recording,
    result,
    sid,
)
from tests.warehouse.processes import CONTEXT, be_killed_before
from warehouse.contents import SpooledContent
from warehouse.land import land
from warehouse.published.publish import publish
from warehouse.quarantine import QuarantineRow, quarantine_rows
from warehouse.schema import QUARANTINE
from warehouse.store.archive import Archive
from warehouse.store.names import Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.compact import compact
from warehouse.upkeep.erase import finish
from warehouse.upkeep.verify import verify

PEOPLE = 4


@dataclass
class Person:
    """One recording with its results: what must be found of it before, and must not be afterwards."""

    number: int
    random: Random
    needles: list[bytes] = field(default_factory=list)
    results: dict[str, list[bytes]] = field(default_factory=dict)
    """What belongs to each result alone."""

    def marker(self) -> str:
        """Something that nobody else has."""
        return "".join(self.random.choices("abcdefghijkmnpqrstuvwxyz23456789", k=28))

    def rows(self, archive: Archive) -> list[Row]:
        """Rows of a recording, two results and four payloads; lands what is not a row."""
        own = self.marker()
        self.needles = [own.encode(), sid("RE", self.number).encode()]
        rows: list[Row] = [recording(self.number, call_sid=f"CA{own}")]
        for position in range(2):
            number = self.number * 10 + position
            done = later(24 * self.random.randrange(3)) if self.random.random() < 0.9 else None
            mark = self.marker()
            needles = [mark.encode(), sid("XR", number).encode()]
            raw = json.dumps({"sid": sid("XR", number), "note": mark})
            own_recording = sid("RE", self.number)
            rows.append(
                result(number, done=done, raw=raw, payload_count=2, exported_at=NOON, reference_sid=own_recording)
            )
            for each in range(2):
                data = f"{self.marker()} said {self.marker()}".encode() + self.random.randbytes(40)
                own_payload = number * 10 + each
                needles += [sid("XH", own_payload).encode(), data[:28], data[-40:]]
                rows.append(payload(own_payload, of=number, data=data, done=done, reference_sid=own_recording))
                if each and self.random.random() < 0.5:
                    _land_in_chunks(archive, rows.pop(), data)
                else:
                    rows.append(content(own_payload, data, done=done))
            needles += self._quarantine(archive, number)
            self.results[sid("XR", number)] = needles
        self.needles += [needle for needles in self.results.values() for needle in needles]
        return rows

    def _quarantine(self, archive: Archive, number: int) -> list[bytes]:
        """Bad input about a result: known by its SID, by its parent, or only by what is in its bytes."""
        marks = [self.marker() for _ in range(3)]
        found = [
            QuarantineRow("add_on_result", sid("XR", number), None, None, "bad", marks[0].encode()),
            QuarantineRow("payload", None, sid("XR", number), None, "bad", marks[1].encode()),
            QuarantineRow("payload", None, None, None, "bad", f'{{"of":"{sid("XR", number)}{marks[2]}'.encode()),
        ]
        land(archive, {QUARANTINE.name: quarantine_rows(found, now=NOON)}, run_id="test", now=NOON)
        return [mark.encode() for mark in marks]


def _land_in_chunks(archive: Archive, row: Row, data: bytes) -> None:
    file = cast("BinaryIO", io.BytesIO(data))
    values = row[1]
    large = SpooledContent(
        values["sid"],
        values["completed_date"],
        False,
        len(data),
        values["content_sha256"],
        file,  # a field
    )
    land(archive, batch([row]), run_id="test", now=NOON, spooled=[large])


LEFTOVERS = (
    f"contents/.{1:032x}.tmp",
    f"contents/completed_date=2026-11-20/.{2:032x}.tmp",
    f".{3:032x}.tmp/addons.duckdb",
    f".{4:032x}.spill/duckdb_temp_storage_DEFAULT-0.tmp",
    f"_damaged/contents.completed_date=2026-11-20.{5:032x}.parquet",
    f"contents/completed_date=2026-10-01/{6:032x}.chunks.parquet",
)
"""What kills and repairs leave, by the names that this program gives."""


def made_up_people(root: Path, destination: Destination, random: Random) -> tuple[Archive, list[Person]]:
    """A warehouse with a past: several landings, superseded files, a compaction, leftovers of kills, damaged files."""
    archive = open_archive(root)
    people = [Person(number, random) for number in range(1, PEOPLE + 1)]
    for person in people:
        land_rows(archive, person.rows(archive))
        if random.random() < 0.5:
            publish(archive, destination, now=NOON)
    for person in people:
        of = sid("RE", person.number)
        again = result(person.number * 10, at=later(1), status=f"{person.number}", reference_sid=of, raw=None)
        land_rows(archive, [again], now=later(1))
    publish(archive, destination, now=NOON)
    compact(archive, now=NOON + timedelta(days=5), run_id="test", thorough=True)
    land_rows(archive, [recording(99, at=later(2))], now=later(2))
    publish(archive, destination, now=NOON)
    some = random.choice(people).needles
    for name in LEFTOVERS:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b" ".join(some))
    return archive, people


def traces(root: Path, needles: Collection[bytes]) -> list[str]:
    """Files that hold one of the needles, as bytes on the disk or as a value that can be read from them."""
    return [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*"))
        if path.is_file() and any(needle in data for data in (path.read_bytes(), *_values(path)) for needle in needles)
    ]


def _values(path: Path) -> Iterator[bytes]:
    """Everything that can be read from a file, whatever its name, without the product; compressed values unpacked."""
    with path.open("rb") as file:
        head = file.read(12)
    if head.startswith(b"PAR1"):
        with contextlib.suppress(pa.ArrowException):  # cut short: searched as bytes
            yield _flat(pq.read_table(path, partitioning=None).to_pylist())
    if head.endswith(b"DUCK"):
        with contextlib.suppress(duckdb.Error), duckdb.connect(str(path), read_only=True) as db:
            for schema, table in db.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall():
                yield _flat(db.execute(f'SELECT * FROM "{schema}"."{table}"').fetchall())


def _flat(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return b"\n".join(map(_flat, value))
    return str(value).encode("utf-8", "surrogatepass")


def erase_and_die(root: Path, destination: Destination, number: int, step: int) -> None:
    """Erase a recording, killed right before the given of all steps."""
    archive = open_archive(root)
    be_killed_before(step)
    erase_sids(archive, destination, recordings=[recording_sid(sid("RE", number))], now=NOON)


def judge(
    root: Path, destination: Destination, random: Random, *, kill: bool, kills: Counter[str] | None = None
) -> list[str]:
    """Make, erase, search; sentences on what is wrong."""
    kills = Counter() if kills is None else kills
    archive, people = made_up_people(root, destination, random)
    person = random.choice(people)
    wrong = [] if traces(root, person.needles) else ["the search finds nothing before"]
    before = logical(archive)
    whole = kill or random.random() < 0.5
    gone = person.needles if whole else person.results[sid("XR", person.number * 10)]
    kept = [needle for other in people if other is not person for needle in other.needles]
    if kill:
        step = random.randrange(1, 160)
        child = CONTEXT.Process(target=erase_and_die, args=(root, destination, person.number, step))
        child.start()
        child.join(60)
        kills["before the commit" if logical(archive) == before else "after it"] += child.exitcode == -9
        finish(archive, destination, now=NOON)
    if whole:
        erase_sids(archive, destination, recordings=[recording_sid(sid("RE", person.number))], now=NOON)
    else:
        erase_sids(archive, destination, results=[add_on_result_sid(sid("XR", person.number * 10))], now=NOON)
    wrong += [f"{path} still holds it" for path in traces(root, gone)]
    wrong += [mismatch.sentence for mismatch in verify(archive).mismatches]
    again = Person(person.number, random)
    land_rows(archive, again.rows(archive))
    publish(archive, destination, now=NOON)
    back = again.needles if whole else again.results[sid("XR", person.number * 10)]
    wrong += [f"{path} holds it again" for path in traces(root, back)]
    after = logical(archive)
    for name, rows in before.items():
        lost = [row for row in rows if row not in after[name] and not any(n in _flat(row) for n in person.needles)]
        wrong += [f"{name} lost a row of somebody else"] * len(lost)
    everything = b"".join(_flat(rows) for rows in after.values())
    return wrong + ["a value of somebody else is gone"] * sum(needle not in everything for needle in kept)


def control(root: Path, random: Random) -> bool:
    """Whether the search finds what a plain DELETE and CHECKPOINT leave in a DuckDB file."""
    said = [random.randbytes(64) for _ in range(2000)]
    path = root / "naive.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute("CREATE TABLE contents (payload_sid VARCHAR, content BLOB)")
        db.executemany("INSERT INTO contents VALUES (?, ?)", [[str(n), data] for n, data in enumerate(said)])
        db.execute("CHECKPOINT")
    with duckdb.connect(str(path)) as db:
        db.execute("DELETE FROM contents WHERE payload_sid = '7'")
        db.execute("CHECKPOINT")
        assert db.execute("SELECT count(*) FROM contents WHERE payload_sid = '7'").fetchall() == [(0,)]
    return bool(traces(root, [said[7]]))


def main() -> None:
    """Run so many erasures, half of them killed on the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--erasures", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    options = parser.parse_args()
    print(f"{options.erasures} erasures, seed {options.seed}", flush=True)  # noqa: T201  # a command
    began, bad, kills = time.monotonic(), 0, Counter[str]()
    for number in range(options.erasures):
        with tempfile.TemporaryDirectory() as folder:
            destination: Destination = "duckdb" if number % 2 else "parquet"
            random = Random(f"{options.seed}/{number}")
            wrong = judge(Path(folder) / "root", destination, random, kill=number % 4 >= 2, kills=kills)
        bad += bool(wrong)
        for sentence in wrong[:5]:
            print(f"erasure {number}: {sentence}", flush=True)  # noqa: T201  # as above
    with tempfile.TemporaryDirectory() as folder:
        caught = control(Path(folder), Random(options.seed))
    seconds = time.monotonic() - began
    print(  # noqa: T201  # as above
        f"{options.erasures} erasures, {bad} with traces or losses, {seconds:.0f} s; kills {dict(kills)}; control "
        f"(DELETE, CHECKPOINT) {'found' if caught else 'NOT found'}"
    )
    sys.exit(bool(bad) or not caught or (options.erasures >= 20 and len(kills) < 2))


if __name__ == "__main__":
    main()
