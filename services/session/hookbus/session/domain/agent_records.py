"""What is kept for agents to ask for: their notes, and the objections to what they were about to do."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hookbus.contracts.agents import NOTE_CHARS_MAX, NOTE_FIELD, NoteView, ObjectionView
from hookbus.contracts.decisions import DecisionCode, Verdict
from hookbus.contracts.events import Event, Kind
from hookbus.session.domain.risk import printable
from hookbus.session.domain.terminals import storable

NOTES_PER_AGENT_MAX: Final = 10_000
OBJECTIONS_PER_AGENT_MAX: Final = 200
REASON_CHARS_MAX: Final = 2_000
_OBJECTIONS: Final = frozenset({Verdict.DENY.value, Verdict.ASK.value})


@dataclass(frozen=True, slots=True)
class Note:
    """A note as it is kept."""

    view: NoteView


@dataclass(frozen=True, slots=True)
class Objection:
    """An objection and whom it was said to. ``record_id`` is the id of the security event that told of it."""

    record_id: str
    agent_id: str
    view: ObjectionView


def note_of(event: Event, at: datetime) -> Note | None:
    """The note an event carries, or None for any other event."""
    text = event.data.get(NOTE_FIELD)
    if event.kind is not Kind.NOTIFICATION or not isinstance(text, str) or not text.strip():
        return None
    return Note(
        NoteView(
            id=event.id,
            agent_id=event.agent_id,
            agent_category=event.agentcategory,
            project=event.project,
            intent=event.intent,
            session=event.session,
            at=at,
            text=storable(text[:NOTE_CHARS_MAX]),
        )
    )


def objection_of(event: Event, at: datetime) -> Objection | None:
    """The objection a security event tells of, or None."""
    code, data = event.security_code, event.data
    decision = data.get("decision")
    if code == DecisionCode.INPUT_REFUSED and decision is None:
        decision = Verdict.DENY.value
    reason = data.get("reason")
    if code is None or not isinstance(decision, str) or decision not in _OBJECTIONS or not isinstance(reason, str):
        return None
    named, tool = data.get("event_id"), data.get("tool")
    view = ObjectionView(
        event_id=named if isinstance(named, str) else event.id,
        session=event.session,
        at=at,
        decision=decision,
        code=code,
        reason=printable(reason[:REASON_CHARS_MAX]),
        tool=printable(tool) if isinstance(tool, str) else None,
    )
    return Objection(event.id, event.agent_id, view)
