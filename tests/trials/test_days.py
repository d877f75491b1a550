"""A small sample of the day-by-day trial: an evening, midnight, and the first sweep."""

from pathlib import Path

from tests.trials.days import START, table, trial


def test_hour_by_hour_everything_is_landed_and_only_what_is_owed_is_asked_for(tmp_path: Path) -> None:
    """The day is whole with the first export after midnight, and an hour's requests do not grow with what is landed."""
    done = trial(tmp_path, hours=range(22, 28), recordings=60, seed=3, say=lambda line: None)
    assert done.wrong == []
    assert [tick.full for tick in done.ticks] == [False] * 6 + [True]
    first, *hourly, sweep = done.ticks
    assert first.results == first.new > 60
    assert all(tick.requests < first.requests / 3 for tick in hourly)
    assert sweep.results == sweep.landed + sweep.new > 4 * max(tick.results for tick in hourly)
    assert len(list(table(done.ticks))) == 5
    assert list(done.complete) == [START.date()]


def test_a_result_attached_after_its_recording_had_settled_waits_for_the_sweep(tmp_path: Path) -> None:
    """The judge sees when the sweep is left out: it asks for what was attached days later."""
    done = trial(tmp_path, hours=range(22, 25), recordings=10, seed=3, say=lambda line: None)
    assert done.wrong == []
    done.judge_days(attached_until=done.sandbox.now)
    assert any("is not landed as completed" in line for line in done.wrong)
