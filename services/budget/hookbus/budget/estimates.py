"""What an operation takes when its hook does not say: from the agent's own recent operations of that tool, bounded.

An estimate never takes all that is left: one operation that nobody sized must not starve those beside it.
"""

from collections.abc import Sequence
from statistics import median_high
from typing import Final

from hookbus.budget.accounts import Account
from hookbus.budget.amounts import Amounts
from hookbus.contracts.budget import Unit, Window

RECENT_OPERATIONS_MAX: Final = 16
"""How many past operations of a tool an agent's estimate looks back on."""
DEFAULT_ESTIMATE: Final = Amounts(tokens=500, usd_micros=5_000)
"""Of a tool the agent has not used before."""
LIMIT_SHARE_MAX: Final = 10
"""An estimate is at most the tenth part of any limit's amount ..."""
HEADROOM_SHARE_MAX: Final = 2
"""... and at most half of what is left under it ..."""
ESTIMATE_MIN: Final = 1
"""... but at least one token and one micro-dollar, so that nothing passes once a limit is used up."""


def remember(recent: Sequence[int], count: int) -> list[int]:
    """``recent`` with one more operation, oldest dropped."""
    return [*recent[-(RECENT_OPERATIONS_MAX - 1) :], count]


def from_recent(recent_tokens: Sequence[int], recent_usd_micros: Sequence[int]) -> Amounts:
    """The median of what the agent's recent operations took, unit by unit."""
    return Amounts(
        median_high(recent_tokens) if recent_tokens else DEFAULT_ESTIMATE.tokens,
        median_high(recent_usd_micros) if recent_usd_micros else DEFAULT_ESTIMATE.usd_micros,
    )


def bounded(wanted: Amounts, accounts: Sequence[Account], session: Account | None, share: float = 1.0) -> Amounts:
    """``wanted``, cut to its share of every limit above the operation."""
    tokens, usd_micros = max(wanted.tokens, ESTIMATE_MIN), max(wanted.usd_micros, ESTIMATE_MIN)
    for account in accounts:
        for rule in account.config.limits:
            amount = account.bound(rule, share)
            if rule.window is Window.OPERATION:
                most = amount
            else:
                used = account.used(rule, session)
                if used is None:
                    continue
                most = min(amount // LIMIT_SHARE_MAX, (amount - sum(used)) // HEADROOM_SHARE_MAX)
            if rule.unit is Unit.TOKENS:
                tokens = min(tokens, max(most, ESTIMATE_MIN))
            else:
                usd_micros = min(usd_micros, max(most, ESTIMATE_MIN))
    return Amounts(tokens, usd_micros)
