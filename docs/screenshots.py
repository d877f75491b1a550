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

from playwright.sync_api import Page, expect

from pipelines.sandbox.made_up import made_up_world
from pipelines.sandbox.run import Sandbox
from tests.ui.stand import CHROMIUM, PATIENCE, Stand, chromium, dagster_beside

FOLDER = Path(__file__).parent
GROUP = "/locations/addon_export/asset-groups/warehouse"
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
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(BROWSER_MS)
        expect.set_options(timeout=BROWSER_MS)
        for take in (_backfill, _run, _graph, _partition, _plots, _columns, _checks, _automation):
            take(page, stand, sandbox)


def _some_history(stand: Stand, now: datetime) -> None:
    """Exports of some weeks, one after another, so that there is something to plot."""
    for oldest, newest in ((30, 24), (23, 17), (16, 10), (9, 6)):
        days = [(now - timedelta(days=n)).date().isoformat() for n in (oldest, newest)]
        stand.run("assets.cli", "export", "--from", days[0], "--to", days[1])


def _backfill(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    """The dialog that launches a backfill, filled in; it is launched too, slowly, for the next picture."""
    page.goto(stand.url + GROUP)
    page.get_by_text("Materialize all").click()
    today = sandbox.now.date()
    days = page.get_by_role("dialog").locator("input[type=text]").first
    days.fill(f"[{today - timedelta(days=5)}...{today - timedelta(days=2)}]")
    days.press("Enter")
    expect(page.get_by_text("4 partitions")).to_be_visible()
    _shoot(page, "backfill")
    page.get_by_role("button", name="Launch backfill").click()
    _until(lambda: bool(_runs(page, stand, "dagster/backfill")))


def _run(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    (run,) = _runs(page, stand, "dagster/backfill")
    _until(lambda: _runs(page, stand, "dagster/backfill")[0]["status"] == "SUCCESS")
    page.goto(f"{stand.url}/runs/{run['id']}")
    _settle(page)
    _shoot(page, "run")
    stand.run("assets.cli", "export")
    stand.run("assets.cli", "export")


def _graph(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.goto(stand.url + "/asset-groups")
    _settle(page)
    _shoot(page, "graph")
    page.goto(stand.url + GROUP)
    _settle(page)
    _shoot(page, "graph_warehouse")


def _partition(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.goto(f"{stand.url}/assets/add_on_results?view=partitions&partition={sandbox.now.date()}")
    _settle(page)
    page.set_viewport_size({"width": 1280, "height": 1250})
    _settle(page)
    _shoot(page, "partition")
    page.set_viewport_size({"width": 1280, "height": 800})


def _plots(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.goto(f"{stand.url}/assets/recordings")
    _settle(page)
    page.set_viewport_size({"width": 1280, "height": 3000})
    _settle(page)
    _shoot(page, "plots")
    page.set_viewport_size({"width": 1280, "height": 800})


def _columns(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.goto(f"{stand.url}/assets/add_on_results")
    _settle(page)
    _shoot(page, "asset")
    page.goto(f"{stand.url}/assets/twilio_api?view=events")
    _settle(page)
    _shoot(page, "twilio")


def _checks(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.goto(f"{stand.url}/assets/add_on_results?view=checks")
    _settle(page)
    _shoot(page, "checks")


def _automation(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    page.goto(f"{stand.url}/automation")
    _settle(page)
    _shoot(page, "automation")


def _runs(page: Page, stand: Stand, tag: str) -> list[dict[str, str]]:
    """The runs that carry a tag, newest first."""
    query = "{ runsOrError { ... on Runs { results { id status tags { key value } } } } }"
    answer = page.request.post(f"{stand.url}/graphql", data={"query": query}).json()
    runs = answer["data"]["runsOrError"]["results"]
    return [run for run in runs if any(each["key"] == tag for each in run["tags"])]


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
