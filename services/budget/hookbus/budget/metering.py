"""From what an agent reports to what the ledger counts."""

from dataclasses import dataclass
from decimal import Decimal

from hookbus.budget.amounts import Amounts, micros_of
from hookbus.budget.commands import Pricing
from hookbus.budget.pricing import FLAG_NOT_PRICED, Price, PriceList, TokenCounts


@dataclass(frozen=True, slots=True)
class Report:
    """What was reported of one operation; None where nothing was."""

    tokens: int | None
    cost: Decimal | None
    counts: TokenCounts
    model: str | None = None
    provider: str | None = None
    source: str | None = None


def meter(report: Report, prices: PriceList) -> tuple[Amounts, Pricing] | None:
    """Amounts and where they came from; None when the report says nothing.

    A reported cost stands; the computed one is kept beside it. Without a reported cost the computed one is charged.
    A bare total without a model is not a price: it is counted as tokens and flagged.
    """
    if report.tokens is None and report.cost is None and report.counts.total == 0:
        return None
    tokens = report.tokens if report.tokens is not None else report.counts.total
    price = _price(report, tokens, prices)
    reported = micros_of(report.cost) if report.cost is not None else None
    computed = price.usd_micros if price is not None else None
    charged = reported if reported is not None else computed
    flags = price.flags if price is not None else ()
    if charged is None:
        flags = (FLAG_NOT_PRICED,)
    pricing = Pricing(
        model=report.model,
        price_version=price.version if price is not None else None,
        source=report.source,
        reported_usd_micros=reported,
        computed_usd_micros=computed,
        flags=flags,
    )
    return Amounts(tokens, charged or 0), pricing


def _price(report: Report, tokens: int, prices: PriceList) -> Price | None:
    if report.counts.total > 0:
        return prices.price(report.model, report.provider, report.counts)
    if report.model is not None and tokens > 0:
        return prices.price_total(report.model, report.provider, tokens)
    return None
