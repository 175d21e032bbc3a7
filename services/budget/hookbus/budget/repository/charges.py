"""What operations of a tool took of late, and what model requests were charged so far."""

from collections.abc import Collection, Iterable
from typing import Final

from hookbus.budget.amounts import Amounts
from hookbus.budget.batch import Recent
from hookbus.budget.commands import RequestRecord
from hookbus.budget.repository import Connection
from hookbus.budget.repository.chains import chain_columns, chain_of
from hookbus.budget.windows import to_datetime, to_us

_RECENT: Final = """
    SELECT r.agent_account, r.tool, r.tokens, r.usd_micros
    FROM unnest($1::bigint[], $2::text[]) AS wanted (agent_account, tool)
    JOIN budget.recent_operations r ON r.agent_account = wanted.agent_account AND r.tool = wanted.tool
"""
_SAVE_RECENT: Final = """
    INSERT INTO budget.recent_operations (agent_account, tool, tokens, usd_micros) VALUES ($1, $2, $3, $4)
    ON CONFLICT (agent_account, tool) DO UPDATE SET tokens = excluded.tokens, usd_micros = excluded.usd_micros
"""
_REQUESTS: Final = """
    SELECT r.* FROM unnest($1::bigint[], $2::text[]) AS wanted (agent_account, request_id)
    JOIN budget.model_requests r ON r.agent_account = wanted.agent_account AND r.request_id = wanted.request_id
"""
_SAVE_REQUEST: Final = """
    INSERT INTO budget.model_requests (agent_account, request_id, rank, tokens, usd_micros, project_account,
        team_account, session_account, subagent_account, effective_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (agent_account, request_id) DO UPDATE
    SET rank = excluded.rank, tokens = excluded.tokens, usd_micros = excluded.usd_micros
"""
_PURGE_REQUESTS: Final = """
    DELETE FROM budget.model_requests WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM budget.model_requests
        WHERE effective_at < clock_timestamp() - make_interval(secs => $1) LIMIT $2
    ))
"""


async def recent(connection: Connection, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], Recent]:
    """What agents' last operations of these tools took."""
    agents, tools = zip(*wanted, strict=True)
    return {
        (row["agent_account"], row["tool"]): Recent(row["tokens"], row["usd_micros"])
        for row in await connection.fetch(_RECENT, list(agents), list(tools))
    }


async def save_recent(connection: Connection, changed: Iterable[tuple[tuple[int, str], Recent]]) -> None:
    """Write back what agents' last operations took."""
    rows = [(agent, tool, each.tokens, each.usd_micros) for (agent, tool), each in changed]
    await connection.executemany(_SAVE_RECENT, rows)


async def requests(connection: Connection, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], RequestRecord]:
    """What model requests were charged so far."""
    agents, names = zip(*wanted, strict=True)
    return {
        (row["agent_account"], row["request_id"]): RequestRecord(
            row["rank"], Amounts(row["tokens"], row["usd_micros"]), chain_of(row), to_us(row["effective_at"])
        )
        for row in await connection.fetch(_REQUESTS, list(agents), list(names))
    }


async def save_requests(connection: Connection, changed: Iterable[tuple[tuple[int, str], RequestRecord]]) -> None:
    """Write back what model requests were charged."""
    rows = [
        (
            agent,
            request_id,
            each.rank,
            each.amounts.tokens,
            each.amounts.usd_micros,
            *chain_columns(each.chain)[1:],
            to_datetime(each.effective_at_us),
        )
        for (agent, request_id), each in changed
    ]
    await connection.executemany(_SAVE_REQUEST, rows)


async def purge_requests(connection: Connection, age_s: float, requests_max: int) -> None:
    """Forget what model requests older than ``age_s`` were charged; the ledger keeps their rows."""
    await connection.execute(_PURGE_REQUESTS, age_s, requests_max)
