"""The picture and the preview: well-formed, complete, and with nothing of a call in them."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from assets.runs.picture import COLOURS, HEIGHT, WIDTH, as_markdown, picture
from assets.runs.preview import ROWS, preview_table
from pipelines.monitoring.days import DayNumbers, PreviewRow
from warehouse.states import STATES

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def numbers(day: date | None, **states: int) -> DayNumbers:
    """A day with these results."""
    return DayNumbers(day, {**dict.fromkeys(STATES, 0), **states})


def bars(svg: str) -> list[dict[str, str]]:
    """Attributes of the bars' parts; the legend's squares have round corners."""
    return [each.attrib for each in ElementTree.fromstring(svg).iter(f"{SVG}rect") if "rx" not in each.attrib]


def words(svg: str) -> list[str]:
    """Every text in the picture."""
    return [each.text or "" for each in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_every_state_has_a_colour() -> None:
    """None is left out of a bar."""
    assert set(COLOURS) == set(STATES)


@given(
    st.dictionaries(
        st.one_of(st.none(), st.integers(0, 30)),
        st.dictionaries(st.sampled_from(STATES), st.integers(0, 10**7), max_size=5),
        max_size=32,
    )
)
def test_all_of_it_is_inside_and_nothing_counted_is_invisible(days: Mapping[int | None, Mapping[str, int]]) -> None:
    """Whatever the numbers: well-formed, each count above zero is a part of a bar at least two high."""
    shown = [numbers(None if n is None else (NOW - timedelta(days=n)).date(), **states) for n, states in days.items()]
    svg = picture(shown, now=NOW)
    drawn = bars(svg)
    assert len(drawn) == sum(count > 0 for day in shown for count in day.states.values())
    for part in drawn:
        assert float(part["height"]) >= 2
        assert 0 <= float(part["x"]) <= WIDTH - float(part["width"])
        assert -10 <= float(part["y"]) <= HEIGHT


def test_the_oldest_day_is_first_and_says_how_long_it_has() -> None:
    """The first bar is the next to expire; the last, apart, is of results without a date."""
    svg = picture([numbers(None, unfinished=1), numbers(date(2026, 10, 21), exported=5)], now=NOW)
    first, last = sorted(bars(svg), key=lambda part: float(part["x"]))
    assert (first["fill"], last["fill"]) == (COLOURS["exported"], COLOURS["unfinished"])
    assert {"21 Oct", "0 h", "26 Oct", "108 h", "no date"} <= set(words(svg))
    assert {"5 exported", "1 unfinished"} <= set(words(svg))
    assert not any("lost" in word for word in words(svg))


def test_what_is_older_than_twilio_keeps_is_left_out() -> None:
    """The picture is of what can still be had."""
    assert bars(picture([numbers(date(2026, 10, 1), exported=5)], now=NOW)) == []


def test_it_travels_inside_markdown() -> None:
    """One line, small, and the same picture when decoded."""
    days = [numbers((NOW - timedelta(days=n)).date(), exported=10**6, pending=3, lost=1) for n in range(31)]
    svg = picture(days, now=NOW)
    markdown = as_markdown(svg, text="by day")
    found = re.fullmatch(r"!\[by day\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found is not None
    assert base64.b64decode(found[1]).decode() == svg
    assert len(markdown) < 20_000


def test_the_preview_is_a_table_that_input_cannot_break() -> None:
    """A status that Twilio might send is shown as text: no column, link or line of its own."""
    hostile = "x|y\n](http://example.com)<img>"
    row = PreviewRow("XR1", "RE1", hostile, NOW, "pending", 3.6, 2, 12345)
    table = preview_table([row, PreviewRow("XR2", None, None, None, "unfinished", None, 0, 0)])
    lines = table.splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {9}
    assert not set("[]()<>") & set("".join(lines[2:]))
    assert lines[2].startswith("| XR1 |")
    assert lines[2].endswith("| 2026-11-20 12:00 | pending | 4 | 2 | 12,345 | RE1 |")
    assert preview_table([]).startswith("This run landed no")


def test_a_full_preview_is_shown_without_a_click() -> None:
    """Dagster shows Markdown of fewer than 1,000 characters where it stands, and longer ones on a click."""
    row = PreviewRow(f"XR{0:032}", f"RE{0:032}", "in-progress", NOW, "unfinished", 719.0, 10, 10**9)
    assert len(preview_table([row] * ROWS)) < 1000
