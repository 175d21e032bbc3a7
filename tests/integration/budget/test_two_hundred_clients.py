"""Two hundred clients at once, on one hot agent and on many agents below one limit, asking one process and two."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from support.budget_crowd import Crowd, watch
from support.faults import sized
from support.processes import ServiceProcess
from support.servers import NatsFixture, PostgresFixture

from hookbus.platform.database.migrate import upgrade

LIFECYCLES_PER_CLIENT = sized(10, 50)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("spread", "processes"), [(False, 2), (True, 1)], ids=["one agent", "50 agents of one project"]
)
async def test_granted_is_exactly_what_the_limits_allow_and_nothing_stays_held(
    own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path, spread: bool, processes: int
) -> None:
    nats, postgres = own_nats_server, own_postgres_server
    await asyncio.to_thread(upgrade, "hookbus.budget", postgres.owner_url, "budget")
    services = [ServiceProcess.budget(tmp_path, nats, postgres) for _ in range(processes)]
    for service in services:
        service.start()
    superuser = await asyncpg.connect(postgres.superuser_url)
    client = await nats.connect("gateway")
    try:
        for service in services:
            await asyncio.to_thread(service.wait_ready)
        crowd = Crowd(client, LIFECYCLES_PER_CLIENT)
        agents = await crowd.prepare(spread=spread)
        work = asyncio.create_task(crowd.run(agents))
        passed = await watch(superuser, work)
        await work
        assert passed == 0
        await crowd.check(superuser, spread=spread)
    finally:
        for service in services:
            service.stop()
        await client.close()
        await superuser.close()
