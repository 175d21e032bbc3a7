"""The account tree: making accounts, and what is set on them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from hookbus.budget.accounts import AccountConfig, AccountKey, LimitRule
from hookbus.budget.commands import Operation
from hookbus.budget.repository import Connection
from hookbus.contracts.budget import Mode, ScopeKind, Unit, Window

DEFAULTS_ACTOR: Final = "defaults"

_FIND: Final = """
    SELECT a.kind, a.name, a.id
    FROM unnest($1::text[], $2::text[]) AS wanted (kind, name)
    JOIN budget.accounts a ON a.kind = wanted.kind AND a.name = wanted.name
"""
# Sorted, so that two processes that make the same accounts wait for each other in one order only.
_CREATE: Final = """
    INSERT INTO budget.accounts (kind, name, parent_id, created_by)
    SELECT kind, name, parent_id, $4
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS made (kind, name, parent_id)
    ORDER BY kind, name
    ON CONFLICT (kind, name) DO NOTHING
    RETURNING kind, name, id
"""
_CREATE_BALANCES: Final = "INSERT INTO budget.balances (account_id) SELECT unnest($1::bigint[])"
_CREATE_PROJECTS: Final = """
    INSERT INTO budget.projects (name, account_id, created_by)
    SELECT name, id, $2 FROM budget.accounts WHERE id = ANY($1::bigint[]) AND kind = 'project'
"""
_CONFIGS: Final = """
    SELECT a.id, a.kind, a.name, a.parent_id, a.warn_at, b.config_version,
           coalesce(l.rules, '{}') AS rules
    FROM budget.accounts a
    JOIN budget.balances b ON b.account_id = a.id
    LEFT JOIN LATERAL (
        SELECT array_agg(ARRAY[unit, period, amount::text, mode] ORDER BY unit, period) AS rules
        FROM budget.limits WHERE account_id = a.id
    ) l ON true
    WHERE a.id = ANY($1::bigint[])
"""
_DELETE_LIMITS: Final = "DELETE FROM budget.limits WHERE account_id = $1"
_INSERT_LIMITS: Final = """
    INSERT INTO budget.limits (account_id, unit, period, amount, mode)
    SELECT account_id, unit, period, amount, mode
    FROM unnest($1::bigint[]) AS made (account_id),
         unnest($2::text[], $3::text[], $4::bigint[], $5::text[]) AS rule (unit, period, amount, mode)
"""
_NEW_VERSION: Final = "UPDATE budget.balances SET config_version = config_version + 1 WHERE account_id = $1"
_SET_PARENT: Final = "UPDATE budget.accounts SET parent_id = $2 WHERE id = $1"
_SET_WARN_AT: Final = "UPDATE budget.accounts SET warn_at = $2 WHERE id = $1"
_RECORD: Final = """
    INSERT INTO budget.budget_history
        (at, effective_at, operation, account_id, actor, detail, agent_id,
         agent_account, project_account, team_account, session_account, subagent_account)
    VALUES ($1, $1, $2, $3, $4, $5,
         CASE WHEN $6 IN ('agent', 'session', 'subagent') THEN split_part($7, '/', 1) END,
         CASE WHEN $6 = 'agent' THEN $3::bigint END, CASE WHEN $6 = 'project' THEN $3::bigint END,
         CASE WHEN $6 = 'team' THEN $3::bigint END, CASE WHEN $6 = 'session' THEN $3::bigint END,
         CASE WHEN $6 = 'subagent' THEN $3::bigint END)
"""
_TOUCH: Final = "UPDATE budget.balances SET last_at_us = greatest(last_at_us, $2) WHERE account_id = $1"
_CHILDREN: Final = "SELECT id FROM budget.accounts WHERE parent_id = $1 AND kind = $2 ORDER BY id"

WINDOW_ORDER: Final = {window: place for place, window in enumerate(Window)}


async def find(connection: Connection, keys: Iterable[AccountKey]) -> dict[AccountKey, int]:
    """Ids of the accounts that exist."""
    wanted = list(keys)
    rows = await connection.fetch(_FIND, [key.kind for key in wanted], [key.name for key in wanted])
    return {AccountKey(ScopeKind(row["kind"]), row["name"]): row["id"] for row in rows}


async def create(
    connection: Connection,
    parents: Mapping[AccountKey, int | None],
    default_rules: Sequence[LimitRule],
    actor: str,
) -> dict[AccountKey, int]:
    """Make the accounts that do not exist, agents with ``default_rules``; ids of those made now."""
    keys = list(parents)
    rows = await connection.fetch(
        _CREATE, [key.kind for key in keys], [key.name for key in keys], [parents[key] for key in keys], actor
    )
    made = {AccountKey(ScopeKind(row["kind"]), row["name"]): int(row["id"]) for row in rows}
    if made:
        await connection.execute(_CREATE_BALANCES, list(made.values()))
        if any(key.kind is ScopeKind.PROJECT for key in made):
            await connection.execute(_CREATE_PROJECTS, list(made.values()), actor)
        agents = [account for key, account in made.items() if key.kind is ScopeKind.AGENT]
        if agents and default_rules:
            await _insert_limits(connection, agents, default_rules)
    return made


async def configs(connection: Connection, ids: Iterable[int]) -> list[AccountConfig]:
    """What is set on each account. Read after locking the accounts, it holds until the transaction ends."""
    rows = await connection.fetch(_CONFIGS, list(ids))
    return [
        AccountConfig(
            row["id"],
            ScopeKind(row["kind"]),
            row["name"],
            row["parent_id"],
            row["config_version"],
            _rules(row["rules"]),
            tuple(row["warn_at"]),
        )
        for row in rows
    ]


async def replace_limits(connection: Connection, account: int, rules: Sequence[LimitRule]) -> None:
    """Set exactly these limits. The caller holds the account's lock."""
    await connection.execute(_DELETE_LIMITS, account)
    if rules:
        await _insert_limits(connection, [account], rules)


async def set_parent(connection: Connection, account: int, parent: int | None) -> None:
    """Move an account below another. The caller holds the account's lock."""
    await connection.execute(_SET_PARENT, account, parent)


async def set_warn_at(connection: Connection, account: int, warn_at: Sequence[float]) -> None:
    """Set an account's warning thresholds. The caller holds the account's lock."""
    await connection.execute(_SET_WARN_AT, account, list(warn_at))


async def new_version(connection: Connection, account: int) -> None:
    """Tell every process that what is set on the account has changed."""
    await connection.execute(_NEW_VERSION, account)


async def children(connection: Connection, account: int, kind: ScopeKind) -> list[int]:
    """Ids of the accounts of one kind directly below, in order."""
    return [row["id"] for row in await connection.fetch(_CHILDREN, account, kind)]


async def record(
    connection: Connection, config: AccountConfig, operation: Operation, at: datetime, *, actor: str, detail: str
) -> None:
    """Add a row about an account to the ledger. It counts nothing."""
    await connection.execute(_RECORD, at, operation, config.id, actor, detail, config.kind, config.name)


async def touch(connection: Connection, account: int, at_us: int) -> None:
    """Let no later row of an account be dated before ``at_us``. The caller holds the account's lock."""
    await connection.execute(_TOUCH, account, at_us)


async def _insert_limits(connection: Connection, accounts: Sequence[int], rules: Sequence[LimitRule]) -> None:
    await connection.execute(
        _INSERT_LIMITS,
        list(accounts),
        [rule.unit for rule in rules],
        [rule.window for rule in rules],
        [rule.amount for rule in rules],
        [rule.mode for rule in rules],
    )


def _rules(rows: Sequence[Sequence[str]]) -> tuple[LimitRule, ...]:
    rules = [LimitRule(Unit(unit), Window(window), int(amount), Mode(mode)) for unit, window, amount, mode in rows]
    return tuple(sorted(rules, key=lambda rule: (rule.unit, WINDOW_ORDER[rule.window])))
