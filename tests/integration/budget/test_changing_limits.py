"""Setting limits again: what is named changes, what is not named stays, and so does what was spent."""

import uuid
from decimal import Decimal

from support.budget_service import Bus

from hookbus.contracts.budget import (
    DeductReply,
    DeductRequest,
    HistoryReply,
    HistoryRequest,
    InitReply,
    InitRequest,
    ReserveReply,
    ReserveRequest,
    ScopeInitRequest,
    ScopeRequest,
    StatusReply,
)

DEFAULTS = {
    ("tokens", "hour"): Decimal(100_000),
    ("tokens", "day"): Decimal(500_000),
    ("usd", "operation"): Decimal("0.10"),
}


def name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def limit(unit: str, window: str, amount: object, **more: object) -> dict[str, object]:
    return {"unit": unit, "window": window, "amount": amount} | more


def amounts(reply: InitReply | StatusReply) -> dict[tuple[str, str], Decimal]:
    return {(each.unit.value, each.window.value): each.amount for each in reply.remaining}


async def init(bus: Bus, agent: str, *limits: dict[str, object], **more: object) -> InitReply:
    request = InitRequest.model_validate({"agent_id": agent, "limits": limits} | more)
    return await bus.call("init", request, InitReply)


async def scope_init(bus: Bus, scope: str, scope_name: str, *limits: dict[str, object], **more: object) -> StatusReply:
    request = ScopeInitRequest.model_validate({"scope": scope, "name": scope_name, "limits": limits} | more)
    return await bus.call("scope_init", request, StatusReply)


async def test_raising_one_limit_leaves_the_others_and_what_was_spent(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, limit("tokens", "hour", 100), limit("usd", "operation", "0.50"))
    charge = DeductRequest(agent_id=agent, tokens_used=60, idempotency_key="k")
    await bus.call("deduct", charge, DeductReply)
    reply = await init(bus, agent, limit("tokens", "hour", 200), limit("tokens", "total", 900))
    assert amounts(reply) == {("tokens", "hour"): 200, ("tokens", "total"): 900, ("usd", "operation"): Decimal("0.50")}
    assert {each.spent for each in reply.remaining if each.unit == "tokens"} == {60}
    dear = ReserveRequest(agent_id=agent, estimated_tokens=1, estimated_cost=Decimal("0.51"))
    assert not (await bus.call("check", dear, ReserveReply)).allowed


async def test_a_known_agents_defaults_stay_when_one_limit_is_raised(bus: Bus) -> None:
    agent = name("agent")
    await bus.call("check", ReserveRequest(agent_id=agent, estimated_tokens=1), ReserveReply)
    assert amounts(await init(bus, agent, limit("tokens", "hour", 200_000))) == DEFAULTS | {
        ("tokens", "hour"): Decimal(200_000)
    }


async def test_naming_nothing_changes_nothing(bus: Bus) -> None:
    agent, project = name("agent"), name("project")
    first = await init(bus, agent, limit("tokens", "hour", 5), warn_at=[0.5])
    again = await init(bus, agent)
    moved = await init(bus, agent, project=project)
    assert (amounts(again), amounts(moved)) == (amounts(first), amounts(first))
    status = await bus.call("status", ScopeRequest(name=agent), StatusReply)
    assert (status.warn_at, status.project) == ((0.5,), project)


async def test_a_limit_is_taken_away_by_name_and_replace_takes_all_others_away(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent)
    assert amounts(await init(bus, agent, limit("tokens", "hour", None))) == {
        key: amount for key, amount in DEFAULTS.items() if key != ("tokens", "hour")
    }
    replaced = await init(bus, agent, limit("usd", "month", 7), replace=True)
    assert amounts(replaced) == {("usd", "month"): 7}
    assert amounts(await init(bus, agent, replace=True)) == DEFAULTS


async def test_a_changed_amount_keeps_its_mode(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, limit("tokens", "hour", 10, mode="ask"))
    await init(bus, agent, limit("tokens", "hour", 20))
    reply = await bus.call("check", ReserveRequest(agent_id=agent, estimated_tokens=21), ReserveReply)
    assert (reply.allowed, reply.mode) == (False, "ask")


async def test_scopes_are_changed_the_same_way_and_each_change_is_recorded_whole(bus: Bus) -> None:
    project = name("project")
    await scope_init(bus, "project", project, limit("tokens", "day", 5), actor="eve")
    reply = await scope_init(bus, "project", project, limit("usd", "day", 6), actor="eve")
    assert amounts(reply) == {("tokens", "day"): 5, ("usd", "day"): 6}
    assert amounts(await scope_init(bus, "project", project, replace=True, actor="eve")) == {}
    request = HistoryRequest.model_validate({"scope": "project", "name": project})
    rows = (await bus.call("history", request, HistoryReply)).entries
    assert [(row.operation, row.actor) for row in rows] == [("limits", "eve")] * 3
    recorded = rows[1].detail["limits"]
    assert isinstance(recorded, list)
    assert len(recorded) == 2
