"""SIGKILL across export and delete: a sample of the trial `deletions`, by the thousand. The source is the judge."""

import pytest

from tests.trials.deletions import CONTROLS, controls, trials


def test_no_kill_makes_a_deletion_unsafe_or_leaves_it_unfinished() -> None:
    """No DELETE without every byte in the archive, none that no plan named, and every run converges."""
    tally, violations = trials(4, kills=5, say=lambda _: None)
    assert violations == []
    assert tally["deleted"] > 0
    assert tally["DELETEs judged"] >= tally["deleted"] / 2  # those that were killed when processed count once


@pytest.mark.parametrize("naive", CONTROLS)
def test_the_judge_catches_naive_ways_to_delete(naive: object) -> None:
    """Trusting rows, trusting the plan, deleting while listing: each is seen by the same judge."""
    caught = controls(1, only=naive)
    assert all(caught.values())
    assert len(caught) == 1
