"""The connection pool of one service, with every wait bounded."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar, cast

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from hookbus.platform import metrics
from hookbus.platform.database.tracing import trace_statements
from hookbus.platform.settings import DatabaseSettings

POOL_WAIT_S: Final = 2.0
"""How long a caller waits for a free connection before it is told that the database is busy."""
CONNECTION_AGE_MAX_S: Final = 1_800
CONNECT_TIMEOUT_S: Final = 3.0
STATEMENT_TIMEOUT_MS: Final = 10_000
LOCK_TIMEOUT_MS: Final = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 15_000
COMMAND_TIMEOUT_S: Final = 15.0
"""Client side: covers a server that no longer answers at all."""

TRANSIENT_CLASSES: Final = frozenset({"08", "40", "53", "57", "58"})
"""Of SQLSTATE, its first two characters: connection lost (in the midst of a statement too), transaction rolled back,
resources short (a full disk, too many connections), an operator's or a crash's intervention, an error of the system
below."""
TRANSIENT_SQLSTATES: Final = frozenset({"55P03", "25006"})
"""Lock not available; read only, as a server is that does not lead any more."""


class Database:
    """One pool on one role. ``begin`` for SQLAlchemy core in a transaction, ``raw`` for asyncpg's own batch calls."""

    def __init__(self, service: str, settings: DatabaseSettings) -> None:
        url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+asyncpg")
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=settings.database_pool_size_max,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
            pool_pre_ping=True,
            pool_recycle=CONNECTION_AGE_MAX_S,
            hide_parameters=True,
            connect_args={
                "timeout": CONNECT_TIMEOUT_S,
                "command_timeout": COMMAND_TIMEOUT_S,
                "server_settings": {
                    "application_name": f"hookbus-{service}",
                    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                    "lock_timeout": str(LOCK_TIMEOUT_MS),
                    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
                    "timezone": "UTC",
                },
            },
        )
        trace_statements(self.engine.sync_engine, str(url.database))
        metrics.POOL_MAX_CONNECTIONS.set(settings.database_pool_size_max)
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)
        metrics.POOL_USED_CONNECTIONS.set_function(pool.checkedout)
        # Whoever begins, the library's own calls included, takes a connection through the pool.
        pool.connect = _timed(pool.connect)

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[AsyncConnection]:
        """A connection in a transaction: committed at the end of the block, rolled back by an exception."""
        async with self.engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def raw(self) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
        """The asyncpg connection below a pooled one, outside any transaction."""
        async with self.engine.connect() as connection:
            pooled = await connection.get_raw_connection()
            yield cast("asyncpg.Connection[asyncpg.Record]", pooled.driver_connection)

    async def ping(self) -> None:
        """Round trip to the server.

        Raises:
            sqlalchemy.exc.SQLAlchemyError, OSError, TimeoutError: the database is away.
        """
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


ConnectT = TypeVar("ConnectT")


def _timed(connect: Callable[[], ConnectT]) -> Callable[[], ConnectT]:
    """Measure how long a connection of the pool was waited for."""

    def timed() -> ConnectT:
        began = time.perf_counter()
        try:
            return connect()
        except PoolTimeoutError:
            metrics.POOL_TIMEOUTS.inc()
            raise
        finally:
            metrics.POOL_WAIT_SECONDS.observe(time.perf_counter() - began)

    return timed


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed later: the server is away, busy or shedding this transaction."""
    if isinstance(error, (OSError, TimeoutError, PoolTimeoutError, asyncpg.InterfaceError, InterfaceError)):
        return True
    if isinstance(error, asyncpg.InternalClientError):
        # What the driver makes of a server that dies in the midst of its answer ("unknown protocol state").
        return True
    if isinstance(error, (OperationalError, asyncpg.PostgresConnectionError)):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or _is_transient_state(error.orig)
    return _is_transient_state(error)


def _is_transient_state(error: BaseException | None) -> bool:
    state = cast("str | None", getattr(error, "sqlstate", None)) or ""
    return state[:2] in TRANSIENT_CLASSES or state in TRANSIENT_SQLSTATES
