"""How many requests may be in flight at once, for a source that refuses (429) above a limit it does not tell.

`Window` learns the number and is pure: it is told of answers and refusals and what time it is. It starts
low, doubles each round trip until the first refusal, and from then on

* a refusal sets the limit to a little less than what was in flight besides the refused request, and holds it
  for `hold` seconds; the places spared let in somebody else's requests, which would otherwise all be refused;
* then it tries one place more each round trip, after five quiet steps 10 % more, so a raised limit is
  found soon;
* it does not grow while the places it has are not used.

So the number of refusals under a steady limit is a setting: about one per `hold`. A server that slows
down instead of refusing is bounded by `ceiling` alone. `Twilio-Concurrent-Requests`, which counts everybody's
requests, is not needed: giving way by it served others no better in simulation (of a program with 10 requests
at once 0.5 instead of 0.3 % were refused), and worse beside two exports. `Gate` lets waiting requests through,
first come first served.
"""

import asyncio
from collections import deque
from enum import Enum


class Verdict(Enum):
    """What a request that held a place tells about the limit."""

    ANSWERED = "answered"
    REFUSED = "refused"  # 429: the limit was passed
    FAILED = "failed"  # no answer: tells nothing


_SPARED = 0.02
"""Share of the places left free."""


class Window:
    """The limit on requests in flight; `start`, `ceiling` in requests, `hold` in seconds."""

    __slots__ = ("_ceiling", "_doubling", "_hold", "_limit", "_next_step", "_quiet_steps", "_round_trip")

    def __init__(self, *, start: int, ceiling: int, hold: float = 1.0) -> None:
        self._ceiling = float(max(1, ceiling))
        self._limit = min(float(start), self._ceiling)
        self._hold = hold
        self._doubling = True
        self._quiet_steps = 0
        self._next_step = 0.0
        self._round_trip = 0.1

    @property
    def limit(self) -> int:
        """Requests that may be in flight now, at least 1."""
        return int(self._limit)

    def answered(self, *, others: int, took: float, now: float) -> None:
        """Note an answer that took `took` seconds while `others` more requests were in flight."""
        self._round_trip += 0.1 * (took - self._round_trip)
        if others + 1 < 0.8 * self._limit:
            return
        if self._doubling:
            self._limit += 1
        elif now >= self._next_step:
            self._quiet_steps += 1
            self._limit += 1 if self._quiet_steps < 5 else 1 + 0.1 * self._limit
            self._next_step = now + 1.5 * self._round_trip
        self._limit = min(self._limit, self._ceiling)

    def refused(self, *, others: int, now: float) -> None:
        """Note a refusal while `others` more requests were in flight."""
        self._doubling = False
        self._quiet_steps = 0
        self._next_step = now + self._hold
        self._limit = max(1.0, min(self._limit, others - max(1.0, _SPARED * others)))


class Gate:
    """First come, first served entrance with as many places as its window says."""

    __slots__ = ("_waiting", "_window", "in_flight")

    def __init__(self, window: Window) -> None:
        self._window = window
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return self._window.limit

    async def acquire(self) -> float:
        """Wait for a place; return the loop's time when it was taken. If cancelled, no place is held."""
        loop = asyncio.get_running_loop()
        if self.in_flight >= self._window.limit:  # true whenever somebody waits: `_admit` sees to that
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # the place was given just before the cancellation
                    self.in_flight -= 1
                    self._admit()
                raise
        else:
            self.in_flight += 1
        return loop.time()

    def release(self, since: float, verdict: Verdict) -> None:
        """Give the place back that was taken at `since`, and let the window learn from what happened."""
        self.in_flight -= 1
        now = asyncio.get_running_loop().time()
        if verdict is Verdict.ANSWERED:
            self._window.answered(others=self.in_flight, took=now - since, now=now)
        elif verdict is Verdict.REFUSED:
            self._window.refused(others=self.in_flight, now=now)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.in_flight < self._window.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
