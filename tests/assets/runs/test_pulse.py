"""Signs of life: when they are given, and that they never harm the work."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice

import pytest

from assets.runs.pulse import intervals, with_signs


def test_signs_come_ever_more_rarely() -> None:
    """A handful in the first hour, and never more than four in a later one."""
    assert list(islice(intervals(), 7)) == [30, 60, 120, 240, 480, 900, 900]


def counted(asked: list[float], *, enough: int, finished: asyncio.Event) -> Callable[[float], Awaitable[None]]:
    """A sleep that takes no time, and says when there have been `enough`."""

    async def sleep(seconds: float) -> None:
        if len(asked) == enough:
            finished.set()
            await asyncio.Event().wait()
        asked.append(seconds)

    return sleep


def test_told_while_the_work_runs_and_not_afterwards() -> None:
    """Once after each interval; the result of the work is what comes back."""
    asked: list[float] = []
    told: list[int] = []

    async def run() -> str:
        finished = asyncio.Event()

        async def work() -> str:
            await finished.wait()
            return "done"

        sleep = counted(asked, enough=3, finished=finished)
        return await with_signs(work(), lambda: told.append(len(asked)), sleep=sleep)

    assert asyncio.run(run()) == "done"
    assert (asked, told) == ([30, 60, 120], [1, 2, 3])


def test_a_sign_that_fails_does_not_stop_the_work() -> None:
    """Its error is raised when the work is done, so that it is not lost."""
    done: list[str] = []

    async def run() -> None:
        failed = asyncio.Event()

        async def work() -> None:
            await failed.wait()
            await asyncio.sleep(0)
            done.append("work")

        def tell() -> None:
            loop.call_soon_threadsafe(failed.set)
            raise OSError("no space left")

        async def sleep(seconds: float) -> None:
            pass

        loop = asyncio.get_running_loop()
        await with_signs(work(), tell, sleep=sleep)

    with pytest.raises(OSError, match="no space left"):
        asyncio.run(run())
    assert done == ["work"]


def test_the_works_own_error_comes_first() -> None:
    """And no sign is left running."""

    async def run() -> None:
        async def work() -> None:
            raise ValueError("the work")

        await with_signs(work(), lambda: None)
        assert len(asyncio.all_tasks()) == 1

    with pytest.raises(ValueError, match="the work"):
        asyncio.run(run())
