"""An empty archive in a temporary folder."""

from pathlib import Path

import pytest

from warehouse.store.archive import Archive
from warehouse.store.opening import open_archive


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An empty archive."""
    return open_archive(tmp_path / "root")
