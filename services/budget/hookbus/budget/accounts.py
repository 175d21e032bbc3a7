"""Accounts of the tree: their limits, what they spent in each window, what they hold."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from hookbus.budget.windows import CALENDAR_WINDOWS, SLOT_BY_LIMIT, SLOTS, UNITS, Calendar
from hookbus.contracts.budget import NAME_SEPARATOR, Mode, ScopeKind, Unit, Window

GLOBAL_ACCOUNT: Final = 1
"""The id of the one account above all others; the first migration creates it."""
OWN_KINDS: Final = frozenset({ScopeKind.AGENT, ScopeKind.SESSION, ScopeKind.SUBAGENT})
"""Accounts of one agent."""
GLOBAL_NAME: Final = "global"
WITHIN_SESSION: Final = frozenset({ScopeKind.SESSION, ScopeKind.SUBAGENT})
"""Levels whose whole life lies within one session."""


class AccountKey(NamedTuple):
    """What names an account."""

    kind: ScopeKind
    name: str


class Place(NamedTuple):
    """Whose operation it is."""

    agent: str
    project: str | None = None
    session: str | None = None
    subagent: str | None = None

    def session_key(self) -> AccountKey | None:
        """The account of the session, where one is named."""
        if self.session is None:
            return None
        return AccountKey(ScopeKind.SESSION, f"{self.agent}{NAME_SEPARATOR}{self.session}")

    def subagent_key(self) -> AccountKey | None:
        """The account of the subagent, where one is named."""
        if self.subagent is None:
            return None
        return AccountKey(ScopeKind.SUBAGENT, NAME_SEPARATOR.join((self.agent, self.session or "", self.subagent)))

    @classmethod
    def of(cls, key: AccountKey) -> "Place":
        """The place whose leaf is an agent's, a session's or a subagent's account."""
        agent, session, subagent = (*key.name.split(NAME_SEPARATOR, 2), "", "")[:3]
        return cls(agent, None, session or None, subagent or None)

    def keys_above(self) -> tuple[AccountKey, ...]:
        """The accounts that a session's or a subagent's lies below, up to the agent's, nearest first."""
        agent, session = AccountKey(ScopeKind.AGENT, self.agent), self.session_key()
        return (session, agent) if self.subagent is not None and session is not None else (agent,)


class Chain(NamedTuple):
    """The accounts one operation is counted in, by level; the global account is in every chain."""

    agent: int
    project: int | None = None
    team: int | None = None
    session: int | None = None
    subagent: int | None = None

    def ids(self) -> Iterator[int]:
        """Account ids from the leaf up."""
        for account in (self.subagent, self.session, self.agent, self.project, self.team):
            if account is not None:
                yield account
        yield GLOBAL_ACCOUNT


@dataclass(frozen=True, slots=True)
class LimitRule:
    """A limit in ledger counts."""

    unit: Unit
    window: Window
    amount: int
    mode: Mode = Mode.BLOCK


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """What was set on an account. ``version`` grows with every change."""

    id: int
    kind: ScopeKind
    name: str
    parent: int | None
    version: int
    limits: tuple[LimitRule, ...] = ()
    warn_at: tuple[float, ...] = ()


class LimitState(NamedTuple):
    """One limit and how far it is used."""

    kind: ScopeKind
    name: str
    rule: LimitRule
    spent: int
    held: int
    resets_at_us: int | None


class Account:
    """A working copy of one account's balance, changed by the ledger and written back in the same transaction.

    Holds are counted against every window, whichever window they were made in: a hold is money not yet spent.
    ``subagents`` is how many subagents a session has started, and 1 for a subagent that was counted as started.
    """

    __slots__ = ("changed", "config", "held", "last_at_us", "rolled_until_us", "spent", "starts_us", "subagents")

    def __init__(
        self,
        config: AccountConfig,
        *,
        last_at_us: int = 0,
        held: tuple[int, int] = (0, 0),
        starts_us: list[int] | None = None,
        spent: list[int] | None = None,
    ) -> None:
        self.config = config
        self.last_at_us = last_at_us
        self.held = list(held)
        self.starts_us = starts_us if starts_us is not None else [0] * len(SLOTS)
        self.spent = spent if spent is not None else [0] * len(SLOTS)
        self.subagents = 0
        self.changed = False
        self.rolled_until_us = 0

    def copy(self) -> "Account":
        """A working copy of its own, unchanged so far."""
        other = Account(
            self.config,
            last_at_us=self.last_at_us,
            held=(self.held[0], self.held[1]),
            starts_us=self.starts_us.copy(),
            spent=self.spent.copy(),
        )
        other.subagents = self.subagents
        other.rolled_until_us = self.rolled_until_us
        return other

    def roll(self, calendar: Calendar, at_us: int) -> None:
        """Open the windows around ``at_us``. A window only ever moves forward, so a clock that steps back or two
        writers at an edge open it once."""
        if at_us < self.rolled_until_us:
            return
        until_us: int | None = None
        for window in CALENDAR_WINDOWS:
            start_us, end_us = calendar.edges_us(window, at_us)
            until_us = end_us if until_us is None else min(until_us, end_us)
            for unit in UNITS:
                slot = SLOT_BY_LIMIT[window, unit]
                if start_us > self.starts_us[slot]:
                    self.starts_us[slot] = start_us
                    self.spent[slot] = 0
        self.rolled_until_us = until_us or 0

    def spend(self, counts: tuple[int, int], effective_at_us: int) -> None:
        """Count what was spent at ``effective_at_us`` in every window that holds that moment."""
        starts, spent = self.starts_us, self.spent
        for slot in range(len(SLOTS)):
            count = counts[slot & 1]
            if count and effective_at_us >= starts[slot]:
                spent[slot] += count

    def reset(self, at_us: int, unit: Unit | None, window: Window | None) -> None:
        """Begin the windows that match afresh at ``at_us``; None matches all. Holds stay."""
        for slot, (slot_window, slot_unit) in enumerate(SLOTS):
            if (unit is None or unit is slot_unit) and (window is None or window is slot_window):
                self.starts_us[slot] = at_us
                self.spent[slot] = 0

    def bound(self, rule: LimitRule, share: float) -> int:
        """What ``rule`` allows an agent that has ``share`` of its limits. Those of the project, the team and all
        together are other agents' too, and stay."""
        return rule.amount if share >= 1.0 or self.config.kind not in OWN_KINDS else int(rule.amount * share)

    def used(self, rule: LimitRule, session: "Account | None") -> tuple[int, int] | None:
        """Spent and held under ``rule``; None where it does not bound this operation's windows.

        A ``session`` limit of any account bounds each single session below it, over that session's whole life; on a
        session or a subagent it bounds the account itself over its life.
        """
        unit = UNITS.index(rule.unit)
        if rule.window is Window.OPERATION:
            return None
        if rule.window is Window.SESSION:
            counted = self.counted_by_session(session)
            if counted is None:
                return None
            return counted.spent[SLOT_BY_LIMIT[Window.TOTAL, rule.unit]], counted.held[unit]
        return self.spent[SLOT_BY_LIMIT[rule.window, rule.unit]], self.held[unit]

    def counted_by_session(self, session: "Account | None") -> "Account | None":
        """Whose spending a ``session`` limit of this account bounds, in an operation of ``session``."""
        return self if self.config.kind in WITHIN_SESSION else session

    def states(self, calendar: Calendar, at_us: int, session: "Account | None" = None) -> Iterator[LimitState]:
        """Every limit of the account as of ``at_us``."""
        for rule in self.config.limits:
            spent, held = self.used(rule, session) or (0, 0)
            yield LimitState(self.config.kind, self.config.name, rule, spent, held, calendar.end_us(rule.window, at_us))
