"""Takes the pictures in this folder: sandbox, Dagster and exports of their own, then Chromium on the pages.

`make screenshots`. Everything is made up and temporary; nothing but loopback is used. Needs the dev dependencies and an
installed Chromium.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.ui.stand import (
    CHROMIUM,
    GROUP,
    PATIENCE,
    Stand,
    chromium,
    dagster_beside,
    launch_backfill,
    runs_of_backfills,
)

FOLDER = Path(__file__).parent
SIZE: ViewportSize = {"width": 1280, "height": 800}
BROWSER_MS = PATIENCE * 1000


def main() -> None:
    """Take them all."""
    if CHROMIUM is None:
        sys.exit("No Chromium is installed; on Debian: apt-get install chromium.")
    now = datetime.now(UTC)
    with (
        tempfile.TemporaryDirectory(prefix="addon-export-") as folder,
        Sandbox(made_up_world(now=now, recordings=300)) as sandbox,
        dagster_beside(sandbox, Path(folder)) as stand,
        chromium(Path(folder)) as browser,
    ):
        _some_history(stand, now)
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(BROWSER_MS)
        expect.set_options(timeout=BROWSER_MS)
        for take in (_backfill, _run, _graph, _partition, _plots, _columns, _checks, _automation, _report):
            take(page, stand, sandbox)


def _some_history(stand: Stand, now: datetime) -> None:
    """Exports of some weeks, one after another, so that there is something to plot."""
    for oldest, newest in ((30, 24), (23, 17), (16, 10), (9, 6)):
        days = [(now - timedelta(days=n)).date().isoformat() for n in (oldest, newest)]
        stand.run("assets.cli", "export", "--from", days[0], "--to", days[1])


def _backfill(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    """The dialog, filled in. The run it launches is made to take a minute, so that it gives a sign of life."""
    sandbox.settings.latency = 4.0
    last = sandbox.now.date() - timedelta(days=2)
    _until(lambda: "backfill daemon is not running" not in _after_opening(page, stand))
    launch_backfill(page, stand, last - timedelta(days=3), last, before=lambda: _shoot(page, "backfill"))
    _until(lambda: bool(runs_of_backfills(page, stand)))


def _run(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    """A run that is under way: how far it is."""
    (run,) = runs_of_backfills(page, stand)
    page.goto(f"{stand.url}/runs/{run['id']}")
    page.get_by_text("recordings seen,").first.wait_for()
    _settle(page)
    _shoot(page, "run")
    sandbox.settings.latency = 0.0
    _until(lambda: runs_of_backfills(page, stand)[0]["status"] == "SUCCESS")
    stand.run("assets.cli", "export")


def _graph(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.set_viewport_size({"width": 1640, "height": 760})
    page.goto(stand.url + GROUP)
    page.get_by_role("button", name="Hide navigation").click()
    page.reload()
    _settle(page)
    _shoot(page, "graph")
    page.set_viewport_size(SIZE)


def _partition(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    """A partition, then its picture, which Dagster shows on a click."""
    page.set_viewport_size({"width": 1280, "height": 1240})
    page.goto(f"{stand.url}/assets/add_on_results?view=partitions&partition={sandbox.now.date()}")
    _settle(page)
    _shoot(page, "partition")
    page.set_viewport_size({"width": 1280, "height": 520})
    page.get_by_text("[Show Markdown]").click()
    _settle(page)
    page.get_by_role("dialog").screenshot(path=FOLDER / "picture.png")
    page.set_viewport_size(SIZE)


def _plots(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.set_viewport_size({"width": 1280, "height": 1300})
    page.goto(f"{stand.url}/assets/recordings")
    _settle(page)
    page.get_by_text("Columns", exact=True).click()
    page.get_by_text("Plots", exact=True).click()
    _settle(page)
    _shoot(page, "plots")
    page.set_viewport_size(SIZE)


def _columns(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.goto(f"{stand.url}/assets/add_on_results")
    _settle(page)
    _shoot(page, "asset")


def _checks(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.goto(f"{stand.url}/assets/add_on_results?view=checks")
    _settle(page)
    _shoot(page, "checks")


def _automation(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.goto(f"{stand.url}/automation")
    _settle(page)
    _shoot(page, "automation")


def _report(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    stand.run("assets.cli", "report", str(stand.folder / "report.html"))
    page.set_viewport_size({"width": 1280, "height": 1100})
    page.goto((stand.folder / "report.html").as_uri())
    _shoot(page, "report")
    page.set_viewport_size(SIZE)


def _after_opening(page: Page, stand: Stand) -> str:
    """What the launch dialog says."""
    page.goto(stand.url + GROUP)
    page.get_by_text("Materialize all").click()
    page.get_by_text("Partition selection").wait_for()
    return page.get_by_role("dialog").inner_text()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("Dagster did not get there in time.")
        time.sleep(0.3)


def _settle(page: Page) -> None:
    """Wait until the page has its data and has stopped moving."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)  # the graph is laid out and faded in without telling anybody


def _shoot(page: Page, name: str) -> None:
    page.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
