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


def work(order: Order, first: int, end: int) -> Stretch:
    """In a worker: a connection of its own on the order's snapshot."""
    return asyncio.run(_work(order, first, end))


async def _work(order: Order, first: int, end: int) -> Stretch:
    connection = await asyncpg.connect(order.database_url, timeout=CONNECT_TIMEOUT_S)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            # A snapshot's name has no place for a parameter; this one came from the server a moment ago.
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{order.snapshot}'")
            kek = None if order.kek is None else KeyEncryptionKey(order.kek)
            return await inspect(connection, order.log_id, kek, first, end)
    finally:
        await connection.close()


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
                return Stretch(Inspected((), None, (None, str(error))), None)
            keys[stored.key_id] = OpenedKey(AESGCM(key.key), key.commitment)
    # In a thread: a service that checks a short log itself goes on answering.
    inspected = await asyncio.to_thread(inspect_rows, rows, first, log_id, keys)
    found = len(inspected.leaves)
    if inspected.fault is None and found < end - first:
        inspected = Inspected(inspected.leaves, inspected.ledger, (first + found, "the entry is missing"))
    return Stretch(inspected, lookup_fault)
