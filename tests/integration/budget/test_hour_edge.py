"""An hour window that crosses its edge under load, by two processes, with a clock that also steps back."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest
from support import fake_clock
from support.budget_service import Parts, settings_for
from support.ledger_actions import Process
from support.servers import PostgresFixture
from support.waiting import eventually

from hookbus.budget.recount import recount
from hookbus.contracts.budget import DeductRequest, InitRequest, Limit, ScopeRequest, Unit, Window
from hookbus.platform.database.migrate import upgrade

EDGE = datetime(2026, 5, 4, 12, tzinfo=UTC)
MOMENTS_MS = (-900, -300, -20, 5, -10, 30, -5, 200, 900)
"""The clock around the edge; each step back is smaller than the last step forward, as a correction of a clock is."""
CLIENTS = 20
CHARGES_PER_MOMENT = 60
"""More than wait for an answer at once, so that some are judged at each moment."""
WAIT_S = 60.0


@pytest.fixture
async def processes(own_postgres_server: PostgresFixture) -> AsyncIterator[list[Process]]:
    postgres = own_postgres_server
    await asyncio.to_thread(upgrade, "hookbus.budget", postgres.owner_url, "budget")
    await fake_clock.install(postgres, "hookbus_budget", "budget", EDGE - timedelta(seconds=2))
    made = [Process.of(Parts.of(settings_for(postgres))) for _ in range(2)]
    try:
        yield made
    finally:
        for process in made:
            await process.parts.close()


async def test_an_edge_under_load_resets_once_and_loses_nothing(
    processes: list[Process], own_postgres_server: PostgresFixture
) -> None:
    agent, done, charged = "edge", asyncio.Event(), 0
    limits = (
        Limit(unit=Unit.TOKENS, window=Window.HOUR, amount=Decimal(10**6)),
        Limit(unit=Unit.TOKENS, window=Window.TOTAL, amount=Decimal(10**6)),
    )
    await processes[0].parts.queries.init(InitRequest(agent_id=agent, limits=limits))

    async def client(number: int) -> None:
        nonlocal charged
        while not done.is_set():
            request = DeductRequest(agent_id=agent, tokens_used=1, idempotency_key=uuid.uuid4().hex)
            await processes[number % 2].handlers.deduct(request)
            charged += 1

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    for moment_ms in MOMENTS_MS:
        await fake_clock.move(own_postgres_server, EDGE + timedelta(milliseconds=moment_ms))
        wanted = charged + CHARGES_PER_MOMENT
        await eventually(lambda wanted=wanted: charged >= wanted, WAIT_S)
    done.set()
    await asyncio.gather(*clients)

    superuser = await asyncpg.connect(own_postgres_server.superuser_url)
    try:
        rows = await superuser.fetch("SELECT at FROM budget.budget_history WHERE tokens > 0 ORDER BY id")
    finally:
        await superuser.close()
    status = await processes[1].parts.queries.status(ScopeRequest(name=agent))
    spent = {each.window: each.spent for each in status.remaining}
    moments = [row["at"] for row in rows]
    after = sum(moment >= EDGE for moment in moments)
    assert len(moments) == charged
    assert 0 < after < charged
    assert spent == {Window.HOUR: after, Window.TOTAL: charged}
    assert moments == sorted(set(moments))
    async with processes[0].parts.database.raw() as connection:
        calendar = processes[0].parts.calendar
        assert [each async for each in recount(connection, calendar, repair=False) if each] == []
