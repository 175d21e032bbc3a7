"""Two hundred clients that each reserve and settle, again and again, and what must be true of the ledger after them."""

import asyncio
import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
from nats.aio.client import Client
from nats.errors import Error as NatsError

from hookbus.budget.recount import recount
from hookbus.budget.windows import Calendar
from support.waiting import eventually

CLIENTS = 200
AGENTS = 50
TTL_S = 120
"""Longer than a settle may take on a busy machine, kills and retries included."""
TIMEOUT_S = 5.0
RETRY_WAIT_S = 0.2
WATCH_INTERVAL_S = 0.05


@dataclass
class Crowd:
    """Clients that repeat each call, under its own id, until it is answered."""

    client: Client
    turns: int
    settled: int = 0
    ended: int = 0

    @property
    def lifecycles(self) -> int:
        return CLIENTS * self.turns

    @property
    def limits(self) -> tuple[int, int, int]:
        """Of the one agent, of the project, of each agent in it: less than what is asked, so that each binds."""
        return self.lifecycles * 8 // 10, self.lifecycles * 7 // 10, self.lifecycles // AGENTS * 3 // 4

    async def call(self, method: str, body: Mapping[str, object]) -> dict[str, Any]:
        while True:
            with suppress(NatsError, TimeoutError):
                reply = await self.client.request(f"rpc.budget.{method}", json.dumps(body).encode(), timeout=TIMEOUT_S)
                answer = json.loads(reply.data)
                if not (reply.headers and "Nats-Service-Error" in reply.headers):
                    return answer
                assert answer["code"] == "unavailable", answer
            await asyncio.sleep(RETRY_WAIT_S)

    async def prepare(self, *, spread: bool) -> list[str]:
        """Set the limits; the agents."""
        one, project, each = self.limits
        agents = [f"agent-{number}" for number in range(AGENTS)] if spread else ["hot"]
        for agent in agents:
            body: dict[str, object] = {"agent_id": agent, "limits": total(each if spread else one)}
            await self.call("init", body | ({"project": "crowd"} if spread else {}))
        if spread:
            await self.call("scope_init", {"scope": "project", "name": "crowd", "limits": total(project)})
        return agents

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
            for turn in range(self.turns):
                await self.lifecycle(agents[(number + turn) % len(agents)])

        await asyncio.gather(*(one(number) for number in range(CLIENTS)))

    async def check(self, superuser: "asyncpg.Connection[asyncpg.Record]", *, spread: bool) -> None:
        """Exactly what was granted was settled, no hold is left, and the ledger counts to the balances."""
        one, project, _each = self.limits
        wanted = project if spread else one
        assert self.settled == wanted
        assert await superuser.fetchval("SELECT sum(tokens) FROM budget.budget_history") == wanted

        async def no_hold() -> bool:
            return await superuser.fetchval("SELECT count(*) FROM budget.holds WHERE state = 'open'") == 0

        await eventually(no_hold, TTL_S + 60.0)
        differences = [each async for each in recount(superuser, Calendar(ZoneInfo("UTC")), repair=False) if each]
        assert differences == []


def total(amount: int) -> list[dict[str, str]]:
    """One limit, of tokens in total."""
    return [{"unit": "tokens", "window": "total", "amount": str(amount)}]


async def watch(superuser: "asyncpg.Connection[asyncpg.Record]", work: "asyncio.Task[None]") -> int:
    """How often, while the crowd works, any balance was seen past its limit. Slot 9 is the total of tokens."""
    passed = 0
    while not work.done():
        passed += await superuser.fetchval(
            "SELECT count(*) FROM budget.balances b JOIN budget.limits l USING (account_id)"
            " WHERE b.spent[9] + b.held_tokens > l.amount"
        )
        await asyncio.sleep(WATCH_INTERVAL_S)
    return passed
