"""The session service in this process, on a real bus and a real database."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.bus import new_broker
from support.servers import NatsFixture, PostgresFixture
from support.session_service import SessionStack, session_settings

from hookbus.platform.bus.rpc import RpcClient
from hookbus.platform.database.engine import Database
from hookbus.platform.database.migrate import upgrade
from hookbus.platform.service import running
from hookbus.session.app import build


@pytest.fixture(scope="session")
async def session_database(postgres_server: PostgresFixture) -> PostgresFixture:
    """The shared database, its session schema migrated."""
    await asyncio.to_thread(upgrade, "hookbus.session", postgres_server.owner_url, "session")
    return postgres_server


@pytest.fixture
async def database(nats_server: NatsFixture, session_database: PostgresFixture) -> AsyncIterator[Database]:
    """A pool as the service's own role."""
    pool = Database("session", session_settings(nats_server, session_database))
    yield pool
    await pool.close()


@pytest.fixture(scope="module")
async def stack(nats_server: NatsFixture, session_database: PostgresFixture) -> AsyncIterator[SessionStack]:
    """The service, running."""
    settings = session_settings(nats_server, session_database)
    gateway = new_broker(nats_server, "gateway")
    pool = Database("session", settings)
    await gateway.connect()
    async with running(build(settings)):
        yield SessionStack(nats_server, session_database, settings, RpcClient(gateway), pool)
    await gateway.stop()
    await pool.close()
