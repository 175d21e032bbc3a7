"""Any interleaving of reserve, extend, settle, release, expire, reset, limit change, duplicates and late delivery, by
two processes, against an independent model: the same answers, the same balances, and a recount that agrees."""

import asyncio
import os
import uuid
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from support import fake_clock
from support.budget_service import Parts, settings_for
from support.ledger_actions import Actions, Process, Where
from support.ledger_model import Model
from support.servers import PostgresFixture

from hookbus.budget import quick
from hookbus.budget.accounts import Place
from hookbus.budget.commands import Expire
from hookbus.budget.repository import holds
from hookbus.contracts.budget import InitRequest, Limit, ResetRequest, ScopeInitRequest, ScopeKind, Unit, Window
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.database.migrate import upgrade

EXAMPLES = int(os.environ.get("HOOKBUS_LEDGER_EXAMPLES", "20"))
STEPS = 40
START = datetime(2026, 1, 30, 22, 57, 3, 250_000, UTC)
ResultT = TypeVar("ResultT")

tokens = st.integers(0, 15)
micros = st.integers(0, 15)
amounts = st.tuples(tokens, micros)
processes = st.integers(0, 1)
agents = st.integers(0, 2)
projects = st.sampled_from([None, 0, 1])
sessions = st.sampled_from([None, "s0", "s1"])
subagents = st.sampled_from([None, None, "x", "y", "z"])
operations = st.sampled_from(["o0", "o1"])
events = st.integers(0, 5)
limit_sets = st.dictionaries(
    st.tuples(st.sampled_from(list(Unit)), st.sampled_from(list(Window))), st.none() | st.integers(0, 60), max_size=4
)
Limits = dict[tuple[Unit, Window], int | None]
SUBAGENTS_MAX = 2
PLACES = {Unit.TOKENS: 0, Unit.USD: -6}


class World:
    """What outlives one run of the machine: the servers' processes and the clock."""

    def __init__(self, postgres: PostgresFixture) -> None:
        self.postgres = postgres
        self.runner = asyncio.Runner()
        self.clock = START
        self.processes = [self.process() for _ in range(2)]

    def process(self) -> Process:
        settings = settings_for(self.postgres).model_copy(update={"budget_subagents_per_session_max": SUBAGENTS_MAX})
        return Process.of(Parts.of(settings))

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        return self.runner.run(work)

    def advance(self, seconds: float) -> datetime:
        self.clock += timedelta(seconds=seconds)
        self.run(fake_clock.move(self.postgres, self.clock))
        return self.clock

    def close(self) -> None:
        for process in self.processes:
            self.run(process.parts.close())
        self.runner.close()


class LedgerMachine(RuleBasedStateMachine):
    """Three agents: one in a project with a team, one in a project, one wherever its operations say."""

    world: World

    @initialize()
    def begin(self) -> None:
        self.mark = uuid.uuid4().hex[:10]
        self.model = Model(self.world.clock, subagents_max=SUBAGENTS_MAX)
        self.actions = Actions(self.model)
        self.names: set[str] = set()
        for project in (0, 1):
            self.limit_project(0, project, {}, replace=False)
        for agent in range(3):
            self.limit_agent(0, agent, {(Unit.TOKENS, Window.HOUR): 40, (Unit.USD, Window.DAY): 40}, replace=False)

    def where(self, agent: int, project: int | None, session: str | None, subagent: str | None = None) -> Where:
        name, chain = f"a{agent}-{self.mark}", {f"agent a{agent}-{self.mark}"}
        counted = agent if agent < 2 else project
        if counted is not None:
            chain.add(f"project p{counted}-{self.mark}")
            if counted == 0:
                chain.add(f"team t-{self.mark}")
        if session is not None:
            chain.add(f"session {name}/{session}")
        if subagent is not None:
            chain.add(f"subagent {name}/{session or ''}/{subagent}")
        self.names |= chain
        return Where(name, None if project is None else f"p{project}-{self.mark}", session, frozenset(chain), subagent)

    def process(self, number: int) -> Process:
        return self.world.processes[number]

    def reservation(self, pick: int) -> str:
        ids = list(self.model.reservations)
        return ids[pick % len(ids)]

    @rule(process=processes, agent=agents, limits=limit_sets, replace=st.booleans())
    def limit_agent(self, process: int, agent: int, limits: Limits, *, replace: bool) -> None:
        limits = limits or {(Unit.TOKENS, Window.DAY): 30}
        request = InitRequest(
            agent_id=f"a{agent}-{self.mark}",
            limits=as_limits(limits),
            replace=replace,
            project=f"p{agent}-{self.mark}" if agent < 2 else None,
            team=f"t-{self.mark}" if agent == 0 else None,
        )
        self.world.run(self.process(process).parts.queries.init(request))
        self.model.limit(f"agent a{agent}-{self.mark}", by_words(limits), replace=replace)

    @rule(process=processes, project=st.integers(0, 1), limits=limit_sets, replace=st.booleans())
    def limit_project(self, process: int, project: int, limits: Limits, *, replace: bool) -> None:
        name = f"p{project}-{self.mark}"
        team = f"t-{self.mark}" if project == 0 else None
        request = ScopeInitRequest(
            scope=ScopeKind.PROJECT, name=name, limits=as_limits(limits), team=team, replace=replace
        )
        self.world.run(self.process(process).parts.queries.scope_init(request))
        self.model.limit(f"project {name}", by_words(limits), replace=replace)

    @rule(
        process=processes,
        agent=agents,
        session=st.sampled_from(["s0", "s1"]),
        subagent=subagents,
        limits=limit_sets,
        replace=st.booleans(),
    )
    def limit_session(
        self, *, process: int, agent: int, session: str, subagent: str | None, limits: Limits, replace: bool
    ) -> None:
        """Of a session or a subagent, seen before or not."""
        scope = ScopeKind.SESSION if subagent is None else ScopeKind.SUBAGENT
        name = f"a{agent}-{self.mark}/{session}" + ("" if subagent is None else f"/{subagent}")
        request = ScopeInitRequest(scope=scope, name=name, limits=as_limits(limits), replace=replace)
        self.world.run(self.process(process).parts.queries.scope_init(request))
        self.model.limit(f"{scope} {name}", by_words(limits), replace=replace)
        self.names.add(f"{scope} {name}")

    @rule(
        process=processes,
        agent=agents,
        project=projects,
        session=sessions,
        subagent=subagents,
        amounts=amounts,
        ttl_s=st.sampled_from([1, 30, 90, 4_000]),
        operation=st.none() | operations,
        event=st.none() | events,
        times=st.integers(1, 2),
    )
    def reserve(
        self,
        *,
        process: int,
        agent: int,
        project: int | None,
        session: str | None,
        subagent: str | None,
        amounts: tuple[int, int],
        ttl_s: int,
        operation: str | None,
        event: int | None,
        times: int,
    ) -> None:
        """Twice by a client that lost the answer: what comes again meets balances that are remembered."""
        event_id = None if event is None else f"{self.mark}.{event}"
        where = self.where(agent, project, session, subagent)
        for _ in range(times):
            work = self.actions.reserve(
                self.process(process), where, amounts, ttl_s=ttl_s, operation=operation, event=event_id
            )
            self.world.run(work)

    @rule(agent=agents, project=projects, wanted=st.lists(amounts, min_size=2, max_size=12))
    def burst(self, agent: int, project: int | None, wanted: list[tuple[int, int]]) -> None:
        """Both processes at once. Holds only grow in it: who was refused must not fit at its end, who was granted must
        have fitted then."""
        places = [self.where((agent + place) % 3, project, None) for place in range(len(wanted))]

        async def ask() -> list[bool]:
            requests = [self.actions.request(w, each, 90, None, None) for w, each in zip(places, wanted, strict=True)]
            replies = await asyncio.gather(
                *(self.process(place % 2).handlers.check(request) for place, request in enumerate(requests))
            )
            for where, each, reply in zip(places, wanted, replies, strict=True):
                if reply.allowed:
                    self.actions.hold(reply, where, each, 90, None)
            return [reply.allowed for reply in replies]

        allowed = self.world.run(ask())
        for where, each, yes in zip(places, wanted, allowed, strict=True):
            if yes:
                zero_fits = self.model.refusal(where.chain, 0, 0)
                assert zero_fits is None or each == (0, 0) or "operation" in zero_fits, zero_fits
            else:
                assert self.model.refusal(where.chain, *each) is not None

    @rule(process=processes, agent=agents, amounts=amounts, key=st.integers(0, 7), pick=st.none() | st.integers(0, 30))
    def deduct(self, process: int, agent: int, amounts: tuple[int, int], key: int, pick: int | None) -> None:
        hold = self.reservation(pick) if pick is not None and self.model.reservations else None
        where = self.where(agent, None, None)
        self.world.run(self.actions.deduct(self.process(process), where, amounts, f"k{key}", hold))

    @precondition(lambda self: bool(self.model.reservations))
    @rule(process=processes, pick=st.integers(0, 30), amounts=amounts)
    def settle(self, process: int, pick: int, amounts: tuple[int, int]) -> None:
        hold = self.reservation(pick)
        agent = int(self.model.reservations[hold].agent[1])
        where = self.where(agent, None, None)
        self.world.run(self.actions.deduct(self.process(process), where, amounts, uuid.uuid4().hex, hold))

    @rule(
        process=processes,
        agent=agents,
        project=projects,
        session=sessions,
        subagent=subagents,
        amounts=st.none() | amounts,
        operation=operations,
        event=events,
    )
    def post_task(
        self,
        *,
        process: int,
        agent: int,
        project: int | None,
        session: str | None,
        subagent: str | None,
        amounts: tuple[int, int] | None,
        operation: str,
        event: int,
    ) -> None:
        where = self.where(agent, project, session, subagent)
        work = self.actions.post_task(self.process(process), where, amounts, operation, f"{self.mark}.post.{event}")
        self.world.run(work)

    @rule(
        process=processes,
        agent=agents,
        project=projects,
        count=tokens,
        request=st.integers(0, 3),
        source=st.sampled_from(["otlp", "sdk", "hook", "transcript"]),
    )
    def usage(self, *, process: int, agent: int, project: int | None, count: int, request: int, source: str) -> None:
        where = self.where(agent, project, None)
        self.world.run(self.actions.usage(self.process(process), where, count, f"r{request}", source))

    @precondition(lambda self: bool(self.model.reservations))
    @rule(process=processes, agent=agents, pick=st.integers(0, 30), own=st.booleans())
    def release(self, process: int, agent: int, pick: int, own: bool) -> None:
        hold = self.reservation(pick)
        name = self.model.reservations[hold].agent if own else f"a{agent}-{self.mark}"
        self.world.run(self.actions.release(self.process(process), name, hold))

    @precondition(lambda self: bool(self.model.reservations))
    @rule(process=processes, agent=agents, pick=st.integers(0, 30), own=st.booleans())
    def extend(self, process: int, agent: int, pick: int, own: bool) -> None:
        hold = self.reservation(pick)
        name = self.model.reservations[hold].agent if own else f"a{agent}-{self.mark}"
        self.world.run(self.actions.extend(self.process(process), name, hold, 600))

    @rule(process=processes, seconds=st.sampled_from([2, 45, 600, 3_600, 30_000, 86_400, 8 * 86_400]))
    def time_passes(self, process: int, seconds: int) -> None:
        """Due holds of this run are ended, as the sweeper does."""
        self.model.now = self.world.advance(seconds + 0.37)
        self.model.expire()

        async def sweep() -> None:
            parts = self.process(process).parts
            async with parts.database.raw() as connection:
                due = await holds.due(connection, 10_000)
            await parts.writer.submit_all([Expire(Place(each.agent_name), each.id) for each in due])

        self.world.run(sweep())

    @rule(
        process=processes,
        agent=agents,
        unit=st.none() | st.sampled_from(list(Unit)),
        window=st.none() | st.sampled_from([Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH, Window.TOTAL]),
        project=st.booleans(),
    )
    def reset(self, process: int, agent: int, unit: Unit | None, window: Window | None, project: bool) -> None:
        project = project and agent < 2
        name = f"p{agent}-{self.mark}" if project else f"a{agent}-{self.mark}"
        scope = ScopeKind.PROJECT if project else ScopeKind.AGENT
        request = ResetRequest(scope=scope, name=name, unit=unit, window=window, actor="machine")
        self.world.run(self.process(process).parts.queries.reset(request))
        self.model.reset(f"{scope} {name}", unit, window)
        if window is None and not project:
            for session in [each for each in self.names if each.startswith(f"session {name}/")]:
                self.model.reset(session, unit, "total")

    @precondition(lambda self: any(each.startswith(("session ", "subagent ")) for each in self.names))
    @rule(
        process=processes,
        pick=st.integers(0, 30),
        unit=st.none() | st.sampled_from(list(Unit)),
        window=st.none() | st.sampled_from([Window.HOUR, Window.DAY, Window.SESSION, Window.TOTAL]),
    )
    def reset_session(self, process: int, pick: int, unit: Unit | None, window: Window | None) -> None:
        """Of a session or a subagent: its ``session`` window is its whole life."""
        known = sorted(each for each in self.names if each.startswith(("session ", "subagent ")))
        account = known[pick % len(known)]
        scope, _, name = account.partition(" ")
        request = ResetRequest(scope=ScopeKind(scope), name=name, unit=unit, window=window, actor="machine")
        try:
            self.world.run(self.process(process).parts.queries.reset(request))
        except ProblemError as error:
            assert error.problem.code is ProblemCode.NOT_FOUND  # noqa: PT017 - an operation that was refused may have made no account
            return
        self.model.reset(account, unit, "total" if window is Window.SESSION else window)

    @rule(number=processes)
    def restart(self, number: int) -> None:
        """A process forgets everything it remembered."""
        self.world.run(self.world.processes[number].parts.close())
        self.world.processes[number] = self.world.process()

    @rule(process=processes)
    def compare(self, process: int) -> None:
        self.world.run(self.actions.compare(self.process(process), sorted(self.names)))

    def teardown(self) -> None:
        if hasattr(self, "actions"):
            self.compare(0)


def as_limits(limits: Limits) -> tuple[Limit, ...]:
    return tuple(
        Limit(unit=unit, window=window, amount=None if count is None else Decimal(count).scaleb(PLACES[unit]))
        for (unit, window), count in limits.items()
    )


def by_words(limits: Limits) -> dict[tuple[str, str], int | None]:
    return {(unit.value, window.value): count for (unit, window), count in limits.items()}


@pytest.fixture
def world(own_postgres_server: PostgresFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    postgres = own_postgres_server
    # The clock stands still between two steps, for the processes too: reserves go the quick way as they do in life.
    monkeypatch.setattr(quick, "time", SimpleNamespace(monotonic_ns=lambda: 0))
    upgrade("hookbus.budget", postgres.owner_url, "budget")
    asyncio.run(fake_clock.install(postgres, "hookbus_budget", "budget", START))
    made = World(postgres)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.timeout(600)
def test_the_ledger_agrees_with_its_model_and_with_its_recount(world: World) -> None:
    LedgerMachine.world = world
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
        ),
    )
