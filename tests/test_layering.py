"""The layering is guarded by a machine: on a copy, each contract is broken by a line in the wrong room."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

VIOLATIONS = {
    "assets -> pipelines -> warehouse": ("warehouse/land.py", "import pipelines.sandbox"),
    "the floors of the warehouse": ("warehouse/store/files.py", "import warehouse.land"),
    "the floors of pipelines: the route on top, each errand beside it": ("pipelines/in_no_layer.py", ""),
    "the floors of assets: the command line on top, Dagster below it": ("assets/graph.py", "import assets.sensors"),
    "Dagster in assets only": ("warehouse/merge.py", "import dagster"),
    "HTTP in pipelines.twilio only": ("pipelines/monitoring/days.py", "import httpx"),
    "what is read and decided does no I/O": ("pipelines/records/rows.py", "import duckdb"),
    "the sandbox is for the command line, benchmarks and tests": ("assets/graph.py", "import pipelines.sandbox.world"),
    "the sandbox stands alone": ("pipelines/sandbox/values.py", "import warehouse.schema"),
    "benchmarks see the product from outside only": ("benchmarks/bench.py", "import pipelines.export"),
}
"""A file and a line for each contract; an empty line is a new file that has no layer."""


def broken_in(folder: Path) -> dict[str, bool]:
    """Each contract, and whether import-linter finds it broken in a copy."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)
    found = re.findall(r"^(.+) (KEPT|BROKEN)(?: \(.*\))?$", done.stdout, re.MULTILINE)
    assert done.returncode == (1 if any(word == "BROKEN" for _, word in found) else 0), done.stdout + done.stderr
    return {name: word == "BROKEN" for name, word in found}


def test_a_line_in_the_wrong_room_breaks_the_contract_that_forbids_it(tmp_path: Path) -> None:
    """All contracts of this project have such a line here, and none of them is broken without it."""
    for package in ("assets", "pipelines", "warehouse", "benchmarks"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert broken_in(tmp_path) == dict.fromkeys(VIOLATIONS, False)
    for name, line in VIOLATIONS.values():
        with (tmp_path / name).open("a") as module:
            module.write(f"\n{line}\n")
    assert broken_in(tmp_path) == dict.fromkeys(VIOLATIONS, True)
