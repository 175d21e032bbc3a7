"""Dead letters: messages no service could process, as people see and handle them."""

from typing import Annotated

from pydantic import Field, JsonValue

from hookbus.contracts.fields import Cursor, UtcTime, WireModel


class DeadLetterView(WireModel):
    """One dead letter of a list, without its content.

    ``seq`` names it. ``service`` gave it up for ``reason``; it came from ``subject`` as message ``stream_seq`` of
    ``stream``. ``event_id``, ``agent_id`` and ``type`` are there where the message is an event.
    """

    seq: Annotated[int, Field(ge=1)]
    service: str
    reason: str
    subject: str
    stream: str
    stream_seq: int
    stored_at: UtcTime
    size_bytes: int
    event_id: str | None = None
    agent_id: str | None = None
    type: str | None = None


class DeadLetter(DeadLetterView):
    """One dead letter with its content: ``event`` where it is JSON, else ``text`` with what is no text replaced."""

    event: JsonValue | None = None
    text: str | None = None
    traceparent: str | None = None


class DeadLetterListReply(WireModel):
    """Oldest first. ``total`` counts all that are kept; ``cursor`` is None on the last page."""

    deadletters: tuple[DeadLetterView, ...]
    total: int
    cursor: Cursor | None = None


class DeadLetterDone(WireModel):
    """What became of a dead letter: ``requeued`` under the new sequence number ``new_seq``, or ``dropped``."""

    seq: int
    outcome: str
    new_seq: int | None = None
