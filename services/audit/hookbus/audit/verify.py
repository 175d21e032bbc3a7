"""The check of a whole log: every row, every stored tile and every checkpoint, recomputed from the entries.

Pure and without a database, so that the service, an offline tool and a test with a doctored copy run the same code.
Feed the entries in the order of their index; the first thing found wrong is raised as :class:`FaultError`, which names
the index it concerns.
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import Final

from hookbus.audit.inspection import FaultError, Inspected, KeyLedger
from hookbus.audit.note import Checkpoint
from hookbus.audit.tiles import TILE_WIDTH, FullTile, LogTree, StoredTiles, TileHashes, split_hashes
from hookbus.audit.tree import HASH_BYTES

CONTRADICTION: Final = 2
"""Roots of one size that are kept: two are one too many, whichever is right, and of more of them nothing is learned."""


class LogVerifier:
    """Rebuilds a log from its entries, in order, and compares.

    A checkpoint is forgotten once the entries have led to it: however many there are, few are held.
    """

    def __init__(self, log_id: bytes, checkpoints: Iterable[Checkpoint], *, decrypt: bool) -> None:
        """``checkpoints``: some that the entries must lead to; more can follow by :meth:`expect`."""
        self._log_id = log_id
        self._tree = LogTree()
        self._ledger = KeyLedger() if decrypt else None
        self._next = 0
        self._agreed = 0
        self._sizes: list[int] = []
        """A heap of the sizes of checkpoints that the entries have not reached."""
        self._roots: dict[int, list[bytes]] = {}
        """The roots that a checkpoint of such a size has."""
        self._tiles_seen = 0
        self.expect(checkpoints)

    @property
    def size(self) -> int:
        """Entries checked so far."""
        return self._next

    @property
    def root(self) -> bytes:
        """The root of the entries checked so far."""
        return self._tree.frontier.root

    def expect(self, checkpoints: Iterable[Checkpoint]) -> None:
        """The entries must lead to these checkpoints too, whose signatures hold.

        Give those of a stretch before its entries: what was passed is never compared.

        Raises:
            FaultError: one is of the size checked so far, and of another root.
            ValueError: one is of a size already passed.
        """
        for checkpoint in checkpoints:
            if checkpoint.size < self._tree.frontier.size:
                raise ValueError(f"the checkpoint of size {checkpoint.size} is out of order")
            roots = self._roots.get(checkpoint.size)
            if roots is None:
                self._roots[checkpoint.size] = [checkpoint.root]
                heapq.heappush(self._sizes, checkpoint.size)
            elif len(roots) < CONTRADICTION and checkpoint.root not in roots:
                roots.append(checkpoint.root)
        self._compare_reached()

    def absorb(self, inspected: Inspected, tiles: StoredTiles) -> None:
        """Check the next entries, inspected wherever that was, against the tree.

        Args:
            inspected: what the entries say by themselves; they must follow on those absorbed before.
            tiles: at least the stored tiles these entries complete.

        Raises:
            FaultError: at the first thing wrong.
        """
        if self._ledger is not None and inspected.ledger is not None:
            self._ledger.absorb(inspected.ledger)
        self.feed_leaves(inspected.leaves, tiles)
        if inspected.fault is not None:
            raise FaultError(*inspected.fault)

    def feed_leaves(self, joined: bytes, tiles: StoredTiles) -> None:
        """The same for leaf hashes alone: tiles and checkpoints are checked against each other."""
        first = self._next
        leaves = split_hashes(joined)
        self._next += len(leaves)
        self._compare_leaves(first, joined, tiles.hashes)
        done = 0
        while done < len(leaves):
            stop = len(leaves)
            if self._sizes and self._sizes[0] < first + stop:
                stop = self._sizes[0] - first
            self._tree, filled = self._tree.appended(leaves[done:stop])
            self._compare_tiles(filled, tiles)
            done = stop
            self._compare_reached()

    def finish(self, *, size: int, tiles_stored: int | None) -> None:
        """Check that nothing is absent at the end: entries, checkpoints, tiles, keys.

        Args:
            size: how many entries the log says it has.
            tiles_stored: how many full tiles are stored; None where that cannot be asked.
        """
        if self._next < size:
            raise FaultError(self._next, f"the entry is missing: the log says it has {size} entries")
        if self._next > size:
            raise FaultError(size, f"an entry was added: the log says it has {size} entries")
        if self._sizes:
            promised = max(self._sizes)
            raise FaultError(
                self._next, f"the entry is missing: a signed checkpoint of {promised} entries was published"
            )
        if tiles_stored is not None and tiles_stored != self._tiles_seen:
            raise FaultError(None, f"{tiles_stored} tiles are stored where the entries fill {self._tiles_seen}")
        if self._ledger is not None:
            self._ledger.finish()

    def _compare_reached(self) -> None:
        size = self._tree.frontier.size
        if not self._sizes or self._sizes[0] != size:
            return
        heapq.heappop(self._sizes)
        root = self._tree.frontier.root
        if any(promised != root for promised in self._roots.pop(size)):
            raise FaultError(
                self._agreed,
                f"one of the entries {self._agreed} to {size - 1} was changed:"
                f" they do not lead to the root of the signed checkpoint of size {size}",
            )
        self._agreed = size

    def _compare_leaves(self, first: int, joined: bytes, tiles: TileHashes) -> None:
        """Against the stored tiles, which hold each leaf hash a second time: this names the very entry."""
        end = first + len(joined) // HASH_BYTES
        for number in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
            stored = tiles.get((0, number))
            if stored is None:
                continue
            start = max(first, number * TILE_WIDTH)
            stop = min(end, (number + 1) * TILE_WIDTH)
            mine = joined[(start - first) * HASH_BYTES : (stop - first) * HASH_BYTES]
            theirs = stored[(start - number * TILE_WIDTH) * HASH_BYTES : (stop - number * TILE_WIDTH) * HASH_BYTES]
            if mine != theirs:
                raise FaultError(
                    start + _first_difference(mine, theirs), "the entry is not the one whose hash the stored tile holds"
                )

    def _compare_tiles(self, filled: Sequence[FullTile], tiles: StoredTiles) -> None:
        for tile in filled:
            self._tiles_seen += 1
            stored = tiles.hashes.get((tile.level, tile.number))
            start = tile.number * TILE_WIDTH ** (tile.level + 1)
            if stored is None:
                raise FaultError(start, f"tile {tile.level}/{tile.number} is missing")
            if stored != tile.hashes:
                at = _first_difference(tile.hashes, stored)
                raise FaultError(
                    start + at * TILE_WIDTH**tile.level,
                    f"tile {tile.level}/{tile.number} holds another hash than the entries lead to",
                )
            if tiles.roots is not None and tiles.roots.get((tile.level, tile.number)) != tile.root:
                # What is appended next, and every proof over it, starts from this root.
                raise FaultError(
                    start, f"tile {tile.level}/{tile.number} is kept with a root its hashes do not lead to"
                )


def _first_difference(mine: bytes, theirs: bytes) -> int:
    """The number of the first hash that differs."""
    for at in range(0, len(mine), HASH_BYTES):
        if mine[at : at + HASH_BYTES] != theirs[at : at + HASH_BYTES]:
            return at // HASH_BYTES
    return len(mine) // HASH_BYTES
