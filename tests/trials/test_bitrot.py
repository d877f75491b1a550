"""A sample of `make trial NAME=bitrot`; and a repair that is killed is finished by the next one."""

import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.trials.bitrot import KINDS, Damage, made, targets, trial
from tests.warehouse.made_up import NOON, live_files, logical
from tests.warehouse.processes import CONTEXT, be_killed_before
from warehouse.published.publish import publish
from warehouse.store.names import Destination
from warehouse.store.opening import open_archive
from warehouse.upkeep.repair import ASIDE, repair
from warehouse.upkeep.verify import verify


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_damage_of_every_kind_is_named_and_repairs_are_honest(tmp_path: Path, destination: Destination) -> None:
    """Flips and worse, each fourth repaired on a copy; reading everything, the control, misses some of it."""
    archive = made(tmp_path / "root", destination)
    assert verify(archive).mismatches == ()
    random, tally = Random(6), Counter[str]()
    for number, kind in enumerate(("flipped",) * 4 + KINDS):
        damage = Damage(kind, random.choice(targets(archive, lost=kind == "lost")))
        assert trial(archive, damage, random, repairs=number % 4 == 0, tally=tally) == []
    assert tally["repaired"] > 2
    assert tally["the control missed"]
    assert verify(archive).mismatches == ()


def repair_and_die(root: Path, step: int) -> None:
    """Repair, killed right before the given of all steps."""
    archive = open_archive(root)
    be_killed_before(step)
    repair(archive, now=NOON)


def test_a_repair_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    """At each of its steps: what is damaged stays known or is repaired, and in the end every row is what it was."""
    archive = made(tmp_path / "root", "duckdb")
    before = logical(archive, without=())
    broken = [path for path in sorted(live_files(archive)) if path.startswith(("contents", "add_on_results"))][:3]
    kills = 0
    for step in range(1, 60, 5):
        root = tmp_path / f"{step}"
        shutil.copytree(archive.root, root, symlinks=True)
        for path in broken:
            (root / path).write_bytes(b"damaged")
        child = CONTEXT.Process(target=repair_and_die, args=(root, step))
        child.start()
        child.join(60)
        kills += child.exitcode == -9
        copy = open_archive(root)
        repair(copy, now=NOON)
        assert logical(copy, without=()) == before, step
        aside = {path.name for path in (root / ASIDE).iterdir()}
        assert aside == {path.replace("/", ".") for path in broken}, "what was damaged is not lost"
        assert not any((root / path).exists() for path in broken) or child.exitcode == -9
        if child.exitcode != -9:
            break
    assert kills > 3
    publish(copy, "duckdb", now=NOON, afresh=True)
    assert verify(copy).mismatches == ()
