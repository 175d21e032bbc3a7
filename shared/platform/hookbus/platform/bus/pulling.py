"""Messages of a durable, asked for ahead: the server sends what there is while the last batch is still being handled.

nats-py's own ``fetch`` makes a task and a timer for each message, which costs three times what the message itself does,
and asks only when it is called (docs/decisions/0067-pull-requests-of-our-own.md). The requests are those of the
JetStream API; the subscription, and getting it back after a reconnect, is nats-py's.
"""

import asyncio
import json
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from hookbus.platform.bus.streams import ConsumerSpec

BATCH_MESSAGES_MAX: Final = 500
"""Messages handed over at once, and asked for by one request."""
HELD_MESSAGES_MAX: Final = 2 * BATCH_MESSAGES_MAX
"""Messages that wait here or are on their way."""
REQUEST_BYTES_MAX: Final = 32 * 1024 * 1024
"""What one request may bring."""
REQUEST_EXPIRES_S: Final = 5.0
"""How long the server keeps a request open; nobody polls in between."""
REQUEST_OVERDUE_S: Final = 1.0
"""After this much more an unanswered request is taken for lost, as after a reconnect."""
NEXT_SUBJECT: Final = "$JS.API.CONSUMER.MSG.NEXT"

STATUS_HEADER: Final = "Status"
DESCRIPTION_HEADER: Final = "Description"
PENDING_HEADER: Final = "Nats-Pending-Messages"
STATUSES_ENDED: Final = frozenset({"404", "408", "409"})
"""The request is over: nothing there, expired, or cut short by one of the server's limits."""
CONSUMER_GONE: Final = "consumer"
"""What the server says of a consumer that was deleted, or is not a pull consumer."""


class PullFailedError(Exception):
    """The server does not serve the durable (any more); subscribe again later."""


class Puller:
    """One subscription to what a durable sends on request."""

    def __init__(self, client: Client, spec: ConsumerSpec) -> None:
        self._client = client
        self._subject = f"{NEXT_SUBJECT}.{spec.stream}.{spec.service}"
        self._inbox = client.new_inbox()
        self._held: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._outstanding = 0
        self._asked_s = 0.0
        self._fault: str | None = None
        self._seen = 0
        """Messages that were held at the last look at what lingers, and that nobody took since."""
        self._subscription: Subscription | None = None

    @property
    def held(self) -> int:
        """Messages that wait here."""
        return len(self._held)

    async def open(self) -> None:
        """Subscribe; asks for nothing yet."""
        self._subscription = await self._client.subscribe(  # pyright: ignore[reportUnknownMemberType]  # a bare Future
            self._inbox, cb=self._on_message
        )

    async def close(self) -> None:
        """Unsubscribe, and give back what came and was not taken, so that it need not wait for the ack wait."""
        with suppress(NatsError, OSError, TimeoutError):
            if self._subscription is not None:
                # The flush inside tells that nothing more is on its way.
                await self._subscription.drain()
            for message in self._held:
                await message.nak()
        self._held.clear()

    async def wait(self, stopping: asyncio.Event) -> None:
        """Return once a message is held, or ``stopping`` is set.

        Raises:
            PullFailedError: the server does not serve the durable.
        """
        while not self._held and not stopping.is_set():
            await self._ask_ahead()
            overdue_s = self._asked_s + REQUEST_EXPIRES_S + REQUEST_OVERDUE_S - _now_s()
            await _either(self._arrived, stopping, max(overdue_s, 0.0))
            self._arrived.clear()
            if self._fault is not None:
                raise PullFailedError(self._fault)

    async def take(self) -> list[Msg]:
        """What is held, a batch at most; asks for the next."""
        taken = [self._held.popleft() for _ in range(min(len(self._held), BATCH_MESSAGES_MAX))]
        self._seen = max(0, self._seen - len(taken))
        await self._ask_ahead()
        return taken

    def lingering(self) -> list[Msg]:
        """What was held already when this was called last."""
        lingering = list(islice(self._held, self._seen))
        self._seen = len(self._held)
        return lingering

    async def _ask_ahead(self) -> None:
        """Keep requests open for as much as may be held."""
        if _now_s() > self._asked_s + REQUEST_EXPIRES_S + REQUEST_OVERDUE_S:
            self._outstanding = 0
        while len(self._held) + self._outstanding + BATCH_MESSAGES_MAX <= HELD_MESSAGES_MAX:
            request = {
                "batch": BATCH_MESSAGES_MAX,
                "expires": round(REQUEST_EXPIRES_S * 1e9),
                "max_bytes": REQUEST_BYTES_MAX,
            }
            self._outstanding += BATCH_MESSAGES_MAX
            self._asked_s = _now_s()
            await self._client.publish(self._subject, json.dumps(request).encode(), reply=self._inbox)

    async def _on_message(self, message: Msg) -> None:
        status = message.headers.get(STATUS_HEADER) if message.headers and not message.data else None
        if status is None:
            self._held.append(message)
            self._outstanding = max(0, self._outstanding - 1)
        else:
            self._on_status(status, message.headers or {})
        self._arrived.set()

    def _on_status(self, status: str, headers: dict[str, str]) -> None:
        description = headers.get(DESCRIPTION_HEADER, "")
        if status not in STATUSES_ENDED or (status == "409" and description.lower().startswith(CONSUMER_GONE)):
            self._fault = f"{status} {description}".strip()
            return
        pending = headers.get(PENDING_HEADER, "")
        unserved = int(pending) if pending.isascii() and pending.isdigit() else BATCH_MESSAGES_MAX
        self._outstanding = max(0, self._outstanding - unserved)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


async def _either(arrived: asyncio.Event, stopping: asyncio.Event, timeout_s: float) -> None:
    waiting = {asyncio.ensure_future(event.wait()) for event in (arrived, stopping)}
    try:
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in waiting:
            future.cancel()
