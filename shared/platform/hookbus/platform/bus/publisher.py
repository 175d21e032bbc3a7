"""Events out: published durably, under their own id, with the trace they belong to.

A returned sequence number means that the bus has the event on disk. A publish whose answer was lost is repeated under
the same ``Nats-Msg-Id``, which the stream's duplicate window turns into one message; the consumers' unique keys make
the effect single whatever the window.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import structlog
from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hookbus.contracts import subjects
from hookbus.contracts.events import MEDIA_TYPE_EVENT, Event
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform import telemetry

PUBLISH_DEADLINE_S: Final = 1.5
"""All attempts at one publish together. Below the two seconds in which a hook must have its answer."""
RETRY_WAIT_S: Final = 0.05
"""Between attempts while the server answers that nobody stores the subject (it is starting, or electing)."""
UNAVAILABLE_RETRY_AFTER_S: Final = 1.0

SINGLES_CONCURRENT_MAX: Final = 256
"""Plain publishes that one process has in flight at once."""
BATCH_EVENTS_MIN: Final = 12
"""From here on an atomic batch is faster than plain publishes in flight together. Measured with an fsync for each:
a batch takes 2.6 ms whether it holds 2 or 10 events, a plain publish adds 0.2 ms to the ones beside it."""
BATCH_EVENTS_MAX: Final = 1_000
"""The server's own bound on one atomic batch."""
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Half of what the connection buffers."""

ERROR_CODE_MESSAGE_TOO_LARGE: Final = 10_054

_HEADER_BATCH_ID: Final = "Nats-Batch-Id"
_HEADER_BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
_HEADER_BATCH_COMMIT: Final = "Nats-Batch-Commit"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Outgoing:
    """A message ready for the wire. ``headers`` already hold the id and the trace."""

    subject: str
    message_id: str
    body: bytes
    headers: dict[str, str]


def outgoing(event: Event, subject: str, *, traceparent: str | None = None) -> Outgoing:
    """``event`` as a message of ``subject`` in the trace ``traceparent``, or in the current one where it is None."""
    headers = {subjects.HEADER_MSG_ID: event.id, subjects.HEADER_CONTENT_TYPE: MEDIA_TYPE_EVENT}
    if traceparent is None:
        telemetry.inject(headers)
    else:
        headers[subjects.HEADER_TRACEPARENT] = traceparent
    return Outgoing(subject, event.id, event.to_wire(), headers)


class _AckFault(BaseModel):
    model_config = ConfigDict(extra="ignore")

    err_code: int = 0
    description: str = ""


class _Ack(BaseModel):
    """The server's answer to a publish, or to the commit of a batch: then ``seq`` is that of its last message."""

    model_config = ConfigDict(extra="ignore")

    stream: str = ""
    seq: Annotated[int, Field(ge=0)] = 0
    error: _AckFault | None = None


def unavailable(detail: str) -> ProblemError:
    """The problem of a bus that cannot store."""
    return ProblemError(ProblemCode.UNAVAILABLE, detail, retry_after_s=UNAVAILABLE_RETRY_AFTER_S)


class Publisher:
    """Publishes to the streams through one broker's connection."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self._singles = asyncio.Semaphore(SINGLES_CONCURRENT_MAX)

    async def publish(self, event: Event, subject: str) -> int:
        """Store one event and return its sequence number in the stream; of a repeated id, the first one's.

        Raises:
            ProblemError: ``unavailable`` when the bus has not confirmed within :data:`PUBLISH_DEADLINE_S` (it may
                have stored the event all the same: repeat under the same id); ``too_large``.
        """
        return await self.store(outgoing(event, subject))

    async def publish_many(self, events: Sequence[tuple[Event, str]]) -> list[int]:
        """Store events of one stream, as few writes as possible, and return their sequence numbers in order.

        Raises:
            ProblemError: as :meth:`publish`; then some of the events may be stored.
        """
        messages = [outgoing(event, subject) for event, subject in events]
        results = await self.store_many(messages)
        for result in results:
            if isinstance(result, ProblemError):
                raise result
        return [result for result in results if isinstance(result, int)]

    async def store(self, message: Outgoing) -> int:
        """Store one message; see :meth:`publish`."""
        try:
            async with asyncio.timeout(PUBLISH_DEADLINE_S):
                return await self._store_one(message)
        except TimeoutError as error:
            raise unavailable("the bus did not confirm in time") from error

    async def store_many(self, messages: Sequence[Outgoing]) -> list[int | ProblemError]:
        """Store messages of one stream; one sequence number or problem for each, in order. Never raises a problem."""
        results: list[int | ProblemError] = []
        for chunk in _chunks(messages):
            results.extend(await self._store_chunk(chunk))
        return results

    async def _store_chunk(self, chunk: list[Outgoing]) -> list[int | ProblemError]:
        distinct = len({message.message_id for message in chunk}) == len(chunk)
        if distinct and len(chunk) >= BATCH_EVENTS_MIN:
            try:
                async with asyncio.timeout(PUBLISH_DEADLINE_S):
                    first = await self._store_batch(chunk)
            except TimeoutError:
                return [unavailable("the bus did not confirm in time")] * len(chunk)
            except ProblemError as error:
                return [error] * len(chunk)
            if first is not None:
                return list(range(first, first + len(chunk)))
        return list(await asyncio.gather(*(self._store_or_problem(message) for message in chunk)))

    async def _store_or_problem(self, message: Outgoing) -> int | ProblemError:
        try:
            return await self.store(message)
        except ProblemError as error:
            return error

    async def _store_one(self, message: Outgoing) -> int:
        async with self._singles:
            ack = await self._request(message.subject, message.body, message.headers)
        if ack.error is None:
            return ack.seq
        log.warning("publish refused", subject=message.subject, error=ack.error.description)
        if ack.error.err_code == ERROR_CODE_MESSAGE_TOO_LARGE:
            raise ProblemError(ProblemCode.TOO_LARGE, "the event is larger than the bus stores")
        raise unavailable(f"the bus cannot store: {ack.error.description}")

    async def _store_batch(self, messages: list[Outgoing]) -> int | None:
        """Store all or none and return the first sequence number; None where the server refused the batch as such.

        It does so for one duplicate id among them (error 10201), storing nothing: the caller then publishes one by one,
        where a duplicate is confirmed with its old sequence number.
        """
        client = self._client()
        batch_id = uuid.uuid4().hex
        last = len(messages)
        for number, message in enumerate(messages[:-1], start=1):
            headers = message.headers | {_HEADER_BATCH_ID: batch_id, _HEADER_BATCH_SEQUENCE: str(number)}
            try:
                await client.publish(message.subject, message.body, headers=headers)
            except (NatsError, OSError) as error:
                raise unavailable("the bus is away") from error
        commit = messages[-1]
        headers = commit.headers | {
            _HEADER_BATCH_ID: batch_id,
            _HEADER_BATCH_SEQUENCE: str(last),
            _HEADER_BATCH_COMMIT: "1",
        }
        # Not repeated: after a lost answer a second commit would name a batch that the server no longer holds.
        ack = await self._request_once(commit.subject, commit.body, headers)
        if ack is not None and ack.error is None:
            return ack.seq - last + 1
        reason = "nobody stores the subject" if ack is None or ack.error is None else ack.error.description
        log.info("batch refused, publishing one by one", events=last, reason=reason)
        return None

    async def _request(self, subject: str, body: bytes, headers: dict[str, str]) -> _Ack:
        """Publish and wait for the confirmation, again and again while nobody stores the subject."""
        gives_up_at_s = time.monotonic() + PUBLISH_DEADLINE_S
        while True:
            ack = await self._request_once(subject, body, headers)
            if ack is not None:
                return ack
            # The caller's timeout is not enough: Python 3.11's wait_for, in the client, loses a cancellation that comes
            # in the same moment as the answer.
            if time.monotonic() > gives_up_at_s:
                raise unavailable("nobody stores the subject")
            await asyncio.sleep(RETRY_WAIT_S)

    async def _request_once(self, subject: str, body: bytes, headers: dict[str, str]) -> _Ack | None:
        """One attempt; None where no stream takes the subject at this moment."""
        client = self._client()
        try:
            reply = await client.request(subject, body, timeout=PUBLISH_DEADLINE_S, headers=headers)
        except NoRespondersError:
            return None
        except (NatsError, OSError) as error:
            raise unavailable("the bus is away") from error
        try:
            return _Ack.model_validate_json(reply.data)
        except ValidationError as error:
            raise unavailable("the bus answered in an unknown form") from error

    def _client(self) -> Client:
        try:
            client = self._broker.connection
        except IncorrectState as error:
            raise unavailable("the bus is away") from error
        if not client.is_connected:
            # A message written now would wait in a buffer while its sender waits for the deadline.
            raise unavailable("the bus is away")
        return client


def _chunks(messages: Sequence[Outgoing]) -> list[list[Outgoing]]:
    chunks: list[list[Outgoing]] = []
    size = 0
    for message in messages:
        size += len(message.body)
        if not chunks or len(chunks[-1]) >= BATCH_EVENTS_MAX or size > BATCH_BYTES_MAX:
            chunks.append([])
            size = len(message.body)
        chunks[-1].append(message)
    return chunks
