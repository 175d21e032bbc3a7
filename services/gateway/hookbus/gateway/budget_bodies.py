"""The budget API's bodies where they differ from what the service is asked: short forms, and no actor."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field

from hookbus.contracts import limits
from hookbus.contracts.budget import Fraction, Limit, Unit, Window
from hookbus.contracts.fields import ScopeName, WireModel

TokensLimit = Annotated[int, Field(strict=True, ge=0, le=limits.TOKENS_LIMIT_MAX)]
UsdLimit = Annotated[
    Decimal,
    Field(ge=0, le=limits.COST_LIMIT_USD_MAX, decimal_places=limits.USD_DECIMAL_PLACES, allow_inf_nan=False),
]

LIMITS_MAX = 32
WARNINGS_MAX = 16


class LimitsBody(WireModel):
    """Limits to set, in long or in short form. Both may be given; a limit of the long form wins over its short form.
    What is not named stays; with ``replace`` the limits named are all there are."""

    limits: Annotated[tuple[Limit, ...], Field(max_length=LIMITS_MAX)] = ()
    replace: bool = False
    tokens_per_hour: TokensLimit | None = None
    tokens_per_day: TokensLimit | None = None
    max_cost_per_operation: UsdLimit | None = None
    team: ScopeName | None = None
    warn_at: Annotated[tuple[Fraction, ...] | None, Field(max_length=WARNINGS_MAX)] = None
    """Shares of a limit that are worth a warning: 0.75 and 0.95 for a new account."""

    def all_limits(self) -> tuple[Limit, ...]:
        """The limits of both forms."""
        given = {(limit.unit, limit.window): limit for limit in self.limits}
        short = (
            (Unit.TOKENS, Window.HOUR, self.tokens_per_hour),
            (Unit.TOKENS, Window.DAY, self.tokens_per_day),
            (Unit.USD, Window.OPERATION, self.max_cost_per_operation),
        )
        for unit, window, amount in short:
            if amount is not None and (unit, window) not in given:
                given[unit, window] = Limit(unit=unit, window=window, amount=Decimal(amount))
        return tuple(given.values())


class InitBody(LimitsBody):
    """``init`` of an agent. Where no limit is named, a new agent has the configured defaults, and so has a known one
    with ``replace``."""

    project: ScopeName | None = None


class ResetBody(WireModel):
    """``reset``: which limits; all where neither is given."""

    unit: Unit | None = None
    window: Window | None = None
