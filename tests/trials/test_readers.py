"""A sample of `make trial NAME=readers`."""

from pathlib import Path

import pytest

from tests.trials.readers import LEAST, trial
from warehouse.store.names import Destination
from warehouse.store.opening import open_archive


@pytest.mark.parametrize("destination", ["duckdb", "parquet"])
def test_readers_at_every_moment_get_one_state(tmp_path: Path, destination: Destination) -> None:
    """No error, no answer from two commits, none older than the one before, while the writer goes on."""
    found = trial(open_archive(tmp_path / "root").root, destination, 0.5)
    assert found.beside.publications >= LEAST
    for name, read in found.readers.items():
        assert read.reads > 0, name
        assert (read.errors, read.torn, read.backwards) == ([], [], 0), name
