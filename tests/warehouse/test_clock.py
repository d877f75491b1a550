"""Which clock is believed: for what destroys never one that is ahead, for stamps the source's."""

from datetime import timedelta

import pytest

from tests.warehouse.made_up import NOON
from warehouse.clock import APART, believed_now, trusted_now

SIZES = [timedelta(minutes=6), timedelta(hours=20), *(timedelta(days=days) for days in (45, 400, 4000))]

WRONG = [*SIZES, *(-size for size in SIZES)]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_clock_here_that_is_ahead_makes_nothing_older(wrong: timedelta) -> None:
    """Trusted time is never later than what was shown and the margin, nor later than the clock here."""
    found = trusted_now(NOON + wrong, NOON)
    assert found is not None
    assert found <= min(NOON + APART, NOON + wrong)


def test_a_time_shown_that_is_wrong_makes_nothing_older_either() -> None:
    """A reply of the year 2199 would have to agree with the clock here."""
    assert trusted_now(NOON, NOON + timedelta(days=63_000)) == NOON


def test_without_a_second_clock_there_is_no_trusted_time() -> None:
    """What nobody confirms is not known."""
    assert trusted_now(NOON, None) is None


@pytest.mark.parametrize("wrong", WRONG)
def test_stamps_are_of_the_sources_time(wrong: timedelta) -> None:
    """Once the clocks are further apart than a few minutes."""
    assert believed_now(NOON + wrong, NOON) == NOON


def test_stamps_are_of_the_finer_clock_while_both_agree() -> None:
    """A Date header has whole seconds; nobody's clock is right to the second."""
    assert believed_now(NOON + APART, NOON) == NOON + APART
    assert believed_now(NOON, None) == NOON
