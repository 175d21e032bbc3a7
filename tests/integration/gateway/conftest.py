"""One gateway process for the tests that only ask it, and a maker for those that break things."""

from collections.abc import AsyncIterator

import pytest
from support.gateway_service import GatewayProcess, gateway_process
from support.servers import NatsFixture


@pytest.fixture(scope="module")
async def gateway(nats_server: NatsFixture, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayProcess]:
    """Shared by a module: its tests use agents and ids of their own."""
    async with gateway_process(nats_server, tmp_path_factory.mktemp("gateway")) as process:
        yield process


@pytest.fixture
async def own_gateway(
    own_nats_server: NatsFixture, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    """For one test, on a bus of its own, which may be stopped."""
    async with gateway_process(own_nats_server, tmp_path_factory.mktemp("gateway")) as process:
        yield process
