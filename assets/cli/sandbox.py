"""The command `addon-export sandbox`: a local stand-in for Twilio's API."""

import errno
import os

import click

from assets.cli.arguments import Command, whole_number
from pipelines.errors import FixConfiguration
from pipelines.sandbox.run import serve

_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})


@click.command(
    cls=Command,
    epilog="""
    Example:
      addon-export sandbox --port 8010 --recordings 50
    """,
)
@click.option(
    "--port",
    type=whole_number("a port", most=65535),
    default=8010,
    show_default=True,
    metavar="N",
    help="Port of the API, 0 for any that is free.",
)
@click.option(
    "--recordings",
    type=whole_number("a number of recordings", most=10**6),
    default=200,
    show_default=True,
    metavar="N",
    help="How many recordings to make up.",
)
def command(port: int, recordings: int) -> None:
    """Run a local stand-in for Twilio's API with made-up data, and say how to export from it."""
    try:
        serve(port=port, recordings=recordings)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        reason = os.strerror(error.errno)
        raise FixConfiguration(f"Port {port} cannot be used: {reason}; --port 0 takes any that is free.") from error
