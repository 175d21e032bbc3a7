"""A stretch of the log, read and inspected: in this process, or in a worker that reads the same snapshot itself."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hookbus.audit.inspection import Inspected, OpenedKey, inspect_rows
from hookbus.audit.keys import commitment_of
from hookbus.audit.repository import reading
from hookbus.audit.repository.leading import Connection
from hookbus.audit.search_rows import MISFIT, SearchRows

CONNECT_TIMEOUT_S = 5.0


RawKeys = Mapping[bytes, bytes]
"""Key id -> data key, of every key there was when the snapshot was taken."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens entries, and tells what they are found by. Those below ``pruned_below`` are on record as pruned."""

    keys: RawKeys
    search_key: bytes
    pruned_below: int = 0

    def __repr__(self) -> str:
        return "Opening(...)"


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker must know: where the database is, which snapshot to read, and what to decrypt with."""

    database_url: str
    snapshot: str
    log_id: bytes
    opening: Opening | None

    def __repr__(self) -> str:
        return "Order(...)"


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch inspected; ``search_fault`` is the first index whose search row does not fit, and how it does not."""

    inspected: Inspected
    search_fault: tuple[int, str] | None


class _Worker:
    """What one worker process keeps from stretch to stretch: a loop, a connection on the snapshot, the keys."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(_connect(order))

    def inspect(self, first: int, end: int) -> Stretch:
        order = self._order
        return self._loop.run_until_complete(inspect(self._connection, order.log_id, order.opening, first, end))


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


async def inspect(connection: Connection, log_id: bytes, opening: Opening | None, first: int, end: int) -> Stretch:
    """Read and inspect the entries ``[first, end)``; with ``opening``, decrypt them and compare their search terms."""
    rows = await reading.read_range(connection, first, end)
    opened: dict[bytes, OpenedKey] | None = None
    search_rows: SearchRows | None = None
    search_fault: tuple[int, str] | None = None
    if opening is None:
        misfit = await reading.lookup_fault(connection, first, end)
        search_fault = None if misfit is None else (misfit, MISFIT)
    else:
        keys = opening.keys
        used = {row.key_id for row in rows} & keys.keys()
        opened = {key_id: OpenedKey(AESGCM(keys[key_id]), commitment_of(key_id, keys[key_id])) for key_id in used}
        lookups = await reading.read_lookups(connection, first, end)
        search_rows = SearchRows(lookups, opening.search_key, opening.pruned_below)
    # In a thread: a service that checks a short log itself goes on answering.
    inspected = await asyncio.to_thread(inspect_rows, rows, first, log_id, opened, search_rows)
    if inspected.fault is None and inspected.count < end - first:
        inspected = Inspected(inspected.leaves, inspected.ledger, (first + inspected.count, "the entry is missing"))
    return Stretch(inspected, search_fault if search_rows is None else search_rows.fault)
