"""The ledger's transaction: lock, read, append, write back."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from hookbus.budget.accounts import Account
from hookbus.budget.amounts import Amounts
from hookbus.budget.commands import Recorded, Row
from hookbus.budget.repository import Connection
from hookbus.budget.repository.chains import chain_columns
from hookbus.budget.windows import to_datetime, to_us

# Rows are locked in order of id, whatever the caller's order: two batches never wait for each other in a circle. The
# clock is read outside the locking step and the greatest reading used, which is one made after the last lock.
_LOCK: Final = """
    WITH locked AS MATERIALIZED (
        SELECT account_id, config_version, last_at_us, held_tokens, held_usd_micros, starts_us, spent, subagents
        FROM budget.balances WHERE account_id = ANY($1::bigint[])
        ORDER BY account_id FOR UPDATE
    )
    SELECT locked.*, clock_timestamp() AS clock FROM locked
"""
_SAVE: Final = """
    UPDATE budget.balances SET last_at_us = $2, held_tokens = $3, held_usd_micros = $4, starts_us = $5, spent = $6,
        subagents = $7
    WHERE account_id = $1
"""
_RECORDED: Final = """
    SELECT dedupe_key, agent_account, fingerprint, tokens, usd_micros, reservation
    FROM budget.budget_history WHERE dedupe_key = ANY($1::text[])
"""
_HISTORY_COLUMNS: Final = (
    "at",
    "effective_at",
    "operation",
    "agent_id",
    "agent_account",
    "project_account",
    "team_account",
    "session_account",
    "subagent_account",
    "tokens",
    "usd_micros",
    "held_tokens",
    "held_usd_micros",
    "dedupe_key",
    "event_id",
    "reservation",
    "request_id",
    "fingerprint",
    "model",
    "price_version",
    "source",
    "reported_usd_micros",
    "computed_usd_micros",
    "actor",
    "detail",
)


class Locked:
    """An account's balance as it was when its lock was taken."""

    __slots__ = ("_row", "account_id", "clock_us", "version")

    def __init__(self, row: Any) -> None:
        self._row = row
        self.account_id: int = row["account_id"]
        self.version: int = row["config_version"]
        self.clock_us: int = to_us(row["clock"])

    def onto(self, account: Account) -> Account:
        """Fill a fresh working copy."""
        row = self._row
        account.last_at_us = row["last_at_us"]
        account.held = [row["held_tokens"], row["held_usd_micros"]]
        account.starts_us = row["starts_us"]
        account.spent = row["spent"]
        account.subagents = row["subagents"]
        return account


async def lock(connection: Connection, ids: Collection[int]) -> list[Locked]:
    """Lock the balances of ``ids`` until the transaction ends."""
    return [Locked(row) for row in await connection.fetch(_LOCK, list(ids))]


async def save(connection: Connection, accounts: Iterable[Account]) -> None:
    """Write the balances back, in order of id."""
    rows = [
        (
            account.config.id,
            account.last_at_us,
            *account.held,
            account.starts_us,
            account.spent,
            account.subagents,
        )
        for account in sorted(accounts, key=lambda account: account.config.id)
    ]
    await connection.executemany(_SAVE, rows)


async def append(connection: Connection, rows: Sequence[Row]) -> None:
    """Add rows to the ledger.

    Raises:
        asyncpg.UniqueViolationError: a dedupe key was written by someone else just now.
    """
    await connection.copy_records_to_table(
        "budget_history", schema_name="budget", columns=_HISTORY_COLUMNS, records=[_record(row) for row in rows]
    )


async def recorded(connection: Connection, keys: Collection[str]) -> dict[str, Recorded]:
    """What is in the ledger under these dedupe keys."""
    return {
        row["dedupe_key"]: Recorded(
            row["agent_account"], row["fingerprint"], Amounts(row["tokens"], row["usd_micros"]), row["reservation"]
        )
        for row in await connection.fetch(_RECORDED, list(keys))
    }


def _record(row: Row) -> tuple[Any, ...]:
    detail: dict[str, Any] | None = dict(row.detail) if row.detail else None
    if row.pricing.flags:
        detail = {**(detail or {}), "price_flags": list(row.pricing.flags)}
    at = to_datetime(row.at_us)
    return (
        at,
        at if row.effective_at_us == row.at_us else to_datetime(row.effective_at_us),
        row.operation,
        row.agent_name,
        *chain_columns(row.chain),
        row.spent.tokens,
        row.spent.usd_micros,
        row.held.tokens,
        row.held.usd_micros,
        row.dedupe_key,
        row.event_id,
        row.hold,
        row.request_id,
        row.fingerprint,
        row.pricing.model,
        row.pricing.price_version,
        row.pricing.source,
        row.pricing.reported_usd_micros,
        row.pricing.computed_usd_micros,
        row.actor,
        json.dumps(detail) if detail else None,
    )
