"""Soft limits: the moments at which what was spent crosses a threshold of a limit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hookbus.budget.accounts import Account, LimitRule
from hookbus.budget.amounts import Amounts
from hookbus.budget.windows import SLOT_BY_LIMIT, Calendar
from hookbus.contracts.budget import Mode, Unit, Window

EXHAUSTED: float = 1.0
"""The threshold a limit that only warns has in any case: nobody else says that it was passed."""


@dataclass(frozen=True, slots=True)
class Warned:
    """``spent`` of ``rule`` reached ``threshold``. The window's start makes it once per window; the amount, once per
    limit; the session's account, once per session for a limit on each of them."""

    account: Account
    session: Account | None
    rule: LimitRule
    threshold: float
    spent: int
    window_start_us: int
    at_us: int
    resets_at_us: int | None

    @property
    def key(self) -> str:
        """The same word for the same warning, however often it is found."""
        scope = f"{self.account.config.id}.{self.session.config.id if self.session else 0}"
        limit = f"{self.rule.unit}.{self.rule.window}.{self.rule.amount}"
        return f"budget_warning.{scope}.{limit}.{self.window_start_us}.{self.threshold:g}"


def thresholds(account: Account, rule: LimitRule) -> tuple[float, ...]:
    """The fractions of ``rule`` that are worth a warning."""
    if rule.mode is Mode.WARN and EXHAUSTED not in account.config.warn_at:
        return (*account.config.warn_at, EXHAUSTED)
    return account.config.warn_at


def crossings(
    accounts: Sequence[Account], session: Account | None, charged: Amounts, calendar: Calendar, at_us: int
) -> Iterator[Warned]:
    """The thresholds that a charge, already counted in ``accounts``, crossed."""
    for account in accounts:
        for rule in account.config.limits:
            count = charged.tokens if rule.unit is Unit.TOKENS else charged.usd_micros
            if count > 0:
                yield from _crossed(account, session, rule, count, calendar=calendar, at_us=at_us)


def standing(account: Account, calendar: Calendar, at_us: int) -> Iterator[Warned]:
    """The thresholds an account's limits are already past, for when limits were just set."""
    for rule in account.config.limits:
        used = account.used(rule, None)
        if used is not None and used[0] > 0:
            yield from _crossed(account, None, rule, used[0], calendar=calendar, at_us=at_us)


def _crossed(
    account: Account, session: Account | None, rule: LimitRule, count: int, *, calendar: Calendar, at_us: int
) -> Iterator[Warned]:
    used = account.used(rule, session)
    if used is None:
        return
    counted = (account.counted_by_session(session) if rule.window is Window.SESSION else None) or account
    window = Window.TOTAL if rule.window is Window.SESSION else rule.window
    for threshold in thresholds(account, rule):
        edge = threshold * rule.amount
        if used[0] - count < edge <= used[0]:
            yield Warned(
                account,
                counted if counted is not account else None,
                rule,
                threshold,
                used[0],
                counted.starts_us[SLOT_BY_LIMIT[window, rule.unit]],
                at_us,
                calendar.end_us(rule.window, at_us),
            )
