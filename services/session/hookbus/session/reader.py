"""Sessions read for decisions: calls that wait together are one statement, on a connection kept for it.

Every decision asks, so this is the hottest read of the service. Where the connection turns out to be broken, the read
is repeated once on another. A read that has begun serves only the calls that came before it, so a kill that was
answered is always seen.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from opentelemetry.trace import SpanKind

from hookbus.platform import telemetry
from hookbus.platform.database.engine import Database, is_transient
from hookbus.session.domain.sessions import Session
from hookbus.session.kept import KeptConnection
from hookbus.session.repository import moving

READ_SESSIONS_MAX: Final = 256
"""In one statement; as many calls as the bus hands over at once."""
READ_TIMEOUT_S: Final = 1.5
"""Below the time a caller waits, so that it hears what is wrong."""
ATTEMPTS_MAX: Final = 2
SPAN_ATTRIBUTES: Final = {"db.system.name": "postgresql", "db.operation.name": "SELECT"}

_Waiting = tuple[str, asyncio.Future[Session | None]]


class SessionReader:
    """Reads sessions with their evidence, outside any transaction. For use in one event loop; close it at the end."""

    def __init__(self, database: Database) -> None:
        self._kept = KeptConnection(database)
        self._waiting: list[_Waiting] = []
        self._running: asyncio.Task[None] | None = None

    async def read(self, session_id: str) -> Session | None:
        """The session, or None where there is none; raises as :meth:`read_many`."""
        return (await self.read_many((session_id,))).get(session_id)

    async def read_many(self, session_ids: Collection[str]) -> dict[str, Session]:
        """Those of the sessions that exist, by id.

        Raises:
            Exception: one of :data:`hookbus.session.kept.ERRORS`: the database is away.
        """
        if not session_ids:
            return {}
        loop = asyncio.get_running_loop()
        futures: dict[str, asyncio.Future[Session | None]] = {name: loop.create_future() for name in session_ids}
        self._waiting.extend(futures.items())
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        found = await asyncio.gather(*futures.values())
        return {session.id: session for session in found if session is not None}

    async def close(self) -> None:
        """Give the connection back."""
        if self._running is not None:
            await self._running
        await self._kept.close()

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:READ_SESSIONS_MAX], self._waiting[READ_SESSIONS_MAX:]
            try:
                found = await self._fetch(sorted({session_id for session_id, _ in batch}))
            except Exception as error:  # noqa: BLE001 - handed to every caller of the batch
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for session_id, future in batch:
                    if not future.done():
                        future.set_result(found.get(session_id))

    async def _fetch(self, ids: Sequence[str]) -> dict[str, Session]:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                async with asyncio.timeout(READ_TIMEOUT_S), self._kept.use() as connection:
                    with telemetry.span("read sessions", kind=SpanKind.CLIENT, attributes=SPAN_ATTRIBUTES):
                        return await moving.read(connection, ids)
            except Exception as error:
                if attempt == ATTEMPTS_MAX or isinstance(error, TimeoutError) or not is_transient(error):
                    raise
        raise AssertionError("the last attempt returns or raises")
