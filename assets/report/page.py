"""The page: figures in, one HTML file out. It asks nobody for anything, and runs nothing.

Every number is the value of a figure, in full in the `value` of its `<data>`. Texts of Twilio, of vendors and of people
are escaped by the template, and what is invisible in them is shown. Pure.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from assets.report.charts import Series, stacked
from assets.visible import visible
from warehouse.published.figures import FIGURES, LATENCIES, SHARES, Figure, names
from warehouse.states import OPEN_STATES, STATES

COLOURS = 8
"""Colours for add-ons. The busiest have one each, the others share the last."""

OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, the names of its colours with their classes and totals, and the figure with the same numbers."""

    title: str
    svg: Markup
    legend: Sequence[Series]
    figure: str


def page(figures: Mapping[str, Figure]) -> str:
    """The whole file.

    Args:
        figures: by name, as `warehouse.published.figures`; and `exports` and `completeness`, which the archive knows.
    """
    shown = {name: _visible(figure) for name, figure in figures.items()}
    template = _templates().get_template("report.html")
    return template.render(figures=shown, sql=FIGURES, charts=_charts(shown), open_states=OPEN_STATES)


def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _visible(figure: Figure) -> Figure:
    rows = tuple(tuple(visible(v) if isinstance(v, str) else v for v in row) for row in figure.rows)
    return Figure(figure.columns, rows)


def _charts(figures: Mapping[str, Figure]) -> Mapping[str, Chart]:
    """Every picture, by name; none of what never was."""
    days = [str(day) for day in figures["days"].column("completed_date") if day is not None]
    found = {
        "days": _by_state(figures, "days", STATES, title="Add-on results by day of completion and state"),
        "deadlines": _by_state(figures, "deadlines", OPEN_STATES, title="What is not exported, by day of its deadline"),
        "results": _by_add_on(
            figures, "add_on_days", "results", days, title="Add-on results by day and add-on", at="completed_date"
        ),
        "audio": _by_add_on(
            figures, "add_on_days", "audio_hours", days, title="Hours of audio by day and add-on", at="completed_date"
        ),
        "failures": _by_add_on(
            figures, "failures", "days", names(SHARES), title="Days by share of failed results", at="failed_share"
        ),
        "latencies": _by_add_on(
            figures, "latencies", "results", names(LATENCIES), title="Completed results by latency", at="latency"
        ),
        "loads": _in_one(figures, "loads", "contents", title="Contents landed by day"),
        "exports": _requests(figures),
    }
    return {name: chart for name, chart in found.items() if any(each.total for each in chart.legend)}


def _by_state(figures: Mapping[str, Figure], name: str, states: Sequence[str], *, title: str) -> Chart:
    figure = figures[name]
    labels = [_day(day) for day in figure.column(figure.columns[0])]
    series = [Series(state, f"is-{state}", _numbers(figure.column(state))) for state in states]
    return _chart(labels, series, name, title)


def _by_add_on(
    figures: Mapping[str, Figure], name: str, value: str, places: Sequence[str], *, title: str, at: str
) -> Chart:
    """A series for each of the busiest add-ons, over days or the steps of a distribution, whose column is `at`."""
    figure, add_ons = figures[name], figures["add_ons"].column("add_on")
    own = add_ons if len(add_ons) <= COLOURS else add_ons[: COLOURS - 1]
    sums: dict[tuple[object, object], float] = defaultdict(float)
    rows = zip(figure.column(at), figure.column("add_on"), _numbers(figure.column(value)), strict=True)
    for place, add_on, number in rows:
        sums[place, add_on if add_on in own else OTHERS] += number
    series = [
        Series(str(add_on), f"c{colour}", [round(sums[place, add_on], 2) for place in places])
        for colour, add_on in enumerate([*own, OTHERS][:COLOURS])
    ]
    return _chart([_day(place) for place in places] if at == "completed_date" else places, series, name, title)


def _in_one(figures: Mapping[str, Figure], name: str, value: str, *, title: str) -> Chart:
    figure = figures[name]
    labels = [_day(day) for day in figure.column(figure.columns[0])]
    return _chart(labels, [Series(value, "c0", _numbers(figure.column(value)))], name, title)


def _requests(figures: Mapping[str, Figure]) -> Chart:
    figure = figures["exports"]
    refused = _numbers(figure.column("refused_429"))
    answered = [all_ - not_ for all_, not_ in zip(_numbers(figure.column("requests")), refused, strict=True)]
    series = [Series("answered", "c0", answered), Series("refused", "is-pending", refused)]
    return _chart([f"#{n}" for n in figure.column("export")], series, "exports", "Requests by export")


def _chart(labels: Sequence[str], series: Sequence[Series], figure: str, title: str) -> Chart:
    legend = [each for each in series if each.total]
    totals = ", ".join(f"{each.name} {each.total:,.10g}" for each in legend)
    return Chart(title, stacked(labels, legend, title=f"{title}: {totals}. The numbers follow."), legend, figure)


def _numbers(values: Sequence[object]) -> list[float]:
    return [float(value) if isinstance(value, int | float) else 0.0 for value in values]


def _day(day: object) -> str:
    """A day as it stands under a bar: month and day."""
    return "no day" if day is None else str(day)[5:]
