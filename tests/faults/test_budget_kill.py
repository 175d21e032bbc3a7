"""The budget service killed ten times under two hundred clients: no limit passed, no hold left, nothing lost."""

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
KILLS = sized(4, 10)
POLL_S = 0.002


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("spread", [False, True], ids=["one agent", "50 agents of one project"])
async def test_limits_hold_and_nothing_leaks_through_ten_kills(
    own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path, spread: bool
) -> None:
    nats, postgres = own_nats_server, own_postgres_server
    await asyncio.to_thread(upgrade, "hookbus.budget", postgres.owner_url, "budget")
    service = ServiceProcess.budget(tmp_path, nats, postgres)
    service.start()
    superuser = await asyncpg.connect(postgres.superuser_url)
    client = await nats.connect("gateway")
    try:
        await asyncio.to_thread(service.wait_ready)
        crowd = Crowd(client, LIFECYCLES_PER_CLIENT)
        agents = await crowd.prepare(spread=spread)
        work = asyncio.create_task(crowd.run(agents))
        passed = asyncio.create_task(watch(superuser, work))
        for kill in range(KILLS):
            # Spaced by the work done, not by the clock: a fast machine is killed as often as a slow one.
            while crowd.ended < crowd.lifecycles * (kill + 1) // (KILLS + 1):
                assert not work.done()
                await asyncio.sleep(POLL_S)
            service.kill()
            service.start()
            await asyncio.to_thread(service.wait_ready)
        await work
        assert await passed == 0
        await crowd.check(superuser, spread=spread)
    finally:
        service.stop()
        await client.close()
        await superuser.close()
