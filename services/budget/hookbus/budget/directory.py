"""Which accounts an operation is counted in: names to ids and parents, remembered between batches.

What is remembered may be stale; :class:`hookbus.budget.transaction.LedgerTransaction` compares versions under lock.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from hookbus.budget.accounts import GLOBAL_ACCOUNT, GLOBAL_NAME, AccountConfig, AccountKey, Chain, LimitRule, Place
from hookbus.budget.repository import Connection
from hookbus.budget.repository import accounts as repository
from hookbus.contracts.budget import ScopeKind

GLOBAL_KEY: Final = AccountKey(ScopeKind.GLOBAL, GLOBAL_NAME)
ACCOUNTS_REMEMBERED_MAX: Final = 100_000
"""Sessions come and go; beyond this many accounts the memory starts afresh."""


class Directory:
    """The account tree as far as this process has met it."""

    def __init__(self, default_rules: Sequence[LimitRule]) -> None:
        self._default_rules = tuple(default_rules)
        self._ids: dict[AccountKey, int] = {}
        self._configs: dict[int, AccountConfig] = {}
        self._chains: dict[Place, Chain] = {}
        self.moves = 0
        """Grows when any account was found to lie elsewhere: what :meth:`chain` said before may no longer hold."""

    @property
    def default_rules(self) -> tuple[LimitRule, ...]:
        """The limits of an agent that nobody has set any for."""
        return self._default_rules

    def config(self, account: int) -> AccountConfig | None:
        """What is remembered of an account."""
        return self._configs.get(account)

    def id_of(self, key: AccountKey) -> int | None:
        """The id of an account, where it was met."""
        return self._ids.get(key)

    def learn(self, configs: Iterable[AccountConfig]) -> None:
        """Remember what was read under lock."""
        for config in configs:
            known = self._configs.get(config.id)
            self._configs[config.id] = config
            if known is not None and known.parent != config.parent:
                self._chains.clear()
                self.moves += 1

    def trim(self) -> None:
        """Forget everything once it is too much. Not between :meth:`know` and :meth:`chain`."""
        if len(self._ids) > ACCOUNTS_REMEMBERED_MAX:
            self._ids.clear()
            self._configs.clear()
        if len(self._chains) > ACCOUNTS_REMEMBERED_MAX or not self._ids:
            self._chains.clear()

    async def know(self, connection: Connection, places: Collection[Place]) -> None:
        """Remember every account of ``places``, making those that do not exist, level by level from the top."""
        await self._make(connection, {GLOBAL_KEY: None})
        top: dict[AccountKey, int | None] = {}
        for place in places:
            top[AccountKey(ScopeKind.AGENT, place.agent)] = None
            if place.project is not None:
                top[AccountKey(ScopeKind.PROJECT, place.project)] = None
        await self._make(connection, top)
        sessions = {key: self._agent(place) for place in places if (key := place.session_key()) is not None}
        await self._make(connection, sessions)
        subagents: dict[AccountKey, int | None] = {}
        for place in places:
            key = place.subagent_key()
            if key is not None:
                above = place.session_key()
                subagents[key] = self._agent(place) if above is None else self._ids[above]
        await self._make(connection, subagents)

    def chain(self, place: Place) -> Chain:
        """The accounts of a known place. The project or team an agent was put in binds it; an agent in none is counted
        in the project its operation names."""
        known = self._chains.get(place)
        if known is None:
            known = self._chains[place] = self._find_chain(place)
        return known

    def _find_chain(self, place: Place) -> Chain:
        agent = self._agent(place)
        above = self._configs[agent].parent
        project: int | None = None
        team: int | None = None
        if above is None or above == GLOBAL_ACCOUNT:
            project = self._ids[AccountKey(ScopeKind.PROJECT, place.project)] if place.project is not None else None
        elif self._configs[above].kind is ScopeKind.TEAM:
            team = above
        else:
            project = above
        if project is not None:
            over = self._configs[project].parent
            team = over if over != GLOBAL_ACCOUNT else None
        session_key, subagent_key = place.session_key(), place.subagent_key()
        return Chain(
            agent,
            project,
            team,
            self._ids[session_key] if session_key is not None else None,
            self._ids[subagent_key] if subagent_key is not None else None,
        )

    def knows(self, place: Place) -> bool:
        """Whether :meth:`chain` can answer without the database."""
        if place in self._chains:
            return True
        keys = (
            AccountKey(ScopeKind.AGENT, place.agent),
            AccountKey(ScopeKind.PROJECT, place.project) if place.project is not None else None,
            place.session_key(),
            place.subagent_key(),
        )
        for key in keys:
            if key is not None:
                account = self._ids.get(key)
                if account is None:
                    return False
                above: int | None = account
                while above is not None:
                    config = self._configs.get(above)
                    if config is None:
                        return False
                    above = config.parent
        return GLOBAL_ACCOUNT in self._configs

    def _agent(self, place: Place) -> int:
        return self._ids[AccountKey(ScopeKind.AGENT, place.agent)]

    async def _make(self, connection: Connection, parents: Mapping[AccountKey, int | None]) -> None:
        unknown = {key: parent for key, parent in parents.items() if key not in self._ids}
        if unknown:
            found = await repository.find(connection, unknown)
            missing = {key: parent for key, parent in unknown.items() if key not in found}
            if missing:
                async with connection.transaction():
                    await repository.create(connection, missing, self._default_rules, repository.DEFAULTS_ACTOR)
                found |= await repository.find(connection, missing)
            self._ids |= found
        while wanted := self._missing(parents):
            self.learn(await repository.configs(connection, wanted))

    def _missing(self, keys: Iterable[AccountKey]) -> set[int]:
        """Accounts on the way up from ``keys`` whose settings are not known."""
        missing: set[int] = set()
        for key in keys:
            above: int | None = self._ids[key]
            while above is not None:
                config = self._configs.get(above)
                if config is None:
                    missing.add(above)
                    break
                above = config.parent
        return missing
