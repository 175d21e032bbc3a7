"""The bus's events, handed to every reader of this process.

Two core subscriptions, made with the first reader and given up with the last: no consumer, so nothing on the bus waits
for a reader or is kept for one. What is published while the connection to the bus is away is not seen: the stream shows
what happens, and the audit log is the record.
"""

import asyncio
from collections import Counter
from typing import Final

import structlog
from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from pydantic import ValidationError

from hookbus.contracts import subjects
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway import metrics
from hookbus.gateway.live.reader import Reader, passing

READERS_MAX: Final = 256
"""Streams of one process."""
READERS_PER_PRINCIPAL_MAX: Final = 8
WAITING_MAX: Final = 64
"""Connections of one process that have not said yet who they are."""
SUBSCRIBE_TIMEOUT_S: Final = 2.0
PENDING_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of one subscription in this process. Beyond it the newest events are not shown, and the connection's log says so;
handing one on takes no wait, so only a process that has no time at all gets there."""
RETRY_AFTER_S: Final = 1.0

log = structlog.get_logger(__name__)


class Hub:
    """Hands events to readers. For use in one event loop."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self._readers: dict[Reader, str] = {}
        self._subscriptions: list[Subscription] = []
        self._changing = asyncio.Lock()
        self._waiting = 0

    def enter(self) -> None:
        """Count a connection that has not said yet who it is; :meth:`known` or :meth:`left` follows.

        Raises:
            ProblemError: ``rate_limited``: too many wait already.
        """
        if self._waiting >= WAITING_MAX:
            raise _full("too many connections wait to be authenticated")
        self._waiting += 1

    def known(self) -> None:
        """A connection that :meth:`enter` counted said who it is, or left."""
        self._waiting -= 1

    async def join(self, reader: Reader, principal: str) -> None:
        """Hand events to ``reader`` from now on.

        Raises:
            ProblemError: ``rate_limited`` where the principal, or the process, has too many readers; ``unavailable``.
        """
        if len(self._readers) >= READERS_MAX:
            raise _full("this gateway serves as many streams as it may")
        if Counter(self._readers.values())[principal] >= READERS_PER_PRINCIPAL_MAX:
            raise _full(f"you have {READERS_PER_PRINCIPAL_MAX} streams open, as many as you may")
        self._readers[reader] = principal
        metrics.STREAMS.set(len(self._readers))
        try:
            async with self._changing:
                if not self._subscriptions:
                    await self._subscribe()
        except BaseException:
            await self.leave(reader)
            raise

    async def leave(self, reader: Reader) -> None:
        """Hand no more events to ``reader``."""
        self._readers.pop(reader, None)
        metrics.STREAMS.set(len(self._readers))
        async with self._changing:
            if self._readers:
                return
            subscriptions, self._subscriptions = self._subscriptions, []
            for subscription in subscriptions:
                try:
                    await subscription.unsubscribe()
                except (NatsError, OSError) as error:
                    log.info("unsubscribed by the connection's end", error=type(error).__name__)

    async def _subscribe(self) -> None:
        try:
            client = self._broker.connection
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
                for subject in (subjects.SUBJECTS_HOOKS, subjects.SUBJECTS_SECURITY):
                    subscription = await client.subscribe(  # pyright: ignore[reportUnknownMemberType]  # partly untyped
                        subject, cb=self._pass_on, pending_bytes_limit=PENDING_BYTES_MAX
                    )
                    self._subscriptions.append(subscription)
                # Answered once the server has the subscriptions: what is published from then on is seen.
                await client.flush()
        except (NatsError, IncorrectState, OSError, TimeoutError) as error:
            raise ProblemError(ProblemCode.UNAVAILABLE, "the bus is away", retry_after_s=RETRY_AFTER_S) from error

    async def _pass_on(self, message: Msg) -> None:
        try:
            one = passing(message.data)
        except (ValidationError, UnicodeDecodeError):
            return  # whoever stores it says so
        for reader in tuple(self._readers):
            reader.offer(one)


def _full(detail: str) -> ProblemError:
    return ProblemError(ProblemCode.RATE_LIMITED, detail, retry_after_s=RETRY_AFTER_S)
