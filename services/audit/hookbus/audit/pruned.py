"""The check of a pruned log: what is recorded as pruned may be absent, its hashes may not; anything more is a loss."""

import asyncio
from typing import Final

from hookbus.audit.checkpoints import StoredCheckpoints
from hookbus.audit.inspection import FaultError
from hookbus.audit.note import NoteInvalidError
from hookbus.audit.prune_record import IdsDigest, PruneRecord, prune_event_id
from hookbus.audit.record import Stream
from hookbus.audit.repository import pruning, reading
from hookbus.audit.repository.leading import Connection
from hookbus.audit.tiles import TILE_BYTES, TILE_WIDTH, TileHashes
from hookbus.audit.tree import HASH_BYTES
from hookbus.audit.trust import Trust
from hookbus.audit.verify import LogVerifier

IDS_AT_ONCE: Final = 10_000
"""Search rows read by one statement."""


async def read_record(connection: Connection, trust: Trust) -> PruneRecord | None:
    """The newest record of pruning, signed by the log and placed in it; None for a log that was never pruned.

    Raises:
        FaultError: there is a record, and it is not one the log made.
    """
    stored = await pruning.newest_prune(connection)
    if stored is None:
        return None
    # What a forged record was to hide: the first entry that is not there.
    held = await pruning.first_held(connection)
    lost = 0 if held is None or held > 0 else None
    try:
        record = PruneRecord.open(stored.note, trust)
    except NoteInvalidError as error:
        raise FaultError(lost, f"the record of pruning is forged: {error}") from error
    if record.cut != stored.cut:
        raise FaultError(lost, f"the record of pruning names {record.cut} entries where {stored.cut} are said")
    placed = stored.index >= record.cut and stored.stream == Stream.LOG
    if not placed or stored.event_id != prune_event_id(stored.note):
        raise FaultError(lost, "the record of pruning is not in the log")
    return record


async def absorb_pruned(
    connection: Connection,
    verifier: LogVerifier,
    record: PruneRecord,
    entries_at_once: int,
    checkpoints: StoredCheckpoints | None = None,
) -> None:
    """Feed the hashes of what is pruned and gone, from the tiles, so many at a time, with the checkpoints over them.

    Entries below the cut that are still there are left to the check of rows. Those above it must be there.
    """
    held = await pruning.first_held(connection)
    end = record.cut if held is None else min(held, record.cut)
    for first in range(0, end, entries_at_once):
        stop = min(end, first + entries_at_once)
        if checkpoints is not None:
            await checkpoints.expect_to(verifier, stop)
        tiles = await reading.full_tiles(connection, first, stop)
        verifier.feed_leaves(_leaves(tiles.hashes, first, stop), tiles)
    await _require_ids(connection, record)


def _leaves(tiles: TileHashes, first: int, end: int) -> bytes:
    """The leaf hashes of ``[first, end)``; ``first`` begins a tile."""
    joined: list[bytes] = []
    for number in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
        hashes = tiles.get((0, number))
        if hashes is None or len(hashes) != TILE_BYTES:
            raise FaultError(number * TILE_WIDTH, f"tile 0/{number} is missing, and the entries are pruned")
        joined.append(hashes)
    return b"".join(joined)[: (end - first) * HASH_BYTES]


async def ids_digest(connection: Connection, cut: int) -> IdsDigest:
    """The digest of the ids of the first ``cut`` entries, from their search rows."""
    digest = IdsDigest()
    async for places in pruning.ids_below(connection, cut, IDS_AT_ONCE):
        try:
            await asyncio.to_thread(digest.add, places)
        except ValueError as error:
            raise FaultError(None, "the search row of a pruned entry was changed: its stream is none") from error
    return digest


async def _require_ids(connection: Connection, record: PruneRecord) -> None:
    digest = await ids_digest(connection, record.cut)
    if digest.count != record.cut or digest.value != record.ids:
        raise FaultError(None, "the event ids of pruned entries are not those they had")
