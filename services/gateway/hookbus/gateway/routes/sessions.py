"""``/api/v1/sessions``: agents' sessions and the kill switch."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import StringConstraints

from hookbus.contracts.fields import AgentId, SessionId, WireModel
from hookbus.contracts.limits import DESCRIPTION_CHARS_MAX, PAGE_ITEMS_DEFAULT
from hookbus.contracts.people import Username
from hookbus.contracts.session import (
    KeyScope,
    SessionKind,
    SessionListReply,
    SessionListRequest,
    SessionRequest,
    SessionState,
    SessionView,
)
from hookbus.gateway.calls import Cursor, PageItems, SessionKeeper, StateOf, body, describes, needs

SERVICE: Final = "session"
READ: Final = needs(KeyScope.SESSION)

router = APIRouter(prefix="/api/v1/sessions", tags=["sessions"])

Session = Annotated[SessionId, Path()]


class ReasonBody(WireModel):
    """Why a session is killed or revived; told to the agent and kept in the log."""

    reason: Annotated[str, StringConstraints(max_length=DESCRIPTION_CHARS_MAX)] = ""


Reason = Annotated[ReasonBody, Depends(body(ReasonBody, optional=True))]


@router.get("", response_model_exclude_none=True, openapi_extra=READ)
async def list_sessions(
    state: StateOf,
    _caller: SessionKeeper,
    *,
    kind: Annotated[SessionKind | None, Query(description="Of agents or of people; both where it is absent")] = None,
    agent_id: AgentId | None = None,
    username: Username | None = None,
    session_state: SessionState | None = None,
    risk_min: Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False)] = None,
    cursor: Cursor = None,
    page_items: PageItems = PAGE_ITEMS_DEFAULT,
) -> SessionListReply:
    """Sessions of agents and of people, last seen first."""
    request = SessionListRequest(
        kind=kind,
        agent_id=agent_id,
        username=username,
        state=session_state,
        risk_min=risk_min,
        cursor=cursor,
        page_items_max=page_items,
    )
    return await state.peers.call(SERVICE, "list", request, SessionListReply)


@router.get("/{session_id}", response_model_exclude_none=True, openapi_extra=READ)
async def show(state: StateOf, _caller: SessionKeeper, session_id: Session) -> SessionView:
    """One session, with the evidence behind its risk."""
    return await state.peers.call(SERVICE, "show", SessionRequest(id=session_id), SessionView)


@router.delete("/{session_id}", response_model_exclude_none=True, openapi_extra=READ)
async def end(state: StateOf, caller: SessionKeeper, session_id: Session) -> SessionView:
    """End a session: the same as to kill it."""
    request = SessionRequest(id=session_id, actor=caller.actor)
    return await state.peers.call(SERVICE, "kill", request, SessionView)


@router.post(
    "/{session_id}/kill",
    response_model_exclude_none=True,
    openapi_extra=describes(ReasonBody, optional=True, scope=KeyScope.SESSION),
)
async def kill(state: StateOf, caller: SessionKeeper, session_id: Session, why: Reason) -> SessionView:
    """Deny the session's every next decision. Repeating it changes nothing."""
    request = SessionRequest(id=session_id, reason=why.reason, actor=caller.actor)
    return await state.peers.call(SERVICE, "kill", request, SessionView)


@router.post(
    "/{session_id}/revive",
    response_model_exclude_none=True,
    openapi_extra=describes(ReasonBody, optional=True, scope=KeyScope.SESSION),
)
async def revive(state: StateOf, caller: SessionKeeper, session_id: Session, why: Reason) -> SessionView:
    """Take a kill back."""
    request = SessionRequest(id=session_id, reason=why.reason, actor=caller.actor)
    return await state.peers.call(SERVICE, "revive", request, SessionView)
