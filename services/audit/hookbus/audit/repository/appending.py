"""Adding to the log: known ids, the rows of a batch, full tiles. Each statement takes a whole batch."""

from collections.abc import Iterable, Sequence
from typing import Final

from hookbus.audit.entries import LookupRow, StoredEntry
from hookbus.audit.record import from_microseconds
from hookbus.audit.repository.leading import Connection
from hookbus.audit.tiles import TILE_WIDTH, FullTile, TileAddress, split_hashes
from hookbus.audit.tree import HASH_BYTES

SCHEMA: Final = "audit"


async def known_ids(connection: Connection, keys: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """Which ``(stream, event id)`` pairs the log already holds."""
    rows = await connection.fetch(
        "SELECT stream, event_id FROM audit.entry_lookup"
        " WHERE (event_id, stream) IN (SELECT * FROM unnest($1::text[], $2::smallint[]))",
        [event_id for _, event_id in keys],
        [stream for stream, _ in keys],
    )
    return {(row["stream"], row["event_id"]) for row in rows}


async def insert_entries(connection: Connection, entries: Iterable[StoredEntry]) -> None:
    """COPY the entries of a batch."""
    await connection.copy_records_to_table(
        "stored_events",
        schema_name=SCHEMA,
        columns=("index", "stream", "event_id", "time", "key_id", "leaf_hash", "record", "detached"),
        records=[
            (
                entry.index,
                entry.stream,
                entry.event_id,
                from_microseconds(entry.time_us),
                entry.key_id,
                entry.leaf_hash,
                entry.record,
                entry.detached,
            )
            for entry in entries
        ],
    )


async def insert_lookups(connection: Connection, rows: Iterable[LookupRow]) -> None:
    """COPY the search rows of a batch; its unique key is what keeps an event from being stored twice."""
    await connection.copy_records_to_table(
        "entry_lookup",
        schema_name=SCHEMA,
        columns=("index", "stream", "event_id", "kind", "outcome", "agent", "session", "project"),
        records=[
            (row.index, row.stream, row.event_id, row.kind, row.outcome, row.agent, row.session, row.project)
            for row in rows
        ],
    )


async def insert_tiles(connection: Connection, tiles: Sequence[FullTile]) -> None:
    """Store full tiles."""
    if tiles:
        await connection.executemany(
            "INSERT INTO audit.tiles (level, number, hashes, root) VALUES ($1, $2, $3, $4)",
            [(tile.level, tile.number, tile.hashes, tile.root) for tile in tiles],
        )


async def ensure_partitions(connection: Connection, last_index: int, width: int) -> None:
    """Make the partitions up to ``last_index``, where they are not there yet: ``width`` entries each."""
    await connection.fetchval("SELECT audit.ensure_partitions($1, $2)", last_index, width)


async def tile_hashes(connection: Connection, address: TileAddress) -> bytes:
    """The hashes of a tile, ``address.width`` of them or fewer where the log does not have so many. Not for bundles."""
    level = address.level or 0
    stored: bytes | None = await connection.fetchval(
        "SELECT hashes FROM audit.tiles WHERE level = $1 AND number = $2", level, address.number
    )
    if stored is not None or address.complete:
        # A tile that has filled since still begins as it did; the rows below it may be pruned.
        return (stored or b"")[: address.width * HASH_BYTES]
    first = address.number * TILE_WIDTH
    if level == 0:
        rows = await connection.fetch(
            "SELECT leaf_hash FROM audit.stored_events WHERE index >= $1 AND index < $2 ORDER BY index",
            first,
            first + address.width,
        )
        return b"".join(row["leaf_hash"] for row in rows)
    rows = await connection.fetch(
        "SELECT root FROM audit.tiles WHERE level = $1 AND number >= $2 AND number < $3 ORDER BY number",
        level - 1,
        first,
        first + address.width,
    )
    return b"".join(row["root"] for row in rows)


async def partial_tiles(connection: Connection, addresses: Sequence[TileAddress]) -> dict[int, tuple[bytes, ...]]:
    """Level -> hashes of the partial tiles at the right edge."""
    return {address.level or 0: split_hashes(await tile_hashes(connection, address)) for address in addresses}
