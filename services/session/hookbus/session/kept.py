"""A connection of the pool kept for one kind of statement.

A pooled connection is probed at each checkout, which costs three round trips; a kept one is not. Where it turns out to
be broken it is given up, and the next use takes another.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final, cast

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.platform.database.engine import Database
from hookbus.session.repository import DriverConnection

ERRORS: Final = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What goes wrong with a database, in the pool, on the way to the server or at it; the driver's internal error is what
it makes of a server that dies in the midst of its answer."""


class KeptConnection:
    """For single statements, each its own transaction. For use in one event loop; close it at the end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: AsyncConnection | None = None
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[DriverConnection]:
        """The connection, for one user at a time. An error gives it up: nobody knows what it would say next."""
        async with self._turn:
            try:
                if self._connection is None:
                    self._connection = await self._database.engine.connect()
                pooled = await self._connection.get_raw_connection()
                yield cast("DriverConnection", pooled.driver_connection)
            except BaseException:
                await self._give_up()
                raise

    async def close(self) -> None:
        """Give the connection back."""
        async with self._turn:
            await self._give_up()

    async def _give_up(self) -> None:
        """Forget the connection; it is given to nobody else."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(*ERRORS):
            await connection.invalidate()
        with suppress(*ERRORS):
            await connection.close()
