"""A threshold is told once in its window, however often it is crossed; another limit is another warning."""

import uuid
from datetime import UTC, datetime

import asyncpg
import pytest
from opentelemetry.context import Context
from support.budget_service import Parts
from support.ledger_actions import Process

from hookbus.contracts.budget import DeductRequest, InitRequest, ResetRequest, Unit, Window
from hookbus.contracts.events import Event, Kind, type_of_kind
from hookbus.platform.bus.delivery import Ack, Delivery


@pytest.fixture
async def agent(parts: Parts) -> str:
    """With a limit of 100 tokens a day."""
    made = f"agent-{uuid.uuid4().hex[:12]}"
    await limit(parts, made, 100)
    return made


async def limit(parts: Parts, agent: str, amount: int) -> None:
    limits = [{"unit": "tokens", "window": "day", "amount": amount}]
    await parts.queries.init(InitRequest.model_validate({"agent_id": agent, "limits": limits}))


async def spend(parts: Parts, agent: str, tokens: int) -> None:
    request = DeductRequest(agent_id=agent, tokens_used=tokens, idempotency_key=uuid.uuid4().hex)
    await Process.of(parts).handlers.deduct(request)


async def report(parts: Parts, agent: str, source: str, tokens: int) -> None:
    event = Event(
        id=uuid.uuid4().hex,
        source="/test",
        type=type_of_kind(Kind.USAGE),
        subject=agent,
        time=datetime.now(UTC),
        data={"request_id": "r", "provenance": source, "tokens_used": tokens},
    )
    delivery = Delivery(event, event.to_wire(), "s", "HOOKS", 1, 1, Context())
    assert isinstance((await Process.of(parts).events.handle([delivery]))[0], Ack)


async def told(superuser: "asyncpg.Connection[asyncpg.Record]", agent: str) -> list[tuple[str, str]]:
    """Threshold and amount of every warning about an agent."""
    query = (
        "SELECT event->'data'->>'threshold', event->'data'->>'amount' FROM budget.outbox"
        " WHERE event->>'subject' = $1 ORDER BY created_at, event_id"
    )
    return [(row[0], row[1]) for row in await superuser.fetch(query, agent)]


async def test_charges_past_a_threshold_do_not_tell_it_again(
    parts: Parts, superuser: "asyncpg.Connection[asyncpg.Record]", agent: str
) -> None:
    for tokens in (74, 1, 1, 10):
        await spend(parts, agent, tokens)
    assert await told(superuser, agent) == [("0.75", "100")]


async def test_a_threshold_crossed_again_after_a_correction_is_not_told_again(
    parts: Parts, superuser: "asyncpg.Connection[asyncpg.Record]", agent: str
) -> None:
    await report(parts, agent, "transcript", 80)
    await report(parts, agent, "otlp", 50)
    await spend(parts, agent, 30)
    assert await told(superuser, agent) == [("0.75", "100")]


async def test_setting_the_same_limit_again_tells_nothing_and_another_amount_is_told(
    parts: Parts, superuser: "asyncpg.Connection[asyncpg.Record]", agent: str
) -> None:
    await spend(parts, agent, 80)
    await limit(parts, agent, 100)
    assert await told(superuser, agent) == [("0.75", "100")]
    await limit(parts, agent, 90)
    assert await told(superuser, agent) == [("0.75", "100"), ("0.75", "90")]


async def test_a_window_begun_afresh_is_told_of_anew(
    parts: Parts, superuser: "asyncpg.Connection[asyncpg.Record]", agent: str
) -> None:
    await spend(parts, agent, 80)
    await parts.queries.reset(ResetRequest(name=agent, unit=Unit.TOKENS, window=Window.DAY))
    await spend(parts, agent, 80)
    assert await told(superuser, agent) == [("0.75", "100")] * 2
