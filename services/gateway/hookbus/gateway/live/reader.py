"""One reader of the live stream: what it wants, what it may see, and what waits for it, bounded."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from hookbus.contracts.events import Event

QUEUE_EVENTS_MAX: Final = 1_000
QUEUE_BYTES_MAX: Final = 2 * 1024 * 1024
"""What may wait for one reader beside the kernel's own buffers. A reader for whom more waits is dropped."""


@dataclass(frozen=True)
class Filter:
    """What a reader wants: events of these kinds and agents. Empty means any.

    A kind is one of a hook event, the code of a security event, or ``security`` for all of those.
    """

    kinds: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()

    def wants(self, event: Event) -> bool:
        """Whether ``event`` is for this reader."""
        if self.agents and event.subject not in self.agents:
            return False
        if not self.kinds:
            return True
        code = event.security_code
        if code is not None:
            return "security" in self.kinds or code in self.kinds
        return (event.kind or "") in self.kinds


@dataclass(frozen=True)
class Passing:
    """One event on its way to the readers, written at most once in each of its two forms."""

    event: Event
    whole: str
    bare: str
    """Without ``data``, unless it is a security event about an agent's session."""


def passing(body: bytes) -> Passing:
    """An event off the bus.

    Raises:
        pydantic.ValidationError: it is none.
    """
    event = Event.model_validate_json(body)
    whole = body.decode()
    if event.security_code is not None and event.session is not None:
        return Passing(event, whole, whole)
    return Passing(event, whole, event.model_dump_json(exclude_none=True, exclude={"data"}))


class Reader:
    """What waits for one reader. ``sees_data``: whether it may see what agents said and did, and not only that."""

    def __init__(self, wanted: Filter, *, sees_data: bool) -> None:
        self._wanted = wanted
        self._sees_data = sees_data
        self._waiting: deque[str] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self.too_slow: Final = asyncio.Event()
        """Set when more waits than may; from then on nothing is taken."""

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    def offer(self, passing: Passing) -> None:
        """Take an event that the reader wants. Never waits: whoever is slow is told so, and nobody else is."""
        if self.too_slow.is_set() or not self._wanted.wants(passing.event):
            return
        text = passing.whole if self._sees_data else passing.bare
        if len(self._waiting) >= QUEUE_EVENTS_MAX or self._waiting_bytes + len(text) > QUEUE_BYTES_MAX:
            self.too_slow.set()
            self._waiting.clear()
            return
        self._waiting.append(text)
        self._waiting_bytes += len(text)
        self._arrived.set()

    async def next(self) -> str:
        """The next event, waited for."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        text = self._waiting.popleft()
        self._waiting_bytes -= len(text)
        return text
