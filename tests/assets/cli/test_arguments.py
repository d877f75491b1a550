"""The command line before a command begins: help, suggestions, completion, and what is not guessed."""

import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from assets.cli import main
from assets.cli.ending import ExitCode
from pipelines.errors import FixConfiguration
from tests.assets.conftest import ROOT
from warehouse.store.stamp import VERSION

ALL = "--version, -h, --help"
NESTED = [("delete", "plan"), ("delete", "apply"), *(("quarantine", name) for name in ("list", "show", "retry"))]


@pytest.mark.parametrize("path", [(), *((name,) for name in main.COMMANDS), *NESTED], ids=" ".join)
def test_every_command_has_a_help_of_80_columns(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, with each option explained; nothing is read or begun for it."""
    assert main._run([*path, "--help"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith(f"Usage: {' '.join(('addon-export', *path))} ")
    assert max(map(len, said.out.splitlines())) <= 80
    command: click.Command = main.addon_export
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    assert all(each.help for each in command.params if isinstance(each, click.Option))


def test_the_help_of_all_names_each_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Each command is in the file of its name, and there is no other file with one."""
    assert main._run([]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in main.COMMANDS)
    assert all(f"\n  {code:>3}  " in said for code in ExitCode)
    files = {path.stem for path in (ROOT / "assets" / "cli").glob("*.py") if "\ndef command(" in path.read_text()}
    assert files == set(main.COMMANDS)
    assert all(isinstance(import_module(f"assets.cli.{name}").command, click.Command) for name in files)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("exprot", "There is no 'exprot', did you mean export; see `addon-export --help`."),
        ("quarantine dismis", "There is no 'dismis', did you mean dismiss; see `addon-export quarantine --help`."),
        ("delete", "Missing command; see `addon-export delete --help`."),
        ("--verison", "There is no option --verison, did you mean --version; see `addon-export --help`."),
        ("--json export", f"There is no option --json, there are {ALL}; see `addon-export --help`."),
        ("EXPORT", "There is no 'EXPORT', did you mean export; see `addon-export --help`."),
        ("export --ful", "There is no option --ful, did you mean --full; see `addon-export export --help`."),
        ("export --full=3", "Option '--full' does not take a value; see `addon-export export --help`."),
        ("export --from", "Option '--from' requires an argument; see `addon-export export --help`."),
        ("sql 1 2", "Got unexpected extra argument (2); see `addon-export sql --help`."),
        (
            "delete plan --from 2026-11-01 --to 2026-11-02 --max-share nan",
            "Invalid value for '--max-share': 'nan' is not a share from 0 to 1; see `addon-export delete plan --help`.",
        ),
        ("ui --port ٣", "Invalid value for '--port': '٣' is not a port; see `addon-export ui --help`."),
    ],
)
def test_a_mistake_is_one_sentence(line: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with what was meant and where to look; an option that is cut short is not taken for a longer one."""
    assert main._run(line.split()) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"{sentence}\n")


@pytest.mark.parametrize("name", main.COMMANDS)
def test_a_default_is_a_value_of_its_option(name: str) -> None:
    """Whatever is left out of a command line: a default goes through the type of its option as a text does."""
    command = import_module(f"assets.cli.{name}").command
    ctx = click.Context(command)
    for option in command.params:
        if not option.required:
            option.process_value(ctx, option.get_default(ctx))


def test_the_sandbox_says_that_its_port_is_taken() -> None:
    """As a wish to be mended, not as a defect."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FixConfiguration, match=f"Port {port} cannot be used: Address already in use"):
            main._run(["sandbox", "--port", str(port)])


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """As data."""
    assert main._run(["--version"]) == 0
    assert capsys.readouterr().out == f"addon-export {VERSION}\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("addon-export qua", ["quarantine"]),
        ("addon-export quarantine d", ["dismiss"]),
        ("addon-export export --f", ["--from", "--full"]),
        ("addon-export sql --format c", ["csv"]),
        ("addon-export nothing --f", []),
    ],
)
def test_a_shell_completes_commands_and_options(
    typed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As the script of `completion` asks for it."""
    monkeypatch.setenv(main.COMPLETE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    assert main._run([]) == 0
    assert capsysbinary.readouterr().out.decode().split() == [f"plain,{word}" for word in offered]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_asks_this_program(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell has its own."""
    assert main._run(["completion", shell]) == 0
    assert f"{main.COMPLETE}={shell}_complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "heavy"),
    [(["--help"], "duckdb pyarrow dagster httpx"), (["export", "--help"], "dagster"), (["status", "-h"], "dagster")],
)
def test_help_waits_for_no_library_that_it_does_not_need(line: list[str], heavy: str, tmp_path: Path) -> None:
    """Dagster alone takes longer than everything else of a command."""
    program = (
        f"import sys; from assets.cli import main; main._run({line!r})\n"
        f"sys.exit(str([name for name in {heavy.split()!r} if name in sys.modules] or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, check=False
    )
    assert done.stderr.strip() == b"", done.stderr
