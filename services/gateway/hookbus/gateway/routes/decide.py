"""``POST /api/v1/decide``: may this tool call go ahead. A plain route: the agent waits."""

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hookbus.contracts import limits
from hookbus.contracts.decisions import Decision
from hookbus.contracts.events import MEDIA_TYPE_EVENT, MEDIA_TYPE_JSON, Event, Kind
from hookbus.contracts.problems import FieldError, ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope
from hookbus.gateway import bodies
from hookbus.gateway.callers import note_caller
from hookbus.gateway.decider import report_refused
from hookbus.gateway.intake import Intake
from hookbus.gateway.routes.events import event_context
from hookbus.gateway.state import State, new_id, now, state_of
from hookbus.gateway.strict_json import JsonTree
from hookbus.platform import telemetry

PATH: Final = "/api/v1/decide"


async def post_decide(request: Request) -> Response:
    """200 with the decision; a deny is an answer, not an error."""
    state = state_of(request)
    principal = await state.authenticator.principal(request, KeyScope.EVENTS)
    media_type = bodies.media_type(request)
    if media_type not in (MEDIA_TYPE_JSON, MEDIA_TYPE_EVENT):
        bodies.unsupported(f"the body must be {MEDIA_TYPE_JSON} or {MEDIA_TYPE_EVENT}")
    tree = await bodies.parse(await bodies.read(request, limits.EVENT_BYTES_MAX))
    event = await _read(state, state.intake(request), tree, cloudevent=media_type == MEDIA_TYPE_EVENT)
    note_caller(request.scope, event)
    state.limit_events(principal, {event.subject: 1})
    decision = await decide(state, event)
    return Response(decision.model_dump_json(exclude_none=True), media_type=JSONResponse.media_type)


async def decide(state: State, event: Event) -> Decision:
    """The decision on a validated pre-task, in the event's own trace."""
    attributes = {telemetry.ATTRIBUTE_EVENT_ID: event.id, telemetry.ATTRIBUTE_AGENT_ID: event.subject}
    with telemetry.span("decide", context=event_context(event), attributes=attributes) as span:
        decision = await state.decider.decide(event, now())
        # The decider kept a trace that holds an objection before it published the event.
        span.set_attribute("hookbus.decision", decision.decision)
        span.set_attribute("hookbus.decision_code", decision.code)
        return decision


async def _read(state: State, intake: Intake, tree: JsonTree, *, cloudevent: bool) -> Event:
    try:
        event = intake.event(tree, cloudevent=cloudevent)
    except ProblemError as error:
        if error.problem.code is ProblemCode.INPUT_REFUSED:
            await report_refused(state.publisher, tree, error, new_id(), now())
        raise
    if event.kind is not Kind.PRE_TASK:
        fault = FieldError(loc="type" if cloudevent else "kind", msg=f"only a {Kind.PRE_TASK} can be decided")
        raise ProblemError(ProblemCode.BODY_INVALID, "the body does not fit its schema", errors=(fault,))
    return event
