"""The limit on requests in flight: follows a cap it is not told, fairly, and loses no place."""

import asyncio
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.twilio.limiter import Gate, Verdict, Window
from tests.pipelines.twilio.virtual import run_virtually

LATENCY = 0.1  # seconds


@dataclass
class Capped:
    """A server that serves `cap` requests at a time and refuses the rest at once; counts in virtual time."""

    cap: int
    in_flight: int = 0
    served: int = 0
    refused: int = 0
    busy: float = 0.0
    since: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def _move(self, step: int) -> None:
        now = asyncio.get_running_loop().time()
        self.busy += self.in_flight * (now - self.since)
        self.since = now
        self.in_flight += step

    async def serve(self) -> Verdict:
        """Take one request."""
        if self.in_flight >= self.cap:
            self.refused += 1
            return Verdict.REFUSED
        self._move(1)
        await asyncio.sleep(LATENCY * (0.5 + self.chance.random()))
        self._move(-1)
        self.served += 1
        return Verdict.ANSWERED

    def reset(self) -> None:
        """Begin to count anew."""
        self._move(0)
        self.busy, self.served, self.refused = 0.0, 0, 0


async def keep_asking(server: Capped, gate: Gate) -> None:
    """Ask for ever, backing off after refusals as the client does."""
    refusals = 0
    while True:
        since = await gate.acquire()
        verdict = Verdict.FAILED
        try:
            verdict = await server.serve()
        finally:
            gate.release(since, verdict)
        refusals = refusals + 1 if verdict is Verdict.REFUSED else 0
        if refusals:
            await asyncio.sleep(server.chance.random() * min(10.0, 0.05 * 2**refusals))


@dataclass
class Phase:
    """What happened in one phase: share of the cap in use, and refusals per 1,000 requests."""

    fill: float
    refusals: float


async def phases(gate: Gate, *plan: tuple[float, int], workers: int = 200) -> list[Phase]:
    """Run `workers` through phases of (seconds, cap)."""
    server = Capped(plan[0][1])
    tasks = [asyncio.ensure_future(keep_asking(server, gate)) for _ in range(workers)]
    found = []
    for seconds, cap in plan:
        server.reset()
        server.cap = cap
        await asyncio.sleep(seconds)
        server._move(0)
        total = server.served + server.refused
        found.append(Phase(server.busy / (seconds * cap), 1000 * server.refused / total))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert gate.in_flight == 0, "cancelled requests gave their places back"
    return found


def test_the_limit_finds_a_cap_uses_it_and_is_seldom_refused() -> None:
    """Cap 100, then 40, then 100 again: over 90 % in use after 3 s to adapt, a few refusals in a thousand."""
    gate = Gate(Window(start=8, ceiling=200))
    plan = ((3.0, 100), (5.0, 100), (3.0, 40), (5.0, 40), (5.0, 100), (5.0, 100))
    _, steady, _, lowered, _, raised = run_virtually(phases(gate, *plan))
    for phase in (steady, lowered, raised):
        assert phase.fill > 0.9
        assert phase.refusals < 5


class Greedy(Window):
    """The control: leaves no place free."""

    __slots__ = ()

    def refused(self, *, others: int, now: float) -> None:
        """Take all that is accepted."""
        super().refused(others=others, now=now)
        self._limit = max(1.0, float(others))


async def beside(exports: int, window: type[Window]) -> tuple[float, list[float]]:
    """Share of refused requests of a program that sends 10 at once, and the mean places each export then has."""
    server = Capped(100)
    gates = [Gate(window(start=8, ceiling=200)) for _ in range(exports)]
    tasks = [asyncio.ensure_future(keep_asking(server, gate)) for gate in gates for _ in range(200)]
    await asyncio.sleep(5.0)
    asked = refused = 0

    async def other_program() -> None:
        nonlocal asked, refused
        while True:
            verdict = await server.serve()
            asked += 1
            refused += verdict is Verdict.REFUSED
            await asyncio.sleep(1.0 if verdict is Verdict.REFUSED else 0.0)

    tasks += [asyncio.ensure_future(other_program()) for _ in range(10)]
    await asyncio.sleep(5.0)
    asked = refused = 0
    places = [0.0] * exports
    for _ in range(200):
        await asyncio.sleep(0.1)
        places = [mean + gate.in_flight / 200 for mean, gate in zip(places, gates, strict=True)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return refused / asked, places


def test_another_program_on_the_account_keeps_working() -> None:
    """It is refused less than once in 100, and the export has most of the places it leaves."""
    share, (ours,) = run_virtually(beside(1, Window))
    assert share < 0.01
    assert ours > 80


def test_without_spared_places_another_program_is_shut_out() -> None:
    """The control: whatever becomes free is taken again at once."""
    share, _ = run_virtually(beside(1, Greedy))
    assert share > 0.5


def test_two_exports_of_one_account_share_it() -> None:
    """Neither starves, and the other program still works."""
    share, places = run_virtually(beside(2, Window))
    assert share < 0.02
    assert min(places) > 30


def test_a_fixed_limit_above_the_cap_fails_the_same_measure() -> None:
    """The control: what the measure above must be able to tell apart."""

    class Deaf(Window):
        __slots__ = ()

        def refused(self, *, others: int, now: float) -> None:
            """Learn nothing."""

    gate = Gate(Deaf(start=200, ceiling=200))
    (phase,) = run_virtually(phases(gate, (5.0, 40)))
    assert phase.refusals > 100


def test_the_ceiling_is_never_passed() -> None:
    """A server that refuses nothing is still not flooded."""
    gate = Gate(Window(start=8, ceiling=30))
    server = Capped(10_000)
    most = 0

    async def watch() -> None:
        nonlocal most
        tasks = [asyncio.ensure_future(keep_asking(server, gate)) for _ in range(100)]
        for _ in range(300):
            await asyncio.sleep(0.01)
            most = max(most, server.in_flight)
        for task in tasks:
            task.cancel()

    run_virtually(watch())
    assert most == 30


def test_a_cap_of_nothing_leaves_one_place() -> None:
    """If everything is refused the client keeps asking, one at a time."""
    window = Window(start=8, ceiling=100)
    for _ in range(20):
        window.refused(others=0, now=0.0)
    assert window.limit == 1


def test_the_limit_does_not_grow_while_its_places_are_unused() -> None:
    """Otherwise an idle hour would end in a burst."""
    window = Window(start=8, ceiling=100)
    for _ in range(1000):
        window.answered(others=1, took=0.1, now=0.0)
    assert window.limit == 8


def test_after_a_refusal_the_limit_is_held_before_the_next_try() -> None:
    """So refusals come at a set pace, whatever the number of requests."""
    window = Window(start=8, ceiling=100, hold=2.0)
    window.refused(others=6, now=10.0)
    for _ in range(100):
        window.answered(others=4, took=0.1, now=11.9)
    assert window.limit == 5
    window.answered(others=4, took=0.1, now=12.0)
    assert window.limit == 6


def test_places_are_given_in_the_order_of_asking() -> None:
    """Nobody starves, and nobody who comes later slips in between."""
    order: list[int] = []

    async def scenario() -> None:
        gate = Gate(Window(start=1, ceiling=1))
        held = await gate.acquire()

        async def enter(number: int) -> None:
            since = await gate.acquire()
            order.append(number)
            await asyncio.sleep(1)
            gate.release(since, Verdict.FAILED)

        tasks = [asyncio.ensure_future(enter(number)) for number in range(5)]
        await asyncio.sleep(1)
        gate.release(held, Verdict.FAILED)
        late = asyncio.ensure_future(enter(5))
        await asyncio.gather(*tasks, late)

    run_virtually(scenario())
    assert order == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("after_the_grant", [False, True])
def test_a_waiter_cancelled_before_or_just_after_its_turn_leaves_no_place_taken(after_the_grant: bool) -> None:
    """The next one gets it."""

    async def scenario() -> None:
        gate = Gate(Window(start=1, ceiling=1))
        held = await gate.acquire()
        unlucky = asyncio.ensure_future(gate.acquire())
        lucky = asyncio.ensure_future(gate.acquire())
        await asyncio.sleep(1)
        if after_the_grant:
            gate.release(held, Verdict.FAILED)  # the place is now `unlucky`'s, which has not run yet
            unlucky.cancel()
        else:
            unlucky.cancel()
            gate.release(held, Verdict.FAILED)
        gate.release(await lucky, Verdict.FAILED)
        assert unlucky.cancelled()
        assert gate.in_flight == 0

    run_virtually(scenario())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["enter", "cancel", "leave", "refuse", "turn"]), st.integers(0, 9)), max_size=60)
)
def test_whatever_happens_no_more_are_in_flight_than_places_were_given(steps: list[tuple[str, int]]) -> None:
    """In any order of entering, cancelling and leaving, the count is the number of holders."""

    async def scenario() -> None:
        gate = Gate(Window(start=3, ceiling=4))
        waiting: list[asyncio.Future[float]] = []
        for step, number in steps:
            holders = [task for task in waiting if task.done() and not task.cancelled()]
            if step == "enter":
                waiting.append(asyncio.ensure_future(gate.acquire()))
            elif step == "cancel" and waiting:
                waiting[number % len(waiting)].cancel()
            elif step in {"leave", "refuse"} and holders:
                holder = holders[number % len(holders)]
                waiting.remove(holder)
                gate.release(holder.result(), Verdict.REFUSED if step == "refuse" else Verdict.ANSWERED)
            elif step == "turn":
                await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        holders = [task for task in waiting if task.done() and not task.cancelled()]
        assert gate.in_flight == len(holders)
        pending = [task for task in waiting if not task.done()]
        assert not pending or gate.in_flight >= gate.limit, "someone waits although there is a place"
        for task in pending:
            task.cancel()

    run_virtually(scenario())
