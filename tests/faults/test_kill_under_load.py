"""Every process of the stack is killed while events flow in; afterwards the books are checked from outside.

The checks rest on what clients were told, on the rows as a superuser sees them, and on the log's own proof.
"""

import asyncio
import os
import random
from collections import Counter
from typing import Any

import asyncpg
import httpx
import pytest
from support.bus import bus_settings_of
from support.faults import sized
from support.load import Sender, usage_events
from support.stack import StackFixture
from support.waiting import eventually

from hookbus.contracts import subjects
from hookbus.contracts.events import Event
from hookbus.platform.bus.connection import connect_plain

EVENTS = sized(800, 2_000)
CLIENTS = 16
AGENTS = [f"agent-{number}" for number in range(8)]
VICTIMS = ("gateway", "budget", "session", "audit", "nats", "postgres")
KILL_AGAIN_AFTER_S = 2.0
DRAIN_WAIT_S = 60.0
TEST_TIMEOUT_S = 400
SEED = int(os.environ.get("HOOKBUS_FAULT_SEED", "20261123"))

pytestmark = [pytest.mark.faults, pytest.mark.timeout(TEST_TIMEOUT_S)]


async def audited(connection: "asyncpg.Connection[asyncpg.Record]") -> Counter[str]:
    """How often each event id lies in the audit log, from the rows themselves."""
    return Counter([row["event_id"] for row in await connection.fetch("SELECT event_id FROM audit.stored_events")])


async def charged(stack: StackFixture) -> Counter[str]:
    """Tokens spent by agent, as the budget service says."""
    spent: Counter[str] = Counter()
    async with httpx.AsyncClient(headers=stack.headers, base_url=stack.url) as client:
        for agent in AGENTS:
            response = await client.get(f"/api/v1/budget/status/{agent}")
            assert response.status_code == 200, response.text
            balances = response.json()["remaining"]
            spent[agent] = int(next(one["spent"] for one in balances if one["unit"] == "tokens"))
    return spent


async def verify(stack: StackFixture) -> dict[str, Any]:
    async with httpx.AsyncClient(headers=stack.headers, base_url=stack.url, timeout=30) as client:
        response = await client.get("/api/v1/audit/verify")
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


async def kill_in_turn(stack: StackFixture, load: "asyncio.Task[None]", randomness: random.Random) -> list[str]:
    """SIGKILL every victim at least once, in random order, each after the last is ready again; on while load runs."""
    killed: list[str] = []
    while not load.done() or len(killed) < len(VICTIMS):
        for name in randomness.sample(VICTIMS, len(VICTIMS)):
            stack.kill(name)
            killed.append(name)
            await asyncio.sleep(randomness.uniform(0.0, KILL_AGAIN_AFTER_S))
            assert await asyncio.to_thread(stack.wait_ready), f"not whole in time after killing {name}"
            if load.done() and len(killed) >= len(VICTIMS):
                break
    return killed


async def send_duplicates(stack: StackFixture, told: dict[str, dict[str, Any]]) -> None:
    """Publish each event again, past the gateway and under fresh message ids, so that only the services can tell."""
    settings = bus_settings_of(stack, "gateway")
    client = await connect_plain(settings.nats_url, settings.nats_user, settings.nats_password.get_secret_value())
    stream = client.jetstream()
    for number, event in enumerate(told.values()):
        again = Event(
            id=event["id"],
            source="duplicate",
            type="dev.hookbus.usage.v1",
            subject=event["agent_id"],
            time="2026-01-01T00:00:00Z",  # pyright: ignore[reportArgumentType]  # pydantic parses it
            data=event["data"],
        )
        await stream.publish(
            f"hooks.usage.{again.subject}",
            again.to_wire(),
            headers={subjects.HEADER_MSG_ID: f"duplicate-{number}-{event['id']}"},
        )
    await client.close()


async def drained(stack: StackFixture) -> bool:
    """Whether no durable has anything left to take or to acknowledge."""
    settings = bus_settings_of(stack, "provision")
    client = await connect_plain(settings.nats_url, settings.nats_user, settings.nats_password.get_secret_value())
    try:
        stream = client.jetstream()
        for service in ("budget", "session", "audit"):
            info = await stream.consumer_info(subjects.STREAM_HOOKS, service)
            if info.num_pending or info.num_ack_pending:
                return False
        return True
    finally:
        await client.close()


async def test_no_kill_loses_or_repeats_an_event(own_stack: StackFixture) -> None:
    """With every process killed under 2,000 events: each event answered 202 is in the audit log exactly once, the
    budget equals a recount, the log verifies; and a duplicate of each event changes nothing."""
    print(f"seed {SEED}")  # noqa: T201 - a failing run is repeated with it
    stack = own_stack
    randomness = random.Random(SEED)
    sender = Sender(stack.url, stack.headers, CLIENTS)
    events = usage_events(EVENTS, AGENTS, randomness)
    half = EVENTS // 2
    async with httpx.AsyncClient(headers=stack.headers, base_url=stack.url) as client:
        for agent in AGENTS:
            limits = [{"unit": "tokens", "window": "total", "amount": "1000000"}]
            response = await client.post(f"/api/v1/budget/init/{agent}", json={"limits": limits})
            assert response.status_code == 201, response.text

    async def send_all() -> None:
        # In pieces, with pauses, so that the load outlasts the kills.
        for start in range(0, EVENTS, half // 10):
            await sender.send(events[start : start + half // 10])
            await asyncio.sleep(0.5)

    load = asyncio.create_task(send_all())
    killed = await kill_in_turn(stack, load, randomness)
    await load
    assert set(killed) == set(VICTIMS)
    assert len(sender.told.accepted) == EVENTS

    connection = await asyncpg.connect(stack.postgres_url)
    try:
        await eventually(lambda: drained(stack), DRAIN_WAIT_S)
        log = await audited(connection)
        assert {event_id: log[event_id] for event_id in sender.told.accepted} == dict.fromkeys(sender.told.accepted, 1)
        assert await charged(stack) == sender.told.tokens_by_agent()
        proof = await verify(stack)
        assert proof["ok"], proof

        await send_duplicates(stack, sender.told.accepted)
        await eventually(lambda: drained(stack), DRAIN_WAIT_S)
        assert await audited(connection) == log
        assert await charged(stack) == sender.told.tokens_by_agent()
        assert (await verify(stack))["ok"]
    finally:
        await connection.close()
