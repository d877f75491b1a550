"""The command `addon-export ui`."""

import argparse
import os
import re
import sys

from pipelines.errors import FixConfiguration
from pipelines.settings import environment

LEAST_TOKEN = 32
"""Letters of a token that a proxy sends: nobody may guess it."""


def add_ui_command(ui: argparse.ArgumentParser) -> None:
    """Give the parser of `ui` its options."""
    ui.set_defaults(run=_ui, needs_account=False)
    ui.add_argument("--port", type=_port, metavar="N", help="port on this machine (default 3000, or any that is free)")
    ui.add_argument("--read-only", action="store_true", help="nothing can be changed; starts no daemon")
    ui.add_argument("--no-browser", action="store_true", help="only print the address")
    ui.add_argument(
        "--behind-proxy",
        metavar="HOST",
        help="answer a proxy of this name that sends EXPORT_UI_TOKEN as a bearer token",
    )


def _ui(options: argparse.Namespace) -> int:
    from assets.cli.ui_processes import serve_ui

    proxy: str | None = options.behind_proxy
    if proxy is not None and not re.fullmatch(r"[a-z0-9.-]+(:\d+)?", proxy):
        raise FixConfiguration(
            "--behind-proxy must be the host name that browsers use, in lower case, with its port if any."
        )
    token = environment().get("EXPORT_UI_TOKEN", "").strip()
    if proxy is not None and (len(token) < LEAST_TOKEN or not re.fullmatch(r"[\w.~+/=-]+", token, re.ASCII)):
        raise FixConfiguration(
            f"--behind-proxy needs EXPORT_UI_TOKEN: {LEAST_TOKEN} letters or more that the proxy sends as "
            "`Authorization: Bearer ...`."
        )
    serve_ui(
        port=options.port,
        read_only=options.read_only,
        proxy=proxy,
        token=token or None,
        browser=not options.no_browser and _has_screen(),
    )
    return 0


def _has_screen() -> bool:
    """Whether a browser can be opened for whoever sits at the terminal."""
    shown = sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return shown and sys.stderr.isatty()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port")
    return int(text)
