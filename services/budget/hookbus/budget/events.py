"""Events in: what agents report after an operation is charged once per event id, however often it is delivered."""

from collections.abc import Sequence

from pydantic import ValidationError

from hookbus.budget.accounts import Place
from hookbus.budget.commands import NO_PRICING, Charge, Closed, Command, Outcome
from hookbus.budget.metering import Report, meter
from hookbus.budget.pricing import PriceList, TokenCounts
from hookbus.budget.writer import LedgerWriter
from hookbus.contracts.events import Event, Kind
from hookbus.contracts.limits import IDENTIFIER_CHARS_MAX as SUBAGENT_CHARS_MAX
from hookbus.contracts.payloads import Usage
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.delivery import Ack, Delivery, Poison, Retry, Verdict
from hookbus.platform.database.engine import is_transient


class EventHandler:
    """``post-task`` and ``usage`` events; the other kinds are none of the ledger's business."""

    def __init__(self, writer: LedgerWriter, prices: PriceList) -> None:
        self._writer = writer
        self._prices = prices

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        """One pull of the HOOKS stream: one verdict for each event, in order."""
        verdicts: list[Verdict] = [Ack() for _ in deliveries]
        commands: list[Command] = []
        places: list[int] = []
        for place, delivery in enumerate(deliveries):
            try:
                command = self._command(delivery.event)
            except (ValidationError, ProblemError, ValueError) as error:
                verdicts[place] = Poison(f"not a report the ledger can count: {_summary(error)}")
                continue
            if command is not None:
                commands.append(command)
                places.append(place)
        if commands:
            try:
                answers = await self._writer.submit_all(commands)
            except ProblemError as error:
                answers = [error] * len(commands)
            for place, answer in zip(places, answers, strict=True):
                verdicts[place] = _verdict(answer)
        return verdicts

    def _command(self, event: Event) -> Command | None:
        if event.kind is Kind.USAGE:
            return self._usage(event, settles=False)
        if event.kind is Kind.POST_TASK:
            return self._usage(event, settles=True)
        return None

    def _usage(self, event: Event, *, settles: bool) -> Command | None:
        """A usage event is counted beside the operation's hold; a post-task ends the hold, by what it reports or,
        where it reports nothing, by giving it back."""
        usage = Usage.model_validate(event.data)
        counts = TokenCounts(
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_5m_tokens,
            usage.cache_write_1h_tokens,
        )
        report = Report(usage.tokens_used, usage.cost, counts, usage.model, usage.provider, usage.provenance)
        metered = meter(report, self._prices)
        if metered is None and not (settles and usage.operation_id is not None):
            return None
        amounts, pricing = metered if metered is not None else (None, None)
        subagent = event.data.get("subagent")
        place = Place(
            event.agent_id,
            event.project,
            event.session,
            subagent if isinstance(subagent, str) and 0 < len(subagent) <= SUBAGENT_CHARS_MAX else None,
        )
        for text in (usage.model, usage.provider, usage.provenance, place.subagent):
            if text is not None and "\x00" in text:
                raise ValueError("a name holds the character U+0000")
        return Charge(
            place,
            amounts,
            dedupe_key=f"event:{event.id}",
            event_id=event.id,
            operation_id=usage.operation_id if settles else None,
            request_id=usage.request_id if metered is not None else None,
            pricing=pricing if pricing is not None else NO_PRICING,
        )


def _verdict(answer: object) -> Verdict:
    if isinstance(answer, Closed):
        if answer.outcome is Outcome.CONFLICT:
            return Poison("the event id was charged to another agent")
        return Ack()
    if isinstance(answer, ProblemError):
        return Retry(answer.problem.detail, passes=answer.problem.code is ProblemCode.UNAVAILABLE)
    if isinstance(answer, Exception) and not is_transient(answer):
        return Poison(f"the ledger cannot count it: {type(answer).__name__}")
    return Retry("the ledger is away", passes=True)


def _summary(error: Exception) -> str:
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:3])
    return str(error)
