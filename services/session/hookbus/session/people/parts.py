"""What the requests about people share, and how a database that is away becomes a problem."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.database.engine import Database, is_transient
from hookbus.session.domain.keys import RandomBytes
from hookbus.session.domain.risk import DEFAULT_THRESHOLDS
from hookbus.session.handlers import utc_now
from hookbus.session.people.clients import Nowhere
from hookbus.session.people.hasher import Hasher
from hookbus.session.people.person_bucket import PersonSync
from hookbus.session.people.signing import Signer
from hookbus.session.people.vault import Vault
from hookbus.session.people.watch import Watch
from hookbus.session.settings import SessionLimitPolicy

RETRY_AFTER_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """One process's parts. ``wake`` is called after a commit that queued security events."""

    database: Database
    sync: PersonSync
    hasher: Hasher
    signer: Signer
    vault: Vault
    wake: Callable[[], None]
    watch: Watch = Watch(Nowhere(), DEFAULT_THRESHOLDS)  # noqa: RUF009 - immutable
    limit_policy: SessionLimitPolicy = SessionLimitPolicy.END_OLDEST
    now: Callable[[], datetime] = utc_now
    random_bytes: RandomBytes = os.urandom

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction; afterwards what it queued is published.

        Raises:
            ProblemError: ``unavailable`` where the database is away.
        """
        try:
            async with self.database.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if not is_transient(error):
                raise
            raise ProblemError(
                ProblemCode.UNAVAILABLE, "the session database is away", retry_after_s=RETRY_AFTER_S
            ) from error
        self.wake()

    async def bring(self, *sids: str) -> None:
        """Bring ended or changed sessions to every gateway before the answer.

        Raises:
            ProblemError: ``unavailable``; the change stands and reaches the gateways later.
        """
        try:
            await self.sync.sync(sids)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if not is_transient(error):
                raise
            raise ProblemError(
                ProblemCode.UNAVAILABLE, "the change stands but has not reached every gateway", retry_after_s=1.0
            ) from error

    async def bring_later(self, *sids: str) -> None:
        """As :meth:`bring`, for what may follow after the answer."""
        try:
            await self.bring(*sids)
        except ProblemError:
            log.warning("sessions not in the bucket yet", sessions=len(sids))
