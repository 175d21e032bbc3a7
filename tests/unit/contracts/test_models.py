"""Amounts and requests: exact decimals in, nothing negative, infinite or finer than a millionth out of it."""

from decimal import Decimal

import pytest
from pydantic import BaseModel, ValidationError

from hookbus.contracts.audit import EntriesRequest
from hookbus.contracts.budget import DeductRequest, Limit, ListRequest, ReserveRequest, Unit, Window
from hookbus.contracts.payloads import PostTask, PreTask, Usage
from hookbus.contracts.session import KeyCreateRequest, SessionRequest

REFUSED_AMOUNTS = [
    "-1",
    "-0.000001",
    "NaN",
    "Infinity",
    "-Infinity",
    "0.0000001",
    "1e400",
    "100.000001",
    "",
    "one",
    None,
]


@pytest.mark.parametrize("cost", REFUSED_AMOUNTS[:-1])
def test_a_cost_that_is_no_amount_of_money_is_refused(cost: str) -> None:
    with pytest.raises(ValidationError):
        ReserveRequest(agent_id="agent", estimated_cost=cost)  # pyright: ignore[reportArgumentType]  # as from the wire


@pytest.mark.parametrize("tokens", [-1, 1.5, "10", True, 10_000_001, 10**30])
def test_tokens_are_whole_numbers_in_bounds(tokens: object) -> None:
    with pytest.raises(ValidationError):
        ReserveRequest.model_validate({"agent_id": "agent", "estimated_tokens": tokens})


def test_a_cost_keeps_its_six_places_through_the_wire() -> None:
    request = DeductRequest(agent_id="agent", tokens_used=1, cost=Decimal("0.000001"), idempotency_key="k")
    assert '"cost":"0.000001"' in request.model_dump_json()
    assert DeductRequest.model_validate_json(request.model_dump_json()).cost == Decimal("0.000001")


def test_a_token_limit_with_a_fraction_is_refused() -> None:
    with pytest.raises(ValidationError):
        Limit(unit=Unit.TOKENS, window=Window.HOUR, amount=Decimal("1.5"))


def test_an_unknown_field_is_an_error_rather_than_a_silent_loss() -> None:
    with pytest.raises(ValidationError):
        DeductRequest.model_validate({"agent_id": "agent", "cost_usd": "0.1", "tokens_used": 1, "idempotency_key": "k"})


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (SessionRequest, {"id": "s", "reason": "a\0b"}),
        (KeyCreateRequest, {"name": "a\0b", "scopes": ["events"]}),
        (ListRequest, {"cursor": "a\0b"}),
        (ListRequest, {"cursor": "a b"}),
        (EntriesRequest, {"outcome": "\0"}),
        (PreTask, {"cwd": "/tmp/\0"}),
        (PostTask, {"tool": "a\0b"}),
        (Usage, {"model": "a\0b"}),
    ],
)
def test_text_that_cannot_be_stored_is_refused_at_the_border(model: type[BaseModel], body: dict[str, object]) -> None:
    """PostgreSQL has no NUL: accepted here, it would be a fault in a service, or poison for its batch."""
    with pytest.raises(ValidationError):
        model.model_validate(body)
