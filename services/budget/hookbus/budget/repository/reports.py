"""Summaries over projects and over the ledger."""

from datetime import datetime
from typing import Any, Final

from hookbus.budget.repository import Connection

_PROJECTS: Final = """
    SELECT p.name, p.created_at, p.created_by, t.name AS team,
           (SELECT count(*) FROM budget.accounts m WHERE m.parent_id = p.account_id AND m.kind = 'agent') AS agents
    FROM budget.projects p
    JOIN budget.accounts a ON a.id = p.account_id
    LEFT JOIN budget.accounts t ON t.id = a.parent_id AND t.kind = 'team'
    WHERE p.name > $1 ORDER BY p.name LIMIT $2
"""
_DRIFT: Final = """
    SELECT agent_id, model, source, count(*) AS reports,
           sum(reported_usd_micros)::bigint AS reported, sum(computed_usd_micros)::bigint AS computed
    FROM budget.budget_history
    WHERE reported_usd_micros IS NOT NULL AND computed_usd_micros IS NOT NULL AND at >= $1
      AND ($2::text IS NULL OR agent_id = $2)
    GROUP BY agent_id, model, source
    ORDER BY abs(sum(reported_usd_micros) - sum(computed_usd_micros)) DESC, agent_id, model, source LIMIT $3
"""


_DRIFT_SUMS: Final = """
    SELECT coalesce(sum(reported_usd_micros), 0)::bigint AS reported,
           coalesce(sum(computed_usd_micros), 0)::bigint AS computed
    FROM (SELECT reported_usd_micros, computed_usd_micros FROM budget.budget_history ORDER BY id DESC LIMIT $1)
        AS newest
    WHERE reported_usd_micros IS NOT NULL AND computed_usd_micros IS NOT NULL
"""


async def projects(connection: Connection, after: str, projects_max: int) -> list[Any]:
    """Projects by name, after a name."""
    return list(await connection.fetch(_PROJECTS, after, projects_max))


async def drift(connection: Connection, since: datetime, agent: str | None, rows_max: int) -> list[Any]:
    """Sums of reported and computed cost by agent, model and source."""
    return list(await connection.fetch(_DRIFT, since, agent, rows_max))


async def drift_sums(connection: Connection, rows_max: int) -> tuple[int, int]:
    """Reported and computed cost, micro-dollars, of those of the ledger's newest rows that have both."""
    row = await connection.fetchrow(_DRIFT_SUMS, rows_max)
    return (int(row["reported"]), int(row["computed"])) if row is not None else (0, 0)
