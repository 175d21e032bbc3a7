"""SQL of ``session.risk_assessments``: each time evidence moved a risk, what it was then."""

import json
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.session.domain.risk import Level, Signal, explained

_ADD: Final = text("""
    INSERT INTO session.risk_assessments (assessed_at, session_id, subject, risk, level, signals)
    VALUES (:assessed_at, :session_id, :subject, :risk, :level, CAST(:signals AS jsonb))
""")
_FORGET: Final = text("""
    DELETE FROM session.risk_assessments WHERE id IN (
        SELECT id FROM session.risk_assessments WHERE assessed_at < :before ORDER BY assessed_at LIMIT :items_max
    )
""")


async def add(
    connection: AsyncConnection,
    *,
    session_id: str,
    subject: str,
    risk: float,
    level: Level,
    signals: tuple[Signal, ...],
    at: datetime,
) -> None:
    """Store one assessment; ``subject`` is the agent's id or ``user:<name>``."""
    told = [view.model_dump(mode="json") for view in explained(signals)]
    await connection.execute(
        _ADD,
        {
            "assessed_at": at,
            "session_id": session_id,
            "subject": subject,
            "risk": risk,
            "level": level.value,
            "signals": json.dumps(told),
        },
    )


async def forget(connection: AsyncConnection, *, before: datetime, items_max: int) -> int:
    """Forget assessments from before a moment; returns how many."""
    return (await connection.execute(_FORGET, {"before": before, "items_max": items_max})).rowcount
