"""The decision on a pre-task: guard, session, budget, in this order, then the record of it.

The first objection decides; what comes after it is not asked. The decided event is stored before the answer leaves, so
an agent never acts on a decision that the log does not hold.
"""

import asyncio
import hashlib
from contextlib import suppress
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from hookbus.contracts import limits, subjects
from hookbus.contracts.budget import Mode, ReserveReply, ReserveRequest
from hookbus.contracts.decisions import BudgetView, Decision, DecisionCode, Verdict
from hookbus.contracts.events import Event, Kind, type_of_security
from hookbus.contracts.payloads import PreTask
from hookbus.contracts.problems import ProblemError
from hookbus.contracts.session import AssessRequest
from hookbus.gateway import metrics
from hookbus.gateway.guard.effort import GuardMode
from hookbus.gateway.guard.findings import Finding
from hookbus.gateway.guard.operation import Judgement, judge_within
from hookbus.gateway.intake import message_of
from hookbus.gateway.peers import Peers
from hookbus.gateway.strict_json import JsonTree
from hookbus.gateway.workspaces import Workspaces
from hookbus.platform import telemetry
from hookbus.platform.bus.group_commit import GroupCommit
from hookbus.platform.bus.publisher import Publisher, unavailable

DECIDE_DEADLINE_S: Final = 1.8
"""The whole decision; after it the answer is 503."""
GUARD_INLINE_CHARS_MAX: Final = 16 * 1024
"""In lenient mode, which has more patience, a longer event is guarded in a thread, so that others are answered
meanwhile."""
SOURCE: Final = "urn:hookbus:gateway"


class Decider:
    """Decides pre-tasks."""

    def __init__(
        self,
        peers: Peers,
        hooks: GroupCommit,
        publisher: Publisher,
        workspaces: Workspaces,
        guard_mode: GuardMode = GuardMode.LENIENT,
    ) -> None:
        self._peers = peers
        self._hooks = hooks
        self._publisher = publisher
        self._workspaces = workspaces
        self._mode = guard_mode

    async def decide(self, event: Event, now: datetime) -> Decision:
        """The decision on ``event``, stored.

        Raises:
            ProblemError: ``unavailable`` when session, budget or the bus does not answer in time.
        """
        self._peers.check_connected()
        try:
            async with asyncio.timeout(DECIDE_DEADLINE_S):
                judged = await self._guard(event)
                decision = (await self._judge(event, judged.finding)).model_copy(update={"tags": judged.tags})
                await self._record(event, decision, now)
        except TimeoutError as error:
            raise unavailable("the decision took too long") from error
        metrics.DECISIONS.labels(decision.decision, decision.code).inc()
        return decision

    async def begin(self, event: Event) -> None:
        """Let a session's folder be known from its start. What fails here is made up for by its first decision."""
        if event.kind is Kind.SESSION_START:
            with suppress(ProblemError):
                await self._workspaces.of(event)

    async def _guard(self, event: Event) -> Judgement:
        root, configured = await self._workspaces.of(event)
        if self._mode is GuardMode.STRICT or _length(event.data) <= GUARD_INLINE_CHARS_MAX:
            return judge_within(event.data, root, configured, self._mode)
        return await asyncio.to_thread(judge_within, event.data, root, configured, self._mode)

    async def _judge(self, event: Event, finding: Finding | None) -> Decision:
        if finding is not None and finding.verdict is Verdict.DENY:
            return _decision(event, Verdict.DENY, finding.code, finding.reason)
        payload = PreTask.model_validate(event.data)
        assessed = await self._peers.assess(
            AssessRequest(
                agent_id=event.subject,
                session=event.session,
                event_id=event.id,
                fingerprint=payload.fingerprint,
                network=event.clientnetwork,
            )
        )
        verdict, code = Verdict(assessed.decision), DecisionCode(assessed.code)
        if verdict is Verdict.DENY:
            return _decision(event, verdict, code, assessed.reason, risk=assessed.risk)
        if finding is not None or verdict is not Verdict.ALLOW:
            # Known before the budget is asked, which is not told of the decision and would keep its part back.
            telemetry.keep()
        reserved = await self._peers.reserve(_reserve_request(event, payload, assessed.budget_share))
        if not reserved.allowed:
            limited = Verdict.ASK if reserved.mode is Mode.ASK else Verdict.DENY
            return _decision(
                event, limited, DecisionCode(reserved.code), reserved.reason, risk=assessed.risk, reserved=reserved
            )
        if finding is not None:
            verdict, code, reason = finding.verdict, finding.code, finding.reason
        else:
            reason = assessed.reason if verdict is Verdict.ASK else reserved.reason
        return _decision(event, verdict, code, reason, risk=assessed.risk, reserved=reserved)

    async def _record(self, event: Event, decision: Decision, now: datetime) -> None:
        if decision.decision is not Verdict.ALLOW:
            # Before the event takes the trace's flag along, so that the services behind send their parts too.
            telemetry.keep()
        decided = event.model_copy(
            update={
                "decision": decision.decision.value,
                "decisioncode": decision.code.value,
                "reservation": decision.reservation,
                "inputtags": ",".join(decision.tags) or None,
            }
        )
        stored = self._hooks.store(message_of(decided, telemetry.current_traceparent()))
        if decision.decision is Verdict.ALLOW:
            await stored
            return
        data: dict[str, JsonValue] = {
            "event_id": event.id,
            "decision": decision.decision.value,
            "reason": decision.reason,
            "risk": decision.risk,
        }
        tool = event.data.get("tool")
        if isinstance(tool, str):
            data["tool"] = tool
        security = security_event(event, decision.code, data, now)
        await asyncio.gather(stored, self._publisher.publish(security, subjects.security_subject(decision.code)))


async def report_refused(
    publisher: Publisher, tree: JsonTree, error: ProblemError, event_id: str, now: datetime
) -> None:
    """Publish ``security.input_refused`` for a refused body that names its agent.

    The refusal stands whether or not this is stored, so a bus that is away changes nothing about the answer.
    """
    if not isinstance(tree, dict):
        return
    try:
        event = Event.model_validate(
            {
                "id": event_id,
                "source": SOURCE,
                "type": type_of_security(DecisionCode.INPUT_REFUSED),
                "subject": tree.get("agent_id", tree.get("subject")),
                "session": tree.get("session"),
                "project": tree.get("project"),
                "time": now,
                "traceparent": telemetry.current_traceparent(),
                "data": {"reason": error.problem.detail},
            }
        )
        await publisher.publish(event, subjects.security_subject(DecisionCode.INPUT_REFUSED))
    except (ValueError, ProblemError):
        return


def security_event(event: Event, code: str, data: dict[str, JsonValue], now: datetime) -> Event:
    """A security event about ``event``, with an id that repeats when the event does."""
    event_id = f"{event.id}.{code}"
    if len(event_id) > limits.EVENT_ID_CHARS_MAX:
        event_id = f"{hashlib.sha256(event.id.encode()).hexdigest()}.{code}"
    return Event(
        id=event_id,
        source=SOURCE,
        type=type_of_security(code),
        subject=event.subject,
        time=now,
        traceparent=telemetry.current_traceparent() or event.traceparent,
        agentcategory=event.agentcategory,
        project=event.project,
        session=event.session,
        data=data,
    )


def _decision(
    event: Event,
    verdict: Verdict,
    code: DecisionCode,
    reason: str,
    *,
    risk: float = 0.0,
    reserved: ReserveReply | None = None,
) -> Decision:
    return Decision(
        decision=verdict,
        reason=reason,
        code=code,
        reservation=reserved.reservation if reserved is not None else None,
        budget=BudgetView(remaining=reserved.remaining if reserved is not None else ()),
        risk=risk,
        event_id=event.id,
        trace_id=telemetry.current_trace_id(),
    )


def _reserve_request(event: Event, payload: PreTask, share: float) -> ReserveRequest:
    return ReserveRequest(
        agent_id=event.subject,
        estimated_tokens=payload.estimated_tokens,
        estimated_cost=payload.estimated_cost,
        reserve=True,
        event_id=event.id,
        operation_id=payload.operation_id,
        session=event.session,
        project=event.project,
        tool=_tag(payload.tool),
        model=_tag(event.data.get("model")),
        subagent=_tag(event.data.get("subagent")),
        budget_share=share,
    )


def _tag(value: object) -> str | None:
    """``value`` as a name that the budget can store, with U+FFFD for the character that it cannot."""
    return value[: limits.IDENTIFIER_CHARS_MAX].replace("\0", "\ufffd") if isinstance(value, str) and value else None


def _length(data: dict[str, JsonValue]) -> int:
    """How long the texts are that the guard reads."""
    tool_input = data.get("tool_input")
    fields = tool_input if isinstance(tool_input, dict) else data
    return sum(len(value) for value in fields.values() if isinstance(value, str))
