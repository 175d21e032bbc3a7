"""What goes into the log and how it lies there, apart from where: incoming events, sealed entries, search rows.

Nobody changes them once they are made. They are not frozen, because one of each is made for every entry, and a frozen
dataclass takes three times as long to make.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from hookbus.audit.record import Stream
from hookbus.contracts.events import Event, Kind

LOG_SOURCE: Final = "hookbus/audit"
LOG_AGENT: Final = "hookbus-audit"
"""The CloudEvents subject of the log's own entries. Their data key is chosen by stream, not by this name."""
LOG_TYPE_PREFIX: Final = "dev.hookbus.audit."
READ_CODE: Final = "audit_read"
KIND_READ: Final = f"security.{READ_CODE}"
OUTCOME_CHARS_MAX: Final = 64


@dataclass(slots=True)
class SearchTerms:
    """What an entry is found by. ``kind`` and ``outcome`` name no person and lie in clear; the others are blinded."""

    kind: str
    outcome: str | None
    agent: str
    session: str | None
    project: str | None


@dataclass(slots=True)
class Incoming:
    """One event on its way into the log. ``body`` is what is stored, byte for byte."""

    stream: Stream
    event_id: str
    agent: str
    body: bytes
    terms: SearchTerms

    @property
    def key(self) -> tuple[Stream, str]:
        """What must be unique in the log."""
        return self.stream, self.event_id


@dataclass(slots=True)
class StoredEntry:
    """One row of ``audit.stored_events``; ``time_us`` counts microseconds since 1970 UTC."""

    index: int
    stream: int
    event_id: str
    time_us: int
    key_id: bytes
    leaf_hash: bytes
    record: bytes
    detached: bytes | None


@dataclass(slots=True)
class LookupRow:
    """One row of ``audit.entry_lookup``: search terms, blinded where they may name a person."""

    index: int
    stream: int
    event_id: str
    kind: str
    outcome: str | None
    agent: bytes | None
    session: bytes | None
    project: bytes | None


def from_event(stream: Stream, event: Event, body: bytes) -> Incoming:
    """An event of the bus as the log takes it."""
    terms = search_terms(
        event.type,
        agent=event.subject,
        session=event.session,
        project=event.project,
        decision=event.decision,
        status=event.data.get("status"),
    )
    return Incoming(stream, event.id, event.subject, body, terms)


def search_terms(
    event_type: str,
    *,
    agent: str,
    session: str | None,
    project: str | None,
    decision: str | None,
    status: object,
) -> SearchTerms:
    """What an event of these attributes is found by. ``status`` is what its data names so.

    The kind is the hook kind, ``security.<code>`` or ``audit.<code>``.
    """
    kind = event_type.removeprefix("dev.hookbus.").removesuffix(".v1")
    if kind == KIND_READ:
        # Encrypted with what was read, but not found among it: looking at an agent must not add to what it did.
        return SearchTerms(kind, None, LOG_AGENT, None, None)
    return SearchTerms(kind, _outcome(kind, decision, status), agent, session, project)


def _outcome(kind: str, decision: str | None, status: object) -> str | None:
    """The decision on a pre-task, the status a post-task reports."""
    word = decision
    if word is None and kind == Kind.POST_TASK:
        word = status if isinstance(status, str) else None
    # PostgreSQL's text holds no NUL; one such event must not fail its whole batch.
    return None if word is None else word.replace("\x00", "")[:OUTCOME_CHARS_MAX]


def own_event(code: str, event_id: str, time_rfc3339: str, data: Mapping[str, JsonValue]) -> Incoming:
    """An entry the log writes about itself, ``dev.hookbus.audit.<code>.v1``."""
    event = Event.model_validate(
        {
            "id": event_id,
            "source": LOG_SOURCE,
            "type": f"{LOG_TYPE_PREFIX}{code}.v1",
            "subject": LOG_AGENT,
            "time": time_rfc3339,
            "data": dict(data),
        }
    )
    return from_event(Stream.LOG, event, event.to_wire())
