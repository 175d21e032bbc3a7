"""Group commit: events that wait for the disk at the same moment go to it together.

Callers hand in one message each and wait; a single task takes everything that waits and stores it with one
:meth:`Publisher.store_many`. While that write is under way the next group gathers, so the group grows with the load and
an idle system adds no delay.
"""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from hookbus.contracts.problems import ProblemError
from hookbus.contracts.subjects import subject_template
from hookbus.platform import metrics, telemetry
from hookbus.platform.bus.publisher import BATCH_EVENTS_MAX, Outgoing, Publisher, unavailable

BACKLOG_EVENTS_MAX: Final = 50_000
BACKLOG_BYTES_MAX: Final = 64 * 1024 * 1024
"""What may wait in memory; beyond either bound a caller is turned away at once."""
WAIT_S_MAX: Final = 1.8
"""How long one caller waits for its confirmation, its time in the queue included."""
WAIT_PER_GROUP_S_MAX: Final = 0.5
"""What a caller with many messages may wait on top, for each full group of them."""

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Waiting:
    message: Outgoing
    done: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GroupCommit:
    """Stores messages of one stream for many callers at once. Start before use, stop last."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many messages wait right now."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to store."""
        self._task = asyncio.create_task(self._run(), name="group-commit")

    async def stop(self) -> None:
        """Stop storing; whoever still waits is told that the bus is away."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for waiting in self._take(len(self._waiting)):
            _settle(waiting, unavailable("the gateway is stopping"))

    async def store(self, message: Outgoing) -> int:
        """Store one message and return its sequence number.

        Raises:
            ProblemError: ``unavailable`` when it was not confirmed in time or too much waits already; ``too_large``.
        """
        return (await self.store_all([message]))[0]

    async def store_all(self, messages: list[Outgoing]) -> list[int]:
        """Store messages and return their sequence numbers in order; raises as :meth:`store` if any is not stored."""
        size = sum(len(message.body) for message in messages)
        if len(self._waiting) + len(messages) > BACKLOG_EVENTS_MAX or self._waiting_bytes + size > BACKLOG_BYTES_MAX:
            raise unavailable("too many events wait for the bus")
        sent = [_sending(message) for message in messages[: telemetry.STEP_SPANS_MAX]]
        try:
            sequences = await self._stored([*(message for _, message in sent), *messages[len(sent) :]], size)
        except Exception as error:
            for sending, _message in sent:
                if sending is not None:
                    sending.end(error)
            raise
        for sending, _message in sent:
            if sending is not None:
                sending.end()
        return sequences

    async def _stored(self, messages: list[Outgoing], size: int) -> list[int]:
        entries = [_Waiting(message) for message in messages]
        self._waiting.extend(entries)
        self._waiting_bytes += size
        self._arrived.set()
        deadline_s = WAIT_S_MAX + WAIT_PER_GROUP_S_MAX * (len(messages) // BATCH_EVENTS_MAX)
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.gather(*(entry.done for entry in entries))
        except TimeoutError as error:
            raise unavailable("the bus did not confirm in time") from error

    def _take(self, count_max: int) -> list[_Waiting]:
        taken: list[_Waiting] = []
        while self._waiting and len(taken) < count_max:
            entry = self._waiting.popleft()
            self._waiting_bytes -= len(entry.message.body)
            if not entry.done.done():  # its caller may have given up
                taken.append(entry)
        return taken

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while group := self._take(BATCH_EVENTS_MAX):
                await self._store_group(group)

    async def _store_group(self, group: list[_Waiting]) -> None:
        # Two callers may carry the same id at once (a client that retries): one of them travels, both are answered.
        by_id: dict[str, list[_Waiting]] = {}
        for entry in group:
            by_id.setdefault(entry.message.message_id, []).append(entry)
        began = time.perf_counter()
        try:
            results = await self._publisher.store_many([entries[0].message for entries in by_id.values()])
        except asyncio.CancelledError:
            for entry in group:
                _settle(entry, unavailable("the gateway is stopping"))
            raise
        except Exception:
            log.exception("group not stored", events=len(group))
            results = [unavailable("the bus cannot store")] * len(by_id)
        metrics.PUBLISH_GROUP_EVENTS.observe(len(by_id))
        metrics.PUBLISH_SECONDS.observe(time.perf_counter() - began)
        metrics.PUBLISH_FAILURES.inc(sum(isinstance(result, ProblemError) for result in results))
        for entries, result in zip(by_id.values(), results, strict=True):
            for entry in entries:
                _settle(entry, result)


def _sending(message: Outgoing) -> tuple[telemetry.Sending | None, Outgoing]:
    """The span of the message's publishing, and the message that carries it on."""
    template = subject_template(message.subject)
    attributes = {
        "messaging.system": "nats",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": message.subject,
        "messaging.destination.template": template,
        "messaging.message.id": message.message_id,
        "messaging.message.body.size": len(message.body),
        telemetry.ATTRIBUTE_EVENT_ID: message.message_id,
    }
    sending, headers = telemetry.Sending.start(message.headers, f"publish {template}", attributes)
    return sending, message if sending is None else replace(message, headers=headers)


def _settle(entry: _Waiting, result: int | ProblemError) -> None:
    if entry.done.done():
        return
    if isinstance(result, int):
        entry.done.set_result(result)
    else:
        problem = result.problem
        # An exception of its own for each caller: one that is raised in many tasks gathers all their tracebacks.
        entry.done.set_exception(ProblemError(problem.code, problem.detail, retry_after_s=problem.retry_after_s))
        entry.done.exception()  # mark as seen: the caller of many stops at the first
