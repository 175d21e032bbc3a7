"""``/api/v1/traces``: the spans of one event's way through hookbus, where the stack keeps them."""

import re
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from hookbus.contracts.fields import AgentId, EventId, UtcTime
from hookbus.contracts.limits import PAGE_ITEMS_DEFAULT
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope
from hookbus.contracts.traces import (
    DURATION_MS_MAX,
    TraceListReply,
    TraceListRequest,
    TraceReply,
    TraceRequest,
    TraceStatus,
)
from hookbus.gateway.calls import Auditor, Cursor, PageItems, StateOf, needs

SERVICE: Final = "traces"
READ: Final = needs(KeyScope.AUDIT)
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")

router = APIRouter(prefix="/api/v1/traces", tags=["traces"])


@router.get("", response_model_exclude_none=True, openapi_extra=READ)
async def list_traces(  # noqa: PLR0917 - FastAPI passes them by name
    state: StateOf,
    _caller: Auditor,
    since: Annotated[UtcTime | None, Query(description="Began at or after, RFC 3339")] = None,
    until: Annotated[UtcTime | None, Query(description="Began before, RFC 3339")] = None,
    agent: Annotated[AgentId | None, Query(description="Only this agent's")] = None,
    status: Annotated[
        TraceStatus | None, Query(description="How it ended; objection is a denial or a question")
    ] = None,
    min_duration_ms: Annotated[int | None, Query(ge=0, le=DURATION_MS_MAX, description="At least so long")] = None,
    cursor: Cursor = None,
    page_items: PageItems = PAGE_ITEMS_DEFAULT,
) -> TraceListReply:
    """Traces, newest first."""
    request = TraceListRequest(
        since=since,
        until=until,
        agent_id=agent,
        status=status,
        duration_min_ms=min_duration_ms,
        cursor=cursor,
        page_items_max=page_items,
    )
    return await state.peers.call(SERVICE, "list", request, TraceListReply)


@router.get("/{event_or_trace_id}", response_model_exclude_none=True, openapi_extra=READ)
async def show_trace(state: StateOf, _caller: Auditor, event_or_trace_id: Annotated[EventId, Path()]) -> TraceReply:
    """One trace, by its id (32 hex digits) or by the id of an event in it."""
    if _TRACE_ID.fullmatch(event_or_trace_id):
        try:
            request = TraceRequest(trace_id=event_or_trace_id)
            return await state.peers.call(SERVICE, "get", request, TraceReply)
        except ProblemError as error:
            if error.problem.code is not ProblemCode.NOT_FOUND:
                raise
            # An event's id may look like a trace's.
    return await state.peers.call(SERVICE, "get", TraceRequest(event_id=event_or_trace_id), TraceReply)
