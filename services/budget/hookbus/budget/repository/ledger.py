"""The ledger's transaction: lock, read, append, write back."""

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

from hookbus.budget.accounts import Account
from hookbus.budget.amounts import Amounts
from hookbus.budget.commands import Recorded, Row
from hookbus.budget.repository import Connection
from hookbus.budget.repository.chains import chain_columns
from hookbus.budget.windows import SLOTS, to_datetime, to_us

# Rows are locked in order of id, whatever the caller's order: two batches never wait for each other in a circle. The
# clock is read outside the locking step and the greatest reading used, which is one made after the last lock.
_LOCK: Final = """
    WITH locked AS MATERIALIZED (
        SELECT account_id, config_version, last_at_us, held_tokens, held_usd_micros, starts_us, spent, subagents,
            xmin::text::bigint AS written_by
        FROM budget.balances WHERE account_id = ANY($1::bigint[])
        ORDER BY account_id FOR UPDATE
    )
    SELECT locked.*, clock_timestamp() AS clock FROM locked
"""
# One statement for all accounts of a batch; their lists of slots come end to end, for unnest would take them apart.
_SAVE: Final = f"""
    UPDATE budget.balances b SET last_at_us = made.last_at_us, held_tokens = made.held_tokens,
        held_usd_micros = made.held_usd_micros, subagents = made.subagents,
        starts_us = ($6::bigint[])[(place - 1) * {len(SLOTS)} + 1 : place * {len(SLOTS)}],
        spent = ($7::bigint[])[(place - 1) * {len(SLOTS)} + 1 : place * {len(SLOTS)}]
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::integer[]) WITH ORDINALITY
        AS made (account_id, last_at_us, held_tokens, held_usd_micros, subagents, place)
    WHERE b.account_id = made.account_id
    RETURNING pg_current_xact_id()::xid::text::bigint
"""  # noqa: S608 - a constant
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
    """An account's balance as it was when its lock was taken, and the number of the transaction that had written it."""

    __slots__ = ("_row", "account_id", "clock_us", "version", "written_by")

    def __init__(self, row: Any) -> None:
        self._row = row
        self.account_id: int = row["account_id"]
        self.version: int = row["config_version"]
        self.clock_us: int = to_us(row["clock"])
        self.written_by: int = row["written_by"]

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


async def save(connection: Connection, accounts: Sequence[Account]) -> int:
    """Write the balances back, at least one. The caller holds their locks. The number of its transaction."""
    return await connection.fetchval(
        _SAVE,
        [account.config.id for account in accounts],
        [account.last_at_us for account in accounts],
        [account.held[0] for account in accounts],
        [account.held[1] for account in accounts],
        [account.subagents for account in accounts],
        [start_us for account in accounts for start_us in account.starts_us],
        [count for account in accounts for count in account.spent],
    )


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
