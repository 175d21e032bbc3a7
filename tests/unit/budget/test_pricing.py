"""Prices: exact, offline, and never free for want of knowledge."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookbus.budget.amounts import micros_of, micros_rounded_up, usd_of
from hookbus.budget.metering import Report, meter
from hookbus.budget.pricing import KINDS, PriceList, TokenCounts, load_price_list

PRICES = PriceList()
MODEL = "claude-sonnet-4-5"
counts = st.builds(TokenCounts, *[st.integers(0, 10_000_000) for _ in KINDS])


def test_each_kind_of_token_has_its_price() -> None:
    million = 100_000
    priced = {kind: PRICES.price(MODEL, None, TokenCounts(**{kind: million})).usd_micros for kind in KINDS}
    assert priced == {
        "input": 300_000,
        "output": 1_500_000,
        "cache_read": 30_000,
        "cache_write_5m": 375_000,
        "cache_write_1h": 600_000,
    }


def test_a_long_prompt_is_priced_by_its_tier() -> None:
    short = PRICES.price(MODEL, None, TokenCounts(input=100_000)).usd_micros
    long = PRICES.price(MODEL, None, TokenCounts(input=400_000)).usd_micros
    assert long > 4 * short


@pytest.mark.parametrize("model", ["claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"])
def test_dated_and_routed_names_are_the_same_model(model: str) -> None:
    wanted = PRICES.price(MODEL, None, TokenCounts(input=1_000))
    assert PRICES.price(model, None, TokenCounts(input=1_000)) == wanted
    assert PRICES.price(model, "anthropic", TokenCounts(input=1_000)) == wanted
    assert PRICES.price(model, "no-such-provider", TokenCounts(input=1_000)) == wanted


@given(counts)
def test_an_unknown_model_costs_at_least_what_any_known_one_does_and_is_flagged(tokens: TokenCounts) -> None:
    unknown = PRICES.price("no-such-model", None, tokens)
    assert unknown.flags == ("model_unknown",)
    for model in (MODEL, "claude-opus-4-7", "gpt-5", "o1-pro"):
        assert unknown.usd_micros >= PRICES.price(model, None, tokens).usd_micros


def test_a_total_of_unknown_kind_costs_as_the_dearest_kind() -> None:
    total = PRICES.price_total(MODEL, None, 1_000)
    assert total.usd_micros == PRICES.price(MODEL, None, TokenCounts(output=1_000)).usd_micros
    assert total.flags == ("kinds_unknown",)


def test_one_token_is_never_free() -> None:
    assert PRICES.price(MODEL, None, TokenCounts(cache_read=1)).usd_micros == 1


def test_the_operators_own_prices_go_first_and_are_named_in_the_version(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('version = "ours-7"\n[models."house-llm"]\ninput = 0.1\noutput = 2\n')
    prices = load_price_list(path)
    priced = prices.price("house-llm", None, TokenCounts(input=1_000_000, output=1_000_000, cache_read=1_000_000))
    assert priced.usd_micros == 2_200_000
    assert priced.version.endswith("+ours-7")


@pytest.mark.parametrize(
    "text",
    [
        "[models.x]\ninput = 1\n",
        "[models.x]\ninput = -1\noutput = 1\n",
        "[models.x]\ninput = nan\noutput = 1\n",
        '[models.x]\ninput = "1"\noutput = 1\n',
        "[models.x]\ninput = 1\noutput = 1\nimage = 3\n",
        "models = 3\n",
        "not toml",
    ],
)
def test_a_price_file_that_is_wrong_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        load_price_list(path)


@given(st.integers(0, 10**15))
def test_dollars_and_micros_convert_exactly(micros: int) -> None:
    assert micros_of(usd_of(micros)) == micros


@pytest.mark.parametrize("text", ["0.0000001", "NaN", "Infinity", "-Infinity"])
def test_what_is_finer_than_a_micro_dollar_or_not_finite_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        micros_of(Decimal(text))


def test_a_fraction_of_a_micro_dollar_counts_as_a_whole_one() -> None:
    assert micros_rounded_up(Decimal("0.0000001")) == 1


def test_a_reported_cost_stands_and_the_computed_one_is_kept_beside_it() -> None:
    metered = meter(Report(None, Decimal("0.5"), TokenCounts(input=1_000), MODEL, None, "otlp"), PRICES)
    assert metered is not None
    amounts, pricing = metered
    assert (amounts.tokens, amounts.usd_micros) == (1_000, 500_000)
    assert (pricing.reported_usd_micros, pricing.computed_usd_micros) == (500_000, 3_000)
    assert (pricing.model, pricing.source) == (MODEL, "otlp")


def test_a_bare_total_without_a_model_is_counted_and_flagged_but_not_priced() -> None:
    metered = meter(Report(10, None, TokenCounts()), PRICES)
    assert metered is not None
    assert (metered[0].tokens, metered[0].usd_micros, metered[1].flags) == (10, 0, ("not_priced",))


def test_a_report_of_nothing_is_none() -> None:
    assert meter(Report(None, None, TokenCounts(), MODEL), PRICES) is None
