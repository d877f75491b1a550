"""`addon-export report` beside a warehouse with something of everything: its numbers, its texts, its file."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from pipelines.finished import finished
from tests.assets.conftest import CommandLine
from tests.assets.report.reading import Page
from tests.ui.stand import CHROMIUM, chromium
from tests.warehouse.made_up import Values, bad, land_rows, payload, recording, result, sid, whole
from tests.warehouse.test_ledger import step
from warehouse.append import append
from warehouse.land import land
from warehouse.ledger import DELETED, INTENT, STARTED
from warehouse.published.figures import FIGURES
from warehouse.published.publish import publish
from warehouse.store.opening import open_archive

SAID = "velvet submarine"
"""Words of a transcript."""

HOSTILE = "<script>alert(1)</script>\"'&\u202e<img src=http://evil.example onerror=alert(2)>"

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results in every state, some of an add-on with a hostile name; quarantine and deletions; nothing of it listed."""
    folder = tmp_path_factory.mktemp("report")
    archive = open_archive(folder / "data", add_on_names={sid("XB", 1): HOSTILE})
    rows = whole(1, SAID.encode(), is_text=True, at=NOW - timedelta(days=2), done=NOW - timedelta(days=2))
    states: list[tuple[str, float, Values]] = [
        ("completed", 7.5, {}),  # pending
        (HOSTILE, 5, {"done": None}),  # pending, of a status nobody knows
        ("in-progress", 700, {"done": None}),
        ("completed", -2, {}),  # lost
        ("completed", 48, {"gone_at": NOW}),
        ("completed", 48, {"deleted_at": NOW, "exported_at": NOW}),
        ("failed", 72, {"exported_at": NOW}),
    ]
    for number, (status, hours_left, values) in enumerate(states, start=2):
        completed = NOW - timedelta(days=number)
        facts: Values = {"done": completed, "date_created": completed - timedelta(minutes=7), **values}
        facts |= {"add_on_sid": sid("XB", 1), "expires_at": NOW + timedelta(hours=hours_left), "status": status}
        rows += [recording(number, duration_seconds=3600), result(number, at=NOW - timedelta(minutes=1), **facts)]
        rows += [] if status == "failed" else [payload(number, label=HOSTILE)]
    land_rows(archive, rows, now=NOW)
    land(archive, bad(HOSTILE), run_id="test", now=NOW)
    append(archive, lambda _: [step(STARTED), step(INTENT, 7, proof="{}"), step(DELETED, 7)], run_id="test", now=NOW)
    publish(archive, "parquet", now=NOW)
    done = CommandLine(folder)("report")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    """The page, read."""
    return Page((folder / "report.html").read_text())


def test_every_number_is_what_its_question_answers(folder: Path, page: Page) -> None:
    """The question stands beside it on the page; hours go on running, and are compared to a tenth."""
    with duckdb.connect(str(folder / "data" / "addons.duckdb"), read_only=True) as db:
        db.execute("SET TimeZone = 'UTC'")
        for name, table in page.tables.items():
            if name not in FIGURES:
                continue
            answered = db.execute(table.sql)
            assert [column[0] for column in answered.description or []] == table.columns, name
            rows = answered.fetchall()
            assert len(rows) == len(table.rows) > 0, name
            for expected, shown in zip(rows, table.rows, strict=True):
                for column, value, cell in zip(table.columns, expected, shown, strict=True):
                    if column == "hours_left" and cell is not None:
                        assert float(value) == pytest.approx(float(cell), abs=0.11)
                    elif not isinstance(value, datetime) and column not in ("add_on", "status", "reason"):
                        assert (None if value is None else str(value)) == cell, (name, column)
    assert {"states", "days", "deadlines", "next", "add_ons", "loads", "quarantine", "deletions"} <= page.tables.keys()


def test_the_states_are_those_of_retention(folder: Path, page: Page) -> None:
    """By a question of the test's own, in the table and under the picture."""
    states = {str(state): int(str(count)) for state, count, _ in page.tables["states"].rows}
    with duckdb.connect(str(folder / "data" / "addons.duckdb"), read_only=True) as db:
        assert states == dict(db.execute("SELECT state, count(*) FROM retention GROUP BY state").fetchall())
    assert states == {"exported": 2, "pending": 2, "unfinished": 1, "lost": 1, "gone": 1, "deleted": 1}
    assert any("exported 2, pending 2, unfinished 1, lost 1, gone 1, deleted 1." in label for label in page.labels), (
        page.labels
    )
    assert [row[0] for row in page.tables["next"].rows] == [sid("XR", 3), sid("XR", 2), sid("XR", 4)]


def test_days_that_are_not_complete_say_why(page: Page) -> None:
    """The list of recordings was never read to its end here, so no day is."""
    rows = page.tables["completeness"].rows
    assert len(rows) == 30
    assert all("not read to its end" in str(why) for *_, why in rows)


def test_what_others_say_is_text(page: Page) -> None:
    """A hostile name, status or reason opens no tag, has no address, and turns nothing round."""
    assert {"script", "img", "iframe", "object", "form"}.isdisjoint({tag for tag, _ in page.tags})
    attributes = [(name, value or "") for _, values in page.tags for name, value in values.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name == "src"]
    assert {value for name, value in attributes if name.endswith("href") and not value.startswith("#")} == {"data:,"}
    assert any(text.startswith("<script>alert(1)") and "\\u202e<img" in text for text in page.texts)
    assert not any("\u202e" in text for text in page.texts)


def test_no_word_of_a_transcript_is_in_it_and_only_its_owner_reads_it(folder: Path) -> None:
    """Nor the SID of what is safe."""
    path = folder / "report.html"
    text = path.read_text()
    assert SAID.split()[0] not in text
    assert sid("XR", 1) not in text
    assert path.stat().st_mode & 0o777 == 0o600
    assert CommandLine(folder)("report", "-").stdout.startswith("<!doctype html>")


def test_what_cannot_be_written_or_read_is_said_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    """Nothing is left there."""
    done = CommandLine(folder)("report", "nowhere/report.html")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    done = CommandLine(tmp_path)("report")
    assert (done.returncode, done.stderr.count("\n"), list(tmp_path.iterdir())) == (6, 1, [])


def test_exports_are_shown_with_their_requests(exported: CommandLine) -> None:
    """As the archive keeps them; those of SQL beside them."""
    (kept,) = finished(exported.root)
    shown = Page(exported("report", "-").stdout)
    ((number, landed_at, *_, requests, refused, _, results, contents, _),) = shown.tables["exports"].rows
    assert (number, requests, refused) == ("1", str(kept.numbers["requests"]), "0")
    assert (results, contents) == exported.rows(
        "SELECT sum(add_on_results)::VARCHAR, sum(contents)::VARCHAR FROM loads"
    )[0]
    assert landed_at is not None


def test_nothing_exported_is_a_page_too(tmp_path: Path) -> None:
    """With zeros, and no picture of nothing."""
    publish(open_archive(tmp_path / "data"), "duckdb", now=NOW)
    done = CommandLine(tmp_path)("report", "-")
    assert (done.returncode, done.stderr) == (0, "")
    shown = Page(done.stdout)
    assert [count for _, count, _ in shown.tables["states"].rows] == ["0"] * 6
    assert shown.labels == []


CUT_OFF = """() => {
    const found = document.documentElement.scrollWidth > innerWidth ? ["the page"] : []
    for (const part of document.querySelectorAll("section > *, figure > *, dl > div, svg text")) {
        const own = part.getBoundingClientRect()
        const card = (part.closest("section") || document.body).getBoundingClientRect()
        if (own.left < card.left || own.right > card.right + 0.5) found.push(part.outerHTML.slice(0, 80))
    }
    for (const picture of document.querySelectorAll("svg")) {
        const places = [...picture.querySelectorAll(".axis.x text")].map(text => text.getBoundingClientRect())
        places.slice(1).forEach((place, at) => { if (place.left < places[at].right) found.push("labels on another") })
    }
    return found
}"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_shows_all_of_it_and_asks_nobody(folder: Path, tmp_path: Path) -> None:
    """From 360 to 1920 pixels, in light and in dark, on paper, with every table open; and reaches it by keyboard."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with chromium(tmp_path) as browser:
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url))
        page.goto((folder / "report.html").as_uri())
        papers = set()
        for width in (360, 768, 1280, 1920):
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate(CUT_OFF) == [], (width, scheme)
                papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert len(papers) == 2
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 718, "height": 1000})  # A4
        assert page.evaluate(CUT_OFF) == []
        assert (
            page.evaluate("[...document.querySelectorAll('.wide')].filter(t => t.scrollWidth > t.clientWidth).length")
            == 0
        )
        assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
        assert said == [(folder / "report.html").as_uri()]
