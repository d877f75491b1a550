"""Bars as SVG that stands in a page: no script, no style and no address in it; the page's own style colours it.

pygal draws. What it adds for pages of its own (a script, a style, hidden descriptions) is taken out, and every bar gets
a title, which browsers show and read out. Pure: numbers in, SVG out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

import pygal
from markupsafe import Markup

WIDTH, HEIGHT = 480, 220
"""Of the picture's own units. A page shows it from 300 to 700 pixels wide."""

TEXT = 13
"""Height of letters, in the same units."""

LABELS = 7
"""Most labels under the bars: more would run into each other."""

LEAST = 2.0
"""Height of the smallest bar that is not nothing: one lost result among thousands must be seen."""


@dataclass(frozen=True, slots=True)
class Series:
    """One colour: its name, its class in the page's style, and a value for each label."""

    name: str
    colour: str
    values: Sequence[float]

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.values)


def stacked(labels: Sequence[str], series: Sequence[Series], *, title: str) -> Markup:
    """One bar for each label, of a part for each series, the first at the bottom."""
    every = max(1, -(-len(labels) // LABELS))
    chart = pygal.StackedBar(
        pygal.Config(width=WIDTH, height=HEIGHT, explicit_size=False, show_legend=False, no_prefix=True, margin=4),
        style=pygal.style.Style(label_font_size=TEXT, major_label_font_size=TEXT),
        css=[],
        js=[],
        x_labels=list(labels),
        x_labels_major=list(labels)[::every],
        show_minor_x_labels=False,
        truncate_label=-1,
        max_scale=5,
        include_x_axis=True,
        formatter=_scale_text,
    )
    for each in series:
        chart.add(each.name, list(each.values))
    drawn: Element = chart.render_tree()
    _tidy(drawn)
    drawn.attrib.clear()
    drawn.attrib |= {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": title}
    for parent in drawn.iter():
        number = _series_of(parent)
        if number is not None:
            parent.set("class", f"bars {series[number].colour}")
            _name_bars(parent, labels, series[number])
    return Markup(tostring(drawn, encoding="unicode"))  # noqa: S704  # ElementTree has escaped every text


def _scale_text(value: float) -> str:
    return f"{value:,.10g}"


def _tidy(drawn: Element) -> None:
    """Take out what is not drawn."""
    for parent in list(drawn.iter()):
        for child in list(parent):
            if child.tag not in _DRAWN or child.get("class") in _UNUSED:
                parent.remove(child)


_DRAWN = {"g", "path", "rect", "text"}

_UNUSED = {"background", "plot overlay", "plot text-overlay", "plot tooltip-overlay", "titles"}


def _series_of(part: Element) -> int | None:
    """The number of the series that a part of the picture draws."""
    for word in part.get("class", "").split():
        if word.startswith("serie-"):
            return int(word.removeprefix("serie-"))
    return None


def _name_bars(part: Element, labels: Sequence[str], series: Series) -> None:
    """Say at each bar what it is, and leave out those of nothing."""
    bars = part.find("g")
    if bars is None:
        return
    shown = zip(list(bars), labels, series.values, strict=True)
    for bar, label, value in shown:
        rect = bar.find("rect")
        if not value or rect is None:
            bars.remove(bar)
            continue
        height, top = float(rect.get("height", "0")), float(rect.get("y", "0"))
        if height < LEAST:
            rect.attrib |= {"height": f"{LEAST}", "y": f"{top - LEAST + height}"}
        rect.attrib.pop("class", None)
        SubElement(bar, "title").text = f"{label}: {value:,.10g} {series.name}"
