"""A stretch of the log, read and inspected: in this process, or in a worker that reads the same snapshot itself."""

import asyncio
from dataclasses import dataclass

import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hookbus.audit.inspection import Inspected, OpenedKey, inspect_rows
from hookbus.audit.keys import KeyEncryptionKey, KeyUnusableError, unwrap_data_key
from hookbus.audit.repository import keys as key_store
from hookbus.audit.repository import reading
from hookbus.audit.repository.leading import Connection

CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker must know: where the database is, which snapshot to read, and the keys to decrypt with."""

    database_url: str
    snapshot: str
    log_id: bytes
    kek: bytes | None

    def __repr__(self) -> str:
        return "Order(...)"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch inspected; ``lookup_fault`` is the first index whose search row does not fit."""

    inspected: Inspected
    lookup_fault: int | None


class _Worker:
    """What one worker process keeps from stretch to stretch: a loop, a connection on the snapshot, the keys."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(_connect(order))
        self._kek = None if order.kek is None else KeyEncryptionKey(order.kek)

    def inspect(self, first: int, end: int) -> Stretch:
        return self._loop.run_until_complete(inspect(self._connection, self._order.log_id, self._kek, first, end))


_worker: _Worker | None = None


def start(order: Order) -> None:
    """In a new worker: connect to the order's snapshot. The connection ends with the process."""
    global _worker  # noqa: PLW0603 - a pool's initializer has no other way to leave something for its tasks
    _worker = _Worker(order)


def work(first: int, end: int) -> Stretch:
    """In a started worker."""
    assert _worker is not None
    return _worker.inspect(first, end)


async def _connect(order: Order) -> Connection:
    connection = await asyncpg.connect(order.database_url, timeout=CONNECT_TIMEOUT_S)
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    # A snapshot's name has no place for a parameter; this one came from the server a moment ago.
    await connection.execute(f"SET TRANSACTION SNAPSHOT '{order.snapshot}'")
    # Idle while the others work.
    await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    return connection


async def inspect(connection: Connection, log_id: bytes, kek: KeyEncryptionKey | None, first: int, end: int) -> Stretch:
    """Read and inspect the entries ``[first, end)``; with ``kek``, decrypt them too."""
    rows = await reading.read_range(connection, first, end)
    lookup_fault = await reading.lookup_fault(connection, first, end)
    keys: dict[bytes, OpenedKey] | None = None
    if kek is not None:
        keys = {}
        for stored in await key_store.read_data_keys(connection, list({row.key_id for row in rows})):
            try:
                key = unwrap_data_key(
                    kek,
                    key_id=stored.key_id,
                    subject="",
                    period=stored.period,
                    wrapped=stored.wrapped,
                    commitment=stored.commitment,
                )
            except KeyUnusableError as error:
                return Stretch(Inspected(b"", None, (None, str(error))), None)
            keys[stored.key_id] = OpenedKey(AESGCM(key.key), key.commitment)
    # In a thread: a service that checks a short log itself goes on answering.
    inspected = await asyncio.to_thread(inspect_rows, rows, first, log_id, keys)
    if inspected.fault is None and inspected.count < end - first:
        inspected = Inspected(inspected.leaves, inspected.ledger, (first + inspected.count, "the entry is missing"))
    return Stretch(inspected, lookup_fault)
