"""More time for the messages a live process holds.

The ack wait is short for the sake of what a dead process held; a slow database must not make the server deliver
everything again.
"""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

EXTENSIONS_PER_ACK_WAIT: Final = 5
"""How often within the ack wait more time is asked for what lingers. It lingers once it is met twice, so the first time
comes after three fifths of the wait at the latest, waiting and work together after four."""


def _nothing() -> Sequence[Msg]:
    return ()


class Extending:
    """Asks for more time for what waits or is worked on for long.

    ``waiting`` gives what was taken off the stream, had been there at the last look and is not handed over yet.
    """

    def __init__(self, ack_wait_s: float) -> None:
        self._interval_s = ack_wait_s / EXTENSIONS_PER_ACK_WAIT
        self._held: dict[int, Sequence[Msg]] = {}
        """Batches that are being handled, by their number."""
        self._batches = 0
        self.waiting: Callable[[], Sequence[Msg]] = _nothing

    @contextmanager
    def held(self, messages: Sequence[Msg]) -> Generator[None]:
        """The batch is being handled for as long as the block runs."""
        self._batches += 1
        number = self._batches
        self._held[number] = messages
        try:
            yield
        finally:
            del self._held[number]

    async def extend_forever(self) -> None:
        """Until cancelled."""
        met: frozenset[int] = frozenset()
        while True:
            await asyncio.sleep(self._interval_s)
            lingering = [message for number in met & self._held.keys() for message in self._held[number]]
            met = frozenset(self._held)
            lingering += self.waiting()
            with suppress(NatsError, OSError):
                for message in lingering:
                    if not message.is_acked:
                        await message.in_progress()
