"""What is forgotten with age: ids of counted events, assessments of risk, what terminals printed."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from hookbus.platform.database.engine import Database
from hookbus.session.handlers import utc_now
from hookbus.session.repository import assessments, terminals
from hookbus.session.repository import sessions as session_rows

ROWS_MAX: Final = 5_000
"""Rows deleted in one transaction."""
FORGET_INTERVAL_S: Final = 600.0
ASSESSMENTS_AGE_MAX: Final = timedelta(days=90)
"""The log keeps each assessment for as long as it keeps anything."""
TERMINALS_AGE_MAX: Final = timedelta(days=30)
"""After a terminal was opened; the log keeps what it printed."""

log = structlog.get_logger(__name__)


class Forgetting:
    """Deletes old rows, a page at a time."""

    def __init__(self, database: Database, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    async def forget(self) -> int:
        """Delete one page of each kind; returns how many rows of the fuller one."""
        now = self._now()
        async with self._database.begin() as connection:
            ids = await session_rows.forget_counted(connection, now=now, items_max=ROWS_MAX)
        async with self._database.begin() as connection:
            old = await assessments.forget(connection, before=now - ASSESSMENTS_AGE_MAX, items_max=ROWS_MAX)
        async with self._database.begin() as connection:
            gone = await terminals.forget(connection, before=now - TERMINALS_AGE_MAX, items_max=ROWS_MAX)
        return max(ids, old, gone)

    async def forget_forever(self) -> None:
        """The background task."""
        while True:
            try:
                count = await self.forget()
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("old rows stay for now", error=type(error).__name__)
                count = 0
            await asyncio.sleep(0 if count == ROWS_MAX else FORGET_INTERVAL_S)
