"""Compares what a way has landed in DuckDB with the made-up account: every key, and every byte of every content.

Runs as a process of its own, so that what it holds is not counted as a way's memory:
`python -m benchmarks.check SETTINGS DATABASE QUERIES` prints a `Finding` as JSON. The queries are a JSON object:
what of each way's tables holds the SIDs of `recordings`, `add_on_results` and `add_on_payloads`, and under
`contents` a query of payload SID and bytes (or text).
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from benchmarks import data
from benchmarks.data import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """How what has landed compares.

    Attributes:
        expected: rows there should be: recordings, results, payloads and contents together.
        landed: rows that are there.
        missing: expected rows that are not there.
        extra: rows that should not be there, repeated ones among them.
        contents: expected contents.
        equal: contents that are there and equal, byte for byte.
        results: expected add-on results.
    """

    expected: int
    landed: int
    missing: int
    extra: int
    contents: int
    equal: int
    results: int

    @property
    def whole(self) -> bool:
        """Whether everything has landed, once, and nothing else."""
        return not self.missing and not self.extra and self.equal == self.contents


def check(settings: Settings, db: duckdb.DuckDBPyConnection, queries: Mapping[str, str]) -> Finding:
    """Compare a database with the account."""
    expected = landed = missing = extra = 0
    keys: dict[str, Iterable[str]] = {
        "recordings": map(data.recording_sid, settings.all_recordings()),
        "add_on_results": (data.result_sid(*numbers) for numbers in settings.all_results()),
        "add_on_payloads": (data.payload_sid(*numbers) for numbers in settings.all_payloads()),
    }
    results = 0
    for name, wanted in keys.items():
        want = set(wanted)
        got = Counter(sid for (sid,) in _rows(db, queries[name]))
        results = len(want) if name == "add_on_results" else results
        expected += len(want)
        landed += got.total()
        missing += len(want - got.keys())
        extra += got.total() - len(want & got.keys())
    seen: set[str] = set()
    equal = repeated = 0
    wanted_contents = {data.payload_sid(*numbers) for numbers in settings.all_payloads()}
    for sid, content in _rows(db, queries["contents"]):
        landed += 1
        if sid in seen or sid not in wanted_contents:
            repeated += 1
            continue
        seen.add(sid)
        equal += _equal(content.encode() if isinstance(content, str) else content, settings, sid)
    return Finding(
        expected=expected + len(wanted_contents),
        landed=landed,
        missing=missing + len(wanted_contents - seen),
        extra=extra + repeated,
        contents=len(wanted_contents),
        equal=equal,
        results=results,
    )


def _equal(content: bytes, settings: Settings, sid: str) -> bool:
    wanted = hashlib.sha256()
    for piece in settings.content(*data.numbers_of(sid)):
        wanted.update(piece)
    return hashlib.sha256(content).digest() == wanted.digest()


def _rows(db: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[Any, ...]]:
    cursor = db.execute(query)
    while rows := cursor.fetchmany(1000):
        yield from rows


def main() -> None:
    """The command line."""
    settings, database, queries = sys.argv[1:]
    with duckdb.connect(database, read_only=True) as db:
        finding = check(Settings.from_json(settings), db, json.loads(queries))
    sys.stdout.write(json.dumps(asdict(finding)))


if __name__ == "__main__":
    main()
