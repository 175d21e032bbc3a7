"""Settings of the budget service."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field

from hookbus.budget.accounts import LimitRule
from hookbus.budget.amounts import micros_of
from hookbus.contracts import limits
from hookbus.contracts.budget import Unit, Window
from hookbus.platform.settings import DatabaseSettings

DefaultTokens = Annotated[int, Field(ge=0, le=limits.TOKENS_LIMIT_MAX)]
DefaultUsd = Annotated[Decimal, Field(ge=0, le=limits.COST_LIMIT_USD_MAX, decimal_places=limits.USD_DECIMAL_PLACES)]


def _existing(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("no such time zone") from error
    return name


TimeZoneName = Annotated[str, AfterValidator(_existing)]
"""An IANA name that this machine knows."""


class BudgetSettings(DatabaseSettings):
    """Defaults of an agent that nobody set limits for, the calendar, and prices."""

    budget_tokens_per_hour: DefaultTokens = 100_000
    budget_tokens_per_day: DefaultTokens = 500_000
    budget_max_cost_per_operation: DefaultUsd = Decimal("0.10")
    budget_time_zone: TimeZoneName = "UTC"
    """IANA name; days, weeks and months begin at its midnight."""
    budget_prices_file: Path | None = None
    """TOML with the operator's own prices, which go before the kept list."""
    budget_subagents_per_session_max: Annotated[int, Field(ge=0, le=100_000)] = 50
    """How many different subagents one session may start."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of calendar windows."""
        return ZoneInfo(self.budget_time_zone)

    @property
    def default_rules(self) -> tuple[LimitRule, ...]:
        """The limits of an agent that nobody set limits for."""
        return (
            LimitRule(Unit.TOKENS, Window.HOUR, self.budget_tokens_per_hour),
            LimitRule(Unit.TOKENS, Window.DAY, self.budget_tokens_per_day),
            LimitRule(Unit.USD, Window.OPERATION, micros_of(self.budget_max_cost_per_operation)),
        )
