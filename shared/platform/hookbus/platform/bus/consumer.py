"""Batches in: events of a durable consumer handed over many at a time, with a verdict for each.

A message is acknowledged only after its handler says so, is delivered again after a growing delay where it may pass
later, and goes to the dead letters where it never can. Nothing leaves the stream in any other way.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Final

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from pydantic import ValidationError

from hookbus.contracts import subjects
from hookbus.platform import metrics, telemetry
from hookbus.platform.bus.connection import Broker, Loop, jetstream
from hookbus.platform.bus.delivery import (
    REASON_CHARS_MAX,
    Ack,
    BatchHandler,
    Delivery,
    Poison,
    Retry,
    Verdict,
    parse,
    summary,
)
from hookbus.platform.bus.extending import Extending
from hookbus.platform.bus.failures import MayPass, nothing_passes
from hookbus.platform.bus.lag import watch_lag
from hookbus.platform.bus.pulling import BATCH_MESSAGES_MAX, Puller, PullFailedError
from hookbus.platform.bus.streams import ConsumerSpec

BATCH_WAIT_IDLE_S: Final = 0.005
"""How long a pull that has its first message lets more gather: the latency an idle system adds to an event."""
BATCH_WAIT_BUSY_S: Final = 0.05
"""The same where the last batch held several: one transaction for many events is worth more than 50 ms."""
BACKLOG_MESSAGES_MIN: Final = BATCH_MESSAGES_MAX // 2
"""Where so many wait already, nothing is let gather."""
PULL_FAILED_WAIT_S: Final = 0.5

DELIVERIES_MAX: Final = 50
"""After so many failed deliveries a message is dead-lettered; with the delays below that is about 20 minutes. What
fails only because a store is away is kept however long that takes."""
RETRY_DELAY_BASE_S: Final = 0.5
RETRY_DELAY_MAX_S: Final = 30.0
DEADLETTER_TIMEOUT_S: Final = 2.0

log = structlog.get_logger(__name__)


def retry_delay_s(delivered: int) -> float:
    """The delay before delivery ``delivered + 1``: doubling from the base to the cap."""
    return min(RETRY_DELAY_BASE_S * 2 ** min(delivered - 1, 16), RETRY_DELAY_MAX_S)


def subscribe_batches(
    broker: Broker, spec: ConsumerSpec, handler: BatchHandler, *, may_pass: MayPass = nothing_passes
) -> None:
    """Feed ``handler`` from a provisioned durable consumer. Call before the broker starts.

    Args:
        broker: not started yet.
        spec: the consumer.
        handler: what it raises is a retry of the whole batch.
        may_pass: what it raises of this kind comes from outside the events.
    """
    broker.loops.append(batch_loop(broker, spec, handler, may_pass=may_pass))


def batch_loop(
    broker: Broker,
    spec: ConsumerSpec,
    handler: BatchHandler,
    *,
    may_pass: MayPass = nothing_passes,
    batches_under_way_max: int = 1,
) -> Loop:
    """The same for a service that starts and stops pulling itself, once the broker is connected.

    With ``batches_under_way_max`` over 1 the next batch is pulled and handed over while those before it are still
    being handled: for a handler that takes its turn in the order in which it was called.
    """
    return _BatchConsumer(broker, spec, handler, may_pass, batches_under_way_max)


class _BatchConsumer:
    """The pull loop of one durable.

    FastStream's own batch loop is not used: where a pull ends on the edge of its timeout it drops the messages it
    had collected, which then come again only after the ack wait (docs/decisions/0002-own-pull-loop.md).
    """

    def __init__(
        self, broker: Broker, spec: ConsumerSpec, handler: BatchHandler, may_pass: MayPass, batches_under_way_max: int
    ) -> None:
        self._broker = broker
        self._spec = spec
        self._handler = handler
        self._may_pass = may_pass
        self._stopping = asyncio.Event()
        self._gather_s = BATCH_WAIT_IDLE_S
        self._under_way_max = batches_under_way_max
        self._under_way: set[asyncio.Task[None]] = set()
        self._extending = Extending(spec.ack_wait_s)
        self._task: asyncio.Task[None] | None = None
        self._aside: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to pull."""
        self._stopping.clear()
        self._task = asyncio.create_task(self._run(), name=f"{self._spec.stream}:{self._spec.service}")
        self._aside = [
            asyncio.create_task(watch_lag(self._broker, self._spec)),
            asyncio.create_task(
                self._extending.extend_forever(), name=f"{self._spec.stream}:{self._spec.service}:extend"
            ),
        ]

    async def stop(self) -> None:
        """Finish the batches under way and pull no more."""
        self._stopping.set()
        if self._task is not None:
            await self._task
            self._task = None
        while self._under_way:
            await asyncio.wait(self._under_way)
        for task in self._aside:
            task.cancel()
        self._aside.clear()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._pull()
            except (NatsError, JetStreamError, PullFailedError, OSError) as error:
                log.warning("pull failed", stream=self._spec.stream, error=summary(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(PULL_FAILED_WAIT_S):
                        await self._stopping.wait()

    async def _pull(self) -> None:
        """Batches until it is time to stop."""
        puller = Puller(self._broker.connection, self._spec)
        self._extending.waiting = puller.lingering
        await puller.open()
        try:
            while not self._stopping.is_set():
                await puller.wait(self._stopping)
                if 0 < puller.held < BACKLOG_MESSAGES_MIN:
                    await asyncio.sleep(self._gather_s)
                if not self._stopping.is_set():
                    messages = await puller.take()
                    self._gather_s = BATCH_WAIT_BUSY_S if len(messages) > 1 else BATCH_WAIT_IDLE_S
                    await self._begin(messages)
        finally:
            await puller.close()

    async def _begin(self, messages: list[Msg]) -> None:
        """Process a batch; return once there is room for the next."""
        if self._under_way_max == 1:
            await self._hand_over(messages)
            return
        task = asyncio.create_task(self._hand_over(messages), name=f"{self._spec.stream}:{self._spec.service}:batch")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        while len(self._under_way) >= self._under_way_max:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def _hand_over(self, messages: list[Msg]) -> None:
        with self._extending.held(messages):
            await self.process(messages)

    async def process(self, messages: list[Msg]) -> None:
        """One pull: parse, handle, apply the verdicts. Never raises, for nobody above could do better."""
        deliveries: list[Delivery] = []
        valid: list[Msg] = []
        slow: list[Awaitable[None]] = []
        for message in messages:
            try:
                deliveries.append(parse(message))
                valid.append(message)
            except (ValidationError, ValueError) as error:
                slow.append(self._apply(message, Poison(f"not an event: {summary(error)}")))
        if deliveries:
            verdicts = await self._verdicts(deliveries)
            for message, verdict in zip(valid, verdicts, strict=True):
                if isinstance(verdict, Ack):
                    # An ack only goes into the connection's buffer: a task for each would cost more than the ack.
                    await self._apply(message, verdict)
                else:
                    slow.append(self._apply(message, verdict))
        await asyncio.gather(*slow)

    async def _verdicts(self, deliveries: list[Delivery]) -> Sequence[Verdict]:
        attributes = {
            "messaging.system": "nats",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": self._spec.stream,
            "messaging.consumer.group.name": self._spec.service,
            "messaging.batch.message_count": len(deliveries),
        }
        stream = self._spec.stream
        metrics.CONSUMER_BATCH_EVENTS.labels(stream).observe(len(deliveries))
        again = sum(item.delivered > 1 for item in deliveries)
        if again:
            metrics.CONSUMER_REDELIVERIES.labels(stream).inc(again)
        name = f"process {stream}"
        events = ((item.context, item.event.id) for item in deliveries)
        with metrics.CONSUMER_BATCH_SECONDS.labels(stream).time(), telemetry.batch_spans(name, events, attributes):
            verdicts = await self._handled(deliveries)
        for verdict, count in Counter(map(type, verdicts)).items():
            metrics.CONSUMER_EVENTS.labels(stream, verdict.__name__.lower()).inc(count)
        return verdicts

    async def _handled(self, deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        try:
            verdicts = await self._handler(deliveries)
        except Exception as error:  # noqa: BLE001 - every kind of it is a verdict
            return await self._failed(deliveries, error)
        if len(verdicts) != len(deliveries):
            log.error("handler broke its contract", verdicts=len(verdicts), events=len(deliveries))
            return [Retry("the handler returned too few verdicts")] * len(deliveries)
        return verdicts

    async def _failed(self, deliveries: Sequence[Delivery], error: Exception) -> Sequence[Verdict]:
        """What becomes of a batch whose handler raised: what may pass does for all of them, anything else for the one
        that it comes from, which is found by handing each over alone."""
        told = {"consumer": self._spec.service, "stream": self._spec.stream, "events": len(deliveries)}
        if self._may_pass(error):
            log.warning("batch put off", error=summary(error), **told)
            return [Retry(summary(error), passes=True)] * len(deliveries)
        log.error("batch failed", exc_info=error, **told)
        if len(deliveries) == 1:
            return [Retry(summary(error))]
        return [verdict for delivery in deliveries for verdict in await self._handled([delivery])]

    async def _apply(self, message: Msg, verdict: Verdict) -> None:
        try:
            if isinstance(verdict, Ack):
                await message.ack()
            elif isinstance(verdict, Poison):
                await self._bury(message, verdict.reason)
            elif message.metadata.num_delivered >= DELIVERIES_MAX and not verdict.passes:
                await self._bury(message, f"{DELIVERIES_MAX} deliveries failed: {verdict.reason}")
            else:
                await message.nak(delay=verdict.delay_s or retry_delay_s(message.metadata.num_delivered))
        except (NatsError, TimeoutError) as error:
            # Unacknowledged, the message comes again after the consumer's ack wait; its effect is idempotent.
            log.warning("verdict not delivered", subject=message.subject, error=summary(error))

    async def _bury(self, message: Msg, reason: str) -> None:
        sequence = message.metadata.sequence.stream
        headers = dict(message.headers or {})
        headers |= {
            subjects.HEADER_MSG_ID: f"{self._spec.service}.{self._spec.stream}.{sequence}",
            subjects.HEADER_DEADLETTER_SUBJECT: message.subject,
            subjects.HEADER_DEADLETTER_STREAM: self._spec.stream,
            subjects.HEADER_DEADLETTER_SEQUENCE: str(sequence),
            subjects.HEADER_DEADLETTER_REASON: reason[:REASON_CHARS_MAX].replace("\r", " ").replace("\n", " "),
        }
        try:
            await jetstream(self._broker).publish(
                subjects.deadletter_subject(self._spec.service),
                message.data,
                timeout=DEADLETTER_TIMEOUT_S,
                stream=subjects.STREAM_DEADLETTER,
                headers=headers,
            )
        except (NatsError, TimeoutError) as error:
            log.warning("dead letter not stored, message kept", subject=message.subject, error=summary(error))
            await message.nak(delay=RETRY_DELAY_MAX_S)
            return
        metrics.DEADLETTERS.labels(self._spec.stream).inc()
        log.error("dead letter", subject=message.subject, stream_seq=sequence, reason=reason[:REASON_CHARS_MAX])
        await message.term()
