"""Amounts as the ledger counts them: whole tokens and whole micro-dollars, so that sums are exact."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Final

from hookbus.contracts.budget import Unit

MICROS_PER_USD: Final = 1_000_000
_USD_QUANTUM: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Amounts:
    """Tokens and micro-dollars of one operation; a correction may be negative."""

    tokens: int = 0
    usd_micros: int = 0

    def __sub__(self, other: "Amounts") -> "Amounts":
        return Amounts(self.tokens - other.tokens, self.usd_micros - other.usd_micros)

    def __bool__(self) -> bool:
        return self.tokens != 0 or self.usd_micros != 0


ZERO: Final = Amounts()


def micros_of(usd: Decimal) -> int:
    """Micro-dollars of an amount with at most 6 decimal places.

    Raises:
        ValueError: the amount is finer than a micro-dollar, or not finite.
    """
    if not usd.is_finite():
        raise ValueError("an amount is a finite number")
    scaled = usd.scaleb(6)
    micros = int(scaled)
    if micros != scaled:
        raise ValueError("an amount has at most 6 decimal places")
    return micros


def micros_rounded_up(usd: Decimal) -> int:
    """Micro-dollars of a computed price; a fraction counts as a whole one, so that nothing is ever free by rounding."""
    return int(usd.scaleb(6).to_integral_value(rounding=ROUND_CEILING))


def usd_of(micros: int) -> Decimal:
    """Dollars with 6 decimal places."""
    return Decimal(micros).scaleb(-6).quantize(_USD_QUANTUM)


def wire_amount(unit: Unit, count: int) -> Decimal:
    """A count of ``unit`` as the contract writes it: whole tokens, or dollars with 6 places."""
    return Decimal(count) if unit is Unit.TOKENS else usd_of(count)


def ledger_amount(unit: Unit, amount: Decimal) -> int:
    """The inverse of :func:`wire_amount`."""
    return int(amount) if unit is Unit.TOKENS else micros_of(amount)
