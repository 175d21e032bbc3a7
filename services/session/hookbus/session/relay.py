"""Work behind the requests: security events from the outbox to the bus, and keys that still wait for the bucket."""

import asyncio
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from hookbus.contracts.problems import ProblemError
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.database.engine import Database
from hookbus.session.key_bucket import KeySync
from hookbus.session.repository import outbox

OUTBOX_BATCH_MAX: Final = 100
POLL_INTERVAL_S: Final = 1.0
"""How long what a crashed process left behind waits at most before another one takes it up."""

log = structlog.get_logger(__name__)


class Relay:
    """Publishes what commits queued. An event leaves the table only after the bus confirmed it under its own id, so a
    crash in between publishes it again under that id and never loses it."""

    def __init__(self, database: Database, publisher: Publisher, key_sync: KeySync) -> None:
        self._database = database
        self._publisher = publisher
        self._key_sync = key_sync
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Say that a commit queued something."""
        self._awake.set()

    async def publish_waiting(self) -> int:
        """Publish the oldest queued events, in order; returns how many.

        Raises:
            ProblemError: ``unavailable``: the bus did not confirm; they stay queued.
        """
        async with self._database.begin() as connection:
            waiting = await outbox.lock_oldest(connection, items_max=OUTBOX_BATCH_MAX)
            for item in waiting:
                await self._publisher.publish(item.event, item.subject)
            if waiting:
                await outbox.delete(connection, [item.id for item in waiting])
            return len(waiting)

    async def publish_forever(self) -> None:
        """The background task of the outbox."""
        while True:
            self._awake.clear()
            try:
                while await self.publish_waiting() == OUTBOX_BATCH_MAX:
                    pass
            except (ProblemError, SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("outbox waits", error=type(error).__name__)
                await asyncio.sleep(POLL_INTERVAL_S)
                continue
            try:
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await self._awake.wait()
            except TimeoutError:
                continue

    async def sync_keys_forever(self) -> None:
        """The background task of the bucket: everything once, then what waits."""
        complete = False
        while True:
            try:
                if not complete:
                    log.info("key bucket complete", keys=await self._key_sync.sync_all())
                    complete = True
                await self._key_sync.sync_waiting()
            except (ProblemError, SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("key bucket waits", error=type(error).__name__)
            await asyncio.sleep(POLL_INTERVAL_S)
