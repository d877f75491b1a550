"""The real store against a model: whatever is landed, moved, deleted, erased, compacted, collected or published.

After every step the archive holds what follows from what was observed: each key once, nothing lost or blanked, contents
exact, and nothing of what was erased. Naive variants of landing are run by the same machine, which must find them out.
"""

import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pipelines.erase.choice import erase_sids
from pipelines.records.sids import recording_sid
from tests.properties.examples import store
from tests.warehouse.made_up import NOON, land_rows, rows_by_key, sid
from tests.warehouse.published.test_publish import opened
from tests.warehouse.test_land_any_order import Observed, World, landed, worlds
from tests.warehouse.test_ledger import step
from warehouse import land, merge
from warehouse.append import append
from warehouse.contents import moved
from warehouse.errors import RepairWarehouse
from warehouse.ledger import DELETED, INTENT
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_RESULTS, CONTENTS, QUARANTINE
from warehouse.store.archive import Archive
from warehouse.store.collect import collect
from warehouse.store.names import Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.compact import compact
from warehouse.upkeep.verify import verify

flags = st.tuples(st.booleans(), st.booleans())
destinations = st.sampled_from(["duckdb", "parquet"])


class Store(RuleBasedStateMachine):
    """What is known of the store, and every way to change it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.archive: Archive = open_archive(Path(self.folder) / "root")
        self.known: list[Observed] = []
        self.deleted: set[str] = set()
        self.erased: set[int] = set()
        self.hours = iter(range(1000))

    @initialize(world=worlds)
    def begin(self, world: World) -> None:
        """What Twilio would show at each hour."""
        self.world = world

    @rule(number=st.integers(0, 1), shown=flags, fetched=flags, late=st.booleans())
    def observe(
        self, number: int, shown: tuple[bool, bool], fetched: tuple[bool, bool], late: bool
    ) -> None:  # drawn by hypothesis
        """A listing, of now or (landed late) of an hour before all others; of what was erased too."""
        hour = next(self.hours)
        seen = Observed(number, -hour if late else hour, shown, fetched)
        land_rows(self.archive, self.world.rows(seen))
        if number not in self.erased:
            self.known.append(seen)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def land_again(self, data: Any) -> None:
        """A part of what was landed: says nothing new, so no commit is made."""
        some = data.draw(st.lists(st.sampled_from(self.known), min_size=1, max_size=3))
        before = self.archive.head().number
        land_rows(self.archive, [row for seen in some for row in self.world.rows(seen)])
        assert self.archive.head().number == before

    @rule(number=st.integers(0, 1))
    def delete_at_twilio(self, number: int) -> None:
        """The row stays, with the time of its deletion."""
        name = sid("XR", number)
        if name in self.deleted or name not in rows_by_key(self.archive, ADD_ON_RESULTS):
            return
        for word in (INTENT, DELETED):
            append(self.archive, lambda _, word=word: [step(word, number)], run_id="test", now=NOON)  # type: ignore[misc]
        self.deleted.add(name)

    @precondition(lambda self: len(self.known) > 4)
    @rule(number=st.integers(0, 1), destination=destinations)
    def erase(self, number: int, destination: Destination) -> None:
        """It is gone, and stays gone whatever is observed of it later."""
        erase_sids(self.archive, destination, recordings=[recording_sid(sid("RE", number))], now=NOON)
        self.erased.add(number)
        self.known = [seen for seen in self.known if seen.number != number]

    @rule(thorough=st.booleans())
    def compact(self, thorough: bool) -> None:  # as above
        """Files are joined; rows stay."""
        compact(self.archive, now=NOON + timedelta(days=2), run_id="test", thorough=thorough, most_files=2)

    @rule()
    def collect(self) -> None:
        """Whatever is superseded is removed at once."""
        collect(self.archive, now=datetime.now(UTC) + timedelta(hours=1), grace=timedelta(0), keep=1)

    @rule()
    def reopen(self) -> None:
        """As another process would: it remembers nothing."""
        self.archive = open_archive(self.archive.root)

    @rule(destination=destinations, afresh=st.booleans())
    def publish(self, destination: Destination, afresh: bool) -> None:  # as above
        """Published rows are those of the archive, and `verify` has nothing to say."""
        publish(self.archive, destination, now=NOON, afresh=afresh)
        with opened(self.archive) as db:
            found = dict(db.execute("SELECT payload_sid, content FROM contents").fetchall())
        assert found == {name: facts[1] for name, facts in self.expected()[CONTENTS.name].items()}
        assert verify(self.archive).mismatches == ()

    def expected(self) -> dict[str, dict[str, tuple[object, ...]]]:
        """What follows from what was observed."""
        return self.world.expected(self.known)

    @invariant()
    def everything_is_there_once(self) -> None:
        """Every key, day, status and byte."""
        if not hasattr(self, "world"):
            return
        assert landed(self.archive) == self.expected()
        rows = rows_by_key(self.archive, ADD_ON_RESULTS)
        assert {name for name, row in rows.items() if row["deleted_at"]} == self.deleted & rows.keys()
        assert rows_by_key(self.archive, QUARANTINE) == {}

    def teardown(self) -> None:
        """Leave no files."""
        shutil.rmtree(self.folder)


def test_the_store_holds_what_was_observed_whatever_is_done_to_it() -> None:
    """The machine over both destinations."""
    run_state_machine_as_test(Store, settings=store)


def _blanking(table: Any, column: Any, load_id: str) -> str:
    """The latest observation wins, with its nulls."""
    return f"s.{column.name}" if column.merge == "latest" else _merge_sql(table, column, load_id)


_merge_sql = merge.merge_sql


def _stay_home(archive: Any, file: Any, days: Any) -> Any:
    """Contents do not follow their payload to its day."""
    return moved(archive, file, {})


NAIVE: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "nulls blank values": lambda patch: patch.setattr(land, "merge_sql", _blanking),
    "rows are added unseen": lambda patch: patch.setattr(land._Landing, "_landed_keys", lambda *_: {}),
    "contents stay behind": lambda patch: patch.setattr(land, "moved", _stay_home),
    "what was erased comes back": lambda patch: patch.setattr(
        land, "without_erased", lambda _, rows, more: (rows, more)
    ),
}


@pytest.mark.parametrize("name", NAIVE)
def test_the_machine_finds_out_naive_ways_to_land(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controls: each is wrong in one way only, and none gets through."""
    NAIVE[name](monkeypatch)
    world = World((2, 1), (b"one", b"two", b"three", b"four"))
    machine = Store()
    machine.begin(world)
    with pytest.raises((AssertionError, RepairWarehouse)):  # noqa: PT012  # one history, wherever it is found out
        for number, hour in ((0, 0), (1, 1), (0, 2), (0, 3), (1, 4)):
            machine.observe(number, (True, True), (hour == 0, True), late=False)
            machine.everything_is_there_once()
        machine.observe(0, (True, False), (False, False), late=True)
        machine.everything_is_there_once()
        machine.erase(1, "duckdb")
        machine.observe(1, (True, True), (True, True), late=False)
        machine.everything_is_there_once()
        machine.publish("duckdb", afresh=False)
    machine.teardown()


def test_the_history_of_the_controls_is_fine_with_the_real_store() -> None:
    """So what is found out there is the naive way, not the history."""
    machine = Store()
    machine.begin(World((2, 1), (b"one", b"two", b"three", b"four")))
    for number, hour in ((0, 0), (1, 1), (0, 2), (0, 3), (1, 4)):
        machine.observe(number, (True, True), (hour == 0, True), late=False)
        machine.everything_is_there_once()
    machine.observe(0, (True, False), (False, False), late=True)
    machine.erase(1, "duckdb")
    machine.observe(1, (True, True), (True, True), late=False)
    machine.everything_is_there_once()
    machine.publish("duckdb", afresh=False)
    machine.teardown()
