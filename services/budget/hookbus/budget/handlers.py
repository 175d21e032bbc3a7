"""Requests in, replies out: what agents and the gateway ask before and after an operation."""

import hashlib
from collections.abc import Sequence
from uuid import UUID

import structlog
from opentelemetry.trace import SpanKind

from hookbus.budget.accounts import AccountKey, Place
from hookbus.budget.amounts import micros_of, usd_of
from hookbus.budget.commands import Answer, Charge, Closed, Extend, Outcome, Release, Reserve, Reserved
from hookbus.budget.metering import Report, meter
from hookbus.budget.pricing import PriceList, TokenCounts
from hookbus.budget.queries import Queries
from hookbus.budget.views import remaining_view
from hookbus.budget.windows import to_datetime
from hookbus.budget.wire import deduct_reply, reserve_reply
from hookbus.budget.writer import LedgerWriter
from hookbus.contracts.budget import (
    Deducted,
    DeductReply,
    DeductRequest,
    ExtendReply,
    ExtendRequest,
    ReleaseReply,
    ReleaseRequest,
    ReserveReply,
    ReserveRequest,
    ScopeKind,
)
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform import telemetry

FINGERPRINT_BYTES: int = 16

log = structlog.get_logger(__name__)


class OperationHandlers:
    """``check``, ``deduct``, ``release`` and ``extend``."""

    def __init__(self, writer: LedgerWriter, queries: Queries, prices: PriceList) -> None:
        self._writer = writer
        self._queries = queries
        self._prices = prices

    async def check(self, request: ReserveRequest) -> ReserveReply:
        """See :meth:`reserve`."""
        answer = await self.reserve(request)
        return ReserveReply(
            allowed=answer.allowed,
            reason=answer.reason,
            code=answer.code,
            agent_id=request.agent_id,
            remaining=remaining_view(answer.remaining),
            reservation=str(answer.reservation) if answer.reservation is not None else None,
            mode=answer.mode,
        )

    async def check_text(self, request: ReserveRequest) -> bytes:
        """:meth:`check` as JSON text."""
        return reserve_reply(request.agent_id, await self.reserve(request))

    async def check_many(self, requests: Sequence[ReserveRequest]) -> Sequence[bytes | ProblemError]:
        """:meth:`check_text` of many, in one transaction; the fault of one is its own."""
        commands: list[Reserve] = []
        faults: dict[int, ProblemError] = {}
        for index, request in enumerate(requests):
            try:
                commands.append(self._reserve(request))
            except ProblemError as error:
                faults[index] = error
        attributes = {"db.system.name": "postgresql", "hookbus.command": Reserve.__name__}
        with telemetry.batch_step("ledger commit", attributes, SpanKind.CLIENT):
            done = await self._writer.submit_all(commands)
        answers = iter(done)
        telemetry.keep_each(isinstance(one, Reserved) and not one.allowed for one in done)
        return [
            faults[index] if index in faults else _answer_text(request.agent_id, next(answers))
            for index, request in enumerate(requests)
        ]

    async def deduct(self, request: DeductRequest) -> DeductReply:
        """See :meth:`charge`."""
        answer = await self.charge(request)
        return DeductReply(
            deducted=Deducted(tokens=answer.amounts.tokens, usd=usd_of(answer.amounts.usd_micros)),
            remaining=remaining_view(answer.remaining),
            duplicate=answer.outcome is Outcome.DUPLICATE,
        )

    async def deduct_text(self, request: DeductRequest) -> bytes:
        """:meth:`deduct` as JSON text."""
        return deduct_reply(await self.charge(request))

    async def reserve(self, request: ReserveRequest) -> Reserved:
        """May the operation go ahead; with ``reserve``, hold its estimate. An unknown agent is made, with the default
        limits.

        Raises:
            ProblemError: ``conflict`` where the event id belongs to another agent; ``unavailable``.
        """
        answer = await self._writer.submit(self._reserve(request))
        assert isinstance(answer, Reserved)
        if answer.outcome is Outcome.CONFLICT:
            raise ProblemError(ProblemCode.CONFLICT, answer.reason)
        if not answer.allowed:
            telemetry.keep()
        return answer

    def _reserve(self, request: ReserveRequest) -> Reserve:
        tokens = request.estimated_tokens
        usd_micros = micros_of(request.estimated_cost) if request.estimated_cost is not None else None
        if usd_micros is None and tokens is not None and request.model is not None:
            # The least it costs: what is sent to the model.
            usd_micros = self._prices.price(request.model, None, TokenCounts(input=tokens)).usd_micros
        return Reserve(
            Place(request.agent_id, request.project, request.session, _printable(request.subagent)),
            tokens,
            usd_micros,
            hold=request.reserve,
            ttl_s=request.ttl_seconds,
            event_id=request.event_id,
            operation_id=request.operation_id,
            tool=_printable(request.tool),
            share=request.budget_share,
        )

    async def charge(self, request: DeductRequest) -> Closed:
        """Record what was spent, also under a reservation that is not known, or not any more.

        Raises:
            ProblemError: ``not_found`` for an unknown agent, a reservation of another one or an id that no reservation
                can have; ``idempotency_conflict``; ``body_invalid`` where neither amounts nor a model's counts are
                given; ``unavailable``.
        """
        await self._queries.require(AccountKey(ScopeKind.AGENT, request.agent_id))
        counts = TokenCounts(
            request.input_tokens,
            request.output_tokens,
            request.cache_read_tokens,
            request.cache_write_5m_tokens,
            request.cache_write_1h_tokens,
        )
        report = Report(
            request.tokens_used, request.cost, counts, _printable(request.model), _printable(request.provider), "api"
        )
        metered = meter(report, self._prices)
        if metered is None:
            raise ProblemError(ProblemCode.BODY_INVALID, "tokens_used, cost or a model's token counts are needed")
        amounts, pricing = metered
        answer = await self._writer.submit(
            Charge(
                Place(request.agent_id, request.project, request.session),
                amounts,
                # A key belongs to its agent: agents that count "1", "2", ... do not meet.
                dedupe_key=f"key:{request.agent_id}:{request.idempotency_key}",
                fingerprint=_fingerprint(request),
                reservation=_reservation(request.reservation) if request.reservation is not None else None,
                pricing=pricing,
            )
        )
        assert isinstance(answer, Closed)
        if answer.outcome is Outcome.UNKNOWN:
            raise ProblemError(ProblemCode.NOT_FOUND, "no such reservation of this agent")
        if answer.outcome is Outcome.CONFLICT:
            raise ProblemError(
                ProblemCode.IDEMPOTENCY_CONFLICT, "the idempotency key was used before with another body"
            )
        return answer

    async def release(self, request: ReleaseRequest) -> ReleaseReply:
        """Give a hold back unspent.

        Raises:
            ProblemError: ``not_found`` for an unknown agent or reservation; ``unavailable``.
        """
        await self._queries.require(AccountKey(ScopeKind.AGENT, request.agent_id))
        reservation = _reservation(request.reservation)
        answer = await self._writer.submit(
            Release(Place(request.agent_id), reservation, reason=_printable(request.reason) or None)
        )
        assert isinstance(answer, Closed)
        if answer.outcome is Outcome.UNKNOWN:
            raise ProblemError(ProblemCode.NOT_FOUND, "no such reservation of this agent")
        return ReleaseReply(released=answer.outcome is Outcome.DONE)

    async def extend(self, request: ExtendRequest) -> ExtendReply:
        """Let a hold live longer.

        Raises:
            ProblemError: ``not_found`` for an unknown agent or reservation; ``conflict`` where it is closed;
                ``unavailable``.
        """
        await self._queries.require(AccountKey(ScopeKind.AGENT, request.agent_id))
        reservation = _reservation(request.reservation)
        answer = await self._writer.submit(Extend(Place(request.agent_id), reservation, request.ttl_seconds))
        assert isinstance(answer, Closed)
        if answer.outcome is Outcome.UNKNOWN:
            raise ProblemError(ProblemCode.NOT_FOUND, "no such reservation of this agent")
        if answer.expires_at_us is None:
            raise ProblemError(ProblemCode.CONFLICT, "the reservation was settled, released or has expired")
        return ExtendReply(expires_at=to_datetime(answer.expires_at_us))


def _answer_text(agent_id: str, answer: Answer | BaseException) -> bytes | ProblemError:
    if isinstance(answer, ProblemError):
        return answer
    if isinstance(answer, BaseException):
        log.error("operation not reserved", error=type(answer).__name__)
        return ProblemError(ProblemCode.INTERNAL, "the operation could not be reserved")
    assert isinstance(answer, Reserved)
    if answer.outcome is Outcome.CONFLICT:
        return ProblemError(ProblemCode.CONFLICT, answer.reason)
    return reserve_reply(agent_id, answer)


def _reservation(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ProblemError(ProblemCode.NOT_FOUND, "no such reservation of this agent") from None


def _fingerprint(request: DeductRequest) -> bytes:
    body = request.model_dump_json(exclude={"idempotency_key"}).encode()
    return hashlib.blake2b(body, digest_size=FINGERPRINT_BYTES).digest()


def _printable(text: str | None) -> str | None:
    """Refuse what a database text cannot hold.

    Raises:
        ProblemError: ``body_invalid``.
    """
    if text is not None and "\x00" in text:
        raise ProblemError(ProblemCode.BODY_INVALID, "a name holds the character U+0000")
    return text
