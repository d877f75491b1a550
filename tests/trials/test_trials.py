"""The list of trials is true: each is there, and says what it takes."""

import pytest

from tests.trials.__main__ import ROOM, TRIALS, main


def test_every_trial_is_a_program_of_this_folder() -> None:
    """Read and not run: the gate runs a sample of each by itself."""
    files = {name: ROOM / f"{trial.module.replace('.', '/')}.py" for name, trial in TRIALS.items()}
    assert [name for name, file in files.items() if "\ndef main(" not in file.read_text()] == []


def test_every_program_of_this_folder_is_a_trial() -> None:
    """A program that the list does not name is run by nobody."""
    programs = {file for file in ROOM.rglob("*.py") if "\ndef main() -> None:" in file.read_text()}
    named = {ROOM / f"{trial.module.replace('.', '/')}.py" for trial in TRIALS.values()}
    assert programs - named == {ROOM / "crash" / "trials.py"}, "the trial `crashes` starts that one in processes"


def test_without_a_name_all_trials_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, as `make trial` prints them."""
    main([])
    listed = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert dict(listed[: len(TRIALS)]) == {name: trial.does for name, trial in TRIALS.items()}


def test_an_unknown_name_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and nothing is run."""
    with pytest.raises(SystemExit, match="2"):
        main(["kill"])
    assert "kills" in capsys.readouterr().err
