"""Waiting for what another process does: polled, for it has no event to wait on here, and always bounded."""

import asyncio
from collections.abc import Awaitable, Callable

POLL_INTERVAL_S = 0.02
WAIT_S = 15.0


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
