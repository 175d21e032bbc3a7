"""The end of a service's background tasks."""

import asyncio

from hookbus.platform import service


async def test_a_task_that_lost_its_cancellation_is_asked_again() -> None:
    asked = 0

    async def stubborn() -> None:
        nonlocal asked
        while True:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                asked += 1
                if asked > 1:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await service.cancel([task])
    assert (task.cancelled(), asked) == (True, 2)
