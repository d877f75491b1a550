"""The properties of the store and of paging, with more examples than the suite takes, other ones each time.

    make trial NAME=properties ARGS="--examples 100"

Hypothesis prints what repeats a failure.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("tests/properties", "tests/warehouse/test_land_any_order.py")


def main() -> None:
    """Run them; the exit code is pytest's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100, help="of each property")
    env = {**os.environ, "EXAMPLES": str(parser.parse_args().examples)}
    sys.exit(subprocess.run([sys.executable, "-m", "pytest", "-q", *TESTS], cwd=ROOT, env=env, check=False).returncode)
