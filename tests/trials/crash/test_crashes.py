"""A sample of the trial `crashes`, which tries every system call that changes state; each kind has a control."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.trials.abilities import WORDS, Place, one_file_too_many, without
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
    total, tried, violations = trials(library, kind, "duckdb", most=1, seed="6")
    assert violations == []
    assert total > 100
    assert tried == 1


@pytest.mark.parametrize(("kind", "naive"), [CONTROLS[2]])
def test_a_naive_variant_is_caught(kind: str, naive: str, library: Path) -> None:
    """Without a sync, a power cut loses what was acknowledged: the harness sees it."""
    assert trials(library, kind, "duckdb", naive=naive, most=2, seed="4")[2]


def test_an_export_lands_everything_where_a_disk_lacks_what_it_can(library: Path, tmp_path: Path) -> None:
    """Links, locks, permissions, syncing of folders: each is said once, in every process of the command."""
    with Sandbox(made_up_world(now=datetime.now(UTC), recordings=5)) as sandbox:
        place = Place(tmp_path, sandbox, library)
        assert list(without(place, tuple(WORDS), [("export",)])) == []


def test_a_file_too_many_is_the_fault_of_the_process(library: Path, tmp_path: Path) -> None:
    """Wherever in an export it happens; the next one, which may open more, lands everything."""
    with Sandbox(made_up_world(now=datetime.now(UTC), recordings=5)) as sandbox:
        assert list(one_file_too_many(Place(tmp_path, sandbox, library), 40, sure=True)) == []
