"""The ``revocations`` bucket: how the state of a person's session, and above all its end, reaches every gateway.

It holds the live sessions too: a gateway that finds no record asks, so a lost bucket lets nobody in.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker
from nats.errors import Error as NatsError
from sqlalchemy.exc import SQLAlchemyError

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.subjects import BUCKET_REVOCATIONS
from hookbus.platform.bus.connection import jetstream
from hookbus.platform.database.engine import Database
from hookbus.session.domain.people import SessionOfUser
from hookbus.session.repository import person_sessions

BUCKET_TIMEOUT_S: Final = 1.0
RETRY_AFTER_S: Final = 1.0
RETRY_INTERVAL_S: Final = 1.0
SYNC_SESSIONS_MAX: Final = 100

log = structlog.get_logger(__name__)


class PersonSync:
    """Brings rows to the bucket. Every write happens under the row's lock, so an older state never follows a newer."""

    def __init__(self, database: Database, broker: NatsBroker) -> None:
        self._database = database
        self._broker = broker

    async def sync(self, sids: Sequence[str]) -> None:
        """Bring sessions to the bucket.

        Raises:
            ProblemError: ``unavailable``; they stay marked and the background task brings them later.
        """
        for sid in sids:
            async with self._database.begin() as connection:
                found = await person_sessions.lock(connection, sid)
                if found is not None:
                    await self._put(found)
                    await person_sessions.mark_synced(connection, [sid])

    async def sync_waiting(self) -> int:
        """Bring a page of those that wait; returns how many."""
        async with self._database.begin() as connection:
            waiting = await person_sessions.lock_unsynced(connection, items_max=SYNC_SESSIONS_MAX)
            for one in waiting:
                await self._put(one)
            await person_sessions.mark_synced(connection, [one.session.sid for one in waiting])
            return len(waiting)

    async def sync_all(self) -> int:
        """Bring every unexpired session, ended ones too, so that a lost bucket agrees again; returns how many."""
        count, after = 0, ""
        while True:
            async with self._database.begin() as connection:
                page = await person_sessions.lock_page(connection, after=after, items_max=SYNC_SESSIONS_MAX)
                for one in page:
                    await self._put(one)
                await person_sessions.mark_synced(connection, [one.session.sid for one in page])
            count += len(page)
            if len(page) < SYNC_SESSIONS_MAX:
                return count
            after = page[-1].session.sid

    async def sync_forever(self) -> None:
        """The background task: everything once, then what waits."""
        complete = False
        while True:
            try:
                if not complete:
                    log.info("revocation bucket complete", sessions=await self.sync_all())
                    complete = True
                await self.sync_waiting()
            except (ProblemError, SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("revocation bucket waits", error=type(error).__name__)
            await asyncio.sleep(RETRY_INTERVAL_S)

    async def _put(self, one: SessionOfUser) -> None:
        try:
            async with asyncio.timeout(BUCKET_TIMEOUT_S):
                bucket = await jetstream(self._broker).key_value(BUCKET_REVOCATIONS)
                await bucket.put(one.session.sid, one.record().model_dump_json().encode())
        except (NatsError, TimeoutError, OSError, IncorrectState) as error:
            raise ProblemError(
                ProblemCode.UNAVAILABLE, "the revocation bucket cannot be written", retry_after_s=RETRY_AFTER_S
            ) from error
