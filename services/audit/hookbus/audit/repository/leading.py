"""Who may append: one connection that holds an advisory lock, fenced by an epoch that every commit checks.

The lock is freed by the server the moment its holder's connection dies. A holder that is paused keeps the lock but not
its lease: once that has run out, another process ends the paused one's connection and takes over under a new epoch.
Should the paused one wake and still reach the database, its commit names an old epoch and changes nothing.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import asyncpg

from hookbus.audit.tree import Frontier

LEASE_S: Final = 5.0
LEASE_RENEWAL_S: Final = 1.0
APPENDER_LOCK_KEY: Final = 0x61756469
"""Advisory lock of the appender ("audi")."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class FencedError(Exception):
    """Another process appends now; nothing was written."""


@dataclass(frozen=True, slots=True)
class LogState:
    """The one row of state."""

    log_id: bytes
    origin: str
    frontier: Frontier
    last_time_us: int
    epoch: int


def _state(row: asyncpg.Record) -> LogState:
    return LogState(
        log_id=row["log_id"],
        origin=row["origin"],
        frontier=Frontier.from_bytes(row["size"], row["frontier"]),
        last_time_us=row["last_time_us"],
        epoch=row["epoch"],
    )


async def create_log(connection: Connection, log_id: bytes, origin: str) -> None:
    """Store the identity of a log that has none yet; an existing one is left as it is."""
    await connection.execute(
        "INSERT INTO audit.log_state (log_id, origin, size, frontier, last_time_us, epoch, lease_until)"
        " VALUES ($1, $2, 0, '', 0, 0, '-infinity') ON CONFLICT DO NOTHING",
        log_id,
        origin,
    )


async def read_state(connection: Connection) -> LogState | None:
    """The state; None where the log was never created."""
    row = await connection.fetchrow("SELECT log_id, origin, size, frontier, last_time_us, epoch FROM audit.log_state")
    return None if row is None else _state(row)


async def try_lead(connection: Connection) -> LogState | None:
    """Become the appender on this connection: the state under a new epoch, or None while another process appends.

    A holder whose lease has run out loses its connection; the next try then succeeds.
    """
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", APPENDER_LOCK_KEY):
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks, audit.log_state"
            " WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = $1 AND objsubid = 1"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND lease_until < clock_timestamp()",
            APPENDER_LOCK_KEY,
        )
        return None
    row = await connection.fetchrow(
        "UPDATE audit.log_state SET epoch = epoch + 1, lease_until = clock_timestamp() + make_interval(secs => $1)"
        " RETURNING log_id, origin, size, frontier, last_time_us, epoch",
        LEASE_S,
    )
    return None if row is None else _state(row)


async def renew_lease(connection: Connection, epoch: int) -> None:
    """Raises FencedError where another process has taken over."""
    answer = await connection.execute(
        "UPDATE audit.log_state SET lease_until = clock_timestamp() + make_interval(secs => $2) WHERE epoch = $1",
        epoch,
        LEASE_S,
    )
    if answer != "UPDATE 1":
        raise FencedError


async def resign(connection: Connection) -> None:
    """Give the lock back, so that the next process need not wait for the lease."""
    await connection.execute("SELECT pg_advisory_unlock($1)", APPENDER_LOCK_KEY)


async def advance(connection: Connection, *, epoch: int, from_size: int, to: Frontier, last_time_us: int) -> None:
    """Move the state on, as the first statement of an append's transaction.

    Raises:
        FencedError: the epoch or the size is no longer this process's; the transaction must not commit.
    """
    answer = await connection.execute(
        "UPDATE audit.log_state SET size = $3, frontier = $4, last_time_us = $5,"
        " lease_until = clock_timestamp() + make_interval(secs => $6) WHERE epoch = $1 AND size = $2",
        epoch,
        from_size,
        to.size,
        to.to_bytes(),
        last_time_us,
        LEASE_S,
    )
    if answer != "UPDATE 1":
        raise FencedError
