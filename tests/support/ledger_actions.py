"""One way to ask the budget service and its model the same thing, and to compare what both say."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from opentelemetry.context import Context
from pydantic import JsonValue

from hookbus.budget.accounts import AccountKey
from hookbus.budget.events import EventHandler
from hookbus.budget.handlers import OperationHandlers
from hookbus.budget.pricing import PriceList
from hookbus.budget.recount import recount_one
from hookbus.budget.repository import accounts, reads
from hookbus.budget.windows import SLOTS
from hookbus.contracts.budget import (
    DeductRequest,
    ExtendRequest,
    ReleaseRequest,
    ReserveReply,
    ReserveRequest,
    ScopeKind,
)
from hookbus.contracts.events import Event, Kind, type_of_kind
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.delivery import Ack, Delivery, Poison
from support.budget_service import Parts
from support.ledger_model import Model, Reservation

MICROS = 1_000_000
RANKS = {"otlp": 4, "sdk": 3, "hook": 2, "transcript": 1}
EARLY_S = 60


def usd(micros: int) -> str:
    return f"{micros // MICROS}.{micros % MICROS:06d}"


@dataclass
class Process:
    """One process of the service, as far as operations go."""

    parts: Parts
    handlers: OperationHandlers
    events: EventHandler

    @classmethod
    def of(cls, parts: Parts) -> "Process":
        prices = PriceList()
        return cls(
            parts,
            OperationHandlers(parts.writer, parts.queries, prices),
            EventHandler(parts.writer, prices),
        )


@dataclass
class Where:
    """An agent's operation: whose, and the accounts it is counted in by the rules of the tree."""

    agent: str
    project: str | None
    session: str | None
    chain: frozenset[str]
    subagent: str | None = None


@dataclass
class Actions:
    """Asks both, asserts that they agree."""

    model: Model
    granted: dict[tuple[str, str], str] = field(default_factory=dict)
    event_agents: dict[str, str] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[int, int, str | None]] = field(default_factory=dict)
    charged_events: dict[str, str] = field(default_factory=dict)

    async def reserve(
        self,
        process: Process,
        where: Where,
        amounts: tuple[int, int],
        *,
        ttl_s: int,
        operation: str | None,
        event: str | None,
    ) -> None:
        model, agent = self.model, where.agent
        conflict = event is not None and self.event_agents.get(event, agent) != agent
        early = (agent, operation or "")
        try:
            reply = await process.handlers.check(self.request(where, amounts, ttl_s, operation, event))
        except ProblemError as error:
            assert error.problem.code is ProblemCode.CONFLICT  # noqa: PT017 - whether it is raised depends on the model
            assert conflict
            return
        assert not conflict
        if event is not None and event in self.event_agents:
            assert reply.allowed
            assert reply.reservation == self.granted[agent, event]
            return
        if operation is not None and model.early.get(early, model.now) > model.now:
            assert reply.allowed
            del model.early[early]
            model.start(where.chain)
        else:
            refusal = model.refusal(where.chain, *amounts)
            assert reply.allowed == (refusal is None), (refusal, reply)
            if not reply.allowed:
                return
            self.hold(reply, where, amounts, ttl_s, operation)
        assert reply.reservation is not None
        if event is not None:
            self.event_agents[event] = agent
            self.granted[agent, event] = reply.reservation

    @staticmethod
    def request(
        where: Where, amounts: tuple[int, int], ttl_s: int, operation: str | None, event: str | None
    ) -> ReserveRequest:
        return ReserveRequest.model_validate(
            {
                "agent_id": where.agent,
                "project": where.project,
                "session": where.session,
                "subagent": where.subagent,
                "estimated_tokens": amounts[0],
                "estimated_cost": usd(amounts[1]),
                "reserve": True,
                "ttl_seconds": ttl_s,
                "operation_id": operation,
                "event_id": event,
                "tool": "Bash",
            }
        )

    def hold(
        self, reply: ReserveReply, where: Where, amounts: tuple[int, int], ttl_s: int, operation: str | None
    ) -> None:
        assert reply.reservation is not None
        self.model.start(where.chain)
        expires = self.model.now + timedelta(seconds=ttl_s)
        self.model.reservations[reply.reservation] = Reservation(where.chain, where.agent, *amounts, expires, operation)
        if operation is not None:
            self.model.seen_operations.add((where.agent, operation))

    async def deduct(
        self, process: Process, where: Where, amounts: tuple[int, int], key: str, reservation: str | None
    ) -> None:
        model, agent = self.model, where.agent
        body = (*amounts, reservation)
        hold = model.reservations.get(reservation or "")
        known = self.keys.get((agent, key))
        expected: ProblemCode | None = None
        if known is not None and known != body:
            expected = ProblemCode.IDEMPOTENCY_CONFLICT
        elif known is None and hold is not None and hold.agent != agent:
            expected = ProblemCode.NOT_FOUND
        request = DeductRequest.model_validate(
            {
                "agent_id": agent,
                "tokens_used": amounts[0],
                "cost": usd(amounts[1]),
                "idempotency_key": key,
                "reservation": reservation,
            }
        )
        try:
            reply = await process.handlers.deduct(request)
        except ProblemError as error:
            assert error.problem.code is expected, error  # noqa: PT017 - as above
            return
        assert expected is None
        assert reply.duplicate == (known is not None)
        if known is not None:
            return
        self.keys[agent, key] = body
        if hold is not None and hold.open:
            hold.open = False
            model.spend(hold.chain, *amounts)
        else:
            model.spend(where.chain, *amounts)

    async def post_task(
        self, process: Process, where: Where, amounts: tuple[int, int] | None, operation: str, event: str
    ) -> None:
        model, key = self.model, (where.agent, operation)
        data: dict[str, JsonValue] = {"operation_id": operation}
        if amounts is not None:
            data |= {"tokens_used": amounts[0], "cost": usd(amounts[1])}
        verdict = await self.deliver(process, where, Kind.POST_TASK, data, event)
        if event in self.charged_events:
            assert isinstance(verdict, Ack if self.charged_events[event] == where.agent else Poison)
            return
        assert isinstance(verdict, Ack)
        hold = model.oldest_open(*key)
        if hold is None and key not in model.seen_operations:
            model.early[key] = model.now + timedelta(seconds=EARLY_S)
            model.seen_operations.add(key)
        if hold is not None:
            hold.open = False
        if amounts is not None:
            model.spend(hold.chain if hold is not None else where.chain, *amounts)
        if amounts is not None or hold is not None:
            self.charged_events[event] = where.agent

    async def usage(self, process: Process, where: Where, tokens: int, request: str, source: str) -> None:
        model, key = self.model, (where.agent, request)
        data: dict[str, JsonValue] = {"request_id": request, "provenance": source, "tokens_used": tokens}
        verdict = await self.deliver(process, where, Kind.USAGE, data, uuid.uuid4().hex)
        assert isinstance(verdict, Ack)
        rank = RANKS[source]
        if key not in model.requests:
            model.requests[key] = (rank, model.spend(where.chain, tokens, 0))
        elif rank > model.requests[key][0]:
            fact = model.requests[key][1]
            fact.tokens = tokens
            model.requests[key] = (rank, fact)

    async def release(self, process: Process, agent: str, reservation: str) -> None:
        hold = self.model.reservations[reservation]
        try:
            reply = await process.handlers.release(ReleaseRequest(agent_id=agent, reservation=reservation))
        except ProblemError as error:
            assert error.problem.code is ProblemCode.NOT_FOUND  # noqa: PT017 - as above
            assert hold.agent != agent
            return
        assert hold.agent == agent
        assert reply.released == hold.open
        hold.open = False

    async def extend(self, process: Process, agent: str, reservation: str, ttl_s: int) -> None:
        hold = self.model.reservations[reservation]
        request = ExtendRequest(agent_id=agent, reservation=reservation, ttl_seconds=ttl_s)
        try:
            await process.handlers.extend(request)
        except ProblemError as error:
            wanted = ProblemCode.NOT_FOUND if hold.agent != agent else ProblemCode.CONFLICT
            assert error.problem.code is wanted  # noqa: PT017 - as above
            assert hold.agent != agent or not hold.open
            return
        assert hold.open
        hold.expires = self.model.now + timedelta(seconds=ttl_s)

    async def deliver(
        self, process: Process, where: Where, kind: Kind, data: dict[str, JsonValue], event_id: str
    ) -> object:
        event = Event(
            id=event_id,
            source="/test",
            type=type_of_kind(kind),
            subject=where.agent,
            time=datetime.now(UTC),
            project=where.project,
            session=where.session,
            data=data | ({"subagent": where.subagent} if where.subagent else {}),
        )
        (verdict,) = await process.events.handle([Delivery(event, event.to_wire(), "s", "HOOKS", 1, 1, Context())])
        return verdict

    async def compare(self, process: Process, names: list[str]) -> None:
        """Every balance of every account, in every window, limit or no limit, and its recount."""
        keys = [AccountKey(ScopeKind(name.split(" ")[0]), name.split(" ")[1]) for name in names]
        async with process.parts.database.raw() as connection:
            ids = await accounts.find(connection, keys)
            standings = await reads.standings(connection, ids.values())
            for key, account in ids.items():
                name, standing = f"{key.kind} {key.name}", standings[account]
                standing.account.roll(process.parts.calendar, standing.clock_us)
                for slot, (window, unit) in enumerate(SLOTS):
                    wanted = self.model.spent(name, unit, window)
                    assert standing.account.spent[slot] == wanted, (name, unit, window)
                held = [self.model.held(name, "tokens"), self.model.held(name, "usd")]
                assert standing.account.held == held, name
                async with connection.transaction():
                    differences = await recount_one(connection, process.parts.calendar, account, repair=False)
                assert differences == []
