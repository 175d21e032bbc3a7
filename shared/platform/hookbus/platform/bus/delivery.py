"""What comes off a stream, and what a handler may say of it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from nats.aio.msg import Msg
from opentelemetry.context import Context
from pydantic import ValidationError

from hookbus.contracts.events import Event
from hookbus.platform import telemetry

ACK_SUBJECT_TOKENS: Final = 9
"""``$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>``."""
REASON_CHARS_MAX: Final = 500


@dataclass(slots=True)
class Delivery:
    """One event as it came off a stream. ``body`` is exactly what was published; ``context`` is the event's trace.

    Not frozen, for speed: one is made for every event.
    """

    event: Event
    body: bytes
    subject: str
    stream: str
    stream_seq: int
    delivered: int
    context: Context


@dataclass(frozen=True)
class Ack:
    """The effect is committed: the message is done."""


@dataclass(frozen=True)
class Retry:
    """The effect may succeed later: deliver again after ``delay_s``, or after a growing delay where it is None.

    ``passes`` where the cause lies outside the event (its store is away): then no number of deliveries is too many.
    """

    reason: str
    delay_s: float | None = None
    passes: bool = False


@dataclass(frozen=True)
class Poison:
    """The effect can never succeed: put the message into the dead letters."""

    reason: str


Verdict = Ack | Retry | Poison
BatchHandler = Callable[[Sequence[Delivery]], Awaitable[Sequence[Verdict]]]
"""Takes the valid events of one pull, oldest first, and returns one verdict for each, in the same order."""


def parse(message: Msg) -> Delivery:
    """The event in a message.

    Raises:
        ValueError: it is none (pydantic's ``ValidationError`` is one).
    """
    event = Event.model_validate_json(message.data)
    stream, delivered, sequence = _origin(message)
    return Delivery(
        event=event,
        body=message.data,
        subject=message.subject,
        stream=stream,
        stream_seq=sequence,
        delivered=delivered,
        context=telemetry.extract(message.headers),
    )


def _origin(message: Msg) -> tuple[str, int, int]:
    """Stream, deliveries so far and place in the stream, from the subject to acknowledge on.

    The client's own ``metadata`` also makes out the time and more, which costs as much as checking the event.
    """
    tokens = message.reply.split(".")
    if len(tokens) == ACK_SUBJECT_TOKENS and tokens[0] == "$JS":
        return tokens[2], int(tokens[4]), int(tokens[5])
    metadata = message.metadata
    return metadata.stream, metadata.num_delivered, metadata.sequence.stream


def summary(error: Exception) -> str:
    """The kind of an error and its first line, without the value that caused it."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:3])
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:REASON_CHARS_MAX]
