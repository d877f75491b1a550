"""A whole Dagster of its own beside a sandbox: web server, daemon, history and warehouse in one temporary folder.

For the browser test and for the pictures in `docs/`. Everything listens on loopback ports that were free, and is
gone when the `with` block ends. Nothing here asserts anything.
"""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.sandbox.run import Sandbox

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[2]

PATIENCE = 120.0
"""Seconds until something that should have happened counts as failed; a busy machine is slow to start Dagster."""

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

QUICK_DAEMON = """
import sys
import dagster._daemon.controller as controller
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1  # how often it looks for backfills; half a minute is long for a test
from dagster._daemon.cli import main
sys.argv[0] = "dagster-daemon"
main()
"""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True, slots=True)
class Stand:
    """Where everything is. `environment` points any of our commands at it."""

    url: str
    folder: Path
    environment: Mapping[str, str]

    @property
    def database(self) -> Path:
        """What analysts open."""
        return self.folder / "data" / "addons.duckdb"

    def run(self, *command: str) -> None:
        """Run one of our commands to its end; raises if it fails."""
        subprocess.run([sys.executable, "-m", *command], cwd=self.folder, env=self.environment, check=True)


@contextlib.contextmanager
def dagster_beside(sandbox: Sandbox, folder: Path) -> Iterator[Stand]:
    """Start web server and daemon on the repository's code location; `folder` must be empty."""
    home = folder / "home"
    home.mkdir()
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TWILIO_", "EXPORT_", "DAGSTER_"))}
    environment = {
        **inherited,
        **sandbox.environment,
        "DAGSTER_HOME": str(home),
        "EXPORT_ROOT": str(folder / "data"),
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1",
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    workspace = str(ROOT / "workspace.yaml")
    stand = Stand(f"http://127.0.0.1:{port}", folder, environment)
    web = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", workspace]
    daemon = [sys.executable, "-c", QUICK_DAEMON, "run", "-w", workspace]
    with contextlib.ExitStack() as stack:
        output = stack.enter_context((folder / "dagster.log").open("wb"))
        for command in (web, daemon):
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            stack.callback(_stop, process)
        _wait_for(port, process_log=folder / "dagster.log")
        yield stand


@contextlib.contextmanager
def chromium(folder: Path) -> "Iterator[Browser]":
    """The installed Chromium, headless, with an empty profile in `folder`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=list(FLAGS), env={**os.environ, "HOME": str(folder)}
        )
        try:
            yield browser
        finally:
            browser.close()


def _wait_for(port: int, *, process_log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/server_info")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    raise TimeoutError(f"Dagster's web server did not answer: {process_log.read_text()[-2000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and what it started: they are a group of their own."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(15)
