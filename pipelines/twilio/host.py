"""One host: asks, and asks again as long as that can help.

A `Host` binds the line to one host (the API host's headers carry the credentials, the storage hosts' do
not) and the gate that limits requests in flight. A place in the gate is held from sending to the last
byte, never while waiting to ask again. After `stop` nothing more is sent.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from pipelines.twilio.attempt import Ask, Attempt, Line
from pipelines.twilio.failure import Cause, Failure
from pipelines.twilio.limiter import Gate, Verdict
from pipelines.twilio.retry import PASSING, wait_before_next
from pipelines.twilio.wire import Reply

Places = contextlib.AbstractAsyncContextManager[None, bool | None]
"""Entered while a request is in flight; may wait until one of the places that all accounts share is free."""

SHORTEST_BUDGET = 1.0
"""Seconds that any request may wait for its place before its host is given up."""


@dataclass(slots=True)
class Traffic:
    """What went over the wire so far."""

    requests: int = 0
    refused: int = 0  # answered with 429
    retried: int = 0  # attempts after the first
    bytes_received: int = 0  # bodies that were accepted
    contents: int = 0


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The last failure of a request that is not asked again, and what was spent on it."""

    failure: Failure
    attempts: int
    seconds: float


class Host:
    """Asks one host on behalf of one account.

    Args:
        line: the way there; its transport is closed by whoever made it.
        gate: limits this account's requests in flight.
        places: what limits the requests in flight of all accounts together.
        traffic: counts what happens.
        budget: seconds a request may use in all, waiting for a place not counted; and seconds after which a host that
            has given nothing but failures that pass is given up, by those that wait for a place too.
        unanswered_budget: the same while this host has never answered, to report an unreachable host soon.
        sleep: waits for so many seconds.
        random: a number evenly distributed over 0 to 1.
    """

    def __init__(
        self,
        line: Line,
        gate: Gate,
        places: Places,
        *,
        traffic: Traffic,
        budget: float,
        unanswered_budget: float,
        sleep: Callable[[float], Awaitable[None]],
        random: Callable[[], float],
    ) -> None:
        self._line = line
        self._gate = gate
        self._places = places
        self._traffic = traffic
        self._budget = budget
        self._unanswered_budget = unanswered_budget
        self._sleep = sleep
        self._random = random
        self._answered = False
        self._under_way: set[Attempt] = set()
        self._newest: Failure | None = None
        self._failing_since: float | None = None
        self._stopped_by: Failure | None = None
        self._stop = asyncio.Event()

    def stop(self, failure: Failure) -> None:
        """Let every waiting and further request end with `failure`, unsent and at once."""
        self._stopped_by = replace(failure, cause=Cause.STOPPED, seconds=0.0)
        self._stop.set()

    async def ask(self, ask: Ask) -> Reply | GaveUp:
        """Ask until there is a reply that can be believed or asking again does not help.

        A DELETE is asked again only after a 429.
        """
        failures: list[Failure] = []
        began = asyncio.get_running_loop().time()
        spent = 0.0
        unframed: str | None = None
        while True:
            first_deadline = None if self._answered else max(0.1, self._unanswered_budget - spent)
            outcome = await self.attempt(ask, first_deadline=first_deadline, began=began if failures else None)
            if isinstance(outcome, Reply):
                if outcome.framed:
                    return outcome
                fingerprint = outcome.sha256 or hashlib.sha256(outcome.body).hexdigest()
                if fingerprint == unframed:
                    return outcome
                unframed = fingerprint
                ask.let_go(outcome)
                outcome = Failure(Cause.UNFRAMED, status=outcome.status)
            failures.append(outcome)
            spent += outcome.seconds
            budget = self._budget if self._answered else self._unanswered_budget
            wait = wait_before_next(
                failures,
                repeatable=ask.method == "GET",
                spent=spent,
                budget=budget,
                random=self._random,
            )
            if wait is None or self._is_away(began):
                return GaveUp(outcome, attempts=len(failures), seconds=spent)
            await self._pause(wait)
            spent += wait
            self._traffic.retried += 1

    async def attempt(
        self, ask: Ask, *, first_deadline: float | None = None, began: float | None = None
    ) -> Reply | Failure:
        """Ask once, as soon as there is a place; not any more if the host is away since before a request that waits.

        `began`: when asking for this began, if not now (seconds of the loop's clock).
        """
        loop = asyncio.get_running_loop()
        began = loop.time() if began is None else began
        since = await self._gate.acquire()
        verdict = Verdict.FAILED
        try:
            async with self._places:
                since = loop.time()
                if self._stopped_by is not None:
                    return self._stopped_by
                if self._newest is not None and self._is_away(began):
                    return replace(self._newest, seconds=0.0)
                self._traffic.requests += 1
                attempt = Attempt(self._line, ask)
                self._under_way.add(attempt)
                try:
                    outcome = await attempt.run(first_deadline=first_deadline)
                finally:
                    self._under_way.discard(attempt)
            self._note(attempt, outcome)
            if attempt.status is not None:
                self._answered = True
                verdict = Verdict.ANSWERED
            if isinstance(outcome, Reply):
                self._traffic.bytes_received += outcome.length
            elif outcome.cause is Cause.THROTTLED:
                self._traffic.refused += 1
                verdict = Verdict.REFUSED
            return outcome
        finally:
            self._gate.release(since, verdict)

    def _note(self, attempt: Attempt, outcome: Reply | Failure) -> None:
        """Remember since when there has been nothing but failures that pass; a reply that breaks off is some life."""
        if attempt.is_arriving or isinstance(outcome, Reply) or outcome.cause not in PASSING:
            self._failing_since = None
            return
        self._newest = outcome
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()

    def _is_away(self, began: float) -> bool:
        """Whether nothing but such failures has come while a request has taken as long as it may, and nothing arrives.

        A source that refuses leaves few places, and hundreds of requests would wait for one after the other.
        """
        if self._failing_since is None or any(attempt.is_arriving for attempt in self._under_way):
            return False
        return asyncio.get_running_loop().time() - max(began, self._failing_since) > max(self._budget, SHORTEST_BUDGET)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not on when the host is stopped."""
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopping.cancel()
