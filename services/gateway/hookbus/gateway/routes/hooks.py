"""``POST /api/v1/hooks/{agent}``: an agent's raw hook body, answered in the agent's own schema.

For agents that send their hooks over HTTP themselves. Such an agent takes any error status as "no objection", so a
pre-task that cannot be read or that the guard refuses is answered 200 with a deny in it. With ``?fail_mode=closed`` so
is one that cannot be decided: a part of hookbus is away, be it the one that knows the API keys, a rate limit is met, or
the gateway itself fails. By default that is an error status, which lets the agent go on.
"""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import structlog
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hookbus.client import adapters
from hookbus.client.adapters.base import Adapter, Answer, Context, PayloadError, Translation
from hookbus.client.deciding import degraded, refused_input, with_unseen
from hookbus.client.gateway import Decision as AgentDecision
from hookbus.contracts import limits
from hookbus.contracts.events import Event
from hookbus.contracts.fields import AgentId, ScopeName
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope
from hookbus.gateway import bodies, metrics
from hookbus.gateway.auth import Principal
from hookbus.gateway.decider import report_refused
from hookbus.gateway.intake import Intake, message_of
from hookbus.gateway.problems import invalid
from hookbus.gateway.routes.decide import decide
from hookbus.gateway.routes.events import event_context
from hookbus.gateway.state import State, new_id, now, state_of
from hookbus.platform import telemetry

log = structlog.get_logger(__name__)

PATH: Final = "/api/v1/hooks/{agent}"
BODY_BYTES_MAX: Final = limits.BATCH_BYTES_MAX
"""A tool's input or answer is often larger than an event may be: the adapter cuts it to size, as the command does."""
BODY_TAKEN_BYTES_MAX: Final = 64 * 1024 * 1024
"""An agent that still sends when it is answered sees a reset, which it takes for no objection."""
PRE_TASK_MARKS: Final = (
    b"PreToolUse",
    b"pre-task",
    b"pre_task",
    b"BeforeTool",
    b"preToolUse",
    b"beforeShellExecution",
    b"beforeMCPExecution",
    b"beforeReadFile",
    b"toolArgs",
)
"""A body that cannot be read is taken for a pre-task where it holds one of these."""
REFUSALS: Final = frozenset(
    {ProblemCode.NOT_JSON, ProblemCode.BODY_INVALID, ProblemCode.INPUT_REFUSED, ProblemCode.TOO_LARGE}
)
"""What is wrong with the payload itself: a pre-task is denied for it whatever the fail mode."""
TRACEPARENT_UNKNOWN: Final = f"00-{'0' * 31}1-{'0' * 15}1-00"


class HookOptions(BaseModel):
    """The query of the hook's address, set once in the agent's configuration."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    agent_id: AgentId | None = None
    project: ScopeName | None = None
    fail_mode: Literal["open", "closed"] = "open"
    event: Annotated[str, StringConstraints(min_length=1, max_length=limits.IDENTIFIER_CHARS_MAX)] | None = None
    """The event's name, for an agent whose payload need not say it."""


async def post_hook(request: Request) -> Response:
    """200 with the agent's own answer; ``{}`` where hookbus has no objection."""
    state = state_of(request)
    principal = await _principal_or_problem(request, state)
    try:
        adapter = adapters.load(request.path_params["agent"])
    except KeyError:
        raise ProblemError(ProblemCode.NOT_FOUND, "no such agent protocol") from None
    try:
        options = HookOptions.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise invalid(error) from None
    if options.fail_mode != "closed":
        _let_in(principal)
    if bodies.media_type(request) != bodies.MEDIA_TYPE_JSON:
        bodies.unsupported(f"the body must be {bodies.MEDIA_TYPE_JSON}")
    head, whole = await bodies.read_head(request, BODY_BYTES_MAX, BODY_TAKEN_BYTES_MAX)
    try:
        caller = _Caller(state, state.intake(request), _let_in(principal))
        return _answer(await _serve(caller, adapter, options, head if whole else None))
    except Exception as error:
        answer = _instead(adapter, options, head, error)
        if answer is None:
            raise
        return _answer(answer)


async def _principal_or_problem(request: Request, state: State) -> Principal | ProblemError:
    """The caller, or why it cannot be told now whether they are let in, which is the answer of an agent's own schema
    where it fails closed. Whoever is not let in is told so by the status."""
    try:
        return await state.authenticator.principal(request, KeyScope.EVENTS)
    except ProblemError as error:
        if error.problem.code in (ProblemCode.UNAUTHENTICATED, ProblemCode.FORBIDDEN):
            raise
        return error


def _let_in(principal: Principal | ProblemError) -> Principal:
    if isinstance(principal, ProblemError):
        raise principal
    return principal


@dataclass(frozen=True)
class _Caller:
    """Who sent a hook's body, and what completes its events."""

    state: State
    intake: Intake
    principal: Principal


async def _serve(caller: _Caller, adapter: Adapter, options: HookOptions, body: bytes | None) -> Answer:
    state, principal = caller.state, caller.principal
    if body is None:
        raise ProblemError(ProblemCode.TOO_LARGE, f"the body is over {BODY_BYTES_MAX} bytes")
    tree = await bodies.parse(body)
    if not isinstance(tree, dict):
        raise ProblemError(ProblemCode.BODY_INVALID, "a hook's body is a JSON object")
    if len(body) <= bodies.PARSE_INLINE_BYTES_MAX:
        translation = _translate(adapter, tree, options)
    else:
        translation = await asyncio.to_thread(_translate, adapter, tree, options)
    if translation.pre_task is not None:
        event = await _event(caller, translation.pre_task)
        state.limit_events(principal, {event.subject: 1})
        decision = await decide(state, event)
        given = AgentDecision(decision.decision.value, decision.reason, decision.code.value)
        return adapter.answer(translation, with_unseen(given, translation.unseen))
    for record in translation.records:
        event = await _event(caller, record)
        state.limit_events(principal, {event.subject: 1})
        attributes = {telemetry.ATTRIBUTE_EVENT_ID: event.id, telemetry.ATTRIBUTE_AGENT_ID: event.subject}
        with telemetry.span("hook record", context=event_context(event), attributes=attributes):
            await state.hooks.store(message_of(event, None))
        await state.decider.begin(event)
        metrics.EVENTS_ACCEPTED.labels(event.kind or "").inc()
    return adapter.recorded(translation)


def _translate(adapter: Adapter, payload: dict[str, Any], options: HookOptions) -> Translation:
    context = Context(
        agent_id=options.agent_id,
        project=options.project,
        fingerprint={},
        traceparent=telemetry.current_traceparent() or TRACEPARENT_UNKNOWN,
        time_text=now().isoformat(),
        new_event_id=new_id,
    )
    try:
        return adapter.translate(payload, context, kind=options.event if adapter.takes_kind else None)
    except PayloadError as error:
        raise ProblemError(ProblemCode.BODY_INVALID, str(error)) from None


async def _event(caller: _Caller, short: dict[str, Any]) -> Event:
    try:
        return caller.intake.event(short, cloudevent=False)
    except ProblemError as error:
        if error.problem.code is ProblemCode.INPUT_REFUSED:
            await report_refused(caller.state.publisher, short, error, new_id(), now())
        raise


def _instead(adapter: Adapter, options: HookOptions, head: bytes, error: Exception) -> Answer | None:
    """The answer to a pre-task that failed, where an error status would let it pass."""
    if not any(mark in head for mark in PRE_TASK_MARKS):
        return None
    translation = Translation("PreToolUse", pre_task={})
    if isinstance(error, ProblemError) and error.problem.code in REFUSALS:
        return adapter.answer(translation, refused_input(error.problem.detail))
    if options.fail_mode != "closed":
        return None
    if isinstance(error, ProblemError):
        cause = error.problem.detail
    else:
        log.error("hook not decided", exc_info=error)
        cause = "the gateway failed"
    decision, _kept = degraded({"data": {}}, cause, "closed")
    return adapter.answer(translation, decision)


def _answer(answer: Answer) -> Response:
    return JSONResponse(answer.body or {})
