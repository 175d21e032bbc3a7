"""Sessions as this process last stored them, so that an event that only moves its session on takes one statement.

Most events change nothing but a session's times, counts and baseline: there is no evidence to weigh and nothing to
tell. What is remembered here may be out of date. The statement saves a session only from the version it was remembered
at, and fails as a whole otherwise; the caller then does the same work under lock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import asyncpg
import structlog
from opentelemetry.trace import SpanKind

from hookbus.platform import telemetry
from hookbus.platform.database.engine import Database, is_transient
from hookbus.session.domain import sessions
from hookbus.session.domain.observe import Reading
from hookbus.session.domain.risk import Thresholds
from hookbus.session.domain.sessions import Session
from hookbus.session.kept import ERRORS, KeptConnection
from hookbus.session.repository import moving

SESSIONS_REMEMBERED_MAX: Final = 10_000
"""Beyond it the memory starts afresh."""
SPAN_ATTRIBUTES: Final = {"db.system.name": "postgresql", "db.operation.name": "UPDATE"}

log = structlog.get_logger(__name__)


class Recall:
    """For use in one event loop; close it at the end."""

    def __init__(self, database: Database, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._kept = KeptConnection(database)
        self._sessions: dict[str, Session] = {}

    async def close(self) -> None:
        """Give the connection back."""
        await self._kept.close()

    def learn(self, stored: Iterable[Session]) -> None:
        """Remember sessions as they were just stored, with the version they have now."""
        if len(self._sessions) > SESSIONS_REMEMBERED_MAX:
            self._sessions.clear()
        for session in stored:
            known = self._sessions.get(session.id)
            if known is None or known.version < session.version:
                self._sessions[session.id] = session

    async def move_on(self, stream: str, readings: Sequence[Reading]) -> Sequence[Reading]:
        """Store the readings that only move sessions on; returns the others, all where nothing was stored.

        Args:
            stream: where the events came from.
            readings: each event id once, oldest first.
        """
        moved = self._moved(readings)
        if not moved:
            return readings
        stored = {r.event_id: r.kept_until for r in readings if r.session is not None and r.session.session_id in moved}
        try:
            async with self._kept.use() as connection:
                with telemetry.span("move sessions on", kind=SpanKind.CLIENT, attributes=SPAN_ATTRIBUTES):
                    await moving.move_on(connection, stream, dict(sorted(stored.items())), list(moved.values()))
        except ERRORS as error:
            # Whatever it was: under lock and over the pool it is found out, event by event where need be.
            self._forget(moved, error)
            return readings
        self.learn(replace(session, version=session.version + 1) for session in moved.values())
        return [reading for reading in readings if reading.event_id not in stored]

    def _moved(self, readings: Sequence[Reading]) -> dict[str, Session]:
        """The remembered sessions, after their readings, that nothing but moved on."""
        after: dict[str, Session] = {}
        others: set[str] = set()
        for reading in readings:
            seen = reading.session
            if seen is None:
                continue
            before = after.get(seen.session_id) or self._sessions.get(seen.session_id)
            if before is None or not reading.concerns_session_alone:
                others.add(seen.session_id)
                continue
            after[seen.session_id] = sessions.observed(before, seen)
        return {
            name: session
            for name, session in after.items()
            if name not in others and sessions.only_moved(self._sessions[name], session, self._thresholds)
        }

    def _forget(self, names: Mapping[str, Session], error: Exception) -> None:
        for name in names:
            self._sessions.pop(name, None)
        if isinstance(error, (asyncpg.UniqueViolationError, asyncpg.SerializationError)):
            log.debug("sessions changed meanwhile", sessions=len(names), error=type(error).__name__)
        elif not is_transient(error):
            log.warning("sessions not moved on", sessions=len(names), error=type(error).__name__)
