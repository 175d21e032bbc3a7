"""Check, reserve, deduct and release over the real bus and database."""

import asyncio
import uuid
from decimal import Decimal

import asyncpg
import pytest
from support.budget_service import Bus, Parts
from support.waiting import eventually

from hookbus.budget.keeper import Keeper
from hookbus.contracts.budget import (
    DeductReply,
    DeductRequest,
    DriftReply,
    DriftRequest,
    ExtendReply,
    ExtendRequest,
    HistoryReply,
    HistoryRequest,
    InitReply,
    InitRequest,
    Limit,
    ListReply,
    ListRequest,
    Mode,
    ProjectsReply,
    ProjectsRequest,
    ReleaseReply,
    ReleaseRequest,
    Remaining,
    ReserveManyReply,
    ReserveManyRequest,
    ReserveReply,
    ReserveRequest,
    ResetRequest,
    ScopeInitRequest,
    ScopeKind,
    ScopeRequest,
    StatusReply,
    Unit,
    Window,
)
from hookbus.contracts.fields import WireModel
from hookbus.contracts.problems import ProblemCode, ProblemError

TTL_S = 3
WAIT_S = 60.0


def name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def tokens(amount: int, window: Window = Window.HOUR, mode: Mode = Mode.BLOCK) -> Limit:
    return Limit(unit=Unit.TOKENS, window=window, amount=Decimal(amount), mode=mode)


def usd(amount: str, window: Window = Window.DAY) -> Limit:
    return Limit(unit=Unit.USD, window=window, amount=Decimal(amount))


def only(remaining: tuple[Remaining, ...], unit: Unit, window: Window, scope: ScopeKind = ScopeKind.AGENT) -> Remaining:
    (found,) = [each for each in remaining if (each.unit, each.window, each.scope) == (unit, window, scope)]
    return found


async def init(bus: Bus, agent: str, *limits: Limit, project: str | None = None, team: str | None = None) -> InitReply:
    return await bus.call("init", InitRequest(agent_id=agent, limits=limits, project=project, team=team), InitReply)


async def reserve(bus: Bus, agent: str, count: int, **more: object) -> ReserveReply:
    request = ReserveRequest.model_validate({"agent_id": agent, "estimated_tokens": count, "reserve": True} | more)
    return await bus.call("check", request, ReserveReply)


async def deduct(bus: Bus, agent: str, count: int, **more: object) -> DeductReply:
    fields: dict[str, object] = {"agent_id": agent, "tokens_used": count, "idempotency_key": uuid.uuid4().hex}
    return await bus.call("deduct", DeductRequest.model_validate(fields | more), DeductReply)


async def status(bus: Bus, agent: str) -> StatusReply:
    return await bus.call("status", ScopeRequest(name=agent), StatusReply)


async def problem(bus: Bus, method: str, request: WireModel) -> ProblemCode:
    with pytest.raises(ProblemError) as caught:
        await bus.call(method, request, StatusReply)
    return caught.value.problem.code


async def test_two_hundred_concurrent_reserves_of_one_unit_get_exactly_the_hundred_there_are(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, tokens(100))
    replies = await asyncio.gather(*(reserve(bus, agent, 1) for _ in range(200)))
    assert sum(reply.allowed for reply in replies) == 100
    assert len({reply.reservation for reply in replies if reply.allowed}) == 100
    refused = next(reply for reply in replies if not reply.allowed)
    assert (refused.code, refused.reservation) == ("tokens_exhausted", None)
    left = only((await status(bus, agent)).remaining, Unit.TOKENS, Window.HOUR)
    assert (left.held, left.spent, left.remaining) == (100, 0, 0)


async def test_init_says_new_then_known_and_keeps_what_was_spent(bus: Bus) -> None:
    agent = name("agent")
    first = await init(bus, agent)
    assert first.created
    assert {(each.unit, each.window, each.amount) for each in first.remaining} == {
        (Unit.TOKENS, Window.HOUR, Decimal(100_000)),
        (Unit.TOKENS, Window.DAY, Decimal(500_000)),
        (Unit.USD, Window.OPERATION, Decimal("0.10")),
    }
    await deduct(bus, agent, 70)
    second = await init(bus, agent, tokens(50), tokens(1_000, Window.WEEK))
    assert not second.created
    hour = only(second.remaining, Unit.TOKENS, Window.HOUR)
    assert (hour.amount, hour.spent, hour.remaining) == (50, 70, 0)
    week = only(second.remaining, Unit.TOKENS, Window.WEEK)
    assert (week.spent, week.remaining) == (70, 930)


async def test_an_unknown_agent_is_guarded_by_the_defaults_at_its_first_check(bus: Bus) -> None:
    agent = name("agent")
    dear = ReserveRequest(agent_id=agent, estimated_tokens=1, estimated_cost=Decimal("0.11"))
    reply = await bus.call("check", dear, ReserveReply)
    assert (reply.allowed, reply.code) == (False, "operation_too_expensive")
    assert (await status(bus, agent)).holds == 0
    reply = await reserve(bus, agent, 100_001)
    assert (reply.allowed, reply.code) == (False, "tokens_exhausted")


async def test_unknown_agents_and_reservations_are_not_found(bus: Bus) -> None:
    unknown, known = name("agent"), name("agent")
    await init(bus, known)
    key, nobody = "k", str(uuid.uuid4())
    requests: list[tuple[str, WireModel]] = [
        ("status", ScopeRequest(name=unknown)),
        ("history", HistoryRequest(name=unknown)),
        ("reset", ResetRequest(name=unknown)),
        ("deduct", DeductRequest(agent_id=unknown, tokens_used=1, idempotency_key=key)),
        ("deduct", DeductRequest(agent_id=known, tokens_used=1, idempotency_key=key, reservation="not-a-uuid")),
        ("release", ReleaseRequest(agent_id=known, reservation="not-a-uuid")),
        ("extend", ExtendRequest(agent_id=known, reservation=nobody)),
        ("status", ScopeRequest(scope=ScopeKind.PROJECT, name=name("project"))),
    ]
    for method, request in requests:
        assert await problem(bus, method, request) is ProblemCode.NOT_FOUND, (method, request)


async def test_settling_less_equal_and_more_than_held(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, tokens(1_000))
    for held, spent in ((100, 40), (100, 100), (100, 900)):
        reply = await reserve(bus, agent, held)
        await deduct(bus, agent, spent, reservation=reply.reservation)
    state = await status(bus, agent)
    hour = only(state.remaining, Unit.TOKENS, Window.HOUR)
    assert (hour.spent, hour.held, hour.remaining, state.holds) == (1_040, 0, 0, 0)
    assert not (await reserve(bus, agent, 1)).allowed


async def test_an_idempotency_key_charges_once_and_refuses_another_body(bus: Bus) -> None:
    agent, other = name("agent"), name("agent")
    await init(bus, agent, tokens(1_000))
    await init(bus, other, tokens(1_000))
    first = await deduct(bus, agent, 10, idempotency_key="k1")
    again = await deduct(bus, agent, 10, idempotency_key="k1")
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.deducted == first.deducted
    request = DeductRequest(agent_id=agent, tokens_used=11, idempotency_key="k1")
    assert await problem(bus, "deduct", request) is ProblemCode.IDEMPOTENCY_CONFLICT
    assert not (await deduct(bus, other, 10, idempotency_key="k1")).duplicate
    assert only((await status(bus, agent)).remaining, Unit.TOKENS, Window.HOUR).spent == 10


async def test_fifty_concurrent_repeats_of_one_deduct_charge_once(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, tokens(1_000))
    replies = await asyncio.gather(*(deduct(bus, agent, 7, idempotency_key="same") for _ in range(50)))
    assert sum(not reply.duplicate for reply in replies) == 1
    assert only((await status(bus, agent)).remaining, Unit.TOKENS, Window.HOUR).spent == 7


async def test_a_repeated_reserve_of_one_event_is_one_hold(bus: Bus) -> None:
    agent, event = name("agent"), name("event")
    await init(bus, agent, tokens(100))
    replies = await asyncio.gather(*(reserve(bus, agent, 60, event_id=event) for _ in range(20)))
    assert all(reply.allowed for reply in replies)
    assert len({reply.reservation for reply in replies}) == 1
    assert (await status(bus, agent)).holds == 1
    other = name("agent")
    request = ReserveRequest(agent_id=other, estimated_tokens=1, reserve=True, event_id=event)
    assert await problem(bus, "check", request) is ProblemCode.CONFLICT


async def test_operations_asked_about_together_are_judged_one_after_the_other(bus: Bus) -> None:
    """In one message: who comes first has what is left, and the fault of one is its own."""
    agent, event = name("agent"), name("event")
    await init(bus, agent, tokens(100))
    await reserve(bus, name("agent"), 1, event_id=event)
    asked: list[dict[str, object]] = [{}, {"event_id": event}, {"subagent": "a"}, {}, {"estimated_tokens": 40}]
    gathered = ReserveManyRequest.model_validate(
        {
            "members": [
                {"request": {"agent_id": agent, "estimated_tokens": 60, "reserve": True} | each} for each in asked
            ]
        }
    )
    answers = (await bus.call("check_many", gathered, ReserveManyReply)).answers
    codes = [one.problem.code if one.problem else one.reply and one.reply.code for one in answers]
    assert codes == ["ok", ProblemCode.CONFLICT, "tokens_exhausted", "tokens_exhausted", "ok"]
    assert (await status(bus, agent)).holds == 2


async def test_after_its_end_a_hold_is_neither_released_nor_extended_but_what_was_spent_is_recorded(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, tokens(1_000))
    hold = (await reserve(bus, agent, 100)).reservation
    assert hold is not None
    release = ReleaseRequest(agent_id=agent, reservation=hold, reason="changed its mind")
    assert (await bus.call("release", release, ReleaseReply)).released
    assert not (await bus.call("release", release, ReleaseReply)).released
    assert await problem(bus, "extend", ExtendRequest(agent_id=agent, reservation=hold)) is ProblemCode.CONFLICT
    await deduct(bus, agent, 5, reservation=hold)
    await deduct(bus, agent, 6, reservation=hold)
    hour = only((await status(bus, agent)).remaining, Unit.TOKENS, Window.HOUR)
    assert (hour.spent, hour.held) == (11, 0)


async def test_what_was_spent_is_recorded_also_under_a_reservation_that_is_forgotten(
    bus: Bus, parts: Parts, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A closed hold is forgotten after days: nobody can tell it from one that never was. Whoever reports under it did
    spend it; the row says that the reservation was not known."""
    agent = name("agent")
    await init(bus, agent, tokens(1_000))
    hold = (await reserve(bus, agent, 100)).reservation
    assert hold is not None
    await deduct(bus, agent, 10, reservation=hold)
    await superuser.execute("UPDATE budget.holds SET expires_at = now() - interval '50 days' WHERE id = $1::uuid", hold)
    await Keeper(parts.database, parts.writer, bus.publisher).purge_once()
    never = str(uuid.uuid4())
    for number, reservation in enumerate((hold, never)):
        reply = await deduct(bus, agent, 20, reservation=reservation, idempotency_key=f"k{number}")
        assert not reply.duplicate
        assert (await deduct(bus, agent, 20, reservation=reservation, idempotency_key=f"k{number}")).duplicate
    hour = only((await status(bus, agent)).remaining, Unit.TOKENS, Window.HOUR)
    assert (hour.spent, hour.held) == (50, 0)
    rows = (await bus.call("history", HistoryRequest(name=agent), HistoryReply)).entries[:2]
    assert [(row.operation, row.detail["hold_state"]) for row in rows] == [("charge", "unknown")] * 2
    assert [row.reservation for row in rows] == [never, hold]


async def test_a_hold_of_another_agent_is_unknown(bus: Bus) -> None:
    agent, thief = name("agent"), name("agent")
    await init(bus, agent)
    await init(bus, thief)
    hold = (await reserve(bus, agent, 10)).reservation
    assert hold is not None
    request = ReleaseRequest(agent_id=thief, reservation=hold)
    assert await problem(bus, "release", request) is ProblemCode.NOT_FOUND
    charge = DeductRequest(agent_id=thief, tokens_used=1, idempotency_key="k", reservation=hold)
    assert await problem(bus, "deduct", charge) is ProblemCode.NOT_FOUND


async def test_a_hold_expires_by_itself_as_a_row_unless_it_was_extended(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, tokens(100))
    kept = await reserve(bus, agent, 40, ttl_seconds=TTL_S)
    assert kept.reservation is not None
    extend = ExtendRequest(agent_id=agent, reservation=kept.reservation, ttl_seconds=600)
    await bus.call("extend", extend, ExtendReply)
    # Made after the other and for as long: once this one has expired, the other one would have too.
    short = await reserve(bus, agent, 60, ttl_seconds=TTL_S)
    assert short.reservation is not None

    async def one_is_left() -> bool:
        return (await status(bus, agent)).holds == 1

    await eventually(one_is_left, WAIT_S)
    state = await status(bus, agent)
    hour = only(state.remaining, Unit.TOKENS, Window.HOUR)
    assert (state.holds, hour.held, hour.spent) == (1, 40, 0)
    rows = (await bus.call("history", HistoryRequest(name=agent), HistoryReply)).entries
    (expired,) = [row for row in rows if row.operation == "expire"]
    assert (expired.held_tokens, expired.reservation) == (-60, short.reservation)
    await deduct(bus, agent, 3, reservation=short.reservation)
    assert only((await status(bus, agent)).remaining, Unit.TOKENS, Window.HOUR).spent == 3


async def test_an_operation_must_fit_every_limit_above_its_agent(bus: Bus) -> None:
    project, team = name("project"), name("team")
    one, two = name("agent"), name("agent")
    for scope, scope_name, amount, above in (
        (ScopeKind.TEAM, team, 1_000, None),
        (ScopeKind.PROJECT, project, 100, team),
    ):
        request = ScopeInitRequest(scope=scope, name=scope_name, limits=(tokens(amount),), team=above)
        await bus.call("scope_init", request, StatusReply)
    await init(bus, one, tokens(90), project=project)
    await init(bus, two, tokens(90), project=project)
    assert (await reserve(bus, one, 80)).allowed
    refused = await reserve(bus, two, 80)
    assert (refused.allowed, refused.code) == (False, "tokens_exhausted")
    assert f"project {project}" in refused.reason
    assert only(refused.remaining, Unit.TOKENS, Window.HOUR).held == 0
    above = await bus.call("status", ScopeRequest(scope=ScopeKind.TEAM, name=team), StatusReply)
    assert only(above.remaining, Unit.TOKENS, Window.HOUR, ScopeKind.TEAM).held == 80
    assert above.holds == 1
    state = await status(bus, two)
    assert (state.project, state.team) == (project, team)


async def test_agents_named_in_a_project_by_their_operations_share_its_limit(bus: Bus) -> None:
    project = name("project")
    scope = ScopeInitRequest(scope=ScopeKind.PROJECT, name=project, limits=(tokens(50),))
    await bus.call("scope_init", scope, StatusReply)
    agents = [name("agent") for _ in range(10)]
    replies = await asyncio.gather(*(reserve(bus, each, 1, project=project) for each in agents for _ in range(10)))
    assert sum(reply.allowed for reply in replies) == 50


async def test_a_session_limit_bounds_each_session_by_itself(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, tokens(10, Window.SESSION))
    assert (await reserve(bus, agent, 10, session="s1")).allowed
    assert not (await reserve(bus, agent, 1, session="s1")).allowed
    assert (await reserve(bus, agent, 10, session="s2")).allowed


async def test_modes_ask_and_warn(bus: Bus) -> None:
    asking, warning = name("agent"), name("agent")
    await init(bus, asking, tokens(10, mode=Mode.ASK))
    reply = await reserve(bus, asking, 11)
    assert (reply.allowed, reply.mode, reply.reservation) == (False, Mode.ASK, None)
    await init(bus, warning, tokens(10, mode=Mode.WARN))
    reply = await reserve(bus, warning, 11)
    assert reply.allowed
    assert reply.reservation is not None
    assert only((await status(bus, warning)).remaining, Unit.TOKENS, Window.HOUR).held == 11


async def test_reset_begins_windows_afresh_and_is_recorded_with_who_did_it(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, tokens(100), tokens(500, Window.DAY), usd("1.000000"))
    await deduct(bus, agent, 100, cost="0.5")
    await bus.call("reset", ResetRequest(name=agent, unit=Unit.TOKENS, window=Window.HOUR, actor="eve"), StatusReply)
    state = await status(bus, agent)
    assert only(state.remaining, Unit.TOKENS, Window.HOUR).spent == 0
    assert only(state.remaining, Unit.TOKENS, Window.DAY).spent == 100
    assert (await reserve(bus, agent, 100)).allowed
    await bus.call("reset", ResetRequest(name=agent, actor="eve"), StatusReply)
    state = await status(bus, agent)
    assert only(state.remaining, Unit.TOKENS, Window.DAY).spent == 0
    assert only(state.remaining, Unit.USD, Window.DAY).spent == 0
    assert only(state.remaining, Unit.TOKENS, Window.HOUR).held == 100
    rows = (await bus.call("history", HistoryRequest(name=agent), HistoryReply)).entries
    assert [row.actor for row in rows if row.operation == "reset"] == ["eve", "eve"]


async def test_history_pages_cover_every_row_once(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent)
    for _ in range(7):
        await deduct(bus, agent, 1)
    seen: list[int] = []
    cursor: str | None = None
    while True:
        page = await bus.call("history", HistoryRequest(name=agent, cursor=cursor, page_items_max=3), HistoryReply)
        seen.extend(row.id for row in page.entries)
        cursor = page.cursor
        if cursor is None:
            break
    assert len(seen) == 8
    assert seen == sorted(set(seen), reverse=True)
    assert await problem(bus, "history", HistoryRequest(name=agent, cursor="x")) is ProblemCode.BODY_INVALID


async def test_list_pages_by_name(bus: Bus) -> None:
    names = sorted(name("zlist") for _ in range(5))
    for each in names:
        await init(bus, each)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await bus.call("list", ListRequest(cursor=cursor, page_items_max=3), ListReply)
        seen.extend(account.name for account in page.accounts)
        cursor = page.cursor
        if cursor is None:
            break
    assert [each for each in seen if each in names] == names
    assert len(seen) == len(set(seen))
    assert await problem(bus, "list", ListRequest(cursor="zlist")) is ProblemCode.BODY_INVALID


async def test_a_deduct_of_a_model_is_priced_and_an_unknown_model_costs_the_dearest(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, usd("1000"))
    fields: dict[str, object] = {"input_tokens": 1_000, "output_tokens": 1_000}
    base: dict[str, object] = {"agent_id": agent} | fields
    known = DeductRequest.model_validate(base | {"model": "claude-sonnet-4-5", "idempotency_key": "a"})
    unknown = DeductRequest.model_validate(base | {"model": "nobody-knows-1", "idempotency_key": "b"})
    priced = await bus.call("deduct", known, DeductReply)
    assert (priced.deducted.tokens, priced.deducted.usd) == (2_000, Decimal("0.018"))
    dear = await bus.call("deduct", unknown, DeductReply)
    assert dear.deducted.usd > 10 * priced.deducted.usd
    latest = (await bus.call("history", HistoryRequest(name=agent), HistoryReply)).entries[0]
    assert latest.model == "nobody-knows-1"
    assert (latest.price_version or "").startswith("genai-prices/")
    assert latest.detail["price_flags"] == ["model_unknown"]
    empty = DeductRequest(agent_id=agent, idempotency_key="c")
    assert await problem(bus, "deduct", empty) is ProblemCode.BODY_INVALID


async def test_a_session_starts_no_more_subagents_than_it_may(
    bus: Bus, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    agent = name("agent")
    await init(bus, agent, tokens(1_000_000))
    wanted = [f"sub{number}" for number in range(60)]
    replies = await asyncio.gather(*(reserve(bus, agent, 1, session="s", subagent=each) for each in wanted))
    started = {each for each, reply in zip(wanted, replies, strict=True) if reply.allowed}
    assert len(started) == 50
    refused = next(reply for reply in replies if not reply.allowed)
    assert refused.code == "operation_too_expensive"
    assert refused.reason.startswith(
        f"subagent cap: session {agent}/s has 50 subagents started, at most 50 are allowed in a session; 'sub"
    )
    again = await reserve(bus, agent, 1, session="s", subagent=next(iter(started)))
    elsewhere = await reserve(bus, agent, 1, session="other", subagent="sub0")
    assert (again.allowed, elsewhere.allowed) == (True, True)
    query = "SELECT subagents FROM budget.balances JOIN budget.accounts ON id = account_id WHERE name = $1"
    assert await superuser.fetchval(query, f"{agent}/s") == 50


async def test_an_operation_that_nobody_sized_takes_its_tools_usual_amount_and_never_all_that_is_left(bus: Bus) -> None:
    agent = name("agent")
    await init(bus, agent, tokens(100_000))
    for spent in (900, 1_000, 5_000):
        hold = await reserve(bus, agent, 1, tool="Bash")
        await deduct(bus, agent, spent, reservation=hold.reservation)
    request = ReserveRequest(agent_id=agent, reserve=True, tool="Bash")
    assert (await bus.call("check", request, ReserveReply)).allowed
    assert only((await status(bus, agent)).remaining, Unit.TOKENS, Window.HOUR).held == 1_000
    small = name("agent")
    await init(bus, small, tokens(100))
    first = await bus.call("check", ReserveRequest(agent_id=small, reserve=True), ReserveReply)
    assert only(first.remaining, Unit.TOKENS, Window.HOUR).held == 10
    await deduct(bus, small, 90)
    refused = await bus.call("check", ReserveRequest(agent_id=small, reserve=True), ReserveReply)
    assert (refused.allowed, refused.code) == (False, "tokens_exhausted")


async def test_projects_and_drift(bus: Bus) -> None:
    agent, project, team = name("agent"), name("project"), name("team")
    await init(bus, agent, usd("100"), project=project, team=team)
    request = ProjectsRequest(cursor=project[:-1], page_items_max=1)
    (view,) = (await bus.call("projects", request, ProjectsReply)).projects
    assert (view.name, view.team, view.agents) == (project, team, 1)
    for key, cost in (("a", "0.004"), ("b", "0.003")):
        fields = {"agent_id": agent, "model": "claude-sonnet-4-5", "input_tokens": 1_000, "cost": cost}
        charge = DeductRequest.model_validate(fields | {"idempotency_key": key})
        await bus.call("deduct", charge, DeductReply)
    (row,) = (await bus.call("drift", DriftRequest(agent_id=agent), DriftReply)).rows
    assert (row.model, row.reports) == ("claude-sonnet-4-5", 2)
    assert (row.reported_usd, row.computed_usd) == (Decimal("0.007"), Decimal("0.006"))
    assert row.difference_usd == Decimal("0.001")
