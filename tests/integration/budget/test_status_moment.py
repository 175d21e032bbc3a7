"""A status shows one moment: its balance and its count of holds belong together, whatever goes on meanwhile."""

import asyncio
import uuid

from support.budget_service import Bus

from hookbus.contracts.budget import (
    InitReply,
    InitRequest,
    ReleaseReply,
    ReleaseRequest,
    ReserveReply,
    ReserveRequest,
    ScopeRequest,
    StatusReply,
)

CLIENTS = 8
TURNS = 25


async def test_held_tokens_and_holds_agree_while_holds_come_and_go(bus: Bus) -> None:
    agent = f"agent-{uuid.uuid4().hex[:12]}"
    limits = [{"unit": "tokens", "window": "total", "amount": 10**6}]
    await bus.call("init", InitRequest.model_validate({"agent_id": agent, "limits": limits}), InitReply)

    async def client() -> None:
        for _ in range(TURNS):
            request = ReserveRequest(agent_id=agent, estimated_tokens=1, reserve=True)
            reservation = (await bus.call("check", request, ReserveReply)).reservation
            assert reservation is not None
            await bus.call("release", ReleaseRequest(agent_id=agent, reservation=reservation), ReleaseReply)

    work = asyncio.gather(*(client() for _ in range(CLIENTS)))
    seen: set[int] = set()
    while not work.done():
        status = await bus.call("status", ScopeRequest(name=agent), StatusReply)
        (left,) = status.remaining
        assert left.held == status.holds
        seen.add(status.holds)
    await work
    assert len(seen) > 1
