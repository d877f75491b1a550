"""The command `addon-export tables`: for analysts, who need no account at Twilio."""

import click

from assets.cli.arguments import Command
from assets.terminal import show
from warehouse.published.describe import tables_markdown


@click.command(cls=Command)
def command() -> None:
    """Print every table, view and column with its meaning, as Markdown."""
    show(tables_markdown().rstrip("\n"))
