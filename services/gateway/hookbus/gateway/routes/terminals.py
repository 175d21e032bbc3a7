"""``/api/v1/terminals``: what agents' terminals printed."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from hookbus.contracts import limits
from hookbus.contracts.fields import AgentId, OperationId, SessionId
from hookbus.contracts.session import KeyScope
from hookbus.contracts.terminals import (
    PIECES_PAGE_MAX,
    TerminalListReply,
    TerminalListRequest,
    TerminalReply,
    TerminalRequest,
)
from hookbus.gateway.calls import SessionKeeper, StateOf, needs

SERVICE: Final = "session"
READ: Final = needs(KeyScope.SESSION)

router = APIRouter(prefix="/api/v1/terminals", tags=["sessions"])

Pieces = Annotated[int, Query(ge=1, le=PIECES_PAGE_MAX, alias="limit", description="Pieces in one page")]
After = Annotated[int, Query(ge=0, le=limits.TERMINAL_SEQUENCE_MAX, description="What the last page returned as next")]


@router.get("", response_model_exclude_none=True, openapi_extra=READ)
async def list_terminals(state: StateOf, _caller: SessionKeeper, session: SessionId) -> TerminalListReply:
    """The terminals of one session, newest first."""
    return await state.peers.call(SERVICE, "terminal_list", TerminalListRequest(session=session), TerminalListReply)


@router.get("/{agent_id}/{terminal_id}", response_model_exclude_none=True, openapi_extra=READ)
async def show(
    state: StateOf,
    _caller: SessionKeeper,
    agent_id: Annotated[AgentId, Path()],
    terminal_id: Annotated[OperationId, Path()],
    after: After | None = None,
    pieces: Pieces = PIECES_PAGE_MAX,
) -> TerminalReply:
    """One terminal and a page of what it printed, in its order."""
    request = TerminalRequest(agent_id=agent_id, id=terminal_id, after=after, pieces_max=pieces)
    return await state.peers.call(SERVICE, "terminal", request, TerminalReply)
