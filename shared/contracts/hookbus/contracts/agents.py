"""What an agent may ask about itself, and the notes that agents leave for each other.

A note is a ``notification`` event whose data holds ``note``, a text; WHO, PROJECT and WHY are the event's attributes
``agentcategory``, ``project`` and ``intent``, WHEN is its ``time``.
"""

from typing import Annotated, Final

from pydantic import Field, StringConstraints

from hookbus.contracts import limits
from hookbus.contracts.fields import WITHOUT_NUL, AgentId, Cursor, ScopeName, SessionId, Tag, UtcTime, WireModel
from hookbus.contracts.session import SessionView

NOTE_FIELD: Final = "note"
NOTE_CHARS_MAX: Final = 4_000
"""What is kept to be searched; the audit log keeps the whole text."""
QUERY_CHARS_MAX: Final = 256
PAGE_ITEMS_MAX: Final = 100

Query = Annotated[str, StringConstraints(strict=True, max_length=QUERY_CHARS_MAX, pattern=WITHOUT_NUL)]
PageItems = Annotated[int, Field(ge=1, le=PAGE_ITEMS_MAX)]


class NoteView(WireModel):
    """One note. ``id`` is its event's id."""

    id: str
    agent_id: str
    agent_category: str | None = None
    project: str | None = None
    intent: str | None = None
    session: str | None = None
    at: UtcTime
    text: str


class NotesRequest(WireModel):
    """``notes``: newest first. All words of ``query`` are in the text; ``"a phrase"``, ``or`` and ``-word`` work."""

    query: Query | None = None
    agent_id: AgentId | None = None
    agent_category: Tag | None = None
    project: ScopeName | None = None
    intent: Tag | None = None
    since: UtcTime | None = None
    until: UtcTime | None = None
    cursor: Cursor | None = None
    page_items_max: PageItems = limits.PAGE_ITEMS_DEFAULT


class NotesReply(WireModel):
    """``cursor`` is None on the last page."""

    notes: tuple[NoteView, ...]
    cursor: Cursor | None = None


class ObjectionView(WireModel):
    """One pre-task that was denied or put to a person, and why."""

    event_id: str
    session: str | None = None
    at: UtcTime
    decision: str
    code: str
    reason: str
    tool: str | None = None


class ObjectionsRequest(WireModel):
    """``objections``: an agent's last ones, newest first."""

    agent_id: AgentId
    session: SessionId | None = None
    page_items_max: PageItems = limits.PAGE_ITEMS_DEFAULT


class ObjectionsReply(WireModel):
    """At most what the service keeps of one agent."""

    objections: tuple[ObjectionView, ...]


class ForgetAgentRequest(WireModel):
    """``forget_agent``: remove an agent's notes and objections; part of its erasure."""

    agent_id: AgentId


class ForgetAgentReply(WireModel):
    """How many were removed."""

    notes: int
    objections: int


class AgentSessionsReply(WireModel):
    """An agent's sessions, last seen first; the first one with the evidence behind its risk."""

    sessions: tuple[SessionView, ...]
