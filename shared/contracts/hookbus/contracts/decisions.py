"""The answer to a pre-task."""

from enum import StrEnum

from pydantic import Field

from hookbus.contracts.budget import Remaining
from hookbus.contracts.fields import EventId, ReservationId, Risk, WireModel


class Verdict(StrEnum):
    """What the agent may do. ``allow`` means "no objection": adapters never turn it into a granted permission."""

    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"


class DecisionCode(StrEnum):
    """Why, as a stable word."""

    OK = "ok"
    TOKENS_EXHAUSTED = "tokens_exhausted"
    COST_EXHAUSTED = "cost_exhausted"
    OPERATION_TOO_EXPENSIVE = "operation_too_expensive"
    SESSION_TERMINATED = "session_terminated"
    SESSION_RISK = "session_risk"
    PATH_OUTSIDE_WORKSPACE = "path_outside_workspace"
    COMMAND_REFUSED = "command_refused"
    INPUT_REFUSED = "input_refused"
    DEGRADED = "degraded"


class BudgetView(WireModel):
    """What is left for the agent, limit by limit, after this decision."""

    remaining: tuple[Remaining, ...] = ()


class Decision(WireModel):
    """The answer of ``POST /api/v1/decide``. A deny is an answer, not an error."""

    decision: Verdict
    reason: str
    code: DecisionCode
    reservation: ReservationId | None = None
    budget: BudgetView = Field(default_factory=BudgetView)
    risk: Risk = 0.0
    event_id: EventId
    trace_id: str
    tags: tuple[str, ...] = ()
    """Signs of injection in the input: ``sqli``, ``ssti``, ``xss``."""
