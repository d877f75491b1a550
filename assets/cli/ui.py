"""The command `addon-export ui`."""

import os
import re
import sys

import click

from assets.cli.arguments import Command, whole_number
from pipelines.errors import FixConfiguration
from pipelines.settings import environment
from pipelines.variables import UI_TOKEN

LEAST_TOKEN = 32
"""Letters of a token that a proxy sends: nobody may guess it."""


@click.command(
    cls=Command,
    epilog="""
    Examples:
      addon-export ui
      addon-export ui --read-only --port 3333
    """,
)
@click.option(
    "--port",
    type=whole_number("a port", most=65535),
    metavar="N",
    help="Port on this machine.  [default: 3000, or any that is free]",
)
@click.option("--read-only", is_flag=True, help="Nothing can be changed; starts no daemon.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option(
    "--behind-proxy",
    "proxy",
    metavar="HOST",
    help="Answer a proxy of this name that sends EXPORT_UI_TOKEN as a bearer token.",
)
def command(port: int | None, read_only: bool, no_browser: bool, proxy: str | None) -> None:
    """Open Dagster's UI on this DAGSTER_HOME, with schedules, sensors and alerts."""
    if proxy is not None and not re.fullmatch(r"[a-z0-9.-]+(:\d+)?", proxy):
        raise FixConfiguration(
            "--behind-proxy must be the host name that browsers use, in lower case, with its port if any."
        )
    token = UI_TOKEN.of(environment())
    if proxy is not None and (len(token) < LEAST_TOKEN or not re.fullmatch(r"[\w.~+/=-]+", token, re.ASCII)):
        raise FixConfiguration(
            f"--behind-proxy needs EXPORT_UI_TOKEN: {LEAST_TOKEN} letters or more that the proxy sends as "
            "`Authorization: Bearer ...`."
        )
    from assets.cli.ui_processes import serve_ui  # with Dagster, which takes longer than to see all this

    browser = not no_browser and _has_screen()
    serve_ui(port=port, read_only=read_only, proxy=proxy, token=token or None, browser=browser)


def _has_screen() -> bool:
    """Whether a browser can be opened for whoever sits at the terminal."""
    shown = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return shown and sys.stderr.isatty()
