"""The database's clock steps back by hours: rows stay in order, and holds live no longer than they were made for."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from support import fake_clock
from support.budget_service import Parts, settings_for
from support.ledger_actions import Process
from support.servers import PostgresFixture

from hookbus.budget.accounts import Place
from hookbus.budget.commands import Expire
from hookbus.budget.recount import recount
from hookbus.budget.repository import holds
from hookbus.contracts.budget import (
    DeductRequest,
    ExtendRequest,
    InitRequest,
    Limit,
    ReserveRequest,
    ScopeRequest,
    StatusReply,
    Unit,
    Window,
)
from hookbus.platform.database.migrate import upgrade

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
STEP = timedelta(hours=2)
TTL_S = 60


@pytest.fixture
async def process(own_postgres_server: PostgresFixture) -> AsyncIterator[Process]:
    postgres = own_postgres_server
    await asyncio.to_thread(upgrade, "hookbus.budget", postgres.owner_url, "budget")
    await fake_clock.install(postgres, "hookbus_budget", "budget", NOON)
    made = Process.of(Parts.of(settings_for(postgres)))
    yield made
    await made.parts.close()


async def sweep(process: Process) -> None:
    """As the sweeper does."""
    async with process.parts.database.raw() as connection:
        due = await holds.due(connection, 100)
    await process.parts.writer.submit_all([Expire(Place(each.agent_name), each.id) for each in due])


async def status(process: Process, agent: str) -> StatusReply:
    return await process.parts.queries.status(ScopeRequest(name=agent))


async def test_a_hold_ends_after_its_time_when_the_clock_stepped_back_before_it_was_made(
    process: Process, own_postgres_server: PostgresFixture
) -> None:
    """Also one that was extended after the step, and neither of them earlier."""
    agent = f"step-{uuid.uuid4().hex[:8]}"
    limit = Limit(unit=Unit.TOKENS, window=Window.TOTAL, amount=Decimal(100))
    await process.parts.queries.init(InitRequest(agent_id=agent, limits=(limit,)))
    await process.handlers.deduct(DeductRequest(agent_id=agent, tokens_used=1, idempotency_key="before"))
    stepped = NOON - STEP
    await fake_clock.move(own_postgres_server, stepped)
    request = ReserveRequest(agent_id=agent, estimated_tokens=40, reserve=True, ttl_seconds=TTL_S)
    reservations = [(await process.handlers.check(request)).reservation for _ in range(2)]
    assert reservations[1] is not None
    extend = ExtendRequest(agent_id=agent, reservation=reservations[1], ttl_seconds=2 * TTL_S)
    assert (await process.handlers.extend(extend)).expires_at == stepped + timedelta(seconds=2 * TTL_S)
    for seconds, left in ((TTL_S - 1, 2), (TTL_S, 1), (2 * TTL_S - 1, 1), (2 * TTL_S, 0)):
        await fake_clock.move(own_postgres_server, stepped + timedelta(seconds=seconds))
        await sweep(process)
        assert (await status(process, agent)).holds == left, seconds
    assert [(each.spent, each.held) for each in (await status(process, agent)).remaining] == [(1, 0)]
    async with process.parts.database.raw() as connection:
        assert [each async for each in recount(connection, process.parts.calendar, repair=False) if each] == []
