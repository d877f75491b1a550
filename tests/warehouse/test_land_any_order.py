"""Landing under random histories: any order, any slicing, any bytes, judged by a model without SQL.

A made-up world fixes what Twilio would show at each hour; observations of it are landed in random order and
company. However that goes, what is landed in the end follows from the set of observations alone.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.warehouse.made_up import (
    NOON,
    Row,
    Values,
    as_read,
    day_of,
    held,
    land_rows,
    later,
    logical,
    payload,
    recording,
    result,
    rows_by_key,
    sid,
)
from tests.warehouse.published.test_publish import opened, shown
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_PAYLOADS, ADD_ON_RESULTS, CONTENTS, QUARANTINE, TABLES
from warehouse.store.archive import Archive
from warehouse.store.opening import open_archive

quick = settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a landing takes too long to shrink a failure well
    suppress_health_check=[HealthCheck.too_slow],
)

HOURS = 6


@contextmanager
def new_archive() -> Iterator[Archive]:
    """An archive of its own for each example."""
    with tempfile.TemporaryDirectory() as folder:
        yield open_archive(Path(folder) / "root")


@dataclass(frozen=True)
class Observed:
    """A listing of one result at one hour: which of its payloads were shown, and whose contents came."""

    number: int
    hour: int
    shown: tuple[bool, bool]
    fetched: tuple[bool, bool]


@dataclass(frozen=True)
class World:
    """When each result was completed, and what its two payloads hold."""

    completed: tuple[int, int]
    contents: tuple[bytes, bytes, bytes, bytes]

    def rows(self, seen: Observed) -> list[Row]:
        """What one observation puts into a batch."""
        at = later(seen.hour)
        done = later(24 * seen.number) if seen.hour >= self.completed[seen.number] else None
        rows = [
            recording(seen.number, at=at, status=f"at {seen.hour}"),
            result(seen.number, at=at, done=done, status=f"at {seen.hour}"),
        ]
        for which in (0, 1):
            number = 2 * seen.number + which
            data = self.contents[number]
            if seen.shown[which]:
                came = data if seen.fetched[which] else None
                label = f"at {seen.hour}"
                rows.append(payload(number, of=seen.number, data=came, at=at, done=done, label=label))
                if came is not None:
                    rows.append(held(number, came, done=done))
        return rows

    def expected(self, observations: list[Observed]) -> dict[str, dict[str, tuple[object, ...]]]:
        """What must be landed after these observations, in whatever order they came."""
        latest = {seen.number: seen for seen in sorted(observations, key=lambda seen: seen.hour)}
        day = {
            number: day_of(later(24 * number)) if seen.hour >= self.completed[number] else None
            for number, seen in latest.items()
        }
        payloads: dict[str, tuple[object, ...]] = {}
        contents: dict[str, tuple[object, ...]] = {}
        for number in range(4):
            parent, which = divmod(number, 2)
            listings = [seen for seen in observations if seen.number == parent and seen.shown[which]]
            if listings:
                fetched = any(seen.fetched[which] for seen in listings)
                length = len(self.contents[number]) if fetched else None
                label = f"at {max(seen.hour for seen in listings)}"
                payloads[sid("XH", number)] = (day[parent], label, length)
                if fetched:
                    contents[sid("XH", number)] = (day[parent], self.contents[number])
        return {
            ADD_ON_RESULTS.name: {sid("XR", n): (day[n], f"at {seen.hour}") for n, seen in latest.items()},
            ADD_ON_PAYLOADS.name: payloads,
            CONTENTS.name: contents,
        }


def landed(archive: Archive) -> dict[str, dict[str, tuple[object, ...]]]:
    """The same facts, read from the archive."""
    columns = {
        ADD_ON_RESULTS: ("completed_date", "status"),
        ADD_ON_PAYLOADS: ("completed_date", "label", "content_length"),
        CONTENTS: ("completed_date", "content"),
    }
    return {
        table.name: {key: tuple(row[name] for name in names) for key, row in rows_by_key(archive, table).items()}
        for table, names in columns.items()
    }


def lost(before: dict[str, list[Values]], after: dict[str, list[Values]]) -> list[tuple[str, str, str]]:
    """Rows and values that were there before and are not any more."""
    missing = []
    for name, rows in before.items():
        key = TABLES[name].key
        now = {row[key]: row for row in after[name]}
        for row in rows:
            found = now.get(row[key], {})
            missing += [(name, row[key], c) for c, value in row.items() if value is not None and found.get(c) is None]
    return missing


worlds = st.builds(
    World,
    completed=st.tuples(st.integers(0, HOURS), st.integers(0, HOURS)),
    contents=st.tuples(*(st.binary(max_size=40) for _ in range(4))),
)
flags = st.tuples(st.booleans(), st.booleans())
observed = st.builds(Observed, st.integers(0, 1), st.integers(0, HOURS - 1), flags, flags)
histories = st.lists(observed, min_size=2, max_size=6, unique_by=lambda seen: (seen.number, seen.hour)).flatmap(
    lambda seen: st.tuples(st.permutations(seen), st.lists(st.integers(1, len(seen) - 1), max_size=2, unique=True))
)
"""Observations in the order of landing, and where to cut them into batches."""


def batches(history: tuple[list[Observed], list[int]]) -> list[list[Observed]]:
    """The observations of each batch."""
    order, cuts = history
    edges = [0, *sorted(cuts), len(order)]
    return [order[start:end] for start, end in pairwise(edges)]


@quick
@given(worlds, histories)
def test_what_is_landed_follows_from_what_was_observed_whatever_the_order(
    world: World, history: tuple[list[Observed], list[int]]
) -> None:
    """After each batch everything observed so far is there, nothing was lost or blanked, and keys are unique."""
    with new_archive() as archive:
        known: list[Observed] = []
        before = logical(archive)
        for group in batches(history):
            land_rows(archive, [row for seen in group for row in world.rows(seen)])
            known += group
            after = logical(archive)
            assert landed(archive) == world.expected(known)
            assert lost(before, after) == []
            assert after[QUARANTINE.name] == []
            before = after
        commit = archive.head().number
        again = land_rows(archive, [row for seen in batches(history)[0] for row in world.rows(seen)])
        assert (again.load_id, archive.head().number) == (None, commit)


@settings(quick, max_examples=4)
@given(worlds, histories)
def test_a_refreshed_file_equals_a_rebuilt_one_after_any_history(
    world: World, history: tuple[list[Observed], list[int]]
) -> None:
    """All tables and views, contents included, published after each batch and once afresh at the end."""
    with new_archive() as archive:
        for group in batches(history):
            land_rows(archive, [row for seen in group for row in world.rows(seen)])
            publish(archive, "duckdb", now=NOON)
        refreshed = shown(archive)
        publish(archive, "duckdb", now=NOON, afresh=True)
        assert shown(archive) == refreshed


@settings(quick, max_examples=3)
@given(st.lists(st.binary(max_size=300) | st.text(max_size=100).map(str.encode), min_size=1, max_size=40))
def test_any_bytes_come_back_as_they_were_from_the_archive_and_both_destinations(contents: list[bytes]) -> None:
    """Every byte, with the text beside it exactly where it is valid UTF-8."""
    contents = [b"", bytes(range(256)), b"\x00" * 1000, b"\xff\xfe", *contents]
    rows = [row for number, data in enumerate(contents) for row in _with_text(number, data)]
    texts = [as_read(data) for data in contents]
    with new_archive() as archive:
        land_rows(archive, rows)
        assert [row["content"] for row in logical(archive)[CONTENTS.name]] == contents
        for destination in ("duckdb", "parquet"):
            publish(archive, destination, now=NOON)
            with opened(archive) as db:
                found = db.execute("SELECT content, content_text FROM contents ORDER BY payload_sid").fetchall()
            assert found == list(zip(contents, texts, strict=True))


def _with_text(number: int, data: bytes) -> list[Row]:
    return [payload(number, data=data), held(number, data)]
