"""Bit rot: is every damaged file named, and is what a repair gives back what was there?

    make trial NAME=bitrot ARGS="--flips 1000"

One bit of one file is flipped, or a file is cut, grown, zeroed, swapped, lost or replaced by an older one; then
`verify` must name it. Each tenth damage is repaired on a copy: rows are what they were or reported. The control reads
every row with pyarrow, checksums of pages included, and every published row with DuckDB; it must miss some.
"""

import argparse
import contextlib
import io
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import BinaryIO, cast

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tests.warehouse.made_up import (
    NOON,
    Values,
    bad,
    batch,
    land_rows,
    later,
    live_files,
    logical,
    payload,
    result,
    sid,
    whole,
)
from tests.warehouse.test_ledger import step
from warehouse.append import append
from warehouse.contents import SpooledContent
from warehouse.errors import RepairWarehouse
from warehouse.land import land
from warehouse.ledger import DELETED, INTENT
from warehouse.published.publish import publish
from warehouse.schema import TABLES
from warehouse.store.archive import Archive
from warehouse.store.commits import FOLDER
from warehouse.store.names import PUBLISHED, Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.compact import compact
from warehouse.upkeep.repair import repair
from warehouse.upkeep.verify import verify

BLANKED = {
    "recordings": {"listed_at", "open_results"},
    "add_on_results": {"exported_at"},
    "add_on_payloads": {"content_length", "content_sha256", "fetched_at"},
}
"""What a repair may make null so that the next export asks again; whoever lacks more than that is lost."""

KINDS = ("cut", "grown", "zeroed", "swapped", "lost", "older")


@dataclass(frozen=True)
class Damage:
    """What was done to which file, named as `verify` names it."""

    kind: str
    path: str

    def named_by(self, archive: Archive) -> bool:
        """Whether `verify` names the file, and calls no other one damaged."""
        found = verify(archive).mismatches
        files = {m.subject for m in found if m.kind in ("file", "commit")}
        if self.path == PUBLISHED or (self.kind, self.path.split("/")[0]) == ("lost", FOLDER):
            return bool(found) and not files and all(PUBLISHED in m.sentence for m in found)
        return files == {self.path.removeprefix(f"{FOLDER}/")}


def made(root: Path, destination: Destination) -> Archive:
    """A warehouse with every table, several days, superseded commits, large contents, a compaction and deletions."""
    archive = open_archive(root)
    land_rows(archive, [row for n in range(6) for row in whole(n, b"made up %d " % n * 40, is_text=True)])
    land_rows(archive, [row for n in range(6, 9) for row in whole(n, b"%d" % n * 90, done=later(24))])
    compact(archive, now=NOON + timedelta(days=5), run_id="test", thorough=True)
    land_rows(archive, [*whole(20, b"later"), result(21, done=None)])
    data = bytes(range(256)) * 64
    large = payload(30, of=20, data=data)
    facts = SpooledContent(
        sid("XH", 30), NOON.date(), False, len(data), large[1]["content_sha256"], _file(data)
    )  # a field
    land(archive, batch([large]), run_id="test", now=NOON, spooled=[facts])
    land(archive, bad("The payload has no SID."), run_id="test", now=NOON)
    for word in (INTENT, DELETED):
        append(archive, lambda _, word=word: [step(word, 2)], run_id="test", now=NOON)  # type: ignore[misc]
    publish(archive, destination, now=NOON)
    return archive


def _file(data: bytes) -> BinaryIO:
    return cast("BinaryIO", io.BytesIO(data))


def targets(archive: Archive, *, lost: bool = False) -> list[str]:
    """Files whose damage must be found: live ones, commits (if `lost`, the newest), and the published file."""
    numbered = sorted(f"{FOLDER}/{path.name}" for path in (archive.root / FOLDER).glob("[0-9]*.json"))
    return [*sorted(live_files(archive)), *(numbered[-1:] if lost else numbered), PUBLISHED]


@contextlib.contextmanager
def damaged(archive: Archive, damage: Damage, random: Random) -> Iterator[bool]:
    """The file damaged for a while; False when this damage cannot be done to this file."""
    path = (archive.root / damage.path).resolve()
    good = path.read_bytes()
    bytes_now = _bytes(archive, damage, good, random)
    mode = path.stat().st_mode
    path.chmod(0o600)
    if bytes_now is None:
        path.unlink()
    else:
        path.write_bytes(bytes_now)
    try:
        yield bytes_now != good
    finally:
        path.write_bytes(good)
        path.chmod(mode)


def _bytes(archive: Archive, damage: Damage, good: bytes, random: Random) -> bytes | None:
    match damage.kind:
        case "flipped":
            data = bytearray(good)
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            return bytes(data)
        case "cut":
            return good[: random.randrange(len(good))]
        case "grown":
            return good + random.randbytes(random.randrange(1, 5000))
        case "zeroed":
            start = random.randrange(len(good))
            return good[:start] + bytes(min(4096, len(good) - start)) + good[start + 4096 :]
        case "swapped" | "older":
            table = damage.path.split("/")[0]
            others = [p for p in sorted(archive.root.glob(f"{table}/**/*.*")) if p.read_bytes() != good and p.is_file()]
            return random.choice(others).read_bytes() if others else good
        case _:
            return None


def naive(archive: Archive, rows: dict[str, int]) -> bool:
    """Whether reading everything, as anybody would, notices the damage: an error, or other numbers of rows."""
    try:
        for name, count in rows.items():
            files = [path for path in live_files(archive) if path.startswith(f"{name}/")]
            read = [pq.read_table(archive.root / f, partitioning=None, page_checksum_verification=True) for f in files]
            if sum(table.num_rows for table in read) != count:
                return True
        with duckdb.connect(str(archive.root / PUBLISHED), read_only=True) as db:
            return any(not db.execute(f"SELECT * FROM {name}").fetchall() for name, count in rows.items() if count)
    except (OSError, pa.ArrowException, duckdb.Error, RepairWarehouse, UnicodeDecodeError):
        return True


def repaired(archive: Archive, before: dict[str, list[Values]]) -> list[str]:
    """Repair and judge: sentences on rows that are neither as they were nor reported."""
    try:
        report = repair(archive, now=NOON)
    except RepairWarehouse as error:
        return [] if "backup" in str(error) else [str(error)]
    if report.left:
        return []
    after = logical(archive, without=("load_id",))
    wrong = []
    told = Counter[str]()
    for reported in (report.again, report.gone):
        for label, count in reported.items():
            told[label.split()[0]] += count
    for name, rows in before.items():
        key = TABLES[name].key
        old = {(row[key], row.get("chunk")): row for row in rows}
        lost = set()
        for row in after[name]:
            was = old.pop((row[key], row.get("chunk")), None)
            changed = {c for c, value in row.items() if was is None or value != was[c]}
            if was is None or any(row[c] is not None for c in changed):
                wrong.append(f"{name} has a row that was not there: {row[key]}, {sorted(changed)}")
            elif changed - BLANKED.get(name, set()):
                lost.add(row[key])
        lost |= {sid for sid, _ in old}
        if len(lost) > told[name]:
            wrong.append(f"{len(lost)} rows of {name} are gone, {told[name]} were reported")
    publish(archive, "duckdb", now=NOON, afresh=True)
    return wrong + [m.sentence for m in verify(archive).mismatches if m.kind in ("file", "commit", "content")]


def trial(archive: Archive, damage: Damage, random: Random, *, repairs: bool, tally: Counter[str]) -> list[str]:
    """One damage: found, and if asked to, repaired on a copy."""
    rows = {name: archive.head().rows(name) for name in TABLES if name != "contents"}
    before = logical(archive) if repairs else {}
    with damaged(archive, damage, random) as is_damage:
        if not is_damage:
            return []
        tally[damage.kind] += 1
        wrong = [] if damage.named_by(archive) else [f"{damage.kind} {damage.path} is not named"]
        tally["the control missed"] += not naive(archive, rows) if damage.path.split("/")[0] != FOLDER else 0
        if repairs and not wrong:
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / "root"
                shutil.copytree(archive.root, copy, symlinks=True)
                tally["repaired"] += 1
                wrong += [f"{damage.kind} {damage.path}: {each}" for each in repaired(open_archive(copy), before)]
    return wrong


def main() -> None:
    """Flip so many bits, one at a time, then a tenth as many of each other damage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    options = parser.parse_args()
    print(f"{options.flips} flips, seed {options.seed}", flush=True)  # noqa: T201  # a command
    random, tally, bad_ones, began = Random(options.seed), Counter[str](), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        destinations: tuple[Destination, ...] = ("duckdb", "parquet")
        archives = [made(Path(folder) / destination, destination) for destination in destinations]
        kinds = [*("flipped",) * options.flips, *KINDS * (options.flips // 20)]
        for number, kind in enumerate(kinds):
            archive = archives[number % 2]
            damage = Damage(kind, random.choice(targets(archive, lost=kind == "lost")))
            wrong = trial(archive, damage, random, repairs=number % 10 == 0, tally=tally)
            bad_ones += bool(wrong)
            for sentence in wrong:
                print(sentence, flush=True)  # noqa: T201  # as above
    seconds = time.monotonic() - began
    print(f"{dict(tally)}, {bad_ones} violations, {seconds:.0f} s")  # noqa: T201  # as above
    sys.exit(bool(bad_ones) or not tally["the control missed"])


if __name__ == "__main__":
    main()
