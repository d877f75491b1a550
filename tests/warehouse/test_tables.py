"""The names of tables stand apart from what is in them, so that finding files and settings loads no Arrow."""

import subprocess
import sys

import pytest

from tests.assets.conftest import ROOT
from warehouse.schema import TABLES
from warehouse.tables import PARTITIONS


def test_the_names_are_those_of_the_schema() -> None:
    """In the same order, with the same partitions."""
    assert list(PARTITIONS.items()) == [(name, table.partition) for name, table in TABLES.items()]


@pytest.mark.parametrize("module", ["pipelines.settings", "assets.cli.ui_processes"])
def test_what_reads_no_rows_loads_no_arrow(module: str) -> None:
    """36 MB of each process that stays for days, such as the UI's."""
    code = f"import sys, {module}; print(sorted({{'pyarrow', 'duckdb', 'numpy'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
