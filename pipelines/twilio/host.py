"""One host: asks, and asks again as long as that can help.

A `Host` binds the line to one host (the API host's headers carry the credentials, the storage hosts' do
not) and the gate that limits requests in flight. A place in the gate is held from sending to the last
byte, never while waiting to ask again. After `stop` nothing more is sent.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from pipelines.twilio.attempt import Ask, Attempt, Line
from pipelines.twilio.failure import Cause, Failure
from pipelines.twilio.limiter import Gate, Verdict
from pipelines.twilio.retry import PASSING, wait_before_next
from pipelines.twilio.transport import CONNECT_SECONDS
from pipelines.twilio.values import Tuning
from pipelines.twilio.wire import Reply

Places = contextlib.AbstractAsyncContextManager[None, bool | None]
"""Entered while a request is in flight; may wait until one of the places that all accounts share is free."""

LONGEST_CONNECT = 40.0
"""Seconds for a connection: each attempt for the same thing gets twice as long, as the way may be slow."""

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
    told_to_wait_until: float = 0.0  # seconds of the loop's clock: the latest time that a host has asked us to wait for


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
        tuning: its `budget` in seconds is what a request may use in all, waiting for a place not counted, nor what the
            host asks to wait; and after which a host that has given nothing but failures that pass is given up, by
            those that wait for a place too. Its `unanswered_budget` is the same for a host that cannot be reached.
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
        tuning: Tuning,
        sleep: Callable[[float], Awaitable[None]],
        random: Callable[[], float],
    ) -> None:
        self._line = line
        self._gate = gate
        self._places = places
        self._traffic = traffic
        self._budget = tuning.budget
        self._unanswered_budget = tuning.unanswered_budget
        self._longest_patience = tuning.longest_patience
        self._pauses = tuning.pauses
        self._sleep = sleep
        self._random = random
        self._answered = False
        self._under_way: set[Attempt] = set()
        self._newest: Failure | None = None
        self._failing_since: float | None = None
        self._slowest_head = 0.0
        self._silence = 0.0
        self._excuse = 0.0
        self._stopped_by: Failure | None = None
        self._stop = asyncio.Event()

    def stop(self, failure: Failure) -> None:
        """Let every waiting and further request end with `failure`, unsent and at once."""
        self._stopped_by = replace(failure, cause=Cause.STOPPED, seconds=0.0)
        self._stop.set()

    async def ask(self, ask: Ask) -> Reply | GaveUp:
        """Ask until there is a reply that can be believed or asking again does not help.

        A reply with a doubt is asked for once more, and then returned. A DELETE is asked again only after a 429.
        """
        failures: list[Failure] = []
        began = asyncio.get_running_loop().time()
        spent = 0.0
        unframed: str | None = None
        while True:
            outcome = await self.attempt(ask, earlier=failures, began=began if failures else None)
            reply = outcome if isinstance(outcome, Reply) else None
            if isinstance(outcome, Reply):
                if outcome.framed and outcome.doubt is None:
                    return outcome
                fingerprint = outcome.sha256 or hashlib.sha256(outcome.body).hexdigest()
                if fingerprint == unframed and outcome.doubt is None:
                    return outcome
                unframed = fingerprint
                cause = Cause.UNFRAMED if outcome.doubt is None else outcome.doubt.cause
                outcome = Failure(cause, status=outcome.status)
            failures.append(outcome)
            spent += outcome.seconds
            wait = wait_before_next(
                failures,
                repeatable=ask.method == "GET",
                spent=spent,
                budget=self._budget_after(outcome),
                random=self._random,
                pauses=self._pauses,
            )
            if wait is None or self._is_away(began):
                if reply is not None and reply.doubt is not None:
                    return reply
                if reply is not None:
                    ask.let_go(reply)
                return GaveUp(outcome, attempts=len(failures), seconds=spent)
            if reply is not None:
                ask.let_go(reply)
            self._excuse = max(self._excuse, outcome.retry_after)
            if outcome.retry_after:
                until = asyncio.get_running_loop().time() + outcome.retry_after
                self._traffic.told_to_wait_until = max(self._traffic.told_to_wait_until, until)
            await self._pause(wait)
            spent += wait - outcome.retry_after
            self._traffic.retried += 1

    def _budget_after(self, failure: Failure) -> float:
        """Seconds that a request may use: little while nobody is reached; one who is silent may only be slow."""
        if self._answered or failure.cause is Cause.DEADLINE:
            return self._budget
        return self._unanswered_budget

    def _patience(self, ask: Ask, earlier: Sequence[Failure]) -> float:
        """Seconds for the head of a reply: more for a host that has taken long, or has not answered when asked before.

        One silence says little of other requests, unless there was nothing else since.
        """
        silences = (
            sum(failure.cause is Cause.DEADLINE and failure.status is None for failure in earlier) if earlier else 0
        )
        shown = max(ask.deadline * 2.0 ** min(silences, 10), 2 * self._slowest_head, self._silence)
        return max(ask.deadline, min(self._longest_patience, shown))

    async def attempt(
        self, ask: Ask, *, earlier: Sequence[Failure] = (), began: float | None = None
    ) -> Reply | Failure:
        """Ask once, as soon as there is a place; not any more if the host is away since before a request that waits.

        `earlier` attempts for this ended so. `began`: when asking for this began, if not now (seconds of the loop's
        clock).
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
                connect = min(LONGEST_CONNECT, CONNECT_SECONDS * 2.0 ** min(len(earlier), 10))
                attempt = Attempt(self._line, ask, patience=self._patience(ask, earlier), connect=connect)
                self._under_way.add(attempt)
                try:
                    outcome = await attempt.run()
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
        """Remember how slow the host is, and since when there has been nothing but failures that pass.

        A reply that breaks off is some life.
        """
        if attempt.head_after is not None:
            self._slowest_head = max(self._slowest_head, attempt.head_after)
            self._silence = 0.0
        elif isinstance(outcome, Failure) and outcome.cause is Cause.DEADLINE:
            self._silence = max(self._silence, 2 * attempt.patience)
        fault = isinstance(outcome, Failure) and outcome.cause in {Cause.SERVER, Cause.NO_DOCUMENT}
        if not fault and (attempt.is_arriving or isinstance(outcome, Reply) or outcome.cause not in PASSING):
            self._failing_since, self._excuse = None, 0.0
            return
        assert isinstance(outcome, Failure)
        self._newest = outcome
        if self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()

    def _is_away(self, began: float) -> bool:
        """Whether nothing but such failures has come while a request has taken as long as it may, and nothing arrives.

        A source that refuses leaves few places, and hundreds of requests would wait for one after the other. What it
        asks to wait, at most, is added once.
        """
        if self._failing_since is None or any(attempt.is_arriving for attempt in self._under_way):
            return False
        failing = asyncio.get_running_loop().time() - max(began, self._failing_since)
        return failing > max(self._budget, SHORTEST_BUDGET) + self._excuse

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not on when the host is stopped."""
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({sleeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopping.cancel()
