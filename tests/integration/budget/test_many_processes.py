"""Several processes on one tree: whatever the order of arrival, nobody waits in a circle and no limit is passed."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from support.budget_service import Parts, settings_for
from support.ledger_actions import Process
from support.servers import PostgresFixture

from hookbus.budget import directory
from hookbus.budget.recount import recount
from hookbus.contracts.budget import (
    DeductRequest,
    InitRequest,
    Limit,
    ListRequest,
    ReserveRequest,
    ResetRequest,
    ScopeInitRequest,
    ScopeKind,
    ScopeRequest,
    Unit,
    Window,
)

AGENTS = 12
OPERATIONS = 400
NEW_AGENTS = 100
AT_ONCE = 4


@pytest.fixture
async def processes(budget_postgres: PostgresFixture) -> AsyncIterator[list[Process]]:
    made = [Process.of(Parts.of(settings_for(budget_postgres))) for _ in range(3)]
    try:
        yield made
    finally:
        for process in made:
            await process.parts.close()


def tokens(amount: int, window: Window = Window.TOTAL) -> tuple[Limit, ...]:
    return (Limit(unit=Unit.TOKENS, window=window, amount=Decimal(amount)),)


async def test_reserves_settles_moves_and_resets_from_three_processes(processes: list[Process]) -> None:
    mark, chance = uuid.uuid4().hex[:8], random.Random(7)
    agents = [f"many-{mark}-{number}" for number in range(AGENTS)]
    projects = [f"many-{mark}-p{number}" for number in range(3)]
    teams = [f"many-{mark}-t{number}" for number in range(2)]
    for project in projects:
        request = ScopeInitRequest(scope=ScopeKind.PROJECT, name=project, limits=tokens(10**6))
        await processes[0].parts.queries.scope_init(request)

    async def work(process: Process) -> None:
        agent = chance.choice(agents)
        what = chance.random()
        queries = process.parts.queries
        if what < 0.04:
            project, team = chance.choice(projects), chance.choice(teams)
            await queries.init(InitRequest(agent_id=agent, limits=tokens(10**6), project=project, team=team))
        elif what < 0.08:
            name = chance.choice(projects)
            await queries.scope_init(
                ScopeInitRequest(scope=ScopeKind.PROJECT, name=name, limits=tokens(10**6), team=chance.choice(teams))
            )
        elif what < 0.1:
            await queries.init(InitRequest(agent_id=agent, limits=tokens(10**6)))
            await queries.reset(ResetRequest(name=agent, window=Window.HOUR))
        else:
            reply = await process.handlers.check(
                ReserveRequest(
                    agent_id=agent,
                    project=chance.choice(projects),
                    session=chance.choice(["s1", "s2", None]),
                    subagent=chance.choice(["x", "y", None]),
                    estimated_tokens=5,
                    reserve=True,
                )
            )
            request = DeductRequest.model_validate(
                {
                    "agent_id": agent,
                    "tokens_used": 7,
                    "reservation": reply.reservation,
                    "idempotency_key": uuid.uuid4().hex,
                }
            )
            await process.handlers.deduct(request)

    await asyncio.gather(*(work(processes[number % 3]) for number in range(OPERATIONS)))
    async with processes[0].parts.database.raw() as connection:
        calendar = processes[0].parts.calendar
        assert [each async for each in recount(connection, calendar, repair=False) if each] == []


async def test_limits_set_while_a_new_agent_in_a_new_project_asks_for_the_first_time(
    processes: list[Process], budget_postgres: PostgresFixture
) -> None:
    """Both make the same accounts at the same moment: they wait for each other in one order only."""
    log = budget_postgres.server.log_file
    before, mark = log.stat().st_size, uuid.uuid4().hex[:8]

    async def both(number: int) -> None:
        agent, project, team = (f"{what}-{mark}-{number}" for what in ("agent", "project", "team"))
        first = ReserveRequest(agent_id=agent, project=project, session="s", estimated_tokens=1, reserve=True)
        reply, *_ = await asyncio.gather(
            processes[0].handlers.check(first),
            processes[1].parts.queries.init(InitRequest(agent_id=agent, limits=tokens(10), project=project, team=team)),
            processes[2].parts.queries.scope_init(
                ScopeInitRequest(scope=ScopeKind.SESSION, name=f"{agent}/s", limits=tokens(10))
            ),
        )
        assert reply.allowed

    for first in range(0, NEW_AGENTS, AT_ONCE):
        await asyncio.gather(*(both(number) for number in range(first, first + AT_ONCE)))
    assert b"deadlock detected" not in log.read_bytes()[before:]


async def test_a_directory_that_forgot_everything_in_mid_work_goes_on(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "ACCOUNTS_REMEMBERED_MAX", 3)
    mark = uuid.uuid4().hex[:8]
    requests = [
        ReserveRequest(agent_id=f"forget-{mark}-{number % 7}", session=f"s{number}", estimated_tokens=1, reserve=True)
        for number in range(60)
    ]
    replies = await asyncio.gather(*(processes[0].handlers.check(request) for request in requests))
    assert all(reply.allowed for reply in replies)


async def test_the_global_scope_bounds_everybody_and_answers_to_any_name(processes: list[Process]) -> None:
    queries, agent = processes[0].parts.queries, f"world-{uuid.uuid4().hex[:8]}"
    await queries.init(InitRequest(agent_id=agent, limits=tokens(10**6)))
    scope = ScopeInitRequest(scope=ScopeKind.GLOBAL, name="everything", limits=tokens(0, Window.OPERATION))
    try:
        state = await queries.scope_init(scope)
        assert (state.name, state.scope) == ("global", ScopeKind.GLOBAL)
        # Another process finds the new limit under its lock, whatever it remembers.
        request = ReserveRequest(agent_id=agent, estimated_tokens=1)
        reply = await processes[1].handlers.check(request)
        assert (reply.allowed, reply.code) == (False, "operation_too_expensive")
        assert "global" in reply.reason
    finally:
        await queries.scope_init(ScopeInitRequest(scope=ScopeKind.GLOBAL, name="global", replace=True))
    assert (await processes[1].handlers.check(request)).allowed
    assert (await queries.status(ScopeRequest(scope=ScopeKind.GLOBAL, name="x"))).remaining == ()
    listed = await queries.list_accounts(ListRequest(scope=ScopeKind.GLOBAL))
    assert [account.name for account in listed.accounts] == ["global"]
