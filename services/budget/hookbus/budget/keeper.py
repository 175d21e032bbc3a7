"""What the service does unasked: end holds whose time is over, forget what is long closed, publish what waits."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from hookbus.budget import metrics
from hookbus.budget.accounts import Place
from hookbus.budget.commands import Expire
from hookbus.budget.repository import charges, holds, outbox, reports
from hookbus.budget.writer import LedgerWriter
from hookbus.contracts.events import Event
from hookbus.contracts.problems import ProblemError
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.database.engine import Database, is_transient

SWEEP_INTERVAL_S: Final = 0.5
"""A hold outlives its time by at most about this."""
SWEEP_HOLDS_MAX: Final = 500
PURGE_INTERVAL_S: Final = 60.0
PURGE_ROWS_MAX: Final = 10_000
CLOSED_HOLD_AGE_MAX_S: Final = 2 * 86_400.0
"""Twice the longest life of a hold: a settle that comes later is a charge of its own. The ledger's rows stay."""
MODEL_REQUEST_AGE_MAX_S: Final = 40 * 86_400.0
"""A second source of one request that comes later than this is charged again."""
PUBLISHED_AGE_MAX_S: Final = 40 * 86_400.0
"""Longer than the longest window that ends: within it the id of a warning keeps it from being raised twice."""
MEASURE_INTERVAL_S: Final = 15.0
DRIFT_ROWS_MAX: Final = 10_000
RELAY_INTERVAL_S: Final = 0.25
RELAY_EVENTS_MAX: Final = 100

log = structlog.get_logger(__name__)


class Keeper:
    """Background work; each task runs until cancelled and survives an absent database or bus."""

    def __init__(self, database: Database, writer: LedgerWriter, publisher: Publisher) -> None:
        self._database = database
        self._writer = writer
        self._publisher = publisher

    async def sweep(self) -> None:
        """End due holds, each by a row of the ledger."""
        while True:
            swept = 0
            try:
                swept = await self.sweep_once()
            except ProblemError as error:
                log.warning("sweep put off", reason=error.problem.detail)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("sweep put off", error=type(error).__name__)
            if swept < SWEEP_HOLDS_MAX:
                await asyncio.sleep(SWEEP_INTERVAL_S)

    async def sweep_once(self) -> int:
        """End the due holds of one batch; how many were due."""
        async with self._database.raw() as connection:
            due = await holds.due(connection, SWEEP_HOLDS_MAX)
        if due:
            answers = await self._writer.submit_all([Expire(Place(each.agent_name), each.id) for each in due])
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
        return len(due)

    async def measure(self) -> None:
        """Keep the gauges of holds and of drift true."""
        while True:
            with suppress(ProblemError):
                await self.measure_once()
            await asyncio.sleep(MEASURE_INTERVAL_S)

    async def measure_once(self) -> None:
        """Read both once."""
        async with self._database.raw() as connection:
            metrics.HOLDS.set(await holds.count_open(connection))
            reported, computed = await reports.drift_sums(connection, DRIFT_ROWS_MAX)
        metrics.DRIFT_RATIO.set(reported / computed if computed else 1.0)

    async def purge(self) -> None:
        """Forget holds and published events that nobody asks for any more."""
        while True:
            await asyncio.sleep(PURGE_INTERVAL_S)
            await self.purge_once()

    async def purge_once(self) -> None:
        """Forget one batch of each."""
        async with self._database.raw() as connection:
            await holds.purge_holds(connection, CLOSED_HOLD_AGE_MAX_S, PURGE_ROWS_MAX)
            await charges.purge_requests(connection, MODEL_REQUEST_AGE_MAX_S, PURGE_ROWS_MAX)
            await outbox.purge(connection, PUBLISHED_AGE_MAX_S, PURGE_ROWS_MAX)

    async def relay(self) -> None:
        """Publish what waits in the outbox, oldest first; each under its own id, so that a repeat is one event."""
        while True:
            sent = 0
            try:
                sent = await self.relay_once()
            except ProblemError as error:
                log.warning("warnings wait", reason=error.problem.detail)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("warnings wait", error=type(error).__name__)
            if sent < RELAY_EVENTS_MAX:
                await asyncio.sleep(RELAY_INTERVAL_S)

    async def relay_once(self) -> int:
        """Publish one batch; how many were published."""
        async with self._database.raw() as connection:
            waiting = await outbox.waiting(connection, RELAY_EVENTS_MAX)
        for each in waiting:
            await self._publisher.publish(Event.model_validate_json(each.body), each.subject)
        if waiting:
            async with self._database.raw() as connection:
                await outbox.published(connection, [each.event_id for each in waiting])
        return len(waiting)
