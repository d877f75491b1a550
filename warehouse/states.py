"""How long the source keeps a result, and the states that a result can have here."""

from collections.abc import Iterable
from datetime import timedelta

from warehouse.schema import KNOWN_STATUSES, UNFINISHED_STATUSES

RETENTION = timedelta(days=30)
"""How long Twilio keeps an add-on result. From which date is not documented, so the earliest known one counts."""

RECORDING_LOOK_BACK = timedelta(days=40)
"""How long Twilio shows a deleted recording's metadata, and longer than any add-on takes. [API.md section 7]"""

STATES = ("exported", "pending", "unfinished", "lost", "gone", "deleted")
"""Every state. gone: Twilio no longer has it, before its time, and it is not whole here; somebody deleted it there."""

GONE = "coalesce({0}gone_at >= {0}observed_at, false)"
"""SQL for whether a row of `add_on_results` is of one that was gone when it was last asked for."""

OPEN_STATES = ("pending", "unfinished")
"""States of a result that still owes something."""

KEPT_STATES = ("exported", "deleted")
"""States of a result that is whole here."""

MISSED_STATES = ("lost", "gone")
"""States of a result that is not whole here, and can no longer be had."""


def state_in(states: Iterable[str], column: str = "state") -> str:
    """SQL for whether a column is one of these."""
    return f"{column} IN ({', '.join(repr(state) for state in states)})"


FINAL_STATUSES = tuple(sorted({*KNOWN_STATUSES} - {*UNFINISHED_STATUSES}))
