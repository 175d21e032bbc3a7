"""What is asked of an account's limits: what is named is set, what is not named stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hookbus.budget.accounts import LimitRule
from hookbus.contracts.budget import Mode, Unit, Window


class LimitChange(NamedTuple):
    """One limit, named by unit and window. An ``amount`` of None takes it away, a ``mode`` of None leaves the mode."""

    unit: Unit
    window: Window
    amount: int | None
    mode: Mode | None


@dataclass(frozen=True, slots=True)
class LimitChanges:
    """Changes of one account's limits, each unit and window at most once. With ``replace`` what is named is all there
    is."""

    named: tuple[LimitChange, ...] = ()
    replace: bool = False

    def onto(self, rules: Sequence[LimitRule]) -> tuple[LimitRule, ...]:
        """The limits of an account that has ``rules``, after the changes."""
        before = {(rule.unit, rule.window): rule for rule in rules}
        after = {} if self.replace else dict(before)
        for unit, window, amount, mode in self.named:
            if amount is None:
                after.pop((unit, window), None)
                continue
            known = before.get((unit, window))
            kept = known.mode if known is not None and not self.replace else Mode.BLOCK
            after[unit, window] = LimitRule(unit, window, amount, mode or kept)
        return tuple(after.values())
