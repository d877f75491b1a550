"""The clock of an export: by what Twilio says, wherever the clock of this machine says something else.

`trusted` is for what destroys, the clock itself for stamps and for what is looked for at Twilio.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from warehouse.clock import APART, believed_now, trusted_now

Clock = Callable[[], datetime]


class TellsTime(Protocol):
    """Whoever has heard Twilio's time."""

    def source_time(self) -> datetime | None:
        """Twilio's time (UTC); None as long as it is not known."""


class ExportClock:
    """Gives the time (UTC) when called. The first of `clients` that has heard Twilio's time says it."""

    def __init__(self, here: Clock, clients: Sequence[TellsTime]) -> None:
        self._here, self._clients = here, clients

    def source(self) -> datetime | None:
        """Twilio's time; None as long as it has not said."""
        return next((said for client in self._clients if (said := client.source_time()) is not None), None)

    def __call__(self) -> datetime:
        """The time by which rows are stamped."""
        return believed_now(self._here(), self.source())

    def trusted(self) -> datetime | None:
        """The time by which something may be destroyed; None when nothing may be."""
        return trusted_now(self._here(), self.source())

    def ahead(self) -> timedelta | None:
        """How far the clock here is ahead of Twilio's (negative: behind); None when they agree or it has not said."""
        source = self.source()
        ahead = None if source is None else self._here() - source
        return None if ahead is None or abs(ahead) <= APART else ahead


def sentence(ahead: timedelta) -> str:
    """What is wrong with the clock here, and what was done about it."""
    return f"The clock of this machine is {amount(ahead)} Twilio's, which the export has used. Set it right."


def amount(ahead: timedelta) -> str:
    """How far one clock is ahead of, or behind, another one."""
    size, way = abs(ahead), "ahead of" if ahead > timedelta(0) else "behind"
    minutes = round(size.total_seconds() / 60)
    for unit, length in (("days", 1440), ("hours", 60)):
        if minutes >= 2 * length:
            return f"{round(minutes / length)} {unit} {way}"
    return f"{minutes} minutes {way}"
