"""Group commit: commands that wait together share one transaction.

One transaction a command would make two hundred clients of one agent queue for its row lock one by one, each for a
whole commit. Here they queue once: whatever has arrived while the last transaction ran is locked, judged in order of
arrival and committed together. Several processes may do so at once; the row locks keep them apart.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from hookbus.budget import metrics
from hookbus.budget.commands import Answer, Command
from hookbus.budget.repository import Connection
from hookbus.budget.transaction import LedgerTransaction, StaleError
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform import telemetry
from hookbus.platform.database.engine import Database, is_transient

BATCH_COMMANDS_MAX: Final = 512
QUEUE_COMMANDS_MAX: Final = 8_192
"""Commands that wait; beyond it a caller is told at once that the service is busy."""
RETRY_AFTER_S: Final = 1.0
CONNECTION_LINGER_S: Final = 1.0
"""How long an idle writer keeps its connection."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Waiting:
    command: Command
    answer: asyncio.Future[Answer]


class LedgerWriter:
    """Takes commands, answers when they are committed."""

    def __init__(self, database: Database, transaction: LedgerTransaction) -> None:
        self._database = database
        self._transaction = transaction
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closing = False

    async def submit(self, command: Command) -> Answer:
        """Do one command; returns once it is durable.

        Raises:
            ProblemError: ``unavailable`` while the database is away or too many commands wait.
        """
        if not trace.get_current_span().is_recording():
            return await self._enqueue(command)
        attributes = {"db.system.name": "postgresql", "hookbus.command": type(command).__name__}
        with telemetry.span("ledger commit", kind=SpanKind.CLIENT, attributes=attributes):
            return await self._enqueue(command)

    async def submit_all(self, commands: Sequence[Command]) -> list[Answer | BaseException]:
        """Do many; for each its answer, or what went wrong with it.

        Raises:
            ProblemError: ``unavailable`` when too many commands wait.
        """
        return await asyncio.gather(*[self._enqueue(command) for command in commands], return_exceptions=True)

    async def close(self) -> None:
        """Wait until everything that was asked is answered."""
        self._closing = True
        self._arrived.set()
        while self._worker is not None:
            await asyncio.wait([self._worker])

    def _enqueue(self, command: Command) -> asyncio.Future[Answer]:
        if len(self._queue) >= QUEUE_COMMANDS_MAX:
            raise ProblemError(ProblemCode.UNAVAILABLE, "the budget service is busy", retry_after_s=RETRY_AFTER_S)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(command, answer))
        self._arrived.set()
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return answer

    async def _work(self) -> None:
        try:
            while self._queue:
                try:
                    async with self._database.raw() as connection:
                        while not connection.is_closed() and (self._queue or await self._more()):
                            await self._next_batch(connection)
                except Exception as error:  # noqa: BLE001 - those who wait are told, and the worker goes on
                    _refuse([self._queue.popleft() for _ in range(len(self._queue))], error)
        finally:
            self._worker = None

    async def _more(self) -> bool:
        """Whether work arrives soon enough to keep the connection for it: another one costs a round trip."""
        self._arrived.clear()
        if self._closing:
            return False
        try:
            async with asyncio.timeout(CONNECTION_LINGER_S):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return bool(self._queue)

    async def _next_batch(self, connection: Connection) -> None:
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_COMMANDS_MAX))]
        try:
            await self._run(connection, batch)
        except Exception as error:
            if connection.is_closed():
                # Whatever it is called: in the midst of a statement a driver's error may be of any kind, and taken for
                # the commands' own it would put charges into the dead letters.
                _refuse(batch, error)
                raise
            if len(batch) == 1 or is_transient(error):
                _fail(batch, error)
                return
            log.exception("ledger batch refused, its commands are done one by one", commands=len(batch))
            for each in batch:
                await self._alone(connection, each)

    async def _alone(self, connection: Connection, waiting: _Waiting) -> None:
        try:
            await self._run(connection, [waiting])
        except Exception as error:  # noqa: BLE001 - its caller gets it
            (_refuse if connection.is_closed() else _fail)([waiting], error)

    async def _run(self, connection: Connection, batch: Sequence[_Waiting]) -> None:
        commands = [each.command for each in batch]
        with metrics.transaction(len(batch)):
            answers = await self._transaction.run(connection, commands)
        metrics.answered(zip(commands, answers, strict=True))
        for each, answer in zip(batch, answers, strict=True):
            if not each.answer.done():
                each.answer.set_result(answer)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    """Tell those who wait what went wrong with their commands, or to come again where that may help."""
    if isinstance(error, StaleError) or is_transient(error):
        _refuse(batch, error)
    else:
        _tell(batch, error)


def _refuse(batch: Sequence[_Waiting], error: Exception) -> None:
    """Tell those who wait to come again: there is no connection, or no telling what became of the commands."""
    log.warning("ledger batch not committed", commands=len(batch), error=type(error).__name__)
    detail = "the budget database is away or busy"
    _tell(batch, ProblemError(ProblemCode.UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S))


def _tell(batch: Sequence[_Waiting], error: Exception) -> None:
    for each in batch:
        if not each.answer.done():
            each.answer.set_exception(error)
