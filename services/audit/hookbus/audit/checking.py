"""The check of the live log: one snapshot of the database, read in order through the verifier."""

import asyncio
import multiprocessing
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final, Self

from hookbus.audit.checkpoints import StoredCheckpoints
from hookbus.audit.inspection import FaultError
from hookbus.audit.keyring import Keyring
from hookbus.audit.note import Checkpoint
from hookbus.audit.pruned import absorb_pruned, read_record
from hookbus.audit.repository import appending, leading, reading
from hookbus.audit.snapshot import require_usable, snapshot
from hookbus.audit.stretches import Opening, Order, Stretch, inspect, start, work
from hookbus.audit.tiles import TILE_WIDTH, StoredTiles, TileAddress, TileHashes
from hookbus.audit.trust import Trust
from hookbus.audit.verify import LogVerifier

STRETCH_ENTRIES: Final = 32 * TILE_WIDTH
"""Entries inspected at once."""
PARALLEL_ENTRIES_MIN: Final = 120_000
"""From here on it pays to start processes, which take most of a second to begin (docs/performance.md)."""
STRETCHES_AHEAD_PER_WORKER: Final = 2
"""Stretches under way before the oldest is absorbed: the bound on memory."""

Progress = Callable[[int, int], None]
"""Called with entries checked and entries in all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. ``fault`` is None for a log in order."""

    size: int
    root: bytes
    checked: int
    fault: FaultError | None


@dataclass(frozen=True, slots=True)
class Means:
    """``keyring`` decrypts every entry as well; with ``database_url`` a long log is checked on every core.

    ``hashes_only`` reads no entry: checkpoints are compared with each other through the stored hashes alone.
    """

    keyring: Keyring | None = None
    database_url: str | None = None
    hashes_only: bool = False

    def __repr__(self) -> str:
        return f"Means(decrypt={self.keyring is not None}, hashes_only={self.hashes_only})"


def _no_progress(_checked: int, _size: int) -> None:
    """For callers that do not show any."""


async def check_log(
    connection: leading.Connection,
    *,
    trust: Trust,
    remembered: Sequence[Checkpoint],
    means: Means,
    progress: Progress = _no_progress,
) -> Finding:
    """Check every row, tile and checkpoint of the log.

    Args:
        connection: reads one snapshot; may belong to any role that can read the schema.
        trust: the log's name and keys, as the caller knows them.
        remembered: checkpoints the caller holds from elsewhere, signatures already checked.
        means: keys to decrypt with, and processes to work with.
        progress: told after each chunk.
    """
    async with snapshot(connection, means.keyring) as (state, keys):
        if state is None:
            return Finding(0, b"", 0, FaultError(None, "the log has no state: it was removed or never created"))
        verifier: LogVerifier | None = None
        try:
            _require_same_log(state, trust.origin)
            usable = require_usable(keys)
            pruned = await read_record(connection, trust)
            known = [*trust.handed_over, *remembered, *([] if pruned is None else [pruned.checkpoint])]
            verifier = LogVerifier(state.log_id, known, decrypt=means.keyring is not None)
            stored = StoredCheckpoints(connection, trust)
            if pruned is not None:
                await absorb_pruned(connection, verifier, pruned, STRETCH_ENTRIES, stored)
            if means.hashes_only:
                await _walk_hashes(connection, verifier, stored, state.frontier.size, progress)
            else:
                opening: Opening | None = None
                if means.keyring is not None and usable is not None:
                    opening = Opening(usable, means.keyring.search_key, 0 if pruned is None else pruned.cut)
                await _walk(connection, verifier, stored, _Workers(connection, means, state, opening), progress)
            await stored.expect_to(verifier, state.frontier.size)
            await stored.expect_next(verifier)
            verifier.finish(size=state.frontier.size, tiles_stored=await reading.count_tiles(connection))
            _require_root(state, verifier.root)
        except FaultError as fault:
            checked = verifier.size if verifier is not None else 0
            return Finding(state.frontier.size, state.frontier.root, checked, fault)
        return Finding(verifier.size, verifier.root, verifier.size, None)


def _require_same_log(state: leading.LogState, origin: str) -> None:
    if state.origin != origin or not origin.endswith(state.log_id.hex()):
        raise FaultError(None, "the database holds another log than the one its key signs")


def _require_root(state: leading.LogState, root: bytes) -> None:
    if root != state.frontier.root:
        raise FaultError(None, "the stored frontier is not that of the entries")


async def _walk_hashes(
    connection: leading.Connection, verifier: LogVerifier, stored: StoredCheckpoints, size: int, progress: Progress
) -> None:
    """Rebuild the tree from the stored hashes of its leaves."""
    for first in range(verifier.size, size, STRETCH_ENTRIES):
        end = min(size, first + STRETCH_ENTRIES)
        tiles = await reading.full_tiles(connection, first, end)
        whole = end // TILE_WIDTH
        joined = [_full_tile(tiles.hashes, number) for number in range(first // TILE_WIDTH, whole)]
        if end % TILE_WIDTH:
            joined.append(await appending.tile_hashes(connection, TileAddress(0, whole, end % TILE_WIDTH)))
        leaves = b"".join(joined)
        await stored.expect_to(verifier, end)
        await asyncio.to_thread(verifier.feed_leaves, leaves, tiles)
        progress(end, size)


def _full_tile(tiles: TileHashes, number: int) -> bytes:
    stored = tiles.get((0, number))
    if stored is None:
        raise FaultError(number * TILE_WIDTH, f"tile 0/{number} is missing")
    return stored


async def _walk(
    connection: leading.Connection,
    verifier: LogVerifier,
    stored: StoredCheckpoints,
    team: "_Workers",
    progress: Progress,
) -> None:
    """Inspect stretch after stretch, in other processes where there are many, and absorb them in order."""
    size = team.size
    outside = await reading.first_outside(connection, size)
    if outside is not None and outside < 0:
        raise FaultError(outside, "an entry was added: this index lies outside the log")
    async with team as workers:
        waiting: deque[_Pending] = deque()
        for first in range(verifier.size, size, STRETCH_ENTRIES):
            end = min(size, first + STRETCH_ENTRIES)
            tiles = await reading.full_tiles(connection, first, end)
            waiting.append(_Pending(workers.begin(first, end), tiles, end))
            if len(waiting) > workers.ahead_max:
                await _absorb(verifier, stored, waiting.popleft(), size, progress)
        while waiting:
            await _absorb(verifier, stored, waiting.popleft(), size, progress)
    if outside is not None:
        raise FaultError(outside, f"an entry was added: the log says it has {size} entries")
    surplus = await reading.lookup_outside(connection, size)
    if surplus is not None:
        raise FaultError(surplus, "a search row was added: an event of its id would be taken for a duplicate")


@dataclass(frozen=True, slots=True)
class _Pending:
    """A stretch under way, and the stored tiles to compare it with."""

    stretch: Awaitable[Stretch]
    tiles: StoredTiles
    end: int


async def _absorb(
    verifier: LogVerifier, stored: StoredCheckpoints, pending: _Pending, size: int, progress: Progress
) -> None:
    stretch = await pending.stretch
    await stored.expect_to(verifier, pending.end)
    await asyncio.to_thread(verifier.absorb, stretch.inspected, pending.tiles)
    if stretch.search_fault is not None:
        raise FaultError(*stretch.search_fault)
    progress(verifier.size, size)


class _Workers:
    """Processes that share this transaction's snapshot; for a short log, or without an address, this process."""

    def __init__(
        self, connection: leading.Connection, means: Means, state: leading.LogState, opening: Opening | None
    ) -> None:
        self._connection = connection
        self._url = means.database_url
        self._state = state
        self._opening = opening
        self._pool: ProcessPoolExecutor | None = None
        self.ahead_max = 0

    @property
    def size(self) -> int:
        """Entries the log says it has."""
        return self._state.frontier.size

    async def __aenter__(self) -> Self:
        if self._url is None or self._state.frontier.size < PARALLEL_ENTRIES_MIN:
            return self
        # The snapshot lives as long as this transaction, which is idle while the workers read.
        await self._connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        exported = await self._connection.fetchval("SELECT pg_export_snapshot()")
        workers = os.cpu_count() or 1
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=start,
            initargs=(Order(self._url, exported, self._state.log_id, self._opening),),
        )
        self.ahead_max = STRETCHES_AHEAD_PER_WORKER * workers
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    def begin(self, first: int, end: int) -> Awaitable[Stretch]:
        """Begin with a stretch."""
        if self._pool is None:
            return inspect(self._connection, self._state.log_id, self._opening, first, end)
        return asyncio.get_running_loop().run_in_executor(self._pool, work, first, end)
