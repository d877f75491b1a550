"""A small picture of the warehouse: results by day and what has become of them, and the hours left at Twilio.

Pure: numbers in, SVG text out. No text of a call and no SID is in it. Its background is transparent and its colours
are readable on light and on dark.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final

from pipelines.monitoring.days import DayNumbers
from warehouse.states import RETENTION

WIDTH, HEIGHT = 760, 196
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 22, 36, 46
_GREY: Final = "#7d8590"

COLOURS: Final[Mapping[str, str]] = {
    "exported": "#2f9e6e",
    "deleted": "#8a94a6",
    "unfinished": "#4c8fe0",
    "pending": "#e09b1f",
    "lost": "#e0483e",
    "gone": "#a8324f",
}
"""From the bottom of a bar to its top: what needs attention is on top."""


def picture(days: Sequence[DayNumbers], *, now: datetime) -> str:
    """SVG: one bar for each UTC day that Twilio may still hold, oldest and so nearest to its deadline first.

    The last bar, apart, is of results without `date_completed`. `days` need not be in order nor be all of them; what
    completed before the last 30 days is left out.
    """
    today = now.date()
    slots: list[date | None] = [today - RETENTION + timedelta(days=n) for n in range(RETENTION.days + 1)]
    slots += [None]
    known = {each.day: each for each in days}
    shown = [known[day] for day in slots if day in known]
    top = max((each.results for each in shown), default=0)
    step = (WIDTH - _LEFT - _RIGHT) / (len(slots) + 2)
    floor = HEIGHT - _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="system-ui,sans-serif" font-size="11" fill="{_GREY}">',
        "<title>Add-on results by day of completion, and hours left at Twilio</title>",
        *_legend(shown),
        *_scale(top, floor),
    ]
    for number, day in enumerate(slots):
        x = _LEFT + (number + 2 * (day is None)) * step
        if day in known:
            parts += _bar(known[day].states, x + step * 0.14, step * 0.72, top=top, floor=floor)
        if day is None or number % 5 == 0:
            label, left = ("no date", "") if day is None else (f"{day:%d %b}", f"{_hours_left(day, now)} h")
            middle = f'x="{x + step / 2:.0f}" text-anchor="middle"'
            parts += [
                f'<text {middle} y="{floor + 16}">{label}</text>',
                f'<text {middle} y="{floor + 33}">{left}</text>',
            ]
    parts.append(f'<text x="0" y="{floor + 16}">day</text><text x="0" y="{floor + 33}">left</text></svg>')
    return "".join(parts)


def as_markdown(svg: str, *, text: str) -> str:
    """The picture inside Markdown, with no file beside it."""
    return f"![{text}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _hours_left(day: date, now: datetime) -> int:
    """Hours until the first result that completed on a day can expire; 0 when that is past."""
    expires = datetime.combine(day, time(), tzinfo=now.tzinfo) + RETENTION
    return max(0, round((expires - now).total_seconds() / 3600))


def _bar(states: Mapping[str, int], x: float, width: float, *, top: int, floor: int) -> list[str]:
    parts, y = [], float(floor)
    for state, colour in COLOURS.items():
        if count := states.get(state, 0):
            height = max(2.0, count / top * (floor - _TOP))  # one lost result among thousands must be seen
            y -= height
            parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>')
    return parts


def _scale(top: int, floor: int) -> list[str]:
    return [
        f'<path d="M{_LEFT} {y}H{WIDTH - _RIGHT}" stroke="{_GREY}" stroke-opacity=".35"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{count:,}</text>'
        for count, y in ((0, floor), (top, _TOP))
        if top or not count
    ]


def _legend(shown: Sequence[DayNumbers]) -> list[str]:
    parts, x = [], float(_LEFT)
    for state, colour in COLOURS.items():
        count = sum(each.states.get(state, 0) for each in shown)
        if not count and state != "exported":
            continue
        words = f"{count:,} {state}"
        parts.append(f'<rect x="{x:.0f}" y="8" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(f'<text x="{x + 15:.0f}" y="17">{words}</text>')
        x += 40 + 6.2 * len(words)
    return parts
