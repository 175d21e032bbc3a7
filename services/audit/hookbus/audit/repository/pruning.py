"""What retention needs: partitions, records of pruning, and the search rows that stay behind."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime

from hookbus.audit.record import Stream
from hookbus.audit.repository.leading import Connection


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: entries ``[first_index, end_index)``."""

    first_index: int
    end_index: int


@dataclass(frozen=True, slots=True)
class StoredPrune:
    """A record of pruning, and the entry that holds it; ``event_id`` is None where there is no such entry."""

    cut: int
    note: str
    index: int
    stream: int | None
    event_id: str | None


async def read_partitions(connection: Connection) -> list[Partition]:
    """Every partition, oldest first."""
    rows = await connection.fetch("SELECT first_index, end_index FROM audit.partitions ORDER BY first_index")
    return [Partition(row["first_index"], row["end_index"]) for row in rows]


async def pruned_below(connection: Connection) -> int:
    """Entries below this are pruned, or about to be; 0 where none is."""
    return int(await connection.fetchval("SELECT coalesce(max(cut), 0) FROM audit.prunes"))


async def newest_prune(connection: Connection) -> StoredPrune | None:
    """The record with the largest cut: it speaks for all before it."""
    row = await connection.fetchrow(
        "SELECT p.cut, p.note, p.index, e.stream, e.event_id FROM audit.prunes p"
        " LEFT JOIN audit.stored_events e ON e.index = p.index ORDER BY p.cut DESC LIMIT 1"
    )
    return None if row is None else StoredPrune(**row)


async def insert_prune(connection: Connection, cut: int, note: str, event_id: str) -> None:
    """Keep a record beside its entry, which this transaction has just appended."""
    await connection.execute(
        "INSERT INTO audit.prunes (cut, note, index)"
        " SELECT $1, $2, index FROM audit.entry_lookup WHERE event_id = $3 AND stream = $4",
        cut,
        note,
        event_id,
        Stream.LOG,
    )


async def drop_pruned(connection: Connection) -> int | None:
    """Drop the oldest partition, where a logged record allows it: the index it ended at, or None.

    Raises:
        asyncpg.LockNotAvailableError: somebody reads it now.
        asyncpg.RaiseError: the record is not in the log, or not covered by a checkpoint yet.
    """
    end: int | None = await connection.fetchval("SELECT audit.drop_pruned()")
    return end


async def first_held(connection: Connection) -> int | None:
    """The smallest index there is a row of, negative ones aside."""
    found: int | None = await connection.fetchval(
        "SELECT index FROM audit.stored_events WHERE index >= 0 ORDER BY index LIMIT 1"
    )
    return found


async def entry_time(connection: Connection, index: int) -> datetime | None:
    """When an entry was appended."""
    found: datetime | None = await connection.fetchval("SELECT time FROM audit.stored_events WHERE index = $1", index)
    return found


async def ids_below(connection: Connection, cut: int, rows_at_once: int) -> AsyncGenerator[list[tuple[int, str]]]:
    """Stream and event id of the search rows below ``cut`` in order, so many at a time."""
    after = -1
    while True:
        rows = await connection.fetch(
            "SELECT index, stream, event_id FROM audit.entry_lookup WHERE index > $1 AND index < $2"
            " ORDER BY index LIMIT $3",
            after,
            cut,
            rows_at_once,
        )
        if not rows:
            return
        yield [(row["stream"], row["event_id"]) for row in rows]
        after = rows[-1]["index"]


async def forget_terms_below(connection: Connection, first: int, end: int) -> None:
    """Empty the search terms of the entries ``[first, end)``."""
    await connection.execute(
        "UPDATE audit.entry_lookup SET agent = NULL, session = NULL, project = NULL WHERE index >= $1 AND index < $2"
        " AND (agent IS NOT NULL OR session IS NOT NULL OR project IS NOT NULL)",
        first,
        end,
    )
