"""Reserves committed in one statement on remembered balances: to the same end as under lock, whoever else wrote."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from opentelemetry.context import Context
from pydantic import JsonValue
from support.budget_service import Parts, settings_for
from support.ledger_actions import Process
from support.servers import PostgresFixture

from hookbus.budget.accounts import GLOBAL_ACCOUNT
from hookbus.budget.recount import recount_one
from hookbus.budget.repository import accounts, reserving
from hookbus.budget.repository import ledger as locking
from hookbus.budget.windows import US_PER_S, to_us
from hookbus.contracts.budget import (
    InitRequest,
    Limit,
    ReserveReply,
    ReserveRequest,
    ResetRequest,
    ScopeInitRequest,
    ScopeKind,
    Unit,
    Window,
)
from hookbus.contracts.events import Event, Kind, type_of_kind
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.delivery import Ack, Delivery

CLIENTS = 40


@pytest.fixture
async def processes(budget_postgres: PostgresFixture) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes of the service: neither sees what the other remembers."""
    both = Process.of(Parts.of(settings_for(budget_postgres))), Process.of(Parts.of(settings_for(budget_postgres)))
    yield both
    for process in both:
        await process.parts.close()


Processes = tuple[Process, Process]


async def new_agent(process: Process, amount: int) -> str:
    agent = f"quick-{uuid.uuid4().hex[:12]}"
    await set_limit(process, agent, amount)
    return agent


async def set_limit(process: Process, agent: str, amount: int) -> None:
    limit = Limit(unit=Unit.TOKENS, window=Window.TOTAL, amount=Decimal(amount))
    await process.parts.queries.init(InitRequest(agent_id=agent, limits=(limit,)))


async def ask(process: Process, agent: str, tokens: int | None, **more: str) -> ReserveReply:
    fields = {"agent_id": agent, "estimated_tokens": tokens, "session": "s", "tool": "Bash", "reserve": True, **more}
    return await process.handlers.check(ReserveRequest.model_validate(fields))


def held(reply: ReserveReply, agent: str) -> int:
    (only,) = (each for each in reply.remaining if each.name == agent)
    return int(only.held)


async def report(process: Process, agent: str, operation: str, tokens: int) -> None:
    data: dict[str, JsonValue] = {"operation_id": operation, "tokens_used": tokens}
    event = Event(
        id=uuid.uuid4().hex,
        source="/test",
        type=type_of_kind(Kind.POST_TASK),
        subject=agent,
        time=datetime.now(UTC),
        session="s",
        data=data,
    )
    assert await process.events.handle([Delivery(event, b"", "", "HOOKS", 1, 1, Context())]) == [Ack()]


def no_lock(patched: pytest.MonkeyPatch) -> None:
    async def refuse(*_arguments: object) -> None:
        raise AssertionError("locked")

    patched.setattr(locking, "lock", refuse)


async def correct(process: Process) -> bool:
    """Whether the ledger's rows say what the balances of all together and of the newest agents say."""
    async with process.parts.database.raw() as connection:
        for account in [GLOBAL_ACCOUNT, *await connection.fetchval("SELECT array_agg(id) FROM budget.accounts")][-60:]:
            async with connection.transaction():
                await accounts.configs(connection, [account])
                if await recount_one(connection, process.parts.calendar, account, repair=False):
                    return False
    return True


async def test_a_reserve_on_known_balances_takes_no_lock(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Granted, refused and repeated within the batch; what is answered is in the ledger."""
    one, other = processes
    agent = await new_agent(one, 100)
    await ask(one, agent, 10)
    with monkeypatch.context() as patched:
        no_lock(patched)
        second = await ask(one, agent, 20)
        denied = await ask(one, agent, 71, event_id=f"{agent}-new", operation_id="new")
        twice = await asyncio.gather(*(ask(one, agent, 5, event_id="once") for _ in range(2)))
    assert (second.allowed, held(second, agent)) == (True, 30)
    assert (denied.allowed, denied.reservation) == (False, None)
    assert twice[0].reservation == twice[1].reservation is not None
    assert held(await ask(other, agent, 1), agent) == 36
    assert await correct(one)


async def test_what_another_process_took_set_or_reset_is_seen_at_once(processes: Processes) -> None:
    """Between two reserves of one process another one takes the rest, raises the limit, lowers it, begins it afresh."""
    one, other = processes
    agent = await new_agent(one, 100)
    for _ in range(2):
        await ask(one, agent, 10)
    await ask(other, agent, 75)
    assert not (await ask(one, agent, 10)).allowed
    await set_limit(other, agent, 200)
    assert (await ask(one, agent, 10)).allowed
    await set_limit(other, agent, 110)
    assert not (await ask(one, agent, 10)).allowed
    await report(other, agent, "unknown", 50)
    assert not (await ask(one, agent, 1)).allowed
    await other.parts.queries.reset(ResetRequest(name=agent))
    assert (await ask(one, agent, 1)).allowed
    assert await correct(one)


async def test_at_once_two_processes_never_pass_a_limit(processes: Processes) -> None:
    agent = await new_agent(processes[0], 50)
    answers = await asyncio.gather(*(ask(processes[number % 2], agent, 1) for number in range(2 * CLIENTS)))
    answers += await asyncio.gather(*(ask(processes[number % 2], agent, 1) for number in range(2 * CLIENTS)))
    assert sum(answer.allowed for answer in answers) == 50
    assert await correct(processes[0])


async def test_an_event_id_is_held_once_whoever_is_asked(processes: Processes) -> None:
    """The event was reserved by another process, or by this one before it remembered the agent."""
    one, other = processes
    agent = await new_agent(one, 100)
    first = await ask(one, agent, 10, event_id=f"{agent}-first")
    await ask(one, agent, 10)
    second = await ask(other, agent, 10, event_id=f"{agent}-second")
    again = [await ask(one, agent, 10, event_id=f"{agent}-{which}") for which in ("first", "second", "first")]
    assert [reply.reservation for reply in again] == [first.reservation, second.reservation, first.reservation]
    assert held(again[-1], agent) == 30


async def test_a_reserve_that_comes_again_is_the_first_one_though_nothing_is_left_by_now(processes: Processes) -> None:
    """Its own hold takes the rest of its agent's limit, or a peer took the rest of the project's. Whoever lost the
    answer asks once more, and must not be refused by what it was granted."""
    one, _other = processes
    agent = await new_agent(one, 1_000)
    first = await ask(one, agent, 800, event_id=f"{agent}-lost")
    again = await ask(one, agent, 800, event_id=f"{agent}-lost")
    assert (again.allowed, again.reservation, held(again, agent)) == (True, first.reservation, 800)

    project, peers = f"shared-{agent}", [f"{agent}-{number}" for number in range(2)]
    limit = Limit(unit=Unit.TOKENS, window=Window.TOTAL, amount=Decimal(100))
    await one.parts.queries.scope_init(ScopeInitRequest(scope=ScopeKind.PROJECT, name=project, limits=(limit,)))
    first = await ask(one, peers[0], 10, event_id=f"{agent}-small", project=project)
    assert (await ask(one, peers[1], 90, project=project)).allowed
    for process in (one, one, *processes):
        again = await ask(process, peers[0], 10, event_id=f"{agent}-small", project=project)
        assert (again.allowed, again.reservation) == (True, first.reservation)
    assert await correct(one)


async def test_the_event_of_another_agent_is_a_conflict_also_where_nothing_is_left(processes: Processes) -> None:
    one, _other = processes
    agent, full = await new_agent(one, 100), await new_agent(one, 10)
    await ask(one, agent, 10, event_id=f"{agent}-event")
    await ask(one, full, 10)
    with pytest.raises(ProblemError) as caught:
        await ask(one, full, 10, event_id=f"{agent}-event")
    assert caught.value.problem.code is ProblemCode.CONFLICT


async def test_an_operation_settled_before_its_reserve_is_granted_though_nothing_is_left(processes: Processes) -> None:
    one, _other = processes
    agent = await new_agent(one, 100)
    await ask(one, agent, 10)
    await report(one, agent, "early", 90)
    reply = await ask(one, agent, 10, operation_id="early")
    assert (reply.allowed, held(reply, agent)) == (True, 10)
    assert not (await ask(one, agent, 10, operation_id="early")).allowed, "the mark is used up"
    assert await correct(one)


async def test_an_operation_settled_before_its_reserve_holds_nothing(processes: Processes) -> None:
    """The report came first, to another process: the reserve is granted and holds nothing; the balance tells of it."""
    one, other = processes
    agent = await new_agent(one, 100)
    for _ in range(2):
        await ask(one, agent, 10)
    await report(other, agent, "early", 7)
    await ask(one, agent, 10)
    reply = await ask(one, agent, 10, operation_id="early")
    assert (reply.allowed, held(reply, agent)) == (True, 30)
    assert await correct(one)


async def test_an_estimate_looks_back_on_what_another_process_settled(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sizes the operation: it is sized by the tool's last operations, also by those this process did not see."""
    one, other = processes
    agent = await new_agent(one, 10**6)
    before = held(await ask(one, agent, None), agent)
    with monkeypatch.context() as patched:
        no_lock(patched)
        assert held(await ask(one, agent, None), agent) == 2 * before, "of a tool that was never used, remembered too"
    for number in range(3):
        await ask(other, agent, 9, operation_id=str(number))
        await report(other, agent, str(number), 1_234)
    await report(one, agent, "of-nobody", 1)
    whole = held(await ask(one, agent, 10), agent)
    assert held(await ask(one, agent, None), agent) == whole + 1_234
    with monkeypatch.context() as patched:
        no_lock(patched)
        assert held(await ask(one, agent, None), agent) == whole + 2 * 1_234


async def test_the_database_away_is_forgotten_and_asked_again(processes: Processes) -> None:
    """A broken connection takes along what was remembered on it; the next reserve is judged afresh."""
    one, other = processes
    agent = await new_agent(one, 100)
    await ask(one, agent, 10)
    async with one.parts.database.raw() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user"
            " AND pid <> pg_backend_pid()"
        )
    granted = refused = 0
    while not granted:
        reply = (await asyncio.gather(ask(one, agent, 10), return_exceptions=True))[0]
        granted += isinstance(reply, ReserveReply)
        refused += isinstance(reply, ProblemError)
    assert refused, "the connection was not broken"
    assert held(await ask(one, agent, 1), agent) == held(await ask(other, agent, 1), agent) - 1 == 21


@pytest.mark.parametrize(("ahead_s", "holds"), [(60.0, False), (-1.0, True), (-90.0, False)])
async def test_a_moment_the_database_has_not_reached_or_left_long_ago_is_judged_under_lock(
    processes: Processes, ahead_s: float, *, holds: bool
) -> None:
    """The process's own idea of the database's clock is believed within bounds alone."""
    async with processes[0].parts.database.raw() as connection:
        clock_us = to_us(await connection.fetchval("SELECT clock_timestamp()")) + round(ahead_s * US_PER_S)
        committed = await reserving.reserve(
            connection, known={}, clock_us=clock_us, behind_max_s=30.0, begun=(), changed=(), opened=(), refused=()
        )
    assert (committed is not None) is holds
