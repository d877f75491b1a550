"""Signs of life from a long run: told after half a minute, then ever more rarely, a handful in all.

What is told is up to the caller. A sign that could not be given does not stop the work; its error is raised when the
work is done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

FIRST_SECONDS = 30.0
LONGEST_SECONDS = 900.0


def intervals() -> Iterator[float]:
    """Seconds from one sign to the next: 30, 60, 120, ... 900, 900: eight in the first hour, four in each later one."""
    seconds = FIRST_SECONDS
    while True:
        yield seconds
        seconds = min(2 * seconds, LONGEST_SECONDS)


async def with_signs(
    work: Coroutine[Any, Any, T],
    tell: Callable[[], None],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Do `work`, and call `tell` in a thread from time to time until it is done.

    Raises:
        Exception: what `work` raises; else what `tell` raised, once the work is done.
    """

    async def signs() -> None:
        for seconds in intervals():
            await sleep(seconds)
            sign = asyncio.ensure_future(asyncio.to_thread(tell))
            try:
                await asyncio.shield(sign)
            except asyncio.CancelledError:
                await sign  # one that is being given is finished, and what goes wrong with it is not lost
                raise

    telling = asyncio.create_task(signs())
    try:
        result = await work
    finally:
        telling.cancel()
        await asyncio.wait({telling})
    with suppress(asyncio.CancelledError):
        telling.result()
    return result
