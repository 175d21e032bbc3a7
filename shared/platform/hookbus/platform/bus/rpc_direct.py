"""Requests answered straight from the NATS client, for methods that are asked thousands of times a second.

The same subjects, queue groups, bodies and problems as :class:`hookbus.platform.bus.rpc.RpcServer`, without FastStream
between the client and the handler: measured on the budget's reserve and settle it took most of the service's CPU time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from hookbus.contracts import subjects
from hookbus.contracts.fields import WireModel
from hookbus.contracts.gathered import METHOD_SUFFIX, Gathered
from hookbus.contracts.problems import ProblemError
from hookbus.platform.bus.connection import Broker
from hookbus.platform.bus.failures import MayPass, nothing_passes
from hookbus.platform.bus.rpc import REQUESTS_CONCURRENT_MAX, Answer, answering, reply_headers
from hookbus.platform.bus.rpc_many import answering_many

DRAIN_TIMEOUT_S: Final = 5.0
"""How long the requests under way may take once the service stops."""

RequestT = TypeVar("RequestT", bound=WireModel)

log = structlog.get_logger(__name__)


class DirectRpcServer:
    """Answers the methods of one service; processes of the same service share the requests.

    :meth:`start` belongs into the service's ``on_start``; the broker's stop ends it.
    """

    def __init__(self, broker: Broker, service: str, *, may_pass: MayPass = nothing_passes) -> None:
        self._broker = broker
        self._service = service
        self._may_pass = may_pass
        self._answers: dict[str, Answer[WireModel | bytes]] = {}
        self._subscriptions: list[Subscription] = []
        self._under_way: set[asyncio.Task[None]] = set()
        broker.loops.append(_UntilStopped(self._stop))

    def method(
        self,
        name: str,
        request_class: type[RequestT],
        handler: Callable[[RequestT], Awaitable[WireModel | bytes]],
    ) -> None:
        """Answer ``rpc.<service>.<name>``. Call before :meth:`start`.

        A handler may return its reply as JSON text.
        ``handler`` raises ``ProblemError`` for what the caller can mend; any other exception becomes an
        ``internal`` problem, or ``unavailable`` where it may pass, and a log record.
        """
        subject = subjects.rpc_subject(self._service, name)
        self._answers[subject] = answering(subject, request_class, handler, self._may_pass)

    def method_many(
        self,
        name: str,
        gathered_class: type[Gathered[RequestT]],
        handler: Callable[[Sequence[RequestT]], Awaitable[Sequence[WireModel | bytes | ProblemError]]],
    ) -> None:
        """Answer ``rpc.<service>.<name>_many``; see :func:`hookbus.platform.bus.rpc_many.answering_many`."""
        subject = subjects.rpc_subject(self._service, name)
        self._answers[f"{subject}{METHOD_SUFFIX}"] = answering_many(subject, gathered_class, handler, self._may_pass)

    async def start(self) -> None:
        """Take requests; the broker is connected."""
        for subject, answer in self._answers.items():
            slots = asyncio.Semaphore(REQUESTS_CONCURRENT_MAX)
            taken = self._taker(answer, slots)
            subscription = await self._broker.connection.subscribe(  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves the type of its future open
                subject, queue=self._service, cb=taken
            )
            self._subscriptions.append(subscription)

    def _taker(self, answer: Answer[WireModel | bytes], slots: asyncio.Semaphore) -> Callable[[Msg], Awaitable[None]]:
        async def work(message: Msg) -> None:
            try:
                await _reply(self._broker.connection, message, await answer(message.headers, message.data))
            finally:
                slots.release()

        async def take(message: Msg) -> None:
            # The client calls this for one message after the other: waiting here leaves the rest in its buffer.
            await slots.acquire()
            task = asyncio.create_task(work(message))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

        return take

    async def _stop(self) -> None:
        """Take no more requests, answer those under way."""
        for subscription in self._subscriptions:
            with suppress(NatsError, OSError):
                await subscription.unsubscribe()
        self._subscriptions.clear()
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=DRAIN_TIMEOUT_S)


class _UntilStopped:
    """The broker's loops are stopped before its connection is."""

    def __init__(self, stop: Callable[[], Awaitable[None]]) -> None:
        self._stop = stop

    def start(self) -> None:
        """Nothing: the requests were subscribed to once the broker was connected."""

    async def stop(self) -> None:
        """Drain."""
        await self._stop()


async def _reply(client: Client, message: Msg, answer: WireModel | bytes) -> None:
    if message.reply:
        try:
            if isinstance(answer, bytes):
                await client.publish(message.reply, answer)
            else:
                await client.publish(message.reply, answer.model_dump_json().encode(), headers=reply_headers(answer))
        except (NatsError, OSError) as error:
            # The caller has its own timeout, and comes again under the same id.
            log.warning("reply not sent", subject=message.subject, error=type(error).__name__)
