"""Requests in, replies out: summaries for people."""

from datetime import UTC, datetime, timedelta
from typing import Final

from hookbus.budget.amounts import usd_of
from hookbus.budget.repository import reports as repository
from hookbus.contracts.budget import Drift, DriftReply, DriftRequest, ProjectsReply, ProjectsRequest, ProjectView
from hookbus.platform.database.engine import Database

DRIFT_AGE_DEFAULT: Final = timedelta(days=30)
DRIFT_ROWS_MAX: Final = 1_000


class Reports:
    """``projects`` and ``drift``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def projects(self, request: ProjectsRequest) -> ProjectsReply:
        """Every project that was set up or named by an operation."""
        async with self._database.raw() as connection:
            rows = await repository.projects(connection, request.cursor or "", request.page_items_max + 1)
        shown = tuple(
            ProjectView(
                name=row["name"],
                team=row["team"],
                agents=row["agents"],
                created_at=row["created_at"],
                created_by=row["created_by"],
            )
            for row in rows[: request.page_items_max]
        )
        return ProjectsReply(projects=shown, cursor=shown[-1].name if len(rows) > len(shown) else None)

    async def drift(self, request: DriftRequest) -> DriftReply:
        """What agents said their requests cost, beside what the price list says."""
        since = request.since or datetime.now(UTC) - DRIFT_AGE_DEFAULT
        async with self._database.raw() as connection:
            rows = await repository.drift(connection, since, request.agent_id, DRIFT_ROWS_MAX)
        return DriftReply(
            since=since,
            rows=tuple(
                Drift(
                    agent_id=row["agent_id"],
                    model=row["model"],
                    source=row["source"],
                    reports=row["reports"],
                    reported_usd=usd_of(row["reported"]),
                    computed_usd=usd_of(row["computed"]),
                    difference_usd=usd_of(row["reported"] - row["computed"]),
                )
                for row in rows
            ),
        )
