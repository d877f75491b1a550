"""One list of the made-up source, in time order, and places in it.

A walk costs a binary search and then one step a row, however long the list is. Pure.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

Key = tuple[datetime, str]
"""Where a row stands in its list: date_created, then SID."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list: rows older than `key`, or newer ones (nearest first) when `newer`."""

    key: Key
    newer: bool


@dataclass(slots=True)
class Index:
    """Keys of one list, oldest first."""

    keys: list[Key] = field(default_factory=list)

    def add(self, key: Key) -> None:
        """Add it, unless it is there."""
        place = bisect_left(self.keys, key)
        if place == len(self.keys) or self.keys[place] != key:
            self.keys.insert(place, key)

    def discard(self, key: Key) -> None:
        """Remove it, if it is there."""
        place = bisect_left(self.keys, key)
        if place < len(self.keys) and self.keys[place] == key:
            del self.keys[place]

    def walk(
        self, cursor: Cursor | None, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[str]:
        """SIDs newest first from the cursor on (nearest first), created in [since, until)."""
        low = 0 if since is None else bisect_left(self.keys, (since, ""))
        high = len(self.keys) if until is None else bisect_left(self.keys, (until, ""))
        if cursor is None:
            places = range(high - 1, low - 1, -1)
        elif cursor.newer:
            places = range(max(low, bisect_right(self.keys, cursor.key)), high)
        else:
            places = range(min(high, bisect_left(self.keys, cursor.key)) - 1, low - 1, -1)
        for place in places:
            yield self.keys[place][1]
