"""Setting limits and resetting windows: rare, one account at a time, recorded with who did it."""

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from hookbus.budget.accounts import GLOBAL_ACCOUNT, WITHIN_SESSION, Account, AccountKey, LimitRule
from hookbus.budget.changes import LimitChanges
from hookbus.budget.commands import Operation
from hookbus.budget.notices import warning_event
from hookbus.budget.repository import Connection, accounts, outbox, reads
from hookbus.budget.repository import ledger as repository
from hookbus.budget.warnings import standing
from hookbus.budget.windows import SLOTS, Calendar, to_datetime
from hookbus.contracts.budget import ScopeKind, Unit, Window
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.database.engine import Database

FIRST_PARENT: Final[Mapping[ScopeKind, int | None]] = {
    ScopeKind.AGENT: None,
    ScopeKind.PROJECT: GLOBAL_ACCOUNT,
    ScopeKind.TEAM: GLOBAL_ACCOUNT,
    ScopeKind.GLOBAL: None,
    ScopeKind.SESSION: None,
    ScopeKind.SUBAGENT: None,
}
"""Where an account lies until it is put elsewhere in the same transaction or later; an agent that lies nowhere follows
its operations."""


class Administration:
    """What operators do to accounts."""

    def __init__(self, database: Database, calendar: Calendar, default_rules: Sequence[LimitRule]) -> None:
        self._database = database
        self._calendar = calendar
        self._default_rules = tuple(default_rules)

    async def set_limits(
        self,
        key: AccountKey,
        changes: LimitChanges,
        *,
        parents: Sequence[AccountKey],
        warn_at: Sequence[float] | None,
        actor: str,
    ) -> bool:
        """Change an account's limits and put it below ``parents`` (nearest first); what was spent stays. True when the
        account is new. An agent that is new, or whose limits are all replaced, has the defaults where none is named."""
        async with self._database.raw() as connection, connection.transaction():
            # All at once, as a first operation makes them: who makes them one by one waits in an order of its own.
            first = {each: FIRST_PARENT[each.kind] for each in (key, *parents)}
            made = await accounts.create(connection, first, self._default_rules, actor)
            ids = await accounts.find(connection, [key, *parents])
            at_us, locked = await self._lock(connection, ids.values())
            await _put_below(connection, [ids[each] for each in (key, *parents)], locked)
            account = ids[key]
            before = locked[account].config
            # What a new account was made with are the defaults: whoever names limits names all of them.
            rules = changes.onto(() if key in made and changes.named else before.limits)
            if key.kind is ScopeKind.AGENT and changes.replace and not changes.named:
                rules = self._default_rules
            if rules != before.limits:
                await accounts.replace_limits(connection, account, rules)
            if warn_at is not None:
                await accounts.set_warn_at(connection, account, warn_at)
            await accounts.new_version(connection, account)
            (config,) = await accounts.configs(connection, [account])
            working = Account(config, starts_us=locked[account].starts_us, spent=locked[account].spent)
            working.roll(self._calendar, at_us)
            warned = [warning_event(each) for each in standing(working, self._calendar, at_us)]
            if warned:
                await outbox.add(connection, warned)
            detail = {
                "limits": [_described(rule) for rule in config.limits],
                "warn_at": list(config.warn_at),
                "below": [parent.name for parent in parents],
            }
            await _record(connection, Operation.LIMITS, working, at_us, actor=actor, detail=detail)
            return key in made

    async def reset(self, key: AccountKey, *, unit: Unit | None, window: Window | None, actor: str) -> bool:
        """Begin windows of an account afresh; None means all. Holds stay. False where there is no such account.

        Raises:
            ProblemError: a session limit above the agent is asked for; its sessions are reset at their agents.
        """
        if window is Window.SESSION and key.kind in WITHIN_SESSION:
            window = Window.TOTAL
        if window is Window.SESSION and key.kind is not ScopeKind.AGENT:
            raise ProblemError(ProblemCode.BODY_INVALID, "session windows are reset at the agent or at one session")
        async with self._database.raw() as connection, connection.transaction():
            account = await reads.find_one(connection, key)
            if account is None:
                return False
            sessions: list[int] = []
            if key.kind is ScopeKind.AGENT and window in (None, Window.SESSION):
                sessions = await accounts.children(connection, account, ScopeKind.SESSION)
            at_us, locked = await self._lock(connection, {account, *sessions})
            if window is not Window.SESSION:
                await self._reset_one(connection, locked[account], at_us, unit=unit, window=window, actor=actor)
            for session in sessions:
                await self._reset_one(connection, locked[session], at_us, unit=unit, window=Window.TOTAL, actor=actor)
            return True

    async def _reset_one(
        self,
        connection: Connection,
        working: Account,
        at_us: int,
        *,
        unit: Unit | None,
        window: Window | None,
        actor: str,
    ) -> None:
        working.roll(self._calendar, at_us)
        before = {
            f"{slot_unit}.{slot_window}": count
            for (slot_window, slot_unit), count in zip(SLOTS, working.spent, strict=True)
            if count
        }
        working.reset(at_us, unit, window)
        await repository.save(connection, [working])
        detail = {"unit": unit, "window": window, "spent_before": before}
        await _record(connection, Operation.RESET, working, at_us, actor=actor, detail=detail)

    async def _lock(self, connection: Connection, ids: Collection[int]) -> tuple[int, dict[int, Account]]:
        """The moment of the change, after everything these accounts have seen, and their balances."""
        locked = await repository.lock(connection, ids)
        configs = {config.id: config for config in await accounts.configs(connection, ids)}
        working = {each.account_id: each.onto(Account(configs[each.account_id])) for each in locked}
        latest = max([*(each.clock_us for each in locked), *(each.last_at_us + 1 for each in working.values())])
        return latest, working


async def _put_below(connection: Connection, ids: Sequence[int], locked: Mapping[int, Account]) -> None:
    for child, parent in pairwise(ids):
        if locked[child].config.parent != parent:
            await accounts.set_parent(connection, child, parent)
            await accounts.new_version(connection, child)


async def _record(
    connection: Connection,
    operation: Operation,
    account: Account,
    at_us: int,
    *,
    actor: str,
    detail: Mapping[str, Any],
) -> None:
    await accounts.record(
        connection, account.config, operation, to_datetime(at_us), actor=actor, detail=json.dumps(detail)
    )
    await accounts.touch(connection, account.config.id, at_us)


def _described(rule: LimitRule) -> dict[str, Any]:
    return {"unit": rule.unit, "window": rule.window, "amount": rule.amount, "mode": rule.mode}
