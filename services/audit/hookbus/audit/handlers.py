"""Messages in: events of the bus go into the log, whole batches at a time."""

from collections.abc import Sequence

from opentelemetry.trace import SpanKind

from hookbus.audit import metrics
from hookbus.audit.entries import Incoming, from_event
from hookbus.audit.keys import KeyUnusableError
from hookbus.audit.log import Log
from hookbus.audit.record import Stream
from hookbus.audit.repository.leading import FencedError
from hookbus.audit.signing.files import KeyFileError
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform import telemetry
from hookbus.platform.bus.delivery import Ack, Delivery, Verdict
from hookbus.platform.database.engine import is_transient


def may_pass(error: BaseException) -> bool:
    """Whether appending failed for a cause outside the events: no database, no usable key, another process leads."""
    is_away = isinstance(error, ProblemError) and error.problem.code is ProblemCode.UNAVAILABLE
    return is_away or isinstance(error, (FencedError, KeyFileError, KeyUnusableError)) or is_transient(error)


class EventHandlers:
    """Appends what the durables deliver; a verdict is an ack only once the log holds the event."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def hooks(self, deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        """A batch of hook events."""
        return await self._append(Stream.HOOKS, deliveries)

    async def security(self, deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        """A batch of security events."""
        return await self._append(Stream.SECURITY, deliveries)

    async def _append(self, stream: Stream, deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        incoming: list[Incoming] = [from_event(stream, delivery.event, delivery.body) for delivery in deliveries]
        attributes: dict[str, str | int] = {"db.system.name": "postgresql"}
        if len(incoming) > 1:  # one alone is no batch, as the conventions have it
            attributes["db.operation.batch.size"] = len(incoming)
        metrics.APPEND_ENTRIES.observe(len(incoming))
        with telemetry.batch_step("audit append", attributes, SpanKind.CLIENT), metrics.APPEND_SECONDS.time():
            await self._log.opened.sequencer.append(incoming)
        return [Ack()] * len(deliveries)
