"""Requests in, replies out: what people ask about accounts, and what they set."""

import asyncio
from collections.abc import Sequence
from typing import Final

from hookbus.budget.accounts import GLOBAL_NAME, WITHIN_SESSION, AccountConfig, AccountKey, Place
from hookbus.budget.admin import Administration
from hookbus.budget.directory import Directory
from hookbus.budget.repository import Connection, reads
from hookbus.budget.repository.reads import Standing
from hookbus.budget.views import changes_of, history_view, remaining_view
from hookbus.budget.windows import Calendar
from hookbus.contracts.budget import (
    HistoryReply,
    HistoryRequest,
    InitReply,
    InitRequest,
    ListReply,
    ListRequest,
    ResetRequest,
    ScopeInitRequest,
    ScopeKind,
    ScopeRequest,
    StatusReply,
)
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.database.engine import Database

NEWEST: Final = 2**63 - 1
"""Before this id lies every row."""
LEVELS_ABOVE_MAX: Final = 4
"""Of a subagent: its session, agent, project and team."""

ONE_MOMENT: Final = "repeatable_read"
WITH_AGENT: Final = WITHIN_SESSION | {ScopeKind.AGENT}


class Queries:
    """``init``, ``scope_init``, ``reset``, ``status``, ``list`` and ``history``."""

    def __init__(
        self, database: Database, directory: Directory, calendar: Calendar, administration: Administration
    ) -> None:
        self._database = database
        self._directory = directory
        self._calendar = calendar
        self._administration = administration
        self._asking: dict[AccountKey, asyncio.Future[int | None]] = {}

    async def require(self, key: AccountKey) -> int:
        """The id of an account.

        Raises:
            ProblemError: ``not_found``; ``unavailable`` while the database is away or busy.
        """
        account = self._directory.id_of(key)
        if account is None:
            account = await self._find(key)
        if account is None:
            raise ProblemError(ProblemCode.NOT_FOUND, f"no {key.kind} {key.name}")
        return account

    async def _find(self, key: AccountKey) -> int | None:
        """Ask the database, once for all who ask for the same account meanwhile: after a start hundreds do, and each
        would wait for a connection of its own."""
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.ensure_future(self._ask(key))
            asking.add_done_callback(lambda _done: self._asking.pop(key, None))
        return await asyncio.shield(asking)

    async def _ask(self, key: AccountKey) -> int | None:
        async with self._database.raw() as connection:
            return await reads.find_one(connection, key)

    async def init(self, request: InitRequest) -> InitReply:
        """Set an agent's limits; a new one for which none is named has the defaults."""
        key = AccountKey(ScopeKind.AGENT, request.agent_id)
        parents: list[AccountKey] = []
        if request.project is not None:
            parents.append(AccountKey(ScopeKind.PROJECT, request.project))
        if request.team is not None:
            parents.append(AccountKey(ScopeKind.TEAM, request.team))
        changes = changes_of(request.limits, replace=request.replace)
        created = await self._administration.set_limits(
            key, changes, parents=parents, warn_at=request.warn_at, actor=request.actor
        )
        status = await self._status(key)
        return InitReply(created=created, agent_id=request.agent_id, remaining=status.remaining)

    async def scope_init(self, request: ScopeInitRequest) -> StatusReply:
        """Set the limits of an account that is not an agent's. A session or subagent that nobody has seen is made, and
        its agent with the default limits.

        Raises:
            ProblemError: ``body_invalid`` for an agent, or for a team of anything but a project.
        """
        if request.scope is ScopeKind.AGENT:
            raise ProblemError(ProblemCode.BODY_INVALID, "an agent's limits are set by init")
        key = _key(request.scope, request.name)
        parents: list[AccountKey] = []
        if request.scope in WITHIN_SESSION:
            parents.extend(Place.of(key).keys_above())
        if request.team is not None:
            if request.scope is not ScopeKind.PROJECT:
                raise ProblemError(ProblemCode.BODY_INVALID, "only a project belongs to a team")
            parents.append(AccountKey(ScopeKind.TEAM, request.team))
        changes = changes_of(request.limits, replace=request.replace)
        await self._administration.set_limits(
            key, changes, parents=parents, warn_at=request.warn_at, actor=request.actor
        )
        return await self._status(key)

    async def reset(self, request: ResetRequest) -> StatusReply:
        """Begin windows afresh.

        Raises:
            ProblemError: ``not_found``.
        """
        key = _key(request.scope, request.name)
        if not await self._administration.reset(key, unit=request.unit, window=request.window, actor=request.actor):
            raise ProblemError(ProblemCode.NOT_FOUND, f"no {key.kind} {key.name}")
        return await self._status(key)

    async def status(self, request: ScopeRequest) -> StatusReply:
        """One account's limits and holds.

        Raises:
            ProblemError: ``not_found``.
        """
        return await self._status(_key(request.scope, request.name))

    async def list_accounts(self, request: ListRequest) -> ListReply:
        """The accounts of one level, by name.

        Raises:
            ProblemError: ``body_invalid`` for a cursor that no page returned.
        """
        after = _row_id(request.cursor) if request.cursor is not None else None
        async with self._database.raw() as connection, connection.transaction(isolation=ONE_MOMENT, readonly=True):
            ids = await reads.page(connection, request.scope, after, request.page_items_max + 1)
            shown = ids[: request.page_items_max]
            standings = await reads.standings(connection, shown)
            accounts = await self._views(connection, [standings[account] for account in shown])
        more = len(ids) > len(shown)
        return ListReply(accounts=accounts, cursor=str(shown[-1]) if more else None)

    async def history(self, request: HistoryRequest) -> HistoryReply:
        """Rows of the ledger, newest first.

        Raises:
            ProblemError: ``not_found``; ``body_invalid`` for a cursor that no page returned.
        """
        before = _row_id(request.cursor) if request.cursor is not None else NEWEST
        key = _key(request.scope, request.name)
        account = await self.require(key)
        async with self._database.raw() as connection:
            rows = await reads.history(connection, key.kind, account, before, request.page_items_max + 1)
        entries = tuple(history_view(row) for row in rows[: request.page_items_max])
        more = len(rows) > len(entries)
        return HistoryReply(entries=entries, cursor=str(entries[-1].id) if more else None)

    async def _status(self, key: AccountKey) -> StatusReply:
        account = await self.require(key)
        # One moment for all of it: an answer must not show a hold in the balance and not in the count.
        async with self._database.raw() as connection, connection.transaction(isolation=ONE_MOMENT, readonly=True):
            standings = await reads.standings(connection, [account])
            (view,) = await self._views(connection, list(standings.values()))
            holds = await reads.count_holds(connection, key.kind, account)
        return view.model_copy(update={"holds": holds})

    async def _views(self, connection: Connection, standings: Sequence[Standing]) -> tuple[StatusReply, ...]:
        known = {each.config.id: each.config for each in standings}
        for _level in range(LEVELS_ABOVE_MAX):
            above = {config.parent for config in known.values() if config.parent is not None} - known.keys()
            if above:
                known |= {each.config.id: each.config for each in (await reads.standings(connection, above)).values()}
        views: list[StatusReply] = []
        for each in standings:
            names: dict[ScopeKind, str] = {}
            parent = each.config.parent
            while parent is not None and parent in known:
                names[known[parent].kind] = known[parent].name
                parent = known[parent].parent
            each.account.roll(self._calendar, each.clock_us)
            views.append(
                StatusReply(
                    scope=each.config.kind,
                    name=each.config.name,
                    agent_id=_agent_of(each.config),
                    project=names.get(ScopeKind.PROJECT),
                    team=names.get(ScopeKind.TEAM),
                    remaining=remaining_view(each.account.states(self._calendar, each.clock_us)),
                    holds=each.holds,
                    warn_at=each.config.warn_at,
                )
            )
        return tuple(views)


def _key(scope: ScopeKind, name: str) -> AccountKey:
    """There is one global scope; whatever name a path gives it means that one."""
    return AccountKey(scope, GLOBAL_NAME if scope is ScopeKind.GLOBAL else name)


def _agent_of(config: AccountConfig) -> str | None:
    return Place.of(AccountKey(config.kind, config.name)).agent if config.kind in WITH_AGENT else None


def _row_id(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 19):
        raise ProblemError(ProblemCode.BODY_INVALID, "the cursor is not one that a page returned")
    return min(int(cursor), NEWEST)
