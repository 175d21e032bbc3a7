"""What agents report over the HOOKS stream is charged once per event id."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import pytest
from pydantic import JsonValue
from support.budget_service import Bus, Parts
from support.servers import NatsFixture, PostgresFixture

from hookbus.budget.keeper import Keeper
from hookbus.contracts.budget import (
    HistoryReply,
    HistoryRequest,
    InitReply,
    InitRequest,
    Limit,
    Remaining,
    ReserveReply,
    ReserveRequest,
    ScopeRequest,
    StatusReply,
    Unit,
    Window,
)
from hookbus.contracts.events import Event, Kind, type_of_kind
from hookbus.contracts.subjects import hook_subject

WAIT_S = 60.0
BOTH = (
    Limit(unit=Unit.TOKENS, window=Window.TOTAL, amount=Decimal(10_000)),
    Limit(unit=Unit.USD, window=Window.TOTAL, amount=Decimal(10)),
)


def name(prefix: str = "agent") -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def event(kind: Kind, agent: str, data: dict[str, JsonValue], *, event_id: str | None = None) -> Event:
    return Event(
        id=event_id or uuid.uuid4().hex,
        source="/test",
        type=type_of_kind(kind),
        subject=agent,
        time=datetime.now(UTC),
        data=data,
    )


async def publish(bus: Bus, *events: Event) -> None:
    for each in events:
        assert each.kind is not None
        await bus.publisher.publish(each, hook_subject(each.kind, each.agent_id))


async def init(bus: Bus, agent: str) -> None:
    await bus.call("init", InitRequest(agent_id=agent, limits=BOTH), InitReply)


async def state(bus: Bus, agent: str) -> tuple[Remaining, Remaining, int]:
    reply = await bus.call("status", ScopeRequest(name=agent), StatusReply)
    by_unit = {each.unit: each for each in reply.remaining}
    return by_unit[Unit.TOKENS], by_unit[Unit.USD], reply.holds


async def until(probe: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not await probe():
            await asyncio.sleep(0.02)


async def until_spent(bus: Bus, agent: str, tokens: int) -> None:
    async def spent() -> bool:
        return (await state(bus, agent))[0].spent == tokens

    await until(spent)


async def test_usage_and_post_task_are_charged_once_however_often_they_come(bus: Bus, nats_server: NatsFixture) -> None:
    agent = name()
    await init(bus, agent)
    usage = event(Kind.USAGE, agent, {"tokens_used": 100, "cost": "0.25"})
    post = event(Kind.POST_TASK, agent, {"tokens_used": 10, "cost": "0.05", "operation_id": "op"})
    client = await nats_server.connect("gateway")
    try:
        # Without a message id the bus does not know the repeats; only the ledger does.
        for _ in range(5):
            for each in (usage, post):
                assert each.kind is not None
                await client.jetstream().publish(hook_subject(each.kind, agent), each.to_wire())
    finally:
        await client.close()
    last = event(Kind.USAGE, agent, {"tokens_used": 1})
    await publish(bus, last)
    await until_spent(bus, agent, 111)
    assert (await state(bus, agent))[1].spent == Decimal("0.30")


async def test_a_post_task_settles_the_hold_of_its_operation_or_gives_it_back(bus: Bus) -> None:
    agent = name()
    await init(bus, agent)
    for operation in ("reports", "silent"):
        request = ReserveRequest(agent_id=agent, estimated_tokens=500, reserve=True, operation_id=operation)
        assert (await bus.call("reserve", request, ReserveReply)).allowed
    assert (await state(bus, agent))[2] == 2
    await publish(
        bus,
        event(Kind.POST_TASK, agent, {"operation_id": "reports", "tokens_used": 40}),
        event(Kind.POST_TASK, agent, {"operation_id": "silent", "status": "ok"}),
    )
    await until_spent(bus, agent, 40)

    async def released() -> bool:
        tokens, _usd, holds = await state(bus, agent)
        return (tokens.held, holds) == (0, 0)

    await until(released)


async def test_a_report_of_a_request_that_was_charged_before_leaves_no_hold_behind(bus: Bus) -> None:
    """The agent's telemetry told of the request first: the post-task charges nothing and gives the hold back."""
    agent = name()
    await init(bus, agent)
    request = ReserveRequest(agent_id=agent, estimated_tokens=9_000, reserve=True, operation_id="op")
    assert (await bus.call("reserve", request, ReserveReply)).allowed
    known: dict[str, JsonValue] = {"request_id": "r", "tokens_used": 500}
    await publish(bus, event(Kind.USAGE, agent, known | {"provenance": "otlp"}))
    await until_spent(bus, agent, 500)
    await publish(bus, event(Kind.POST_TASK, agent, known | {"provenance": "hook", "operation_id": "op"}))

    async def released() -> bool:
        tokens, _usd, holds = await state(bus, agent)
        return (tokens.spent, tokens.held, holds) == (500, 0, 0)

    await until(released)
    entries = (await bus.call("history", HistoryRequest(name=agent), HistoryReply)).entries
    assert [(row.operation, row.held_tokens, row.request_id) for row in entries[:3]] == [
        ("release", -9_000, "r"),
        ("charge", 0, "r"),
        ("reserve", 9_000, None),
    ]


async def test_a_settle_that_comes_before_its_reserve_leaves_no_hold_behind(bus: Bus) -> None:
    agent = name()
    await init(bus, agent)
    await publish(bus, event(Kind.POST_TASK, agent, {"operation_id": "quick", "tokens_used": 9}))
    await until_spent(bus, agent, 9)
    request = ReserveRequest(agent_id=agent, estimated_tokens=500, reserve=True, operation_id="quick")
    assert (await bus.call("reserve", request, ReserveReply)).allowed
    tokens, _usd, holds = await state(bus, agent)
    assert (tokens.spent, tokens.held, holds) == (9, 0, 0)
    assert (await bus.call("reserve", request, ReserveReply)).allowed
    assert (await state(bus, agent))[2] == 1


async def test_what_was_spent_is_recorded_over_the_limit_and_of_an_agent_nobody_knows(bus: Bus) -> None:
    agent = name()
    await publish(bus, event(Kind.USAGE, agent, {"tokens_used": 5_000_000, "cost": "99"}))

    async def known() -> bool:
        reply = await bus.call("check", ReserveRequest(agent_id=agent, estimated_tokens=1), ReserveReply)
        return not reply.allowed

    await until(known)


async def test_the_better_source_of_one_request_corrects_the_worse_and_is_not_corrected_by_it(bus: Bus) -> None:
    agent = name()
    await init(bus, agent)

    def report(source: str, tokens: int) -> Event:
        return event(Kind.USAGE, agent, {"request_id": "req-1", "provenance": source, "tokens_used": tokens})

    await publish(bus, report("transcript", 100))
    await until_spent(bus, agent, 100)
    await publish(bus, report("otlp", 80))
    await until_spent(bus, agent, 80)
    await publish(bus, report("sdk", 500), event(Kind.USAGE, agent, {"tokens_used": 1}))
    await until_spent(bus, agent, 81)


async def test_poison_goes_to_the_dead_letters_and_its_neighbours_pass(bus: Bus, nats_server: NatsFixture) -> None:
    agent = name()
    await init(bus, agent)
    bad = event(Kind.USAGE, agent, {"tokens_used": -5})
    await publish(bus, event(Kind.USAGE, agent, {"tokens_used": 1}), bad, event(Kind.USAGE, agent, {"tokens_used": 2}))
    await until_spent(bus, agent, 3)
    client = await nats_server.connect("provision")
    try:
        stream = client.jetstream()

        async def buried() -> bool:
            info = await stream.stream_info("DEADLETTER", subjects_filter="deadletter.budget")
            count = (info.state.subjects or {}).get("deadletter.budget", 0)
            if not count:
                return False
            message = await stream.get_last_msg("DEADLETTER", "deadletter.budget")
            return bad.id.encode() in (message.data or b"")

        await until(buried)
    finally:
        await client.close()


async def test_a_threshold_crossed_is_told_once_per_window(
    bus: Bus, nats_server: NatsFixture, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    agent = name()
    await init(bus, agent)
    for _ in range(4):
        await publish(bus, event(Kind.USAGE, agent, {"tokens_used": 2_500}))
    await until_spent(bus, agent, 10_000)

    async def told() -> bool:
        query = "SELECT count(*) FROM budget.outbox WHERE event->>'subject' = $1 AND published_at IS NOT NULL"
        return await superuser.fetchval(query, agent) == 2

    await until(told)
    await publish(bus, event(Kind.USAGE, agent, {"tokens_used": 1}))
    await until_spent(bus, agent, 10_001)
    query = "SELECT event->'data'->>'threshold' FROM budget.outbox WHERE event->>'subject' = $1 ORDER BY 1"
    assert [row[0] for row in await superuser.fetch(query, agent)] == ["0.75", "0.95"]


async def test_the_service_role_can_neither_change_nor_remove_history(budget_postgres: PostgresFixture) -> None:
    connection = await asyncpg.connect(budget_postgres.database_url("budget"))
    try:
        for statement in (
            "UPDATE budget.budget_history SET tokens = 0",
            "DELETE FROM budget.budget_history",
            "TRUNCATE budget.budget_history",
            "DELETE FROM budget.balances",
            "CREATE TABLE budget.mine (id int)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_what_is_long_closed_is_forgotten_and_what_is_open_is_not(
    bus: Bus, parts: Parts, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    agent = name()
    await init(bus, agent)
    request = ReserveRequest(agent_id=agent, estimated_tokens=5, reserve=True, operation_id="op")
    await bus.call("check", request, ReserveReply)
    await bus.call("check", request, ReserveReply)
    usage = event(Kind.USAGE, agent, {"request_id": "r", "tokens_used": 1})
    await publish(bus, event(Kind.POST_TASK, agent, {"operation_id": "op", "tokens_used": 2}), usage)
    await until_spent(bus, agent, 3)
    account = await superuser.fetchval("SELECT id FROM budget.accounts WHERE name = $1", agent)
    long_ago = "now() - interval '50 days'"
    await superuser.execute(
        f"UPDATE budget.holds SET expires_at = {long_ago} WHERE agent_account = $1 AND state <> 'open'", account
    )
    await superuser.execute(
        f"UPDATE budget.model_requests SET effective_at = {long_ago} WHERE agent_account = $1", account
    )
    await Keeper(parts.database, parts.writer, bus.publisher).purge_once()
    holds = await superuser.fetch("SELECT state FROM budget.holds WHERE agent_account = $1", account)
    assert [row["state"] for row in holds] == ["open"]
    query = "SELECT count(*) FROM budget.model_requests WHERE agent_account = $1"
    assert await superuser.fetchval(query, account) == 0
    assert (await state(bus, agent))[0].spent == 3
