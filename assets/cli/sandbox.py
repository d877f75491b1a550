"""The command `addon-export sandbox`: a local stand-in for Twilio's API."""

import click

from assets.cli.arguments import Command, whole_number
from pipelines.sandbox.run import serve


@click.command(
    cls=Command,
    epilog="""
    Example:
      addon-export sandbox --port 8010 --recordings 50
    """,
)
@click.option(
    "--port", type=whole_number("a port", most=65535), default=8010, show_default=True, help="Port of the API."
)
@click.option(
    "--recordings",
    type=whole_number("a number of recordings", most=10**6),
    default=200,
    show_default=True,
    help="How many recordings to make up.",
)
def command(port: int, recordings: int) -> None:
    """Run a local stand-in for Twilio's API with made-up data, and say how to export from it."""
    serve(port=port, recordings=recordings)
