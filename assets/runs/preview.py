"""A Markdown table of the newest results a run landed: SIDs, status, dates and sizes.

Pure. Dagster keeps it in its history, where nothing that anybody said may be: a `PreviewRow` has no such field.
"""

from collections.abc import Sequence

from pipelines.monitoring.days import PreviewRow
from warehouse.schema import shown_status

ROWS = 5
"""Enough to see what came, and short enough for Dagster to show it without a click (under 1,000 characters)."""

_HEADER = (
    "| result | status | completed (UTC) | state | hours left | payloads | bytes | recording |\n"
    "|---|---|---|---|--:|--:|--:|---|"
)


def preview_table(rows: Sequence[PreviewRow]) -> str:
    """The rows as a Markdown table; one sentence when there are none."""
    if not rows:
        return "This run landed no new or changed result of these days."
    return "\n".join([_HEADER, *(_line(row) for row in rows)])


def _line(row: PreviewRow) -> str:
    completed = "" if row.date_completed is None else f"{row.date_completed:%Y-%m-%d %H:%M}"
    left = "" if row.hours_left is None else f"{row.hours_left:.0f}"
    cells = (
        row.sid,
        row.status and shown_status(row.status),
        completed,
        row.state,
        left,
        str(row.payloads),
        f"{row.content_bytes:,}",
        row.reference_sid,
    )
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(cell: str | None) -> str:
    """A cell that cannot end the table or become a link: what Twilio sends is shown, not interpreted."""
    return "".join(c if c.isalnum() or c in " -_:,." else "?" for c in cell or "")[:40]
