"""The budget service killed ten times under two hundred clients: no limit passed, no hold left, nothing lost."""

import asyncio
import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from support.budget_process import BudgetProcess
from support.faults import sized
from support.servers import NatsFixture, PostgresFixture

from hookbus.budget.recount import recount
from hookbus.budget.windows import Calendar
from hookbus.platform.database.migrate import upgrade

CLIENTS = 200
LIFECYCLES_PER_CLIENT = sized(10, 50)
LIFECYCLES = CLIENTS * LIFECYCLES_PER_CLIENT
KILLS = sized(4, 10)
AGENTS = 50
TTL_S = 30
TIMEOUT_S = 5.0
RETRY_WAIT_S = 0.2
SWEEP_WAIT_S = 3.0
POLL_S = 0.002
HOT_LIMIT = LIFECYCLES * 8 // 10
PROJECT_LIMIT = LIFECYCLES * 7 // 10
AGENT_LIMIT = LIFECYCLES // AGENTS * 3 // 4


@dataclass
class Crowd:
    """Clients that repeat each call, under its own id, until it is answered."""

    client: Client
    settled: int = 0
    ended: int = 0

    async def call(self, method: str, body: Mapping[str, object]) -> dict[str, Any]:
        while True:
            with suppress(NatsError, TimeoutError):
                reply = await self.client.request(f"rpc.budget.{method}", json.dumps(body).encode(), timeout=TIMEOUT_S)
                answer = json.loads(reply.data)
                if not (reply.headers and "Nats-Service-Error" in reply.headers):
                    return answer
                assert answer["code"] == "unavailable", answer
            await asyncio.sleep(RETRY_WAIT_S)

    async def lifecycle(self, agent: str) -> None:
        event = uuid.uuid4().hex
        body = {"agent_id": agent, "estimated_tokens": 1, "reserve": True, "ttl_seconds": TTL_S, "event_id": event}
        reply = await self.call("check", body)
        if reply["allowed"]:
            await self.settle(agent, event, reply["reservation"])
        self.ended += 1

    async def settle(self, agent: str, event: str, reservation: str) -> None:
        settle = {"agent_id": agent, "tokens_used": 1, "reservation": reservation, "idempotency_key": event}
        await self.call("deduct", settle)
        self.settled += 1

    async def run(self, agents: list[str]) -> None:
        async def one(number: int) -> None:
            for turn in range(LIFECYCLES_PER_CLIENT):
                await self.lifecycle(agents[(number + turn) % len(agents)])

        await asyncio.gather(*(one(number) for number in range(CLIENTS)))


def limit(amount: int) -> list[dict[str, str]]:
    return [{"unit": "tokens", "window": "total", "amount": str(amount)}]


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("spread", [False, True], ids=["one agent", "50 agents of one project"])
async def test_limits_hold_and_nothing_leaks_through_ten_kills(
    own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, spread: bool
) -> None:
    nats, postgres = own_nats_server, own_postgres_server
    await asyncio.to_thread(upgrade, "hookbus.budget", postgres.owner_url, "budget")
    service = BudgetProcess.start(nats, postgres)
    superuser = await asyncpg.connect(postgres.superuser_url)
    client = await nats.connect("gateway")
    try:
        await service.ready()
        crowd = Crowd(client)
        agents = [f"agent-{number}" for number in range(AGENTS)] if spread else ["hot"]
        for agent in agents:
            body: dict[str, object] = {"agent_id": agent, "limits": limit(AGENT_LIMIT if spread else HOT_LIMIT)}
            await crowd.call("init", body | ({"project": "crowd"} if spread else {}))
        if spread:
            await crowd.call("scope_init", {"scope": "project", "name": "crowd", "limits": limit(PROJECT_LIMIT)})

        work = asyncio.create_task(crowd.run(agents))
        passed = asyncio.create_task(watch(superuser, work))
        for kill in range(KILLS):
            # Spaced by the work done, not by the clock: a fast machine is killed as often as a slow one.
            while crowd.ended < LIFECYCLES * (kill + 1) // (KILLS + 1):
                assert not work.done()
                await asyncio.sleep(POLL_S)
            service.kill()
            service = BudgetProcess.start(nats, postgres)
            await service.ready()
        await work
        assert await passed == 0

        wanted = PROJECT_LIMIT if spread else HOT_LIMIT
        assert crowd.settled == wanted
        query = "SELECT sum(tokens) FROM budget.budget_history"
        assert await superuser.fetchval(query) == wanted
        open_holds = "SELECT count(*) FROM budget.holds WHERE state = 'open'"
        if await superuser.fetchval(open_holds):
            await asyncio.sleep(TTL_S + SWEEP_WAIT_S)
        assert await superuser.fetchval(open_holds) == 0
        differences = [each async for each in recount(superuser, Calendar(ZoneInfo("UTC")), repair=False) if each]
        assert differences == []
    finally:
        service.stop()
        await client.close()
        await superuser.close()


async def watch(superuser: "asyncpg.Connection[asyncpg.Record]", work: "asyncio.Task[None]") -> int:
    """How often, while the crowd works, any balance was seen past its limit. Slot 9 is the total of tokens."""
    passed = 0
    while not work.done():
        passed += await superuser.fetchval(
            "SELECT count(*) FROM budget.balances b JOIN budget.limits l USING (account_id)"
            " WHERE b.spent[9] + b.held_tokens > l.amount"
        )
        await asyncio.sleep(0.05)
    return passed
