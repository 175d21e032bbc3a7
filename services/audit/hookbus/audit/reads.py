"""Each read of the log is itself an entry: who looked, and for what.

It travels as a security event, so that any audit process can record a read and the one that appends stores it. A read
that cannot be recorded is refused. The same question by the same reader counts once a minute, or whoever follows the
log would fill it.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import uuid_utils
from pydantic import JsonValue

from hookbus.audit.entries import LOG_AGENT, LOG_SOURCE, READ_CODE
from hookbus.contracts import audit as wire
from hookbus.contracts import subjects
from hookbus.contracts.events import Event, type_of_security
from hookbus.platform.bus.publisher import Publisher

REPEATED_READ_S: Final = 60.0
READS_REMEMBERED_MAX: Final = 10_000


class ReadRecorder:
    """Publishes a security event for each read."""

    def __init__(self, publisher: Publisher, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._publisher = publisher
        self._clock_s = clock_s
        self._recent: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def record(self, request: wire.EntriesRequest) -> None:
        """Return once the read is on the bus for good; raises ProblemError where the bus is away."""
        asked = request.model_dump(
            mode="json", exclude_none=True, exclude={"actor", "cursor", "order", "page_items_max"}
        )
        question = (request.actor, repr(sorted(asked.items())))
        now = self._clock_s()
        last = self._recent.get(question)
        if last is not None and now - last < REPEATED_READ_S:
            return
        data: dict[str, JsonValue] = {"actor": request.actor, "asked": asked}
        event = Event(
            id=str(uuid_utils.uuid7()),
            source=LOG_SOURCE,
            type=type_of_security(READ_CODE),
            # A question about one agent is encrypted with, and erased with, what the log holds of that agent.
            subject=request.agent or LOG_AGENT,
            time=datetime.now(UTC),
            session=request.session,
            project=request.project,
            data=data,
        )
        await self._publisher.publish(event, subjects.security_subject(READ_CODE))
        self._recent[question] = now
        self._recent.move_to_end(question)
        if len(self._recent) > READS_REMEMBERED_MAX:
            self._recent.popitem(last=False)
