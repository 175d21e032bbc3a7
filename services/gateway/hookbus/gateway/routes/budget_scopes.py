"""``/api/v1/budget/scopes``: limits and balances of everything that is not an agent.

A session or subagent is named by its agent, session and subagent joined by ``~``, which no agent or session id holds:
``builder~s1``, ``builder~s1~reviewer``, ``builder~~reviewer`` for a subagent outside a session.
"""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path

from hookbus.contracts.budget import (
    NAME_SEPARATOR,
    AccountName,
    HistoryReply,
    HistoryRequest,
    ResetRequest,
    ScopeInitRequest,
    ScopeKind,
    ScopeRequest,
    StatusReply,
)
from hookbus.contracts.limits import PAGE_ITEMS_DEFAULT
from hookbus.contracts.session import KeyScope
from hookbus.gateway.budget_bodies import LimitsBody, ResetBody
from hookbus.gateway.calls import BudgetReader, BudgetWriter, Cursor, PageItems, StateOf, body, describes, needs

SERVICE: Final = "budget"
READ: Final = needs(KeyScope.BUDGET_READ)
WRITE: Final = KeyScope.BUDGET_WRITE
PATH_SEPARATOR: Final = "~"
"""In a path segment, where an account's name has a slash."""
SEPARATORS_BY_SCOPE: Final = {ScopeKind.SESSION: 1, ScopeKind.SUBAGENT: 2}

router = APIRouter(prefix="/api/v1/budget/scopes", tags=["budget"])

Name = Annotated[
    AccountName,
    Path(description="A project's or team's name, any for global, `agent~session`, `agent~session~subagent`"),
]
ScopePath = Annotated[Literal["session", "subagent", "project", "team", "global"], Path()]


@router.post(
    "/{scope}/{name}",
    response_model_exclude_none=True,
    openapi_extra=describes(LimitsBody, optional=True, scope=WRITE),
)
async def scope_init(
    state: StateOf,
    caller: BudgetWriter,
    scope: ScopePath,
    name: Name,
    limits: Annotated[LimitsBody, Depends(body(LimitsBody, optional=True))],
) -> StatusReply:
    """Set the limits of a scope; those not named stay. An operation must fit every scope above its agent, and its
    session's and subagent's own limits."""
    request = ScopeInitRequest(
        scope=ScopeKind(scope),
        name=_account_name(scope, name),
        limits=limits.all_limits(),
        replace=limits.replace,
        team=limits.team,
        warn_at=limits.warn_at,
        actor=caller.actor,
    )
    return await state.peers.call(SERVICE, "scope_init", request, StatusReply)


@router.get("/{scope}/{name}", response_model_exclude_none=True, openapi_extra=READ)
async def scope_status(state: StateOf, _caller: BudgetReader, scope: ScopePath, name: Name) -> StatusReply:
    """The limits and balances of a scope."""
    request = ScopeRequest(scope=ScopeKind(scope), name=_account_name(scope, name))
    return await state.peers.call(SERVICE, "status", request, StatusReply)


@router.get("/{scope}/{name}/history", response_model_exclude_none=True, openapi_extra=READ)
async def scope_history(
    state: StateOf,
    _caller: BudgetReader,
    scope: ScopePath,
    name: Name,
    cursor: Cursor = None,
    page_items: PageItems = PAGE_ITEMS_DEFAULT,
) -> HistoryReply:
    """The ledger of a scope, newest first."""
    request = HistoryRequest(
        scope=ScopeKind(scope), name=_account_name(scope, name), cursor=cursor, page_items_max=page_items
    )
    return await state.peers.call(SERVICE, "history", request, HistoryReply)


@router.post(
    "/{scope}/{name}/reset",
    response_model_exclude_none=True,
    openapi_extra=describes(ResetBody, optional=True, scope=WRITE),
)
async def scope_reset(
    state: StateOf,
    caller: BudgetWriter,
    scope: ScopePath,
    name: Name,
    which: Annotated[ResetBody, Depends(body(ResetBody, optional=True))],
) -> StatusReply:
    """Start a scope's windows afresh."""
    request = ResetRequest(
        scope=ScopeKind(scope),
        name=_account_name(scope, name),
        unit=which.unit,
        window=which.window,
        actor=caller.actor,
    )
    return await state.peers.call(SERVICE, "reset", request, StatusReply)


def _account_name(scope: str, name: str) -> str:
    return name.replace(PATH_SEPARATOR, NAME_SEPARATOR, SEPARATORS_BY_SCOPE.get(ScopeKind(scope), 0))
