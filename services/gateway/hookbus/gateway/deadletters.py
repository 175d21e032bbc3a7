"""Dead letters on the bus: read, put back where they came from, or given up. Each of these is an event in the log.

A message is put back under an id of its own before it leaves the dead letters, and the event that says so is stored in
between: whatever step is the last one done, nothing is lost, and doing it again has no second effect, for every service
counts an event id once.
"""

import asyncio
import json
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TypeVar, cast

from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError
from pydantic import JsonValue, ValidationError

from hookbus.contracts import subjects
from hookbus.contracts.deadletters import DeadLetter, DeadLetterDone, DeadLetterListReply, DeadLetterView
from hookbus.contracts.events import Event, type_of_security
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway import metrics
from hookbus.platform import telemetry
from hookbus.platform.bus.connection import jetstream
from hookbus.platform.bus.publisher import Outgoing, Publisher, unavailable

SOURCE: Final = "urn:hookbus:gateway"
AGENT: Final = "hookbus"
"""The subject of an event about a message that names no agent."""
CODE_READ: Final = "deadletter_read"
CODE_REQUEUED: Final = "deadletter_requeued"
CODE_DROPPED: Final = "deadletter_dropped"
WATCH_INTERVAL_S: Final = 10.0
_ORIGINS: Final = {subjects.STREAM_HOOKS: "hooks.", subjects.STREAM_SECURITY: "security."}

ResultT = TypeVar("ResultT")


class DeadLetters:
    """The stream of dead letters, through the gateway's connection."""

    def __init__(self, broker: NatsBroker, publisher: Publisher) -> None:
        self._broker = broker
        self._publisher = publisher

    async def list(self, *, from_seq: int, service: str | None, items_max: int) -> DeadLetterListReply:
        """A page from ``from_seq`` on, oldest first; of one service's where it is named."""
        wanted = subjects.deadletter_subject(service) if service is not None else subjects.SUBJECTS_DEADLETTER
        found: list[DeadLetterView] = []
        following = from_seq
        while len(found) <= items_max:
            raw = await self._next(following, wanted)
            if raw is None:
                break
            letter = _read(raw)
            found.append(DeadLetterView.model_validate(letter.model_dump(include=set(DeadLetterView.model_fields))))
            following = letter.seq + 1
        more = len(found) > items_max
        return DeadLetterListReply(
            deadletters=tuple(found[:items_max]),
            total=await self.total(),
            cursor=str(found[items_max].seq) if more else None,
        )

    async def show(self, seq: int, *, actor: str) -> DeadLetter:
        """One dead letter with its content; the look is an event, once a dead letter and actor.

        Raises:
            ProblemError: ``not_found``; ``unavailable`` where the bus is away or the look cannot be recorded.
        """
        letter = _read(await self._get(seq))
        await self._tell(CODE_READ, letter, actor)
        return letter

    async def requeue(self, seq: int, *, actor: str) -> DeadLetterDone:
        """Publish the message again where it came from, and take it out of the dead letters.

        Raises:
            ProblemError: as :meth:`show`; ``conflict`` where it did not come from a stream of events.
        """
        raw = await self._get(seq)
        letter = _read(raw)
        if not letter.subject.startswith(_ORIGINS.get(letter.stream, "\n")):
            raise ProblemError(ProblemCode.CONFLICT, "the dead letter does not say which stream it came from")
        headers = {
            subjects.HEADER_MSG_ID: f"requeue.{seq}.{letter.stored_at.timestamp():.0f}",
            subjects.HEADER_CONTENT_TYPE: _headers(raw).get(subjects.HEADER_CONTENT_TYPE, "application/json"),
        }
        if letter.traceparent is not None:
            headers[subjects.HEADER_TRACEPARENT] = letter.traceparent
        message = Outgoing(letter.subject, headers[subjects.HEADER_MSG_ID], raw.data or b"", headers)
        new_seq = await self._publisher.store(message)
        await self._tell(CODE_REQUEUED, letter, actor)
        await self._delete(seq)
        return DeadLetterDone(seq=seq, outcome="requeued", new_seq=new_seq)

    async def drop(self, seq: int, *, actor: str) -> DeadLetterDone:
        """Give the message up: it is deleted, and the log says who did so. Raises as :meth:`show`."""
        letter = _read(await self._get(seq))
        await self._tell(CODE_DROPPED, letter, actor)
        await self._delete(seq)
        return DeadLetterDone(seq=seq, outcome="dropped")

    async def watch(self) -> None:
        """Keep the gauge of dead letters true until cancelled. While the bus is away it keeps its last value."""
        while True:
            with suppress(ProblemError, IncorrectState):
                metrics.DEADLETTERS.set(await self.total())
            await asyncio.sleep(WATCH_INTERVAL_S)

    async def total(self) -> int:
        """How many dead letters there are."""
        info = await _asked(jetstream(self._broker).stream_info(subjects.STREAM_DEADLETTER))
        return info.state.messages

    async def _next(self, seq: int, wanted: str) -> RawStreamMsg | None:
        try:
            return await _asked(
                jetstream(self._broker).get_msg(
                    subjects.STREAM_DEADLETTER, seq=seq, subject=wanted, direct=True, next=True
                )
            )
        except NotFoundError:
            return None

    async def _get(self, seq: int) -> RawStreamMsg:
        try:
            return await _asked(jetstream(self._broker).get_msg(subjects.STREAM_DEADLETTER, seq=seq, direct=True))
        except NotFoundError:
            raise _gone(seq) from None

    async def _delete(self, seq: int) -> None:
        try:
            await _asked(jetstream(self._broker).delete_msg(subjects.STREAM_DEADLETTER, seq))
        except (NotFoundError, APIError):
            raise _gone(seq) from None

    async def _tell(self, code: str, letter: DeadLetter, actor: str) -> None:
        data: dict[str, JsonValue] = {
            "actor": actor,
            "seq": letter.seq,
            "service": letter.service,
            "reason": letter.reason,
            "subject": letter.subject,
            "event_id": letter.event_id,
        }
        event = Event(
            # Repeats with the action, so that an attempt that broke off half way is told once. A look: by whom.
            id=f"{code}.{letter.seq}.{letter.stored_at.timestamp():.0f}"
            + (f".{actor[:48]}" if code == CODE_READ else ""),
            source=SOURCE,
            type=type_of_security(code),
            subject=letter.agent_id or AGENT,
            time=datetime.now(UTC),
            traceparent=telemetry.current_traceparent(),
            data=data,
        )
        await self._publisher.publish(event, subjects.security_subject(code))


async def _asked(request: Awaitable[ResultT]) -> ResultT:
    try:
        return await request
    except (NotFoundError, APIError):
        raise
    except (NatsError, OSError, TimeoutError) as error:
        raise unavailable("the bus is away") from error


def _gone(seq: int) -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, f"there is no dead letter {seq}")


def _read(raw: RawStreamMsg) -> DeadLetter:
    """A message as people see it; every field of a message that is no event still can be shown."""
    headers = _headers(raw)
    body = raw.data or b""
    tree, is_json = _json(body)
    try:
        event = Event.model_validate(tree)
    except ValidationError:
        event = None
    stream_seq = headers.get(subjects.HEADER_DEADLETTER_SEQUENCE, "")
    return DeadLetter(
        seq=raw.seq or 0,
        service=(raw.subject or "").removeprefix("deadletter."),
        reason=headers.get(subjects.HEADER_DEADLETTER_REASON, ""),
        subject=headers.get(subjects.HEADER_DEADLETTER_SUBJECT, ""),
        stream=headers.get(subjects.HEADER_DEADLETTER_STREAM, ""),
        stream_seq=int(stream_seq) if stream_seq.isascii() and stream_seq.isdigit() else 0,
        stored_at=raw.time or datetime.now(UTC),
        size_bytes=len(body),
        event_id=event.id if event is not None else None,
        agent_id=event.subject if event is not None else None,
        type=event.type if event is not None else None,
        event=tree if is_json else None,
        text=None if is_json else body.decode(errors="replace"),
        traceparent=headers.get(subjects.HEADER_TRACEPARENT),
    )


def _headers(raw: RawStreamMsg) -> dict[str, str]:
    return cast("dict[str, str]", raw.headers or {})  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves it open


def _json(body: bytes) -> tuple[JsonValue, bool]:
    try:
        return json.loads(body), True
    except (ValueError, RecursionError):
        return None, False
