"""``/api/v1/agents/{agent_id}`` and ``/api/v1/notes``: what agents may read of themselves, and each other's notes.

All of it takes the scope ``events``, which an agent's own key has; nothing here changes anything. A key is not bound to
one agent, so whoever may send an agent's events may read this of it as well. Notes are written as events.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from hookbus.contracts import agents
from hookbus.contracts.agents import AgentSessionsReply, NotesReply, NotesRequest, ObjectionsReply, ObjectionsRequest
from hookbus.contracts.fields import AgentId, ScopeName, SessionId, Tag, UtcTime
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import (
    KeyScope,
    SessionListReply,
    SessionListRequest,
    SessionRequest,
    SessionView,
)
from hookbus.gateway.calls import Cursor, EventSender, StateOf, needs

SERVICE: Final = "session"
SENDS: Final = needs(KeyScope.EVENTS)
SESSIONS_SHOWN_MAX: Final = 5
ITEMS_DEFAULT: Final = 20

router = APIRouter(prefix="/api/v1", tags=["agents"])

Agent = Annotated[AgentId, Path()]
Items = Annotated[int, Query(ge=1, le=agents.PAGE_ITEMS_MAX, alias="limit", description="Items in one page")]


@router.get("/agents/{agent_id}/sessions", response_model_exclude_none=True, openapi_extra=SENDS)
async def own_sessions(
    state: StateOf, _caller: EventSender, agent_id: Agent, session: SessionId | None = None
) -> AgentSessionsReply:
    """An agent's last sessions, or the one that is named, with the evidence behind the first one's risk."""
    if session is not None:
        return AgentSessionsReply(sessions=(await _explained(state, agent_id, session),))
    request = SessionListRequest(agent_id=agent_id, page_items_max=SESSIONS_SHOWN_MAX)
    found = (await state.peers.call(SERVICE, "list", request, SessionListReply)).sessions
    own = tuple(one for one in found if one.agent_id == agent_id)
    if not own:
        return AgentSessionsReply(sessions=())
    return AgentSessionsReply(sessions=(await _explained(state, agent_id, own[0].id), *own[1:]))


@router.get("/agents/{agent_id}/objections", response_model_exclude_none=True, openapi_extra=SENDS)
async def objections(
    state: StateOf,
    _caller: EventSender,
    agent_id: Agent,
    session: SessionId | None = None,
    page_items: Items = ITEMS_DEFAULT,
) -> ObjectionsReply:
    """What an agent was denied or asked about last, and why, newest first."""
    request = ObjectionsRequest(agent_id=agent_id, session=session, page_items_max=page_items)
    return await state.peers.call(SERVICE, "objections", request, ObjectionsReply)


@router.get("/notes", response_model_exclude_none=True, openapi_extra=SENDS)
async def notes(  # noqa: PLR0917 - each is a field of the query
    state: StateOf,
    _caller: EventSender,
    query: Annotated[agents.Query | None, Query(description='Words, "a phrase", or, -word')] = None,
    agent: AgentId | None = None,
    agent_category: Tag | None = None,
    project: ScopeName | None = None,
    intent: Tag | None = None,
    since: UtcTime | None = None,
    until: UtcTime | None = None,
    cursor: Cursor = None,
    page_items: Items = ITEMS_DEFAULT,
) -> NotesReply:
    """Notes of agents, newest first. A note is a ``notification`` event whose data holds ``note``, a text."""
    request = NotesRequest(
        query=query,
        agent_id=agent,
        agent_category=agent_category,
        project=project,
        intent=intent,
        since=since,
        until=until,
        cursor=cursor,
        page_items_max=page_items,
    )
    return await state.peers.call(SERVICE, "notes", request, NotesReply)


async def _explained(state: StateOf, agent_id: str, session: str) -> SessionView:
    found = await state.peers.call(SERVICE, "show", SessionRequest(id=session), SessionView)
    if found.agent_id != agent_id:
        # Another's session, or a person's: to this agent there is none.
        raise ProblemError(ProblemCode.NOT_FOUND, f"no session {session}")
    return found
