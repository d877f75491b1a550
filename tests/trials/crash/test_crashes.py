"""A sample of what `make crashes` does at every state-changing system call; each kind has a control that must fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trials.crash.run import CONTROLS, trials
from tests.trials.crash.shim import NoCompiler, compiled


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The shim; without a C compiler these tests are skipped."""
    try:
        yield compiled(tmp_path_factory.mktemp("shim"))
    except NoCompiler as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("kind", ["kills while recovering", "failures", "power cuts"])
def test_nothing_acknowledged_is_lost_and_the_next_run_recovers(kind: str, library: Path) -> None:
    """Killed, failing or cut off at sampled calls, nothing acknowledged is lost; two runs later all is whole."""
    total, tried, violations = trials(library, kind, "duckdb", most=2, seed="6")
    assert violations == []
    assert total > 100
    assert tried == 2


@pytest.mark.parametrize(("kind", "naive"), [CONTROLS[2]])
def test_a_naive_variant_is_caught(kind: str, naive: str, library: Path) -> None:
    """Without a sync, a power cut loses what was acknowledged: the harness sees it."""
    assert trials(library, kind, "duckdb", naive=naive, most=6, seed="1")[2]
