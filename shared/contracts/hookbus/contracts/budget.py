"""Requests and replies of the budget service. Amounts: tokens are integers, money is USD as a decimal string."""

import re
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from hookbus.contracts import limits
from hookbus.contracts.fields import (
    WITHOUT_NUL,
    AgentId,
    Cursor,
    EventId,
    OperationId,
    ReservationId,
    Risk,
    ScopeName,
    SessionId,
    Tag,
    Tokens,
    Usd,
    UtcTime,
    WireModel,
    Words,
)
from hookbus.contracts.gathered import Gathered, GatheredReply


class Unit(StrEnum):
    """What a limit counts."""

    TOKENS = "tokens"
    USD = "usd"


class Window(StrEnum):
    """Over what a limit counts. ``operation`` bounds a single operation and keeps no balance."""

    OPERATION = "operation"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    SESSION = "session"
    TOTAL = "total"


class ScopeKind(StrEnum):
    """The levels of the account tree, from the leaf up."""

    SUBAGENT = "subagent"
    SESSION = "session"
    AGENT = "agent"
    PROJECT = "project"
    TEAM = "team"
    GLOBAL = "global"


class Mode(StrEnum):
    """What an exceeded limit does: deny, ask the person, or only warn."""

    BLOCK = "block"
    ASK = "ask"
    WARN = "warn"


Amount = Annotated[
    Decimal,
    Field(ge=0, le=limits.TOKENS_LIMIT_MAX, decimal_places=limits.USD_DECIMAL_PLACES, allow_inf_nan=False),
]
"""Tokens (a whole number) or USD (up to 6 places)."""

Fraction = Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]
IdempotencyKey = Annotated[str, StringConstraints(strict=True, pattern=r"^[\x21-\x7e]{1,128}$")]
ReservationTtl = Annotated[int, Field(strict=True, ge=limits.RESERVATION_TTL_MIN_S, le=limits.RESERVATION_TTL_MAX_S)]

NAME_SEPARATOR: Final = "/"
"""Between agent, session and subagent in an account's name; no agent or session id holds it."""

AccountName = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=limits.ACCOUNT_NAME_CHARS_MAX, pattern=WITHOUT_NUL)
]
"""An account's name by its level: an agent id; ``agent/session``; ``agent/session/subagent``, with nothing between the
slashes for a subagent outside a session; the name of a project or team. Any name means the one global scope."""

_NAME_WORDS: Final = {
    ScopeKind.SUBAGENT: "a subagent is AGENT/SESSION/SUBAGENT",
    ScopeKind.SESSION: "a session is AGENT/SESSION",
}
_NAME_PATTERN: Final = re.compile(r"[a-zA-Z0-9._-]{1,64}")
_NAME_PATTERN_BY_SCOPE: Final = {
    ScopeKind.SUBAGENT: re.compile(r"[a-zA-Z0-9_-]{1,64}/[a-zA-Z0-9._:-]{0,128}/.{1,64}", re.DOTALL),
    ScopeKind.SESSION: re.compile(r"[a-zA-Z0-9_-]{1,64}/[a-zA-Z0-9._:-]{1,128}"),
}


class Limit(WireModel):
    """A bound on one unit over one window, to be set: an ``amount`` of None takes the limit away, a ``mode`` of None
    leaves the mode as it is (``block`` for a new limit)."""

    unit: Unit
    window: Window
    amount: Amount | None
    mode: Mode | None = None

    @model_validator(mode="after")
    def _amount_fits_unit(self) -> Self:
        if self.amount is None:
            return self
        if self.unit is Unit.TOKENS and self.amount != self.amount.to_integral_value():
            raise ValueError("tokens are whole numbers")
        if self.unit is Unit.USD and self.amount > limits.COST_LIMIT_USD_MAX:
            raise ValueError(f"a USD limit is at most {limits.COST_LIMIT_USD_MAX}")
        return self


class Remaining(WireModel):
    """One limit's state. ``remaining`` = ``amount - spent - held``, never below zero."""

    scope: ScopeKind
    name: str
    unit: Unit
    window: Window
    amount: Decimal
    spent: Decimal
    held: Decimal
    remaining: Decimal
    resets_at: UtcTime | None = None


class LimitsRequest(WireModel):
    """Limits to set. What is not named stays: other limits, and ``warn_at`` where it is None (0.75 and 0.95 for a new
    account). With ``replace`` the limits named are all there are. Never changes what was spent."""

    limits: tuple[Limit, ...] = ()
    replace: bool = False
    team: ScopeName | None = None
    warn_at: tuple[Fraction, ...] | None = None
    actor: Words = ""


class InitRequest(LimitsRequest):
    """``init``: set an agent's limits. Where none is named a new agent has the defaults, and so has a known one with
    ``replace``."""

    agent_id: AgentId
    project: ScopeName | None = None


class InitReply(WireModel):
    """``created`` tells 201 from 200."""

    created: bool
    agent_id: AgentId
    remaining: tuple[Remaining, ...]


class ReserveRequest(WireModel):
    """``check`` and ``reserve``: may this operation go ahead; if ``reserve``, hold its estimate.

    ``event_id`` makes a repeated reserve return the first one's reservation. Estimates that are absent are made by
    the service.
    """

    agent_id: AgentId
    estimated_tokens: Tokens | None = None
    estimated_cost: Usd | None = None
    reserve: bool = False
    ttl_seconds: ReservationTtl = limits.RESERVATION_TTL_DEFAULT_S
    event_id: EventId | None = None
    operation_id: OperationId | None = None
    session: SessionId | None = None
    project: ScopeName | None = None
    tool: Tag | None = None
    model: Tag | None = None
    subagent: Tag | None = None
    budget_share: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = 1.0
    """What the agent has of its own limits for this operation; the session service says so where a session is risky."""


class ReserveReply(WireModel):
    """``code`` is a :class:`hookbus.contracts.decisions.DecisionCode` value."""

    allowed: bool
    reason: str
    code: str
    agent_id: AgentId
    remaining: tuple[Remaining, ...]
    reservation: ReservationId | None = None
    mode: Mode = Mode.BLOCK
    """When not allowed: whether the failing limit blocks or asks."""


class ReserveManyRequest(Gathered[ReserveRequest]):
    """``check_many``."""


class ReserveManyReply(GatheredReply[ReserveReply]):
    """An answer for each member."""


class DeductRequest(WireModel):
    """``deduct``: record what was spent, settling ``reservation`` when one is named.

    Either ``tokens_used`` and ``cost``, or ``model`` with token counts by kind, which the service prices.
    """

    agent_id: AgentId
    tokens_used: Tokens | None = None
    cost: Usd | None = None
    reservation: ReservationId | None = None
    idempotency_key: IdempotencyKey
    session: SessionId | None = None
    project: ScopeName | None = None
    model: Tag | None = None
    provider: Tag | None = None
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cache_read_tokens: Tokens = 0
    cache_write_5m_tokens: Tokens = 0
    cache_write_1h_tokens: Tokens = 0


class Deducted(WireModel):
    """What one deduct recorded."""

    tokens: int
    usd: Decimal


class DeductReply(WireModel):
    """``duplicate`` is true when the idempotency key had been charged before; nothing was charged again."""

    deducted: Deducted
    remaining: tuple[Remaining, ...]
    duplicate: bool


class ReleaseRequest(WireModel):
    """``release``: give a hold back unspent."""

    agent_id: AgentId
    reservation: ReservationId
    reason: Words = ""


class ReleaseReply(WireModel):
    """``released`` is false where the hold was already settled, released or expired."""

    released: bool


class ExtendRequest(WireModel):
    """``extend``: let a hold live ``ttl_seconds`` from now."""

    agent_id: AgentId
    reservation: ReservationId
    ttl_seconds: ReservationTtl = limits.RESERVATION_TTL_DEFAULT_S


class ExtendReply(WireModel):
    """When the hold ends."""

    expires_at: UtcTime


class ScopeRequest(WireModel):
    """Names one account: ``status`` takes it."""

    scope: ScopeKind = ScopeKind.AGENT
    name: AccountName

    @model_validator(mode="after")
    def _name_fits_scope(self) -> Self:
        if _NAME_PATTERN_BY_SCOPE.get(self.scope, _NAME_PATTERN).fullmatch(self.name) is None:
            raise ValueError(f"the name of {_NAME_WORDS.get(self.scope, 'this scope is 1-64 of a-z A-Z 0-9 . _ -')}")
        return self


class Tightened(WireModel):
    """A session whose operations have ``budget_share`` of its agent's limits while it is this risky."""

    session: SessionId
    risk: Risk
    budget_share: float


class StatusReply(WireModel):
    """One account's limits and holds."""

    scope: ScopeKind
    name: str
    agent_id: str | None = None
    """The agent, or the one whose session or subagent it is."""
    project: str | None = None
    team: str | None = None
    remaining: tuple[Remaining, ...]
    holds: int
    warn_at: tuple[Fraction, ...] = ()
    tightened: tuple[Tightened, ...] | None = None
    """Of an agent: sessions that are too risky for all of its limits. None where that cannot be told now."""


class HistoryRequest(ScopeRequest):
    """``history``: newest first; ``cursor`` is what the last page returned."""

    cursor: Cursor | None = None
    page_items_max: Annotated[int, Field(ge=1, le=limits.PAGE_ITEMS_MAX)] = limits.PAGE_ITEMS_DEFAULT


class HistoryEntry(WireModel):
    """One row of the append-only ledger."""

    id: int
    time: UtcTime
    operation: str
    agent_id: str | None = None
    """None where the row is about a project, a team or the global scope."""
    tokens: int
    usd: Decimal
    held_tokens: int = 0
    """Added to what is held; negative where a hold ended."""
    held_usd: Decimal = Decimal(0)
    event_id: str | None = None
    request_id: str | None = None
    reservation: str | None = None
    model: str | None = None
    price_version: str | None = None
    source: str | None = None
    reported_usd: Decimal | None = None
    computed_usd: Decimal | None = None
    actor: str | None = None
    detail: dict[str, JsonValue] = Field(default_factory=dict)


class HistoryReply(WireModel):
    """``cursor`` is None on the last page."""

    entries: tuple[HistoryEntry, ...]
    cursor: Cursor | None = None


class ResetRequest(ScopeRequest):
    """``reset``: start the windows of an account afresh; all limits, or those of ``unit`` and ``window``."""

    unit: Unit | None = None
    window: Window | None = None
    actor: Words = ""


class ListRequest(WireModel):
    """``list``: the accounts of one level, by name."""

    scope: ScopeKind = ScopeKind.AGENT
    cursor: Cursor | None = None
    page_items_max: Annotated[int, Field(ge=1, le=limits.PAGE_ITEMS_MAX)] = limits.PAGE_ITEMS_DEFAULT


class ListReply(WireModel):
    """``cursor`` is None on the last page."""

    accounts: tuple[StatusReply, ...]
    cursor: Cursor | None = None


class ScopeInitRequest(LimitsRequest, ScopeRequest):
    """``scope_init``: set the limits of any account but an agent's. ``team`` puts a project below it."""


class ProjectsRequest(WireModel):
    """``projects``: every project, by name; ``cursor`` is what the last page returned."""

    cursor: Cursor | None = None
    page_items_max: Annotated[int, Field(ge=1, le=limits.PAGE_ITEMS_MAX)] = limits.PAGE_ITEMS_DEFAULT


class ProjectView(WireModel):
    """One project. ``agents`` is how many were put in it by ``init``."""

    name: str
    team: str | None = None
    agents: int
    created_at: UtcTime
    created_by: str


class ProjectsReply(WireModel):
    """``cursor`` is None on the last page."""

    projects: tuple[ProjectView, ...]
    cursor: Cursor | None = None


class DriftRequest(WireModel):
    """``drift``: reported against computed cost since a moment, of one agent or of all."""

    agent_id: AgentId | None = None
    since: UtcTime | None = None
    """30 days ago where it is None."""


class Drift(WireModel):
    """The reports of one agent, model and source that carried a cost and could be priced."""

    agent_id: str
    model: str | None = None
    source: str | None = None
    reports: int
    reported_usd: Decimal
    computed_usd: Decimal
    difference_usd: Decimal
    """Reported less computed."""


class DriftReply(WireModel):
    """The greatest differences first, at most 1000."""

    since: UtcTime
    rows: tuple[Drift, ...]


class Empty(WireModel):
    """A request or reply without fields."""
