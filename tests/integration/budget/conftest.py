"""The budget service on real servers: its tables, its parts, and the whole of it on the bus."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from support.budget_service import Bus, Parts, settings_for
from support.servers import NatsFixture, PostgresFixture

from hookbus.budget.app import build
from hookbus.budget.pricing import PriceList
from hookbus.platform.bus.connection import create_broker
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.bus.rpc import RpcClient
from hookbus.platform.database.migrate import upgrade
from hookbus.platform.service import running


@pytest.fixture(scope="session")
async def budget_postgres(postgres_server: PostgresFixture) -> PostgresFixture:
    """PostgreSQL with the tables of the budget service."""
    await asyncio.to_thread(upgrade, "hookbus.budget", postgres_server.owner_url, "budget")
    return postgres_server


@pytest.fixture
async def parts(budget_postgres: PostgresFixture) -> AsyncIterator[Parts]:
    """The service's parts on the real database."""
    made = Parts.of(settings_for(budget_postgres))
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def superuser(budget_postgres: PostgresFixture) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A look at the tables that no role hides anything from."""
    connection = await asyncpg.connect(budget_postgres.superuser_url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def bus(budget_postgres: PostgresFixture, nats_server: NatsFixture) -> AsyncIterator[Bus]:
    """A whole budget service in this process, asked over the real bus as the gateway asks it."""
    service = build(settings_for(budget_postgres, nats_server), PriceList())
    broker = create_broker("gateway", settings_for(budget_postgres, nats_server, "gateway"))
    async with running(service):
        await broker.connect()
        try:
            yield Bus(RpcClient(broker), Publisher(broker))
        finally:
            await broker.stop()
