"""A sample of `make trial NAME=kills`: three exports at once, killed, stopped and read beside."""

from collections import Counter
from pathlib import Path
from random import Random

from tests.trials.kills import series


def test_three_exports_that_are_killed_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """After the next undisturbed run everything is there once, and no reader ever met an error."""
    tally: Counter[str] = Counter()
    assert series(tmp_path, Random(20261124), 2, tally) == []
    assert tally["kills"] == 2
    assert tally["reads"] > 0
