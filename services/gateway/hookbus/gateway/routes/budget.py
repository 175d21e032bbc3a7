"""``/api/v1/budget``: limits and balances of agents, and what is asked of all accounts."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Response

from hookbus.contracts.budget import (
    DeductReply,
    DeductRequest,
    DriftReply,
    DriftRequest,
    ExtendReply,
    ExtendRequest,
    HistoryReply,
    HistoryRequest,
    InitReply,
    InitRequest,
    ListReply,
    ListRequest,
    ProjectsReply,
    ProjectsRequest,
    ReleaseReply,
    ReleaseRequest,
    ReserveReply,
    ReserveRequest,
    ResetRequest,
    ScopeKind,
    ScopeRequest,
    StatusReply,
    Tightened,
)
from hookbus.contracts.fields import AgentId, UtcTime
from hookbus.contracts.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope, SessionKind, SessionListReply, SessionListRequest, SessionState
from hookbus.gateway.budget_bodies import InitBody, ResetBody
from hookbus.gateway.calls import BudgetReader, BudgetWriter, Cursor, PageItems, StateOf, body, describes, needs
from hookbus.gateway.state import State

SERVICE: Final = "budget"
RISKY: Final = 0.02
"""Above the risk of a session against which nothing stands: the others need not be asked for."""
READ: Final = needs(KeyScope.BUDGET_READ)
WRITE: Final = KeyScope.BUDGET_WRITE

router = APIRouter(prefix="/api/v1/budget", tags=["budget"])

Agent = Annotated[AgentId, Path()]


@router.get("/health", tags=["ops"])
async def health(state: StateOf) -> dict[str, str]:
    """Whether the budget service answers. Open to all: it says nothing else."""
    await state.peers.call(SERVICE, "list", ListRequest(page_items_max=1), ListReply)
    return {"status": "ok"}


@router.post(
    "/init/{agent_id}",
    response_model_exclude_none=True,
    responses={201: {"model": InitReply, "description": "The agent is new"}},
    openapi_extra=describes(InitBody, optional=True, scope=WRITE),
)
async def init(
    state: StateOf,
    caller: BudgetWriter,
    agent_id: Agent,
    limits: Annotated[InitBody, Depends(body(InitBody, optional=True))],
    response: Response,
) -> InitReply:
    """Set an agent's limits: 201 for a new agent, 200 for a known one, whose spending stays, as do limits that are not
    named."""
    request = InitRequest(
        agent_id=agent_id,
        limits=limits.all_limits(),
        replace=limits.replace,
        project=limits.project,
        team=limits.team,
        warn_at=limits.warn_at,
        actor=caller.actor,
    )
    reply = await state.peers.call(SERVICE, "init", request, InitReply)
    response.status_code = 201 if reply.created else 200
    return reply


@router.post(
    "/check",
    response_model_exclude_none=True,
    openapi_extra=describes(ReserveRequest, scope=KeyScope.BUDGET_READ),
)
async def check(
    state: StateOf, caller: BudgetReader, request: Annotated[ReserveRequest, Depends(body(ReserveRequest))]
) -> ReserveReply:
    """May this operation go ahead; with ``reserve`` (which takes the scope ``budget:write``) its estimate is held until
    it is settled or expires."""
    if request.reserve and not caller.may(WRITE):
        raise ProblemError(ProblemCode.FORBIDDEN, f"a reservation takes the scope {WRITE}")
    return await state.peers.call(SERVICE, "check", request, ReserveReply)


@router.post(
    "/deduct",
    response_model_exclude_none=True,
    openapi_extra=describes(DeductRequest, scope=WRITE),
)
async def deduct(
    state: StateOf, _caller: BudgetWriter, request: Annotated[DeductRequest, Depends(body(DeductRequest))]
) -> DeductReply:
    """Record what was spent, once for each idempotency key."""
    return await state.peers.call(SERVICE, "deduct", request, DeductReply)


@router.post("/release", openapi_extra=describes(ReleaseRequest, scope=WRITE))
async def release(
    state: StateOf, _caller: BudgetWriter, request: Annotated[ReleaseRequest, Depends(body(ReleaseRequest))]
) -> ReleaseReply:
    """Give a reservation back unspent."""
    return await state.peers.call(SERVICE, "release", request, ReleaseReply)


@router.post("/extend", openapi_extra=describes(ExtendRequest, scope=WRITE))
async def extend(
    state: StateOf, _caller: BudgetWriter, request: Annotated[ExtendRequest, Depends(body(ExtendRequest))]
) -> ExtendReply:
    """Let a reservation live longer; 409 once it has ended."""
    return await state.peers.call(SERVICE, "extend", request, ExtendReply)


@router.get("/projects", response_model_exclude_none=True, openapi_extra=READ)
async def projects(
    state: StateOf, _caller: BudgetReader, cursor: Cursor = None, page_items: PageItems = PAGE_ITEMS_DEFAULT
) -> ProjectsReply:
    """Every project, by name."""
    request = ProjectsRequest(cursor=cursor, page_items_max=page_items)
    return await state.peers.call(SERVICE, "projects", request, ProjectsReply)


@router.get("/drift", response_model_exclude_none=True, openapi_extra=READ)
async def drift(
    state: StateOf,
    _caller: BudgetReader,
    agent: Annotated[AgentId | None, Query()] = None,
    since: Annotated[UtcTime | None, Query(description="30 days ago by default")] = None,
) -> DriftReply:
    """What agents said their requests cost, beside what the price list says."""
    return await state.peers.call(SERVICE, "drift", DriftRequest(agent_id=agent, since=since), DriftReply)


@router.get("/list", response_model_exclude_none=True, openapi_extra=READ)
async def list_accounts(
    state: StateOf,
    _caller: BudgetReader,
    scope: ScopeKind = ScopeKind.AGENT,
    cursor: Cursor = None,
    page_items: PageItems = PAGE_ITEMS_DEFAULT,
) -> ListReply:
    """The accounts of one level, by name."""
    request = ListRequest(scope=scope, cursor=cursor, page_items_max=page_items)
    return await state.peers.call(SERVICE, "list", request, ListReply)


@router.get("/status/{agent_id}", response_model_exclude_none=True, openapi_extra=READ)
async def status(state: StateOf, _caller: BudgetReader, agent_id: Agent) -> StatusReply:
    """An agent's limits, balances and open reservations, and which of its sessions are held shorter for their risk."""
    reply, tightened = await asyncio.gather(
        state.peers.call(SERVICE, "status", ScopeRequest(name=agent_id), StatusReply), _tightened(state, agent_id)
    )
    return reply.model_copy(update={"tightened": tightened})


async def _tightened(state: State, agent_id: str) -> tuple[Tightened, ...] | None:
    request = SessionListRequest(
        kind=SessionKind.AGENT,
        agent_id=agent_id,
        state=SessionState.ACTIVE,
        risk_min=RISKY,
        page_items_max=PAGE_ITEMS_MAX,
    )
    try:
        reply = await state.peers.call("session", "list", request, SessionListReply)
    except ProblemError:
        return None  # a balance is shown whether or not the sessions can be asked
    return tuple(
        Tightened(session=one.id, risk=one.risk, budget_share=one.budget_share)
        for one in reply.sessions
        if one.budget_share < 1.0
    )


@router.get("/history/{agent_id}", response_model_exclude_none=True, openapi_extra=READ)
async def history(
    state: StateOf,
    _caller: BudgetReader,
    agent_id: Agent,
    cursor: Cursor = None,
    page_items: PageItems = PAGE_ITEMS_DEFAULT,
) -> HistoryReply:
    """An agent's ledger, newest first."""
    request = HistoryRequest(name=agent_id, cursor=cursor, page_items_max=page_items)
    return await state.peers.call(SERVICE, "history", request, HistoryReply)


@router.post(
    "/reset/{agent_id}",
    response_model_exclude_none=True,
    openapi_extra=describes(ResetBody, optional=True, scope=WRITE),
)
async def reset(
    state: StateOf,
    caller: BudgetWriter,
    agent_id: Agent,
    which: Annotated[ResetBody, Depends(body(ResetBody, optional=True))],
) -> StatusReply:
    """Start an agent's windows afresh."""
    request = ResetRequest(name=agent_id, unit=which.unit, window=which.window, actor=caller.actor)
    return await state.peers.call(SERVICE, "reset", request, StatusReply)
