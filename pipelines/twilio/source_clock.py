"""Twilio's clock, as the Date headers of its replies show it, running on between them."""

import asyncio
import functools
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

HEARD = 5
"""Replies whose median counts: one header that is wrong must not move the time."""


class SourceClock:
    """What the newest replies say. Runs on by the event loop's clock, which no correction of the wall clock moves."""

    def __init__(self) -> None:
        self._began: deque[float] = deque(maxlen=HEARD)  # seconds since 1970 at which the loop's clock was 0
        self._time: Callable[[], float] | None = None

    def hear(self, headers: Mapping[str, str]) -> None:
        """Take note of a reply that has just come; one that says no time changes nothing."""
        if (said := _date(headers.get("date", ""))) is not None:
            self._time = asyncio.get_running_loop().time
            self._began.append(said.timestamp() - self._time())

    def now(self) -> datetime | None:
        """Twilio's time (UTC); None as long as it has not said. To be asked in any thread."""
        if self._time is None:
            return None
        try:
            return _EPOCH + timedelta(seconds=statistics.median(tuple(self._began)) + self._time())
        except OverflowError:  # beyond the calendar
            return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@functools.lru_cache(maxsize=16)  # hundreds of replies say the same second
def _date(text: str) -> datetime | None:
    try:
        said = parsedate_to_datetime(text)
        return said.replace(tzinfo=said.tzinfo or UTC).astimezone(UTC)  # none when it is -0000
    except (ValueError, OverflowError):  # a zone of years, or a date that leaves the calendar in UTC
        return None
