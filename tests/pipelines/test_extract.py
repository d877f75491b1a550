"""Several results of a recording side by side."""

import asyncio

import pytest

from pipelines.errors import SourceUnavailable
from pipelines.extract import _side_by_side


def test_who_is_cancelled_while_one_of_several_fails_is_cancelled() -> None:
    """A worker that forgot it would wait for its next recording, and the export with it, for ever."""

    async def both() -> None:
        failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def fail() -> None:
            await failing

        async def wait() -> None:
            await asyncio.sleep(60)

        work = asyncio.create_task(_side_by_side([fail(), wait()]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        failing.set_exception(SourceUnavailable("nobody answers"))
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(both())


def test_the_failure_of_one_of_several_is_said_otherwise() -> None:
    """As the group that it is."""

    async def fail() -> None:
        raise SourceUnavailable("nobody answers")

    with pytest.raises(ExceptionGroup):
        asyncio.run(_side_by_side([fail(), fail()]))
