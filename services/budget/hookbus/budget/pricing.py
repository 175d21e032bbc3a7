"""What tokens cost: by model and kind of token, from a kept price list that travels with the service.

No price is fetched at run time. A model that nobody knows costs what the dearest known one does, kind by kind, and is
flagged; an unknown model that were free would be a way round every limit.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Final, cast

from genai_prices import Usage, calc_price, data_snapshot
from genai_prices.types import ModelPrice, TieredPrices

from hookbus.budget.amounts import micros_rounded_up

TOKENS_PER_PRICE: Final = 1_000_000
MODELS_CACHED_MAX: Final = 1_024
FLAG_UNKNOWN_MODEL: Final = "model_unknown"
FLAG_KINDS_UNKNOWN: Final = "kinds_unknown"
FLAG_NOT_PRICED: Final = "not_priced"
KINDS: Final = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of one model request by kind. ``input`` is what no cache served or took."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    @property
    def total(self) -> int:
        """Tokens of every kind."""
        return self.input + self.output + self.cache_read + self.cache_write_5m + self.cache_write_1h


@dataclass(frozen=True, slots=True)
class Price:
    """A computed cost and how it came about."""

    usd_micros: int
    version: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens, by kind."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal

    def cost(self, counts: TokenCounts) -> Decimal:
        """USD of ``counts``."""
        total = (
            self.input * counts.input
            + self.output * counts.output
            + self.cache_read * counts.cache_read
            + self.cache_write_5m * counts.cache_write_5m
            + self.cache_write_1h * counts.cache_write_1h
        )
        return total / TOKENS_PER_PRICE


class PriceList:
    """Prices by model: first the operator's own, then the kept package's, then the dearest known."""

    def __init__(self, overrides: Mapping[str, Rates] | None = None, overrides_version: str = "") -> None:
        self._overrides = dict(overrides or {})
        package = f"genai-prices/{version('genai-prices')}"
        self.version: str = f"{package}+{overrides_version}" if overrides_version else package
        self.dearest: Rates = dearest([*_known_rates(), *self._overrides.values()])

    def price(self, model: str | None, provider: str | None, counts: TokenCounts) -> Price:
        """What ``counts`` of ``model`` cost, rounded up to a micro-dollar."""
        rates = self._overrides.get(model or "")
        if rates is not None:
            return Price(micros_rounded_up(rates.cost(counts)), self.version)
        cost = _package_cost(model, provider, counts) if model else None
        if cost is None:
            return Price(micros_rounded_up(self.dearest.cost(counts)), self.version, (FLAG_UNKNOWN_MODEL,))
        return Price(micros_rounded_up(cost), self.version)

    def price_total(self, model: str, provider: str | None, tokens: int) -> Price:
        """What ``tokens`` of unknown kind cost: as much as the dearest kind of the model."""
        prices = [self.price(model, provider, TokenCounts(**{kind: tokens})) for kind in KINDS]
        most = max(prices, key=lambda price: price.usd_micros)
        return Price(most.usd_micros, most.version, (*most.flags, FLAG_KINDS_UNKNOWN))


def load_price_list(path: Path | None) -> PriceList:
    """The price list, with the overrides of a TOML file: ``[models."name"]`` tables of USD per million tokens
    (``input``, ``output``, and where they differ ``cache_read``, ``cache_write_5m``, ``cache_write_1h``).

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not such a file.
    """
    if path is None:
        return PriceList()
    document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    models = document.get("models", {})
    if not isinstance(models, dict):
        raise ValueError("models is not a table")  # noqa: TRY004 - a fault of the file, like every other one in it
    overrides = {name: _override(name, table) for name, table in cast("dict[str, object]", models).items()}
    return PriceList(overrides, str(document.get("version", path.name)))


def dearest(rates: list[Rates]) -> Rates:
    """The highest price of each kind."""
    return Rates(*(max(getattr(rate, kind) for rate in rates) for kind in KINDS))


def _override(name: str, table: object) -> Rates:
    if not isinstance(table, dict):
        raise ValueError(f"prices of {name} are not a table")  # noqa: TRY004 - as above
    prices = cast("dict[str, object]", table)
    unknown = set(prices) - set(KINDS)
    if unknown or not {"input", "output"} <= set(prices):
        raise ValueError(f"prices of {name}: input and output are needed, and only {', '.join(KINDS)} are known")
    values: dict[str, Decimal] = {}
    for kind, value in prices.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, Decimal))
            or not (Decimal(value).is_finite() and value >= 0)
        ):
            raise ValueError(f"prices of {name}: {kind} is not a price")
        values[kind] = Decimal(value)
    cached = values["input"]
    return Rates(
        values["input"],
        values["output"],
        values.get("cache_read", cached),
        values.get("cache_write_5m", cached),
        values.get("cache_write_1h", cached),
    )


@lru_cache(maxsize=MODELS_CACHED_MAX)
def _is_known(model: str, provider: str | None) -> bool:
    try:
        calc_price(Usage(input_tokens=1), model, provider_id=provider)
    except LookupError:
        return False
    return True


def _package_cost(model: str, provider: str | None, counts: TokenCounts) -> Decimal | None:
    named = provider if provider is not None and _is_known(model, provider) else None
    reference = model
    if named is None and not _is_known(model, None):
        # Routers write "provider/model".
        reference = model.rpartition("/")[2]
        if not reference or not _is_known(reference, None):
            return None
    written = counts.cache_write_5m + counts.cache_write_1h
    usage = Usage(
        input_tokens=counts.input + counts.cache_read + written,
        output_tokens=counts.output,
        cache_read_tokens=counts.cache_read,
        cache_write_tokens=written,
        cache_write_1h_tokens=counts.cache_write_1h,
    )
    return calc_price(usage, reference, provider_id=named).total_price


def _known_rates() -> Iterator[Rates]:
    for provider in data_snapshot.get_snapshot().providers:
        for model in provider.models:
            conditional = model.prices if isinstance(model.prices, list) else []
            prices = [each.prices for each in conditional] or [model.prices]
            for each in prices:
                if isinstance(each, ModelPrice):
                    yield _rates(each)


def _rates(price: ModelPrice) -> Rates:
    # Where a model has no price for a cache, the package charges the price of its input.
    input_price = _highest(price.input_mtok)
    write = max(_highest(price.cache_write_mtok), input_price)
    return Rates(
        input_price,
        _highest(price.output_mtok),
        _highest(price.cache_read_mtok) if price.cache_read_mtok is not None else input_price,
        write,
        max(_highest(price.cache_write_1h_mtok), write),
    )


def _highest(price: Decimal | TieredPrices | None) -> Decimal:
    if price is None:
        return Decimal(0)
    if isinstance(price, TieredPrices):
        return max([price.base, *(tier.price for tier in price.tiers)])
    return price
