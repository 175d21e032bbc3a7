"""Waiting for what another process does: polled, for it has no event to wait on here, and always bounded."""

import asyncio
import os
from collections.abc import Awaitable, Callable

POLL_INTERVAL_S = 0.02
WAIT_S = 15.0
SLOWER_MAX = 8.0


def slower() -> float:
    """How many times longer a start takes here than on a machine that has nothing else to do: where several processes
    want each core (the stack and its load are about one), what the contract says of time is held in proportion."""
    return min(max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), SLOWER_MAX)


async def eventually(condition: Callable[[], bool | Awaitable[bool]], wait_s: float = WAIT_S) -> None:
    """Return once ``condition`` holds.

    Raises:
        TimeoutError: it did not hold within ``wait_s``.
    """
    async with asyncio.timeout(wait_s):
        while True:
            result = condition()
            if await result if isinstance(result, Awaitable) else result:
                return
            await asyncio.sleep(POLL_INTERVAL_S)
