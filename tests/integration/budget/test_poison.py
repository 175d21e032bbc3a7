"""What the ledger cannot count is set aside with the reason; what came with it is counted."""

import uuid
from datetime import UTC, datetime

import asyncpg
from nats.js.errors import NotFoundError
from support.budget_service import Bus
from support.servers import NatsFixture
from support.waiting import eventually

from hookbus.contracts.budget import InitReply, InitRequest, ScopeRequest, StatusReply
from hookbus.contracts.events import Event, Kind, type_of_kind
from hookbus.contracts.subjects import hook_subject

WAIT_S = 60.0


def usage(agent: str, tokens: int, event_id: str | None = None) -> Event:
    return Event(
        id=event_id or uuid.uuid4().hex,
        source="/test",
        type=type_of_kind(Kind.USAGE),
        subject=agent,
        time=datetime.now(UTC),
        data={"tokens_used": tokens},
    )


async def new_agent(bus: Bus) -> str:
    agent = f"agent-{uuid.uuid4().hex[:12]}"
    limits = [{"unit": "tokens", "window": "total", "amount": 10_000}]
    await bus.call("init", InitRequest.model_validate({"agent_id": agent, "limits": limits}), InitReply)
    return agent


async def spent(bus: Bus, agent: str) -> int:
    (only,) = (await bus.call("status", ScopeRequest(name=agent), StatusReply)).remaining
    return int(only.spent)


async def buried(nats: NatsFixture, event_id: str, agent: str) -> bool:
    """Whether the dead letters hold the event of this agent."""
    client = await nats.connect("provision")
    try:
        stream = client.jetstream()
        sequence = (await stream.stream_info("DEADLETTER")).state.last_seq
        for each in range(1, sequence + 1):
            try:
                message = await stream.get_msg("DEADLETTER", each)
            except NotFoundError:
                continue
            if event_id.encode() in (message.data or b"") and agent.encode() in (message.data or b""):
                return True
        return False
    finally:
        await client.close()


async def test_an_event_id_another_agent_was_charged_under_is_set_aside(bus: Bus, nats_server: NatsFixture) -> None:
    first, second = await new_agent(bus), await new_agent(bus)
    event_id = uuid.uuid4().hex
    await bus.publisher.publish(usage(first, 5, event_id), hook_subject(Kind.USAGE, first))

    async def counted() -> bool:
        return await spent(bus, first) == 5

    await eventually(counted, WAIT_S)
    client = await nats_server.connect("gateway")
    try:
        # Without a message id: the bus would drop it as a repeat.
        await client.jetstream().publish(hook_subject(Kind.USAGE, second), usage(second, 7, event_id).to_wire())
    finally:
        await client.close()
    await eventually(lambda: buried(nats_server, event_id, second), WAIT_S)
    assert (await spent(bus, first), await spent(bus, second)) == (5, 0)


async def test_an_event_the_database_refuses_is_set_aside_and_the_rest_of_its_batch_is_counted(
    bus: Bus, nats_server: NatsFixture, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    good, bad = await new_agent(bus), await new_agent(bus)
    await superuser.execute(
        f"ALTER TABLE budget.budget_history ADD CONSTRAINT refuses CHECK (agent_id <> '{bad}' OR tokens = 0) NOT VALID"
    )
    try:
        refused = usage(bad, 9)
        for event in (usage(good, 1), refused, usage(good, 2)):
            await bus.publisher.publish(event, hook_subject(Kind.USAGE, event.agent_id))

        async def counted() -> bool:
            return await spent(bus, good) == 3

        await eventually(counted, WAIT_S)
        await eventually(lambda: buried(nats_server, refused.id, bad), WAIT_S)
        assert await spent(bus, bad) == 0
    finally:
        await superuser.execute("ALTER TABLE budget.budget_history DROP CONSTRAINT refuses")
