"""Dagster's UI as a new user meets it: the graph, a backfill launched by clicks, and what came of it."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

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

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A small made-up world on the real clock."""
    with Sandbox(made_up_world(now=datetime.now(UTC), recordings=40)) as running:
        yield running


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Web server and daemon with nothing exported yet."""
    with dagster_beside(sandbox, tmp_path_factory.mktemp("stand")) as running:
        yield running


@pytest.fixture(scope="module")
def page(stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of a browser that has never been here."""
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        opened = browser.new_page(viewport={"width": 1600, "height": 900})
        opened.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        yield opened


def contents(stand: Stand, first: str, last: str) -> set[str]:
    """Payloads of these days whose content is in the published database."""
    with duckdb.connect(str(stand.database), read_only=True) as db:
        rows: list[tuple[Any, ...]] = db.execute(
            "SELECT payload_sid FROM contents WHERE completed_date BETWEEN ? AND ? AND octet_length(content) > 0",
            [first, last],
        ).fetchall()
    return {sid for (sid,) in rows}


def see_the_graph(page: Page, stand: Stand) -> None:
    """The groups first, then the tables and views of the warehouse, with Twilio before and deletion after them."""
    page.goto(f"{stand.url}/asset-groups")
    for group in ("twilio", "warehouse", "deletion"):
        expect(page.get_by_text(group, exact=True).first).to_be_visible()
    page.goto(stand.url + GROUP)
    for name in ("recordings", "add_on_results", "add_on_payloads", "transcripts", "retention"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    for name in ("twilio_api", "deleted_add_on_results"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()


def test_a_new_user_sees_the_graph_and_backfills_a_range_by_clicks(page: Page, stand: Stand, sandbox: Sandbox) -> None:
    """One run for the whole range, successful, its partitions materialised, every content in the warehouse.

    One test, because starting Dagster takes longer than all the rest.
    """
    see_the_graph(page, stand)
    last = datetime.now(UTC).date() - timedelta(days=2)
    first = last - timedelta(days=7)
    launch_backfill(page, stand, first, last)
    deadline = time.monotonic() + PATIENCE
    while [run["status"] for run in runs_of_backfills(page, stand)] not in (["SUCCESS"], ["FAILURE"]):
        assert time.monotonic() < deadline, (stand.folder / "dagster.log").read_text()[-3000:]
        page.wait_for_timeout(200)  # between two looks: the browser goes on meanwhile
    (run,) = runs_of_backfills(page, stand)
    assert run["status"] == "SUCCESS"
    page.goto(f"{stand.url}/runs/{run['id']}")
    expect(page.get_by_text("Success").first).to_be_visible()
    page.goto(f"{stand.url}/assets/add_on_results?view=partitions&partition={last}")
    expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()
    expect(page.get_by_text("results_by_day").first).to_be_visible()
    wanted = {
        payload.sid
        for each in sandbox.world.truth(sandbox.now, account_sid=sandbox.account_sid)
        if each.state.date_completed and first <= each.state.date_completed.astimezone(UTC).date() <= last
        for payload in each.payloads
    }
    assert len(wanted) > 5
    assert contents(stand, f"{first}", f"{last}") == wanted
