"""Whether an operation fits every limit above it, and how to say so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hookbus.budget.accounts import Account, LimitRule
from hookbus.budget.amounts import Amounts, wire_amount
from hookbus.contracts.budget import Mode, Unit, Window
from hookbus.contracts.decisions import DecisionCode

SEVERITY: Final = {Mode.WARN: 0, Mode.ASK: 1, Mode.BLOCK: 2}

EXHAUSTED_CODES: Final = {Unit.TOKENS: DecisionCode.TOKENS_EXHAUSTED, Unit.USD: DecisionCode.COST_EXHAUSTED}

_WINDOW_WORDS: Final = {
    Window.OPERATION: "an operation",
    Window.HOUR: "this hour",
    Window.DAY: "today",
    Window.WEEK: "this week",
    Window.MONTH: "this month",
    Window.SESSION: "in this session",
    Window.TOTAL: "in total",
}


@dataclass(frozen=True, slots=True)
class Breach:
    """The gravest limit that an operation does not fit."""

    code: DecisionCode
    mode: Mode
    reason: str


def judge(
    accounts: Sequence[Account], session: Account | None, asked: Amounts, least: Amounts, share: float = 1.0
) -> Breach | None:
    """The gravest breach, or None when the operation fits every limit.

    Args:
        accounts: the operation's accounts, from the leaf up, rolled to now.
        session: the account of its session, where it names one.
        asked: what the operation takes.
        least: what must be free at least, where nothing is asked of a unit because nobody knows.
        share: what the agent has of its own limits at this moment.
    """
    worst: Breach | None = None
    for account in accounts:
        for rule in account.config.limits:
            if worst is not None and SEVERITY[rule.mode] <= SEVERITY[worst.mode]:
                continue
            tokens = rule.unit is Unit.TOKENS
            need = asked.tokens if tokens else asked.usd_micros
            amount = account.bound(rule, share)
            if rule.window is Window.OPERATION:
                if need > amount:
                    worst = _operation_breach(account, rule, need, amount)
                continue
            used = account.used(rule, session)
            if used is None:
                continue
            left = amount - used[0] - used[1]
            if need > left or (least.tokens if tokens else least.usd_micros) > left:
                worst = _exhausted_breach(account, rule, need, left, amount)
    return worst


def _operation_breach(account: Account, rule: LimitRule, need: int, amount: int) -> Breach:
    reason = (
        f"{account.config.kind} {account.config.name}: the operation asks {_words(rule.unit, need)}, "
        f"the limit is {_words(rule.unit, amount)} an operation{_tightened(rule, amount)}"
    )
    return Breach(DecisionCode.OPERATION_TOO_EXPENSIVE, rule.mode, reason)


def _exhausted_breach(account: Account, rule: LimitRule, need: int, left: int, amount: int) -> Breach:
    share = f"{_words(rule.unit, max(0, left))} of {_words(rule.unit, amount)}"
    reason = (
        f"{account.config.kind} {account.config.name}: {share} left {_WINDOW_WORDS[rule.window]}, "
        f"the operation asks {_words(rule.unit, need)}{_tightened(rule, amount)}"
    )
    return Breach(EXHAUSTED_CODES[rule.unit], rule.mode, reason)


def _tightened(rule: LimitRule, amount: int) -> str:
    if amount == rule.amount:
        return ""
    return f" (the limit of {_words(rule.unit, rule.amount)} is tightened for the risk of the session)"


def _words(unit: Unit, count: int) -> str:
    return f"{count} tokens" if unit is Unit.TOKENS else f"{wire_amount(unit, count)} USD"
