"""What all commands have in common: how they are found, what they say of a mistake, and kinds of options."""

import difflib
import inspect
import logging
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, TypeVar

import click

from assets.cli.process import interrupted
from assets.terminal import say, show
from pipelines.environment import open_env_file
from pipelines.errors import FixConfiguration
from pipelines.records.dates import FIRST_YEAR
from pipelines.twilio.open_files import raise_open_files

LAST_YEAR = 2199
"""Of days that are asked for: times are reckoned for weeks around a day."""

Value = TypeVar("Value")

Decorated = TypeVar("Decorated", bound=Callable[..., object])


class _Helpful(click.Command):
    """Shows its help as data, with its examples as they are written."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options; a mistake in them knows whose they are."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """The usual one, which prints as everything here does."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
        return option

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples and exit codes, line by line."""
        if self.epilog:
            formatter.write(f"\n{inspect.cleandoc(self.epilog)}\n")


class Command(_Helpful):
    """One command."""

    def invoke(self, ctx: click.Context) -> Any:
        """Begin, and do the work; what cannot be understood has been refused before."""
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        for handler in logging.getLogger().handlers:
            handler.addFilter(lambda _: not interrupted())  # libraries log what they were cut short in, at length
        raise_open_files()
        if (readable := open_env_file()) is not None:
            say(f"Others on this machine may read {readable}, and the credentials in it; run `chmod go-rw` on it.")
        return super().invoke(ctx)


class Group(_Helpful, click.Group):
    """Commands under one name."""

    command_class = Command

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **{"no_args_is_help": False, **settings})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant.

        Raises:
            UsageError: there is none of this name; the sentence has the nearest, or all.
        """
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:
            ctx.fail(_there_is_no(repr(args[0]), args[0], names))
        return super().resolve_command(ctx, args)


def sentence_of(error: click.UsageError) -> str:
    """What is wrong with a command line, and where to look."""
    what = error.format_message()
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        options = [name for each in error.ctx.command.get_params(error.ctx) for name in each.opts]
        what = _there_is_no(f"option {error.option_name}", error.option_name, options)
    where = "addon-export" if error.ctx is None else error.ctx.command_path
    return f"{' '.join(what.split()).rstrip('.')}; see `{where} --help`."


class Parsed(click.ParamType[Value]):
    """The type of an option whose value `of` makes of its text; the sentence of its ValueError is shown."""

    name = "value"

    def __init__(self, of: Callable[[str], Value]) -> None:
        self._of = of

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Value:
        """The value of a text; a default that is no text is the value."""
        if not isinstance(value, str):
            default: Value = value
            return default
        try:
            return self._of(value)
        except ValueError as reason:
            self.fail(str(reason), param, ctx)


def whole_number(what: str, *, most: int) -> Parsed[int]:
    """The type of an option that takes digits alone, up to `most`; of others is said that they are not `what`."""

    def of(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
            raise ValueError(f"{text!r} is not {what}")
        return int(text)

    return Parsed(of)


def number(what: str, *, most: float) -> Parsed[float]:
    """The type of an option that takes a number from 0 to `most`; of others is said that they are not `what`."""

    def of(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= most:
            raise ValueError(f"{text!r} is not {what}")
        return value

    return Parsed(of)


def days(*, required: bool = False) -> Callable[[Decorated], Decorated]:
    """The options --from and --to; a command gets them as `first` and `last`."""

    def add(command: Decorated) -> Decorated:
        for flag, name, text in (("--to", "last", "Last day, included."), ("--from", "first", "First UTC day.")):
            command = click.option(flag, name, type=Parsed(_day), metavar="DATE", help=text, required=required)(command)
        return command

    return add


def check_order(first: date | None, last: date | None) -> None:
    """Refuse days that are the wrong way round.

    Raises:
        FixConfiguration: they are.
    """
    if first is not None and last is not None and first > last:
        raise FixConfiguration(f"--from {first} is after --to {last}; swap them.")


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date like 2026-11-20") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"{text} is not in the years {FIRST_YEAR} to {LAST_YEAR}")
    return day


def _there_is_no(what: str, given: str, names: Sequence[str]) -> str:
    plain = {name.lstrip("-"): name for name in names}  # dashes make all options alike
    near = difflib.get_close_matches(given.lstrip("-").lower(), plain, n=1)
    return f"There is no {what}, " + (f"did you mean {plain[near[0]]}" if near else f"there are {', '.join(names)}")


def _show_help(ctx: click.Context, _: click.Parameter, asked: bool) -> None:  # as click calls it
    if asked and not ctx.resilient_parsing:
        show(ctx.get_help())
        ctx.exit()
