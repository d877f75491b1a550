"""kill -9 at any moment: what was acknowledged is there, the rest is invisible."""

import os
import signal
from random import Random

from tests.warehouse.made_up import NOON, land_rows, live_files, logical, rows_by_key, sid, whole
from tests.warehouse.processes import CONTEXT, die_at, hear, land_and_publish, start
from warehouse.published.publish import publish
from warehouse.schema import ADD_ON_RESULTS, CONTENTS
from warehouse.store import commits
from warehouse.store.archive import Archive
from warehouse.upkeep.verify import verify

KILLS = 6


def test_a_kill_at_any_moment_loses_nothing_acknowledged(archive: Archive) -> None:
    """After each kill in the middle of landing and publishing the next process goes on from what is there."""
    random = Random()
    acknowledged: set[int] = set()
    for seed in range(KILLS):
        process, connection = start(land_and_publish, archive.root, seed)
        acknowledged.add(hear(connection))
        process.join(timeout=random.uniform(0, 0.3))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        while connection.poll():
            try:
                acknowledged.add(connection.recv())
            except EOFError:
                break
        assert process.exitcode == -signal.SIGKILL
        assert {sid("XH", n) for n in acknowledged} <= set(rows_by_key(archive, CONTENTS))
    numbers = commits.numbers(archive.root)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) - len(acknowledged) <= KILLS  # at most the one landing in flight each time
    publish(archive, "duckdb", now=NOON)
    assert verify(archive).mismatches == ()


def test_a_kill_at_each_step_of_a_landing_leaves_the_state_before_or_after(archive: Archive) -> None:
    """Killed right before each third rename, link or fsync, a landing has happened whole or not at all.

    `make trial NAME=crashes` kills at each of them.
    """
    land_rows(archive, whole(1, done=None))
    before = logical(archive)
    for step in range(1, 100, 3):
        process = CONTEXT.Process(target=die_at, args=(archive.root, step))
        process.start()
        process.join()
        after = logical(archive)
        whole_results = {row["sid"] for row in after[ADD_ON_RESULTS.name]}
        whole_contents = {row["payload_sid"].replace("XH", "XR") for row in after[CONTENTS.name]}
        assert whole_results == whole_contents
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert after == before or sid("XR", 2) in whole_results
    assert step > 10
    assert rows_by_key(archive, CONTENTS)[sid("XH", 2)]["content"] == b"two"
    publish(archive, "parquet", now=NOON)
    assert verify(archive).mismatches == ()
    leftovers = {p.relative_to(archive.root).as_posix() for p in archive.root.glob("*/**/*.parquet")} - live_files(
        archive
    )
    assert leftovers  # the kills did leave files behind, and nobody looked at them
