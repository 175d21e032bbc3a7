"""``POST /api/v1/events``: store what hooks report. A plain route: it is the hottest one."""

import asyncio
from collections import Counter
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hookbus.contracts import limits
from hookbus.contracts.events import MEDIA_TYPE_BATCH, MEDIA_TYPE_EVENT, Accepted, Event, EventsReply, Rejected
from hookbus.contracts.problems import FieldError, ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope
from hookbus.gateway import bodies, metrics
from hookbus.gateway.callers import note_caller
from hookbus.gateway.decider import report_refused
from hookbus.gateway.intake import EVENT_MEDIA_TYPES, EVENTS_BETWEEN_YIELDS, Intake, message_of
from hookbus.gateway.problems import FIELD_ERRORS_MAX
from hookbus.gateway.state import State, new_id, now, state_of
from hookbus.gateway.strict_json import JsonTree
from hookbus.platform import telemetry
from hookbus.platform.bus.publisher import Outgoing

HEADER_REPLAYED: Final = "hookbus-replayed"
"""Sent by a client whose events had waited in its spool; it only moves a counter."""
PATH: Final = "/api/v1/events"


async def post_events(request: Request) -> Response:
    """202 with what was stored; a batch may have rejected members as long as one is stored."""
    state = state_of(request)
    principal = await state.authenticator.principal(request, KeyScope.EVENTS)
    media_type = bodies.media_type(request)
    if media_type not in EVENT_MEDIA_TYPES:
        bodies.unsupported(f"the body must be one of {', '.join(EVENT_MEDIA_TYPES)}")
    state.peers.check_connected()
    if media_type == MEDIA_TYPE_BATCH:
        body = await bodies.read(request, limits.BATCH_BYTES_MAX)
    elif media_type == MEDIA_TYPE_EVENT:
        body = await bodies.read(request, limits.EVENT_BYTES_MAX)
    else:
        body = await bodies.read(request, limits.EVENT_BYTES_MAX, list_bytes_max=limits.BATCH_BYTES_MAX)
    tree = await bodies.parse(body)
    if media_type == MEDIA_TYPE_BATCH and not isinstance(tree, list):
        raise ProblemError(ProblemCode.BODY_INVALID, "a batch is a JSON array of events")
    cloudevent = media_type != bodies.MEDIA_TYPE_JSON
    if isinstance(tree, list) and media_type != MEDIA_TYPE_EVENT:
        messages, events, rejected = await _read_batch(state, state.intake(request), tree, cloudevent=cloudevent)
        state.limit_events(principal, Counter(event.subject for event in events))
        sequences = await state.hooks.store_all(messages)
    else:
        event = await _read_single(state, state.intake(request), tree, cloudevent=cloudevent)
        note_caller(request.scope, event)
        state.limit_events(principal, {event.subject: 1})
        events, rejected = [event], []
        sequences = [await _store_single(state, event)]
    if HEADER_REPLAYED in request.headers:
        metrics.SPOOL_REPLAYS.inc(len(events))
    for event in events:
        await state.decider.begin(event)
        metrics.EVENTS_ACCEPTED.labels(event.kind or "").inc()
    reply = EventsReply(
        accepted=tuple(Accepted(id=event.id, seq=seq) for event, seq in zip(events, sequences, strict=True)),
        rejected=tuple(rejected),
    )
    return _reply(reply)


async def _read_single(state: State, intake: Intake, tree: JsonTree, *, cloudevent: bool) -> Event:
    try:
        return intake.event(tree, cloudevent=cloudevent)
    except ProblemError as error:
        metrics.EVENTS_REJECTED.labels(error.problem.code).inc()
        if error.problem.code is ProblemCode.INPUT_REFUSED:
            await report_refused(state.publisher, tree, error, new_id(), now())
        raise


async def _store_single(state: State, event: Event) -> int:
    attributes = {telemetry.ATTRIBUTE_EVENT_ID: event.id, telemetry.ATTRIBUTE_AGENT_ID: event.subject}
    with telemetry.span("events accept", context=event_context(event), attributes=attributes):
        return await state.hooks.store(message_of(event, None))


async def _read_batch(
    state: State, intake: Intake, items: list[JsonTree], *, cloudevent: bool
) -> tuple[list[Outgoing], list[Event], list[Rejected]]:
    if not items:
        raise ProblemError(ProblemCode.BODY_INVALID, "the batch is empty")
    if len(items) > limits.BATCH_EVENTS_MAX:
        raise ProblemError(ProblemCode.TOO_LARGE, f"the batch is over {limits.BATCH_EVENTS_MAX} events")
    messages: list[Outgoing] = []
    events: list[Event] = []
    rejected: list[Rejected] = []
    refused: tuple[JsonTree, ProblemError] | None = None
    for index, item in enumerate(items):
        if index % EVENTS_BETWEEN_YIELDS == EVENTS_BETWEEN_YIELDS - 1:
            await asyncio.sleep(0)
        try:
            event = intake.event(item, cloudevent=cloudevent)
            messages.append(_batch_message(event, intake))
            events.append(event)
        except ProblemError as error:
            rejected.append(_rejected(index, error))
            if refused is None and error.problem.code is ProblemCode.INPUT_REFUSED:
                refused = (item, error)
    if refused is not None:
        # One security event a request: a batch of thousands of refusals must not become thousands of them.
        await report_refused(state.publisher, refused[0], refused[1], new_id(), now())
    if not events:
        raise ProblemError(
            ProblemCode.BODY_INVALID,
            f"none of the {len(items)} events is acceptable; nothing was stored",
            errors=tuple(
                FieldError(loc=str(entry.index), msg=f"{entry.code}: {entry.detail}")
                for entry in rejected[:FIELD_ERRORS_MAX]
            ),
        )
    return messages, events, rejected


def _batch_message(event: Event, intake: Intake) -> Outgoing:
    """Each event of a batch goes on in its own trace, the request's where it has none."""
    return message_of(event, telemetry.rated(event.traceparent) or intake.traceparent)


def _rejected(index: int, error: ProblemError) -> Rejected:
    problem = error.problem
    metrics.EVENTS_REJECTED.labels(problem.code).inc()
    first = f": {problem.errors[0].loc}: {problem.errors[0].msg}" if problem.errors else ""
    return Rejected(index=index, code=problem.code, detail=f"{problem.detail}{first}")


def event_context(event: Event) -> telemetry.Context | None:
    """The event's own trace where it names one that is not the request's; None for the current one."""
    if event.traceparent is None or event.traceparent[3:35] == telemetry.current_trace_id():
        return None
    return telemetry.extract({"traceparent": event.traceparent})


def _reply(reply: EventsReply) -> Response:
    return Response(reply.model_dump_json(), status_code=202, media_type=JSONResponse.media_type)
