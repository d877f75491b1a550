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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from pipelines.sandbox.run import Sandbox

if TYPE_CHECKING:
    from datetime import date

    from playwright.sync_api import Browser, Page

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

GROUP = "/locations/addon_export/asset-groups/warehouse"
"""The page of the warehouse's assets."""

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
        subprocess.run(
            [sys.executable, "-m", *command], cwd=self.folder, env=self.environment, check=True, timeout=PATIENCE
        )


@contextlib.contextmanager
def dagster_beside(sandbox: Sandbox, folder: Path) -> Iterator[Stand]:
    """Start web server and daemon on the repository's code location; `folder` must be empty."""
    home = folder / "home"
    home.mkdir()
    shutil.copyfile(ROOT / "dagster.yaml", home / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.all_asset_keys()  # creates the tables: web server and daemon would both try, and one would fail
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


def launch_backfill(
    page: "Page", stand: Stand, first: "date", last: "date", *, before: Callable[[], object] = lambda: None
) -> None:
    """Click as a user does: Materialize all, the range of days, Launch backfill. `before` is called before the last."""
    page.goto(stand.url + GROUP)
    page.get_by_text("Materialize all").click()
    dialog = page.get_by_role("dialog")
    days = dialog.locator("input[type=text]").first
    days.fill(f"[{first}...{last}]")
    days.press("Enter")
    dialog.get_by_text(f"{(last - first).days + 1} partitions").first.wait_for()
    before()
    dialog.get_by_role("button", name="Launch backfill").click()
    dialog.wait_for(state="hidden")


def runs_of_backfills(page: "Page", stand: Stand) -> list[dict[str, str]]:
    """Id and status of each run that a backfill has launched."""
    query = "{ runsOrError { ... on Runs { results { id status tags { key } } } } }"
    answer = page.request.post(f"{stand.url}/graphql", data={"query": query}).json()
    runs = answer["data"]["runsOrError"]["results"]
    return [run for run in runs if any(tag["key"] == "dagster/backfill" for tag in run["tags"])]


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
