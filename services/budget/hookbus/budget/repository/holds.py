"""Reservations: found by id or by operation, opened, changed, forgotten."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from hookbus.budget.commands import Hold, HoldState
from hookbus.budget.repository import Connection
from hookbus.budget.repository.chains import chain_columns, chain_of
from hookbus.budget.windows import to_datetime, to_us

_HOLD_COLUMNS: Final = (
    "id, state, agent_account, project_account, team_account, session_account, subagent_account, tokens, usd_micros,"
    " created_at, expires_at, operation_id, tool"
)
_HOLDS_BY_ID: Final = f"SELECT {_HOLD_COLUMNS} FROM budget.holds WHERE id = ANY($1::uuid[])"  # noqa: S608 - a constant
_HOLDS_BY_OPERATION: Final = f"""
    SELECT {", ".join("h." + column.strip() for column in _HOLD_COLUMNS.split(","))}
    FROM unnest($1::bigint[], $2::text[]) AS wanted (agent_account, operation_id)
    JOIN budget.holds h ON h.agent_account = wanted.agent_account AND h.operation_id = wanted.operation_id
"""  # noqa: S608 - a constant
_DUE: Final = """
    SELECT h.id, a.name FROM budget.holds h JOIN budget.accounts a ON a.id = h.agent_account
    WHERE h.state = 'open' AND h.expires_at <= clock_timestamp() ORDER BY h.expires_at LIMIT $1
"""
_COUNT_OPEN: Final = "SELECT count(*) FROM budget.holds WHERE state = 'open'"
_CLOSE: Final = """
    UPDATE budget.holds h SET state = closed.state, expires_at = closed.expires_at
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS closed (id, state, expires_at)
    WHERE h.id = closed.id
"""
_PURGE: Final = """
    DELETE FROM budget.holds WHERE id IN (
        SELECT id FROM budget.holds
        WHERE state <> 'open' AND expires_at < clock_timestamp() - make_interval(secs => $1) LIMIT $2
    )
"""
_HOLD_STATES: Final = {state.value: state for state in HoldState}


@dataclass(frozen=True, slots=True)
class DueHold:
    """A hold whose time is over, and whose it is."""

    id: UUID
    agent_name: str


async def holds(
    connection: Connection, ids: Collection[UUID], operations: Collection[tuple[int, str]]
) -> dict[UUID, Hold]:
    """Holds by id, and by agent account and operation id."""
    found: list[Any] = []
    if ids:
        found.extend(await connection.fetch(_HOLDS_BY_ID, list(ids)))
    if operations:
        agents, names = zip(*operations, strict=True)
        found.extend(await connection.fetch(_HOLDS_BY_OPERATION, list(agents), list(names)))
    return {row["id"]: _hold(row) for row in found}


async def due(connection: Connection, holds_max: int) -> list[DueHold]:
    """Open holds whose time is over, the oldest first."""
    return [DueHold(row["id"], row["name"]) for row in await connection.fetch(_DUE, holds_max)]


async def open_holds(connection: Connection, opened: Iterable[Hold]) -> None:
    """Add new holds."""
    records = [
        (
            hold.id,
            hold.state,
            *chain_columns(hold.chain),
            hold.tokens,
            hold.usd_micros,
            to_datetime(hold.created_at_us),
            to_datetime(hold.expires_at_us),
            hold.operation_id,
            hold.tool,
        )
        for hold in opened
    ]
    columns = [column.strip() for column in _HOLD_COLUMNS.split(",")]
    await connection.copy_records_to_table("holds", schema_name="budget", columns=columns, records=records)


async def change_holds(connection: Connection, changed: Collection[Hold]) -> None:
    """Write the states and expiries of holds back."""
    await connection.execute(
        _CLOSE,
        [hold.id for hold in changed],
        [hold.state for hold in changed],
        [to_datetime(hold.expires_at_us) for hold in changed],
    )


async def purge_holds(connection: Connection, age_s: float, holds_max: int) -> None:
    """Forget closed holds older than ``age_s``; the ledger keeps their rows."""
    await connection.execute(_PURGE, age_s, holds_max)


def _hold(row: Any) -> Hold:
    return Hold(
        row["id"],
        _HOLD_STATES[row["state"]],
        chain_of(row),
        row["tokens"],
        row["usd_micros"],
        to_us(row["created_at"]),
        to_us(row["expires_at"]),
        row["operation_id"],
        row["tool"],
    )


async def count_open(connection: Connection) -> int:
    """How many holds are open."""
    return int(await connection.fetchval(_COUNT_OPEN))
