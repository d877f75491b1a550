"""The command line `addon-export`: stdout is data, stderr is talk and progress, exit codes are a promise.

A command stands in the file of its name, which is imported when the command is asked for: `--help` and `status` do not
wait for Dagster.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

import click
from click.shell_completion import CompletionItem, shell_complete

from assets.cli.arguments import Group, sentence_of
from assets.cli.ending import ExitCode, end_with
from assets.cli.process import prepare
from assets.terminal import say, show
from warehouse.store.stamp import VERSION

PROGRAM = "addon-export"

COMPLETE = "_ADDON_EXPORT_COMPLETE"
"""Variable by which the script of `completion` asks for what may come next."""

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "export": "Export what can still be had and is not landed, or some days.",
        "verify": "Read everything back and compare it with what was received.",
        "status": "What is landed, pending, unfinished, lost; the next deadline.",
        "accounts": "Whose results are kept here, and who is no longer wanted.",
        "compact": "Join files: one for each partition and table.",
        "seal": "Verify the archive, and seal its newest commit.",
        "rebuild": "Build addons.duckdb afresh from the archive.",
        "sandbox": "Run a local stand-in for Twilio's API with made-up data.",
        "delete": "Delete at Twilio what is proven to be safe here.",
        "quarantine": "What could not be landed: list, show, retry, dismiss.",
        "erase": "Erase a recording, a result, or what is too old, for good.",
        "ui": "Open Dagster's UI, with schedules, sensors and alerts.",
        "sql": "Answer a question in SQL; changes nothing, needs no account.",
        "search": "In which calls something was said, when, and by whom.",
        "report": "Write a page with charts: what is safe, what expires, how it goes.",
        "tables": "Every table, view and column with its meaning, as Markdown.",
        "alert": "Try the channels that alerts go to.",
        "demo": "Sandbox, export, verify, a few SQL answers; needs no account.",
        "completion": "The script that completes commands and options in a shell.",
    }
)
"""All of them, in the order of the help. `assets.cli.NAME.command` is the command itself."""


class _Commands(Group):
    """Finds a command in the file of its name, and only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"assets.cli.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


@click.command(
    cls=_Commands,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
    Exit codes:
        0  all asked for is landed and verified
        1  unexpected
        2  configuration, credentials or a question
        3  a guard refused to delete
        4  what is stored differs, or input is in quarantine
        5  Twilio did not give everything; run again
        6  the warehouse or stdout cannot be written or read
      130  interrupted
    """,
)
@click.option("--version", is_flag=True, help="Show the version.")
@click.pass_context
def addon_export(ctx: click.Context, version: bool) -> int:
    """Export Twilio recording add-on results before Twilio deletes them after 30 days."""
    if version:
        show(f"{PROGRAM} {VERSION}")
        ctx.exit()
    if ctx.invoked_subcommand is None:
        show(ctx.get_help())
    return ExitCode.OK


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit."""
    prepare()
    end_with(lambda: _run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    """The exit code of what a command line asks for.

    click's own `main` is not used: it makes a line of its own of Ctrl-C, and exit code 1 of a closed pipe.
    """
    if instruction := os.environ.get(COMPLETE):
        return shell_complete(addon_export, {}, PROGRAM, COMPLETE, instruction)
    try:
        with addon_export.make_context(PROGRAM, arguments) as ctx:
            return addon_export.invoke(ctx) or ExitCode.OK
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        say(sentence_of(error))
        return ExitCode.CONFIGURATION
