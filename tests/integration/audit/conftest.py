"""The audit service in this process, on a real bus and a real database, with an empty log for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.audit import AuditStack, audit_stack, fresh_schema
from support.servers import NatsFixture, PostgresFixture


@pytest.fixture
async def empty_log(postgres_server: PostgresFixture) -> PostgresFixture:
    """The shared database, with an audit schema that holds nothing."""
    await fresh_schema(postgres_server)
    return postgres_server


@pytest.fixture
async def stack(nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path) -> AsyncIterator[AuditStack]:
    """The service, running on an empty log."""
    async with audit_stack(nats_server, empty_log, tmp_path) as running_stack:
        yield running_stack
