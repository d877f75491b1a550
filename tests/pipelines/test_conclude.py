"""The process that concludes a large export: whatever becomes of it, the export ends with a sentence."""

import fcntl
import os
from pathlib import Path

import pytest

from pipelines import conclude
from pipelines.errors import FixWarehouse
from tests.warehouse.made_up import NOON, land_rows, whole
from warehouse.published.publish import publish
from warehouse.store.lock import lock
from warehouse.store.names import PUBLISH_LOCK
from warehouse.store.opening import open_archive


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a lock that nobody gives back: what is landed stays, and the sentence says what to look at."""
    archive = open_archive(tmp_path / "root")
    publish(archive, "duckdb", now=NOON)
    land_rows(archive, whole(1))
    monkeypatch.setattr(conclude, "LEAST_SECONDS", 1.0)
    monkeypatch.setattr(conclude, "ENDING_SECONDS", 0.1)
    monkeypatch.setattr(conclude, "MANY_ROWS", 0)
    held = lock(archive.root, PUBLISH_LOCK, fcntl.LOCK_EX)
    assert held is not None
    try:
        with pytest.raises(FixWarehouse, match="does not answer, so it was ended"):
            conclude.conclude(archive, "duckdb", since=0, now=NOON, trusted=None, run_id="test")
    finally:
        os.close(held)
    monkeypatch.undo()
    done = conclude.conclude(archive, "duckdb", since=0, now=NOON, trusted=None, run_id="test")
    assert (done.commit, done.mismatches) == (1, ())
