"""Balances once more, from nothing but the ledger's rows."""

from typing import Any, Final, NamedTuple

from hookbus.budget.repository import Connection
from hookbus.budget.repository.reads import ACCOUNT_COLUMN
from hookbus.budget.windows import to_datetime, to_us
from hookbus.contracts.budget import ScopeKind

_ALL: Final = "SELECT id FROM budget.accounts WHERE id > $1 ORDER BY id LIMIT $2"
_RESETS: Final = """
    SELECT at, detail->>'unit' AS unit, detail->>'window' AS period
    FROM budget.budget_history WHERE account_id = $1 AND operation = 'reset' ORDER BY id
"""
_SUMS: Final = """
    SELECT coalesce(sum(h.held_tokens), 0)::bigint AS held_tokens,
           coalesce(sum(h.held_usd_micros), 0)::bigint AS held_usd_micros,
           count(DISTINCT h.subagent_account) FILTER (WHERE h.account_id IS NULL) AS subagents,
           coalesce(sum(h.tokens) FILTER (WHERE h.effective_at >= $2), 0)::bigint AS slot_0,
           coalesce(sum(h.usd_micros) FILTER (WHERE h.effective_at >= $3), 0)::bigint AS slot_1,
           coalesce(sum(h.tokens) FILTER (WHERE h.effective_at >= $4), 0)::bigint AS slot_2,
           coalesce(sum(h.usd_micros) FILTER (WHERE h.effective_at >= $5), 0)::bigint AS slot_3,
           coalesce(sum(h.tokens) FILTER (WHERE h.effective_at >= $6), 0)::bigint AS slot_4,
           coalesce(sum(h.usd_micros) FILTER (WHERE h.effective_at >= $7), 0)::bigint AS slot_5,
           coalesce(sum(h.tokens) FILTER (WHERE h.effective_at >= $8), 0)::bigint AS slot_6,
           coalesce(sum(h.usd_micros) FILTER (WHERE h.effective_at >= $9), 0)::bigint AS slot_7,
           coalesce(sum(h.tokens) FILTER (WHERE h.effective_at >= $10), 0)::bigint AS slot_8,
           coalesce(sum(h.usd_micros) FILTER (WHERE h.effective_at >= $11), 0)::bigint AS slot_9
    FROM budget.budget_history h WHERE
"""
_OPEN: Final = """
    SELECT coalesce(sum(h.tokens), 0)::bigint AS tokens, coalesce(sum(h.usd_micros), 0)::bigint AS usd_micros
    FROM budget.holds h WHERE h.state = 'open' AND
"""


class Recounted(NamedTuple):
    """One account, counted again."""

    held: list[int]
    spent: list[int]
    subagents: int


async def all_accounts(connection: Connection, after: int, accounts_max: int) -> list[int]:
    """Ids of accounts after an id, in order."""
    return [row["id"] for row in await connection.fetch(_ALL, after, accounts_max)]


async def resets(connection: Connection, account: int) -> list[tuple[int, str | None, str | None]]:
    """When an account's windows were begun afresh, and which: unit and window, None for all."""
    rows = await connection.fetch(_RESETS, account)
    return [(to_us(row["at"]), row["unit"], row["period"]) for row in rows]


async def sums(connection: Connection, kind: ScopeKind, account: int, starts_us: list[int]) -> Recounted:
    """What the rows of an account hold, what they spent since each slot's start, and how many subagents they name."""
    row: Any = await connection.fetchrow(
        _SUMS + _counted_in(kind), account, *(to_datetime(start_us) for start_us in starts_us)
    )
    spent = [row[f"slot_{slot}"] for slot in range(len(starts_us))]
    return Recounted([row["held_tokens"], row["held_usd_micros"]], spent, row["subagents"])


async def open_holds(connection: Connection, kind: ScopeKind, account: int) -> tuple[int, int]:
    """The sum of an account's open holds."""
    row: Any = await connection.fetchrow(_OPEN + _counted_in(kind), account)
    return row["tokens"], row["usd_micros"]


def _counted_in(kind: ScopeKind) -> str:
    column = ACCOUNT_COLUMN.get(kind)
    return f"h.{column} = $1" if column is not None else "$1::bigint IS NOT NULL"
