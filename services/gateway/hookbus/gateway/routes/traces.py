"""``/api/v1/traces``: the spans of one event's way through hookbus, where the stack keeps them."""

import re
from typing import Annotated, Final

from fastapi import APIRouter, Path

from hookbus.contracts.fields import EventId
from hookbus.contracts.limits import PAGE_ITEMS_DEFAULT
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope
from hookbus.contracts.traces import TraceListReply, TraceListRequest, TraceReply, TraceRequest
from hookbus.gateway.calls import Auditor, Cursor, PageItems, StateOf, needs

SERVICE: Final = "traces"
READ: Final = needs(KeyScope.AUDIT)
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")

router = APIRouter(prefix="/api/v1/traces", tags=["traces"])


@router.get("", response_model_exclude_none=True, openapi_extra=READ)
async def list_traces(
    state: StateOf, _caller: Auditor, cursor: Cursor = None, page_items: PageItems = PAGE_ITEMS_DEFAULT
) -> TraceListReply:
    """Traces, newest first."""
    request = TraceListRequest(cursor=cursor, page_items_max=page_items)
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
