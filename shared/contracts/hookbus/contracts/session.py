"""Requests and replies of the session service: API keys, agent sessions, the kill switch."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from hookbus.contracts import limits
from hookbus.contracts.fields import (
    WITHOUT_NUL,
    AgentId,
    Cursor,
    EventId,
    Risk,
    ScopeName,
    SessionId,
    UtcTime,
    WireModel,
    Words,
)
from hookbus.contracts.gathered import Gathered, GatheredReply
from hookbus.contracts.payloads import Fingerprint

API_KEY_PATTERN = r"^hbk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}$"
"""``hbk_<key id>_<256 random bits>``; stored only as the SHA-256 of the whole text."""


class KeyScope(StrEnum):
    """What an API key may do. ``admin`` includes all others."""

    EVENTS = "events"
    BUDGET_READ = "budget:read"
    BUDGET_WRITE = "budget:write"
    SESSION = "session"
    AUDIT = "audit"
    ADMIN = "admin"


Network = Annotated[
    str, StringConstraints(strict=True, max_length=limits.IDENTIFIER_CHARS_MAX, pattern=r"^[0-9a-f.:/]+$")
]
Share = Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]
KeyId = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9]{12}$")]
KeyName = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64, pattern=WITHOUT_NUL)]


class ApiKeyRecord(WireModel):
    """What the gateway needs to check a key; the value of the ``api_keys`` bucket."""

    key_id: KeyId
    name: str
    secret_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: frozenset[KeyScope]
    expires_at: UtcTime | None = None
    revoked: bool = False


class KeyCreateRequest(WireModel):
    """``key_create``."""

    name: KeyName
    scopes: Annotated[frozenset[KeyScope], Field(min_length=1)]
    ttl_seconds: Annotated[int, Field(ge=60, le=10 * 365 * 86_400)] | None = None
    actor: Words = ""


class KeyView(WireModel):
    """An API key without its secret."""

    key_id: KeyId
    name: str
    scopes: tuple[KeyScope, ...]
    created_at: UtcTime
    expires_at: UtcTime | None = None
    revoked_at: UtcTime | None = None


class KeyCreateReply(WireModel):
    """``api_key`` is shown this once and stored nowhere."""

    key: KeyView
    api_key: str


class KeyLookupRequest(WireModel):
    """``key_lookup``: the record behind a key id that the bucket does not hold."""

    key_id: KeyId


class KeyRevokeRequest(WireModel):
    """``key_revoke``."""

    key_id: KeyId
    actor: Words = ""


class KeyListRequest(WireModel):
    """``key_list``: newest first, revoked ones included; ``cursor`` is what the last page returned."""

    cursor: Cursor | None = None
    page_items_max: Annotated[int, Field(ge=1, le=limits.PAGE_ITEMS_MAX)] = limits.PAGE_ITEMS_MAX


class KeyListReply(WireModel):
    """``cursor`` is None on the last page."""

    keys: tuple[KeyView, ...]
    cursor: Cursor | None = None


class SessionState(StrEnum):
    """The life of an agent's session."""

    ACTIVE = "active"
    KILLED = "killed"
    ENDED = "ended"


class AssessRequest(WireModel):
    """``assess``: may this session go on. Sent for every pre-task before the budget is asked."""

    agent_id: AgentId
    session: SessionId | None = None
    event_id: EventId
    fingerprint: Fingerprint | None = None
    network: Network | None = None
    """Where the gateway saw the request come from."""


class AssessReply(WireModel):
    """``decision`` and ``code`` are values of :mod:`hookbus.contracts.decisions`.

    ``budget_share`` is what the agent has of its limits while the session is this risky.
    """

    decision: str
    code: str
    reason: str
    risk: Risk = 0.0
    budget_share: Share = 1.0


class AssessManyRequest(Gathered[AssessRequest]):
    """``assess_many``."""


class AssessManyReply(GatheredReply[AssessReply]):
    """An answer for each member."""


class SignalView(WireModel):
    """One piece of evidence behind a session's risk. ``weight`` is what it adds before the logistic function."""

    code: str
    weight: float
    contribution: float = 0.0
    """What the risk would fall by without it."""
    evidence: str
    words: str
    occurrences: int
    seen_at: UtcTime
    cleared_at: UtcTime | None = None
    """Set when a person vouched for it (they revived the session, or gave their password again), or when a burst grew
    old; it then adds nothing."""


class SessionKind(StrEnum):
    """Whose session it is."""

    AGENT = "agent"
    PERSON = "person"


class SessionView(WireModel):
    """One session of an agent or of a person; then ``agent_id`` is ``user:<name>``, and ``events`` counts refreshes."""

    id: SessionId
    kind: SessionKind = SessionKind.AGENT
    agent_id: str
    project: ScopeName | None = None
    state: SessionState
    risk: Risk
    baseline: Fingerprint
    opened_at: UtcTime
    last_seen_at: UtcTime
    events: int
    ended_at: UtcTime | None = None
    killed_at: UtcTime | None = None
    killed_by: str | None = None
    kill_reason: str | None = None
    budget_share: Share = 1.0
    """What the agent has of its limits while the session's risk is what it is."""
    confirm_required: bool = False
    """A person's session: it opens nothing until its password was given again."""
    signals: tuple[SignalView, ...] = ()
    """Why the risk is what it is, heaviest first; filled by ``show``, ``kill`` and ``revive``, empty in ``list``."""


class SessionRequest(WireModel):
    """``show``, and with ``actor`` and ``reason`` ``kill`` and ``revive``."""

    id: SessionId
    reason: Words = ""
    actor: Words = ""


class SessionListRequest(WireModel):
    """``list``: newest last-seen first."""

    kind: SessionKind | None = None
    """Of agents or of people; None: both."""
    agent_id: AgentId | None = None
    """Only this agent's; nobody's of the people."""
    username: Words | None = None
    """Only this person's; no agent's."""
    state: SessionState | None = None
    risk_min: Risk | None = None
    cursor: Cursor | None = None
    page_items_max: Annotated[int, Field(ge=1, le=limits.PAGE_ITEMS_MAX)] = limits.PAGE_ITEMS_DEFAULT


class SessionListReply(WireModel):
    """``cursor`` is None on the last page."""

    sessions: tuple[SessionView, ...]
    cursor: Cursor | None = None
