"""What people ask: balances, holds and rows of the ledger."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from hookbus.budget.accounts import Account, AccountConfig, AccountKey
from hookbus.budget.repository import Connection
from hookbus.budget.repository.accounts import configs
from hookbus.budget.windows import to_us
from hookbus.contracts.budget import ScopeKind

_BALANCES: Final = """
    SELECT b.account_id, b.last_at_us, b.held_tokens, b.held_usd_micros, b.starts_us, b.spent,
           clock_timestamp() AS clock,
           CASE WHEN a.kind = 'agent' THEN
               (SELECT count(*) FROM budget.holds h WHERE h.agent_account = a.id AND h.state = 'open')
           ELSE 0 END AS holds
    FROM budget.balances b JOIN budget.accounts a ON a.id = b.account_id
    WHERE b.account_id = ANY($1::bigint[])
"""
_FIND_ONE: Final = "SELECT id FROM budget.accounts WHERE kind = $1 AND name = $2"
_PAGE: Final = """
    SELECT id FROM budget.accounts
    WHERE kind = $1 AND name > coalesce((SELECT name FROM budget.accounts WHERE id = $2), '') ORDER BY name LIMIT $3
"""
_HOLDS_OF: Final = {
    kind: f"SELECT count(*) FROM budget.holds WHERE state = 'open' AND {column}"  # noqa: S608 - constants
    for kind, column in {
        ScopeKind.SUBAGENT: "subagent_account = $1",
        ScopeKind.SESSION: "session_account = $1",
        ScopeKind.AGENT: "agent_account = $1",
        ScopeKind.PROJECT: "project_account = $1",
        ScopeKind.TEAM: "team_account = $1",
        ScopeKind.GLOBAL: "$1::bigint IS NOT NULL",
    }.items()
}
ACCOUNT_COLUMN: Final = {
    ScopeKind.SUBAGENT: "subagent_account",
    ScopeKind.SESSION: "session_account",
    ScopeKind.AGENT: "agent_account",
    ScopeKind.PROJECT: "project_account",
    ScopeKind.TEAM: "team_account",
}
_HISTORY: Final = {
    kind: f"SELECT * FROM budget.budget_history WHERE {column} = $1 AND id < $2 ORDER BY id DESC LIMIT $3"  # noqa: S608 - constants
    for kind, column in ACCOUNT_COLUMN.items()
} | {ScopeKind.GLOBAL: "SELECT * FROM budget.budget_history WHERE $1::bigint = 1 AND id < $2 ORDER BY id DESC LIMIT $3"}


@dataclass(frozen=True, slots=True)
class Standing:
    """An account as it stands: its balance as last written, to be rolled to ``clock_us`` before it is shown."""

    account: Account
    clock_us: int
    holds: int

    @property
    def config(self) -> AccountConfig:
        """What is set on it."""
        return self.account.config


async def find_one(connection: Connection, key: AccountKey) -> int | None:
    """The id of an account."""
    return await connection.fetchval(_FIND_ONE, key.kind, key.name)


async def page(connection: Connection, kind: ScopeKind, after: int | None, accounts_max: int) -> list[int]:
    """Ids of accounts of one kind by name, after an account."""
    return [row["id"] for row in await connection.fetch(_PAGE, kind, after, accounts_max)]


async def standings(connection: Connection, ids: Collection[int]) -> dict[int, Standing]:
    """Accounts as they stand, by id."""
    by_id = {config.id: config for config in await configs(connection, ids)}
    found: dict[int, Standing] = {}
    for row in await connection.fetch(_BALANCES, list(ids)):
        account = Account(
            by_id[row["account_id"]],
            last_at_us=row["last_at_us"],
            held=(row["held_tokens"], row["held_usd_micros"]),
            starts_us=row["starts_us"],
            spent=row["spent"],
        )
        found[account.config.id] = Standing(account, to_us(row["clock"]), row["holds"])
    return found


async def count_holds(connection: Connection, kind: ScopeKind, account: int) -> int:
    """Open holds that are counted in an account."""
    return await connection.fetchval(_HOLDS_OF[kind], account)


async def history(connection: Connection, kind: ScopeKind, account: int, before: int, rows_max: int) -> list[Any]:
    """Rows of the ledger that are counted in an account or are about it, newest first, before an id."""
    return list(await connection.fetch(_HISTORY[kind], account, before, rows_max))
