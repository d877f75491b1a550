"""A sample of `make trial NAME=signals`: commands that are asked to end at random moments."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.pipelines.conftest import Exporter
from tests.trials.signals import Series
from warehouse.store.opening import open_archive


def test_commands_that_are_asked_to_end_do_and_leave_nothing_behind(tmp_path: Path) -> None:
    """130 and one sentence, or their own code; no process, no file half written, and all that is landed verifies."""
    tally: Counter[str] = Counter()
    with Sandbox(made_up_world(now=datetime.now(UTC), recordings=5)) as sandbox:
        series = Series(tmp_path, sandbox, Random(2), tally)
        Exporter(sandbox, open_archive(series.root))().verdict()
        series.seconds |= {"export": 1.0, "compact": 0.5}
        for command in (("export", "--full"), ("compact",)):
            assert list(series.disturbed(command)) == []
        for _ in range(5):  # a command may have ended before its signal
            if not tally["signals"]:
                assert list(series.disturbed(("export", "--full"))) == []
    assert tally["signals"] >= 1
