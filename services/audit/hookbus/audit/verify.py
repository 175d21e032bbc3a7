"""The check of a whole log: every row, every stored tile and every checkpoint, recomputed from the entries.

Pure and without a database, so that the service, an offline tool and a test with a doctored copy run the same code.
Feed the entries in the order of their index; the first thing found wrong is raised as :class:`FaultError`, which names
the index it concerns.
"""

from collections.abc import Mapping, Sequence

from hookbus.audit.inspection import FaultError, Inspected, KeyLedger
from hookbus.audit.note import Checkpoint
from hookbus.audit.tiles import TILE_WIDTH, FullTile, LogTree, split_hashes
from hookbus.audit.tree import HASH_BYTES

TileHashes = Mapping[tuple[int, int], bytes]
"""(level, number) -> the 8,192 bytes of a full tile as stored."""


class LogVerifier:
    """Rebuilds a log from its entries, in order, and compares."""

    def __init__(self, log_id: bytes, checkpoints: Sequence[Checkpoint], *, decrypt: bool) -> None:
        """``checkpoints``: all whose signatures hold, from the log and from wherever else they were kept."""
        self._log_id = log_id
        self._tree = LogTree()
        self._ledger = KeyLedger() if decrypt else None
        self._next = 0
        self._agreed = 0
        self._pending = sorted(checkpoints, key=lambda item: item.size, reverse=True)
        self._tiles_seen = 0
        self._compare_pending()

    @property
    def size(self) -> int:
        """Entries checked so far."""
        return self._next

    @property
    def root(self) -> bytes:
        """The root of the entries checked so far."""
        return self._tree.frontier.root

    def absorb(self, inspected: Inspected, tiles: TileHashes) -> None:
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

    def feed_leaves(self, joined: bytes, tiles: TileHashes) -> None:
        """The same for leaf hashes alone: tiles and checkpoints are checked against each other."""
        first = self._next
        leaves = split_hashes(joined)
        self._next += len(leaves)
        self._compare_leaves(first, joined, tiles)
        done = 0
        while done < len(leaves):
            stop = len(leaves)
            if self._pending and self._pending[-1].size < first + stop:
                stop = self._pending[-1].size - first
            self._tree, filled = self._tree.appended(leaves[done:stop])
            self._compare_tiles(filled, tiles)
            done = stop
            self._compare_pending()

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
        if self._pending:
            promised = self._pending[0].size
            raise FaultError(
                self._next, f"the entry is missing: a signed checkpoint of {promised} entries was published"
            )
        if tiles_stored is not None and tiles_stored != self._tiles_seen:
            raise FaultError(None, f"{tiles_stored} tiles are stored where the entries fill {self._tiles_seen}")
        if self._ledger is not None:
            self._ledger.finish()

    def _compare_pending(self) -> None:
        root: bytes | None = None
        while self._pending and self._pending[-1].size == self._tree.frontier.size:
            checkpoint = self._pending.pop()
            root = self._tree.frontier.root if root is None else root
            if checkpoint.root != root:
                raise FaultError(
                    self._agreed,
                    f"one of the entries {self._agreed} to {checkpoint.size - 1} was changed:"
                    f" they do not lead to the root of the signed checkpoint of size {checkpoint.size}",
                )
            self._agreed = checkpoint.size

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

    def _compare_tiles(self, filled: Sequence[FullTile], tiles: TileHashes) -> None:
        for tile in filled:
            self._tiles_seen += 1
            stored = tiles.get((tile.level, tile.number))
            start = tile.number * TILE_WIDTH ** (tile.level + 1)
            if stored is None:
                raise FaultError(start, f"tile {tile.level}/{tile.number} is missing")
            if stored != tile.hashes:
                at = _first_difference(tile.hashes, stored)
                raise FaultError(
                    start + at * TILE_WIDTH**tile.level,
                    f"tile {tile.level}/{tile.number} holds another hash than the entries lead to",
                )


def _first_difference(mine: bytes, theirs: bytes) -> int:
    """The number of the first hash that differs."""
    for at in range(0, len(mine), HASH_BYTES):
        if mine[at : at + HASH_BYTES] != theirs[at : at + HASH_BYTES]:
            return at // HASH_BYTES
    return len(mine) // HASH_BYTES
