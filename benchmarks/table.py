"""Outcomes as a Markdown table. Pure."""

from collections.abc import Sequence

from benchmarks.outcome import Outcome

_MEGABYTE = 1 << 20

_COLUMNS = (
    "way",
    "recordings",
    "share of theory",
    "whole command",
    "requests/s",
    "CPU ms a request",
    "with start-up",
    "CPU ms a result",
    "peak MB",
    "tree MB",
    "429",
    "requests",
    "contents fetched",
    "rows landed of expected",
    "contents equal",
)


def table(title: str, outcomes: Sequence[Outcome]) -> str:
    """A heading and one line for each run."""
    lines = [_line(_COLUMNS), _line(["---"] + ["---:"] * (len(_COLUMNS) - 1))]
    lines += [_line(_cells(outcome)) for outcome in outcomes]
    return "\n".join([f"### {title}", "", *lines, ""])


def _cells(outcome: Outcome) -> list[str]:
    finding, measured = outcome.finding, outcome.measured
    name = f"{outcome.way}: {outcome.run}" if outcome.run else outcome.way
    contents = outcome.stats["kinds"].get("content", {"count": 0})["count"]
    landed = f"{finding.landed:,} of {finding.expected:,}"
    if finding.missing or finding.extra:
        landed += f" ({finding.missing} missing, {finding.extra} extra)"
    return [
        name,
        f"{outcome.recordings:,}",
        _percent(outcome.share),
        _percent(outcome.command_share),
        f"{outcome.requests / outcome.extraction:,.0f}",
        f"{1000 * outcome.cpu / outcome.requests:.2f}",
        f"{1000 * measured.cpu / outcome.requests:.2f}",
        f"{1000 * outcome.cpu / max(1, finding.results):.2f}",
        f"{measured.peak / _MEGABYTE:.0f}",
        f"{measured.tree / _MEGABYTE:.0f}",
        f"{100 * outcome.refused:.2f} %",
        f"{outcome.requests:,}",
        f"{contents:,}",
        landed,
        "yes" if finding.equal == finding.contents else f"{finding.equal:,} of {finding.contents:,}",
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
