"""The ledger of deletions: a chain, decided on the newest state, in one commit with what it means."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from tests.warehouse.made_up import NOON, land_rows, rows_by_key, sid, whole
from warehouse.append import append
from warehouse.ledger import DELETED, INTENT, STARTED, Ledger, Step, contradictions, deleted_results, read_ledger
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_RESULTS, CONTENTS
from warehouse.store.archive import Archive
from warehouse.upkeep.verify import verify


def step(word: str, number: int | None = None, **values: str) -> Step:
    """A step of a made-up plan."""
    return Step(
        step=word,
        at=NOON,
        plan_hash="p" * 64,
        apply_id="a",
        host="here",
        account_sid=sid("AC", 0),
        add_on_result_sid=None if number is None else sid("XR", number),
        reference_sid=None if number is None else sid("RE", number),
        **values,
    )


def take(archive: Archive, *steps: Step) -> None:
    """Append steps whatever the ledger holds."""
    append(archive, lambda _: steps, run_id="test", now=NOON)


def read(archive: Archive) -> Ledger:
    """The newest ledger."""
    return read_ledger(archive.newest())


def test_steps_come_back_in_order_as_one_chain(archive: Archive) -> None:
    """Over several appends, and after the files were joined."""
    steps = [step(STARTED), step(INTENT, 1, proof='{"payloads": []}'), step(DELETED, 1, reply='{"status": 204}')]
    for each in steps:
        take(archive, each)
    ledger = read(archive)
    assert [entry.step for entry in ledger.entries] == steps
    assert ledger.broken() is None
    assert [entry.sequence for entry in ledger.entries] == [1, 2, 3]
    assert ledger.head == ledger.entries[-1].deletion_id


@pytest.mark.parametrize("field", ["step", "plan_hash", "add_on_result_sid", "proof", "reply", "host", "at"])
def test_no_value_of_a_step_can_be_changed_unseen(field: str, archive: Archive) -> None:
    """Every value is part of the hash."""
    take(archive, step(STARTED), step(INTENT, 1, proof="{}", reply="{}"), step(DELETED, 1))
    entries = list(read(archive).entries)
    other: Any = NOON.replace(microsecond=1) if field == "at" else "other"
    entries[1] = replace(entries[1], step=replace(entries[1].step, **{field: other}))
    assert "Step 2" in str(Ledger(tuple(entries)).broken())


def test_a_step_is_decided_again_when_another_process_was_first(archive: Archive) -> None:
    """It sees what the other one has written, and the chain has no fork."""
    seen: list[int] = []

    def decide(ledger: Ledger) -> Iterable[Step]:
        seen.append(len(ledger.entries))
        if len(seen) == 1:
            take(archive, step(STARTED))
        return [step(INTENT, 1)]

    append(archive, decide, run_id="test", now=NOON)
    assert seen == [0, 1]
    assert [entry.step.step for entry in read(archive).entries] == [STARTED, INTENT]
    assert read(archive).broken() is None


def test_what_refuses_writes_nothing(archive: Archive) -> None:
    """The error comes through as it is."""

    def refuse(_: Ledger) -> Iterable[Step]:
        yield step(INTENT, 1)
        raise LookupError("no")

    with pytest.raises(LookupError):
        append(archive, refuse, run_id="test", now=NOON)
    assert archive.head().number == 0


def test_an_outcome_marks_the_result_and_touches_nothing_else(archive: Archive) -> None:
    """`deleted_at` comes in the same commit; row and content stay."""
    land_rows(archive, [*whole(1, b"one"), *whole(2, b"two")])
    before, contents = rows_by_key(archive, ADD_ON_RESULTS), rows_by_key(archive, CONTENTS)
    take(archive, step(INTENT, 1))
    assert deleted_results(archive.newest()) == set()
    take(archive, step(DELETED, 1))
    after = rows_by_key(archive, ADD_ON_RESULTS)
    assert deleted_results(archive.newest()) == {sid("XR", 1)}
    changed = {"deleted_at", "load_id"}
    assert {k: v for k, v in after[sid("XR", 1)].items() if k not in changed} == {
        k: v for k, v in before[sid("XR", 1)].items() if k not in changed
    }
    assert after[sid("XR", 2)] == before[sid("XR", 2)]
    assert rows_by_key(archive, CONTENTS) == contents
    assert contradictions(read(archive), deleted_results(archive.newest())) == []
    publish(archive, "duckdb", now=NOON)
    assert verify(archive).mismatches == ()


def test_a_mark_without_a_step_and_a_step_without_a_mark_are_told(archive: Archive) -> None:
    """One of them was lost."""
    take(archive, step(INTENT, 1), step(DELETED, 1))
    assert "no step" in contradictions(Ledger(()), {sid("XR", 1)})[0]
    assert "no deleted_at" in contradictions(read(archive), set())[0]
