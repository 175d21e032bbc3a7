"""Reading the log: entries by place or id, tiles, checkpoints."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from hookbus.audit.entries import LookupRow, StoredEntry
from hookbus.audit.record import Stream, to_microseconds
from hookbus.audit.repository.appending import tile_hashes
from hookbus.audit.repository.leading import Connection
from hookbus.audit.tiles import TILE_WIDTH, StoredTiles, TileAddress

INDEX_END: Final = 2**63 - 1
"""Beyond every index."""
_SELECT_ENTRY: Final = (
    "SELECT index, stream, event_id, time, key_id, leaf_hash, record, detached FROM audit.stored_events"
)


def _entry(row: asyncpg.Record) -> StoredEntry:
    return StoredEntry(
        row["index"],
        row["stream"],
        row["event_id"],
        to_microseconds(row["time"]),
        row["key_id"],
        row["leaf_hash"],
        row["record"],
        row["detached"],
    )


async def read_range(connection: Connection, first: int, end: int) -> list[StoredEntry]:
    """The rows of the entries ``[first, end)`` in order; in a doctored table an index may stand twice."""
    rows = await connection.fetch(
        _SELECT_ENTRY + " WHERE index >= $1 AND index < $2 ORDER BY index, record", first, end
    )
    found: list[StoredEntry] = []
    last, last_us = None, 0
    for index, stream, event_id, time, key_id, leaf_hash, record, detached in rows:
        if time != last:
            # All entries of a batch have one time.
            last, last_us = time, to_microseconds(time)
        found.append(StoredEntry(index, stream, event_id, last_us, key_id, leaf_hash, record, detached))
    return found


async def hold_partitions(connection: Connection) -> None:
    """Keep every partition where it is until the transaction ends; must be its first statement."""
    await connection.execute("LOCK TABLE audit.stored_events IN ACCESS SHARE MODE")


async def first_outside(connection: Connection, size: int) -> int | None:
    """The smallest index that lies outside a log of ``size``."""
    found: int | None = await connection.fetchval(
        "SELECT index FROM audit.stored_events WHERE index < 0 OR index >= $1 ORDER BY index LIMIT 1", size
    )
    return found


async def lookup_fault(connection: Connection, first: int, end: int) -> int | None:
    """The first index in ``[first, end)`` whose entry and search row are not of one event, either way.

    What an entry is found by is not compared: that takes its key (:mod:`hookbus.audit.search_rows`).
    """
    found: int | None = await connection.fetchval(
        "SELECT coalesce(e.index, l.index) FROM"
        " (SELECT index, stream, event_id FROM audit.stored_events WHERE index >= $1 AND index < $2) e FULL JOIN"
        " (SELECT index, stream, event_id FROM audit.entry_lookup WHERE index >= $1 AND index < $2) l"
        " ON e.index = l.index AND e.stream = l.stream AND e.event_id = l.event_id"
        " WHERE e.index IS NULL OR l.index IS NULL ORDER BY 1 LIMIT 1",
        first,
        end,
    )
    return found


async def read_lookups(connection: Connection, first: int, end: int) -> list[LookupRow]:
    """The search rows of ``[first, end)`` in order; in a doctored table an index may stand twice."""
    rows = await connection.fetch(
        "SELECT index, stream, event_id, kind, outcome, agent, session, project FROM audit.entry_lookup"
        " WHERE index >= $1 AND index < $2 ORDER BY index",
        first,
        end,
    )
    return [LookupRow(*row) for row in rows]


async def lookup_outside(connection: Connection, size: int) -> int | None:
    """The index of a search row that lies outside a log of ``size``."""
    found: int | None = await connection.fetchval(
        "SELECT index FROM audit.entry_lookup WHERE index < 0 OR index >= $1 LIMIT 1", size
    )
    return found


async def read_entry(connection: Connection, index: int) -> StoredEntry | None:
    """One entry by its place."""
    row = await connection.fetchrow(_SELECT_ENTRY + " WHERE index = $1", index)
    return None if row is None else _entry(row)


async def read_bundle(connection: Connection, first: int, count: int) -> list[bytes]:
    """The records of consecutive entries."""
    rows = await connection.fetch(
        "SELECT record FROM audit.stored_events WHERE index >= $1 AND index < $2 ORDER BY index", first, first + count
    )
    return [row["record"] for row in rows]


async def places_of(connection: Connection, event_id: str) -> list[int]:
    """Where an event id lies: hook events first, then security events, then the log's own."""
    rows = await connection.fetch(
        "SELECT index FROM audit.entry_lookup WHERE event_id = $1"
        " ORDER BY CASE stream WHEN 1 THEN 0 WHEN 2 THEN 1 ELSE 2 END",
        event_id,
    )
    return [row["index"] for row in rows]


async def full_tiles(connection: Connection, first_index: int, end_index: int) -> StoredTiles:
    """The stored full tiles of every level that end within the entries ``[first_index, end_index)``, and those of
    level 0 that overlap them."""
    rows = await connection.fetch(
        "SELECT level, number, hashes, root FROM audit.tiles WHERE level = 0 AND number >= $1 AND number <= $2",
        first_index // TILE_WIDTH,
        end_index // TILE_WIDTH,
    )
    width = TILE_WIDTH * TILE_WIDTH
    level = 1
    while width <= end_index:
        if end_index // width > first_index // width:
            rows += await connection.fetch(
                "SELECT level, number, hashes, root FROM audit.tiles WHERE level = $1 AND number >= $2 AND number < $3",
                level,
                first_index // width,
                end_index // width,
            )
        width *= TILE_WIDTH
        level += 1
    return StoredTiles(
        {(row["level"], row["number"]): row["hashes"] for row in rows},
        {(row["level"], row["number"]): row["root"] for row in rows},
    )


async def count_tiles(connection: Connection) -> int:
    """How many full tiles are stored."""
    return int(await connection.fetchval("SELECT count(*) FROM audit.tiles"))


async def load_tiles(connection: Connection, addresses: Collection[TileAddress]) -> dict[tuple[int, int], bytes]:
    """The hashes of tiles, full or partial, for computing proofs."""
    return {(address.level or 0, address.number): await tile_hashes(connection, address) for address in addresses}


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A published checkpoint."""

    size: int
    root: bytes
    note: str


async def insert_checkpoint(connection: Connection, size: int, root: bytes, note: str) -> None:
    """Keep a signed checkpoint; the first one of a size stays."""
    await connection.execute(
        "INSERT INTO audit.checkpoints (size, root, note) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", size, root, note
    )


async def set_latest(connection: Connection, epoch: int, note: str) -> None:
    """Make a note the one that is served; a process that no longer leads changes nothing."""
    await connection.execute("UPDATE audit.log_state SET latest_note = $2 WHERE epoch = $1", epoch, note)


async def latest_note(connection: Connection) -> str | None:
    """The newest signed note with its cosignatures; None before the first."""
    note: str | None = await connection.fetchval(
        "SELECT latest_note || coalesce((SELECT string_agg(line, '' ORDER BY name) FROM audit.cosignatures"
        " WHERE size = split_part(latest_note, E'\\n', 2)::bigint), '') FROM audit.log_state"
    )
    return note


async def read_checkpoints(
    connection: Connection, after_size: int, rows_max: int, size_max: int = INDEX_END
) -> list[StoredCheckpoint]:
    """Published checkpoints of a size over ``after_size``, ``size_max`` at most, smallest first, with the cosignatures
    of witnesses."""
    rows = await connection.fetch(
        "SELECT c.size, c.root, c.note || coalesce(string_agg(s.line, '' ORDER BY s.name), '') AS note"
        " FROM audit.checkpoints c LEFT JOIN audit.cosignatures s ON s.size = c.size"
        " WHERE c.size > $1 AND c.size <= $3 GROUP BY c.size, c.root, c.note ORDER BY c.size LIMIT $2",
        after_size,
        rows_max,
        size_max,
    )
    return [StoredCheckpoint(row["size"], row["root"], row["note"]) for row in rows]


async def insert_cosignature(connection: Connection, size: int, name: str, line: str) -> None:
    """Keep a witness's cosignature of a checkpoint; ``line`` ends in a newline."""
    await connection.execute(
        "INSERT INTO audit.cosignatures (size, name, line) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        size,
        name,
        line,
    )


@dataclass(frozen=True, slots=True)
class StoredHandover:
    """A note by which a signing key handed on to the next."""

    number: int
    note: str


async def read_handovers(connection: Connection) -> list[StoredHandover]:
    """Every handover, oldest first."""
    rows = await connection.fetch("SELECT number, note FROM audit.key_handovers ORDER BY number")
    return [StoredHandover(row["number"], row["note"]) for row in rows]


async def insert_handover(connection: Connection, number: int, note: str) -> None:
    """Keep a handover."""
    await connection.execute(
        "INSERT INTO audit.key_handovers (number, note) VALUES ($1, $2) ON CONFLICT DO NOTHING", number, note
    )


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for; blinded values, None for any. ``after`` and ``before`` bound the index, both exclusive."""

    after: int
    before: int | None
    newest_first: bool
    stream: Stream | None
    agent: bytes | None
    session: bytes | None
    project: bytes | None
    kind: str | None
    outcome: str | None
    since: datetime | None
    until: datetime | None
    rows_max: int


async def find_entries(connection: Connection, query: Query) -> list[StoredEntry]:
    """Entries that match, by index."""
    # The stream stands in the text: only so does a prepared statement use the index of security entries.
    stream = "" if query.stream is None else f" AND l.stream = {int(query.stream)}"
    order = "DESC" if query.newest_first else "ASC"
    rows = await connection.fetch(
        "SELECT e.index, e.stream, e.event_id, e.time, e.key_id, e.leaf_hash, e.record, e.detached"  # noqa: S608 - a number and a constant
        " FROM audit.entry_lookup l JOIN audit.stored_events e ON e.index = l.index"
        f" WHERE l.index > $1 AND l.index < $10{stream}"
        " AND ($2::bytea IS NULL OR l.agent = $2) AND ($3::bytea IS NULL OR l.session = $3)"
        " AND ($4::bytea IS NULL OR l.project = $4) AND ($5::text IS NULL OR l.kind = $5)"
        " AND ($6::text IS NULL OR l.outcome = $6)"
        " AND ($7::timestamptz IS NULL OR e.time >= $7) AND ($8::timestamptz IS NULL OR e.time < $8)"
        f" ORDER BY l.index {order} LIMIT $9",
        query.after,
        query.agent,
        query.session,
        query.project,
        query.kind,
        query.outcome,
        query.since,
        query.until,
        query.rows_max,
        INDEX_END if query.before is None else query.before,
    )
    return [_entry(row) for row in rows]
