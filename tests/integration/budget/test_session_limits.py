"""Limits set directly on a session or a subagent bind like those of every other account."""

import asyncio
import uuid
from decimal import Decimal

import asyncpg
import pytest
from pydantic import ValidationError
from support.budget_service import Bus
from support.waiting import eventually

from hookbus.contracts.budget import (
    DeductReply,
    DeductRequest,
    HistoryReply,
    HistoryRequest,
    InitReply,
    InitRequest,
    ListReply,
    ListRequest,
    Remaining,
    ReserveReply,
    ReserveRequest,
    ResetRequest,
    ScopeInitRequest,
    ScopeKind,
    ScopeRequest,
    StatusReply,
)
from hookbus.contracts.problems import ProblemCode, ProblemError

WAIT_S = 30.0


@pytest.fixture
async def agent(bus: Bus) -> str:
    """An agent with ample limits."""
    made = f"agent-{uuid.uuid4().hex[:12]}"
    limits = [{"unit": "tokens", "window": "total", "amount": 10**9}]
    await bus.call("init", InitRequest.model_validate({"agent_id": made, "limits": limits}), InitReply)
    return made


async def limit(bus: Bus, scope: ScopeKind, name: str, window: str, amount: int | None) -> StatusReply:
    limits = [{"unit": "tokens", "window": window, "amount": amount}]
    request = ScopeInitRequest.model_validate({"scope": scope, "name": name, "limits": limits, "actor": "eve"})
    return await bus.call("scope_init", request, StatusReply)


async def reserve(bus: Bus, agent: str, tokens: int, session: str | None, subagent: str | None = None) -> ReserveReply:
    request = ReserveRequest(agent_id=agent, estimated_tokens=tokens, reserve=True, session=session, subagent=subagent)
    return await bus.call("check", request, ReserveReply)


async def settle(bus: Bus, agent: str, tokens: int, reservation: str | None) -> DeductReply:
    fields = {"agent_id": agent, "tokens_used": tokens, "reservation": reservation}
    request = DeductRequest.model_validate(fields | {"idempotency_key": uuid.uuid4().hex})
    return await bus.call("deduct", request, DeductReply)


async def standing(bus: Bus, scope: ScopeKind, name: str) -> Remaining:
    (only,) = (await bus.call("status", ScopeRequest(scope=scope, name=name), StatusReply)).remaining
    return only


@pytest.mark.parametrize("window", ["session", "total", "hour"])
async def test_a_sessions_limit_binds_that_session_alone_at_any_concurrency(bus: Bus, agent: str, window: str) -> None:
    name = f"{agent}/s1"
    await limit(bus, ScopeKind.SESSION, name, window, 20)
    replies = await asyncio.gather(*(reserve(bus, agent, 1, "s1") for _ in range(60)))
    assert sum(reply.allowed for reply in replies) == 20
    refused = next(reply for reply in replies if not reply.allowed)
    assert refused.code == "tokens_exhausted"
    assert f"session {name}: 0 tokens of 20 tokens left" in refused.reason
    assert (await reserve(bus, agent, 20, "s2")).allowed
    assert (await reserve(bus, agent, 20, None)).allowed
    granted = [reply.reservation for reply in replies if reply.allowed]
    await asyncio.gather(*(settle(bus, agent, 1, each) for each in granted))
    left = await standing(bus, ScopeKind.SESSION, name)
    assert (left.spent, left.held, left.remaining) == (20, 0, 0)
    assert not (await reserve(bus, agent, 1, "s1")).allowed


async def test_a_subagents_limit_binds_it_and_not_its_session(bus: Bus, agent: str) -> None:
    name = f"{agent}/s/review er"
    status = await limit(bus, ScopeKind.SUBAGENT, name, "session", 5)
    assert (status.agent_id, status.name) == (agent, name)
    assert not (await reserve(bus, agent, 6, "s", "review er")).allowed
    hold = await reserve(bus, agent, 5, "s", "review er")
    assert hold.allowed
    await settle(bus, agent, 7, hold.reservation)
    left = await standing(bus, ScopeKind.SUBAGENT, name)
    assert (left.spent, left.remaining) == (7, 0)
    assert (await reserve(bus, agent, 6, "s", "other")).allowed
    assert (await reserve(bus, agent, 6, "s")).allowed


async def test_a_subagent_outside_a_session_has_a_name_of_its_own(bus: Bus, agent: str) -> None:
    await limit(bus, ScopeKind.SUBAGENT, f"{agent}//x", "total", 5)
    assert not (await reserve(bus, agent, 6, None, "x")).allowed
    assert (await reserve(bus, agent, 6, "s", "x")).allowed


async def test_limits_on_a_subagent_nobody_has_started_do_not_start_it(
    bus: Bus, agent: str, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await limit(bus, ScopeKind.SUBAGENT, f"{agent}/s/x", "total", 5)
    query = "SELECT subagents FROM budget.balances JOIN budget.accounts ON id = account_id WHERE name = $1"
    assert await superuser.fetchval(query, f"{agent}/s") == 0
    await reserve(bus, agent, 1, "s", "x")
    await reserve(bus, agent, 1, "s", "x")
    assert await superuser.fetchval(query, f"{agent}/s") == 1


async def test_an_agent_nobody_knows_is_made_with_the_defaults_below_which_its_session_lies(bus: Bus) -> None:
    agent = f"agent-{uuid.uuid4().hex[:12]}"
    await limit(bus, ScopeKind.SESSION, f"{agent}/s", "total", 10**9)
    assert not (await reserve(bus, agent, 100_001, "s")).allowed
    status = await bus.call("status", ScopeRequest(name=agent), StatusReply)
    assert len(status.remaining) == 3


async def test_reset_list_and_history_name_sessions_and_subagents(bus: Bus, agent: str) -> None:
    session, subagent = f"{agent}/s", f"{agent}/s/x é"
    for scope, name in ((ScopeKind.SESSION, session), (ScopeKind.SUBAGENT, subagent)):
        await limit(bus, scope, name, "session", 10)
    await settle(bus, agent, 10, (await reserve(bus, agent, 10, "s", "x é")).reservation)
    assert not (await reserve(bus, agent, 1, "s", "x é")).allowed
    for scope, name in ((ScopeKind.SESSION, session), (ScopeKind.SUBAGENT, subagent)):
        request = ResetRequest.model_validate({"scope": scope, "name": name, "window": "session", "actor": "eve"})
        await bus.call("reset", request, StatusReply)
        rows = (await bus.call("history", HistoryRequest(scope=scope, name=name), HistoryReply)).entries
        assert [row.operation for row in rows] == ["reset", "settle", "reserve", "limits"]
        assert {row.agent_id for row in rows} == {agent}
    assert (await reserve(bus, agent, 10, "s", "x é")).allowed
    for scope, name in ((ScopeKind.SESSION, session), (ScopeKind.SUBAGENT, subagent)):
        names: list[str] = []
        cursor: str | None = None
        while True:
            page = await bus.call("list", ListRequest(scope=scope, cursor=cursor, page_items_max=2), ListReply)
            names.extend(account.name for account in page.accounts)
            cursor = page.cursor
            if cursor is None:
                break
        assert name in names


async def test_reset_of_an_agents_session_windows_leaves_its_sessions_own_hours(bus: Bus, agent: str) -> None:
    await limit(bus, ScopeKind.SESSION, f"{agent}/s", "hour", 10)
    await limit(bus, ScopeKind.SESSION, f"{agent}/s", "total", 10)
    await settle(bus, agent, 4, (await reserve(bus, agent, 4, "s")).reservation)
    await bus.call("reset", ResetRequest.model_validate({"name": agent, "window": "session"}), StatusReply)
    status = await bus.call("status", ScopeRequest(scope=ScopeKind.SESSION, name=f"{agent}/s"), StatusReply)
    assert {each.window: each.spent for each in status.remaining} == {"hour": 4, "total": 0}


async def test_a_sessions_own_threshold_is_told_once(
    bus: Bus, agent: str, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    name = f"{agent}/s"
    await limit(bus, ScopeKind.SESSION, name, "session", 100)
    for tokens in (80, 10, 10):
        await settle(bus, agent, tokens, (await reserve(bus, agent, tokens, "s")).reservation)
    query = (
        "SELECT event->'data'->>'threshold' FROM budget.outbox"
        " WHERE event->'data'->>'name' = $1 AND published_at IS NOT NULL ORDER BY 1"
    )

    async def told() -> bool:
        return [row[0] for row in await superuser.fetch(query, name)] == ["0.75", "0.95"]

    await eventually(told, WAIT_S)


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ("session", "agent"),
        ("session", "agent/"),
        ("session", "/s"),
        ("session", "agent/s/x"),
        ("session", "agent/s\n"),
        ("subagent", "agent/s"),
        ("subagent", "agent/s/"),
        ("subagent", "agent/s/\x00"),
        ("subagent", "agent/s/" + "x" * 65),
        ("project", "a/b"),
        ("agent", "a b"),
    ],
)
def test_a_name_that_is_none_of_its_level_is_refused(scope: str, name: str) -> None:
    for request in (ScopeRequest, HistoryRequest, ResetRequest, ScopeInitRequest):
        with pytest.raises(ValidationError):
            request.model_validate({"scope": scope, "name": name})


async def test_an_unknown_session_is_not_found(bus: Bus, agent: str) -> None:
    for scope, name in ((ScopeKind.SESSION, f"{agent}/none"), (ScopeKind.SUBAGENT, f"{agent}/none/x")):
        for method, request in (
            ("status", ScopeRequest(scope=scope, name=name)),
            ("reset", ResetRequest(scope=scope, name=name)),
        ):
            with pytest.raises(ProblemError) as caught:
                await bus.call(method, request, StatusReply)
            assert caught.value.problem.code is ProblemCode.NOT_FOUND


async def test_amounts_beyond_a_sessions_headroom_are_still_recorded(bus: Bus, agent: str) -> None:
    await limit(bus, ScopeKind.SESSION, f"{agent}/s", "total", 10)
    hold = await reserve(bus, agent, 10, "s")
    assert (await settle(bus, agent, 25, hold.reservation)).deducted.tokens == 25
    left = await standing(bus, ScopeKind.SESSION, f"{agent}/s")
    assert (left.spent, left.remaining) == (Decimal(25), 0)
