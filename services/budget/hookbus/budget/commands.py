"""What the ledger is asked to do, what it answers, and the rows it writes.

What is made for every operation is a named tuple: a frozen dataclass takes five times as long to make.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from hookbus.budget.accounts import Chain, LimitState, Place
from hookbus.budget.amounts import ZERO, Amounts
from hookbus.contracts.budget import Mode
from hookbus.contracts.decisions import DecisionCode


class HoldState(StrEnum):
    """The life of a reservation. ``EARLY`` marks an operation that was settled before its reserve was seen."""

    OPEN = "open"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"
    EARLY = "early"


class Operation(StrEnum):
    """What a row of the ledger records."""

    RESERVE = "reserve"
    EXTEND = "extend"
    SETTLE = "settle"
    RELEASE = "release"
    EXPIRE = "expire"
    CHARGE = "charge"
    CORRECT = "correct"
    LIMITS = "limits"
    RESET = "reset"


class Outcome(StrEnum):
    """How a command that names a reservation or a dedupe key met the ledger."""

    DONE = "done"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"
    CLOSED = "closed"


@dataclass(slots=True)
class Hold:
    """A reservation as the ledger knows it."""

    id: UUID
    state: HoldState
    chain: Chain
    tokens: int
    usd_micros: int
    created_at_us: int
    expires_at_us: int
    operation_id: str | None = None
    tool: str | None = None


@dataclass(frozen=True, slots=True)
class Pricing:
    """Where a charge's amounts came from."""

    model: str | None = None
    price_version: str | None = None
    source: str | None = None
    reported_usd_micros: int | None = None
    computed_usd_micros: int | None = None
    flags: tuple[str, ...] = ()


NO_PRICING = Pricing()


class Reserve(NamedTuple):
    """May this operation go ahead; if ``hold``, take its estimate. An absent estimate is None."""

    place: Place
    tokens: int | None
    usd_micros: int | None
    hold: bool
    ttl_s: int
    event_id: str | None = None
    operation_id: str | None = None
    tool: str | None = None
    share: float = 1.0
    """What the agent has of its own limits at this moment."""

    @property
    def dedupe_key(self) -> str | None:
        """One hold an event."""
        return f"reserve:{self.event_id}" if self.hold and self.event_id else None


class Charge(NamedTuple):
    """Record what was spent. Settles the hold that ``reservation`` names, or the oldest open one of
    ``operation_id``; ``amounts`` of None means that the operation is over and reported nothing."""

    place: Place
    amounts: Amounts | None
    dedupe_key: str
    fingerprint: bytes | None = None
    event_id: str | None = None
    reservation: UUID | None = None
    operation_id: str | None = None
    request_id: str | None = None
    pricing: Pricing = NO_PRICING


@dataclass(frozen=True, slots=True)
class Release:
    """Give a hold back unspent."""

    place: Place
    reservation: UUID
    actor: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Extend:
    """Let a hold live ``ttl_s`` from now."""

    place: Place
    reservation: UUID
    ttl_s: int


@dataclass(frozen=True, slots=True)
class Expire:
    """Give back a hold whose time is over."""

    place: Place
    reservation: UUID


Command = Reserve | Charge | Release | Extend | Expire


class Reserved(NamedTuple):
    """The answer to :class:`Reserve`."""

    allowed: bool
    code: DecisionCode
    reason: str
    mode: Mode
    remaining: tuple[LimitState, ...]
    at_us: int
    reservation: UUID | None = None
    outcome: Outcome = Outcome.DONE


class Closed(NamedTuple):
    """The answer to the other commands: what was counted, and how it met the ledger."""

    outcome: Outcome
    remaining: tuple[LimitState, ...] = ()
    at_us: int = 0
    amounts: Amounts = ZERO
    expires_at_us: int | None = None


Answer = Reserved | Closed


class Recorded(NamedTuple):
    """A row that is already in the ledger, found by its dedupe key."""

    agent: int
    fingerprint: bytes | None
    amounts: Amounts
    hold: UUID | None


class Row(NamedTuple):
    """One row of the ledger. Sums of ``spent`` and ``held`` over an account's rows are its balance; ``spent`` counts
    in the windows that hold ``effective_at_us``, which differs from ``at_us`` only in corrections."""

    at_us: int
    effective_at_us: int
    operation: Operation
    agent_name: str | None
    chain: Chain
    spent: Amounts = ZERO
    held: Amounts = ZERO
    dedupe_key: str | None = None
    event_id: str | None = None
    hold: UUID | None = None
    fingerprint: bytes | None = None
    request_id: str | None = None
    pricing: Pricing = NO_PRICING
    actor: str | None = None
    detail: dict[str, str | int | bool] | None = None


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """What one model request was charged so far, and by whose word."""

    rank: int
    amounts: Amounts
    chain: Chain
    effective_at_us: int
