"""The check of a whole log: every row, every stored tile and every checkpoint, recomputed from the entries.

Pure and without a database, so that the service, an offline tool and a test with a doctored copy run the same code.
Feed the entries in the order of their index; the first thing found wrong is raised as :class:`FaultError`, which names
the index it concerns.
"""

from collections.abc import Mapping, Sequence

from hookbus.audit.entries import StoredEntry
from hookbus.audit.inspection import FaultError, Inspected, KeyLedger, Keys, Record, check_record, inspect_rows
from hookbus.audit.note import Checkpoint
from hookbus.audit.tiles import TILE_WIDTH, FullTile, LogTree
from hookbus.audit.tree import HASH_BYTES, leaf_hash

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

    def feed(self, entries: Sequence[StoredEntry], tiles: TileHashes, keys: Keys | None = None) -> None:
        """Check the next entries.

        Args:
            entries: rows in the order of their index.
            tiles: at least the stored tiles these entries complete.
            keys: the data keys of these entries, as far as they still exist; None to check without decryption.

        Raises:
            FaultError: at the first thing wrong.
        """
        self.absorb(inspect_rows(entries, self._next, self._log_id, keys), tiles)

    def absorb(self, inspected: Inspected, tiles: TileHashes) -> None:
        """The same for rows inspected elsewhere, which must follow on those absorbed before."""
        if self._ledger is not None and inspected.ledger is not None:
            self._ledger.absorb(inspected.ledger)
        self.feed_leaves(inspected.leaves, tiles)
        if inspected.fault is not None:
            raise FaultError(*inspected.fault)

    def feed_records(self, records: Sequence[Record], tiles: TileHashes) -> None:
        """The same for entries without rows, and without keys."""
        first = self._next
        for record in records:
            check_record(record, self._next, self._log_id)
            self._next += 1
        self._grow(first, [leaf_hash(record.record) for record in records], tiles)

    def feed_leaves(self, leaves: Sequence[bytes], tiles: TileHashes) -> None:
        """The same for leaf hashes alone: tiles and checkpoints are checked against each other."""
        first = self._next
        self._next += len(leaves)
        self._grow(first, leaves, tiles)

    def _grow(self, first: int, leaves: Sequence[bytes], tiles: TileHashes) -> None:
        self._compare_leaves(first, leaves, tiles)
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

    def _compare_leaves(self, first: int, leaves: Sequence[bytes], tiles: TileHashes) -> None:
        """Against the stored tiles, which hold each leaf hash a second time: this names the very entry."""
        joined = b"".join(leaves)
        for number in range(first // TILE_WIDTH, (first + len(leaves) - 1) // TILE_WIDTH + 1 if leaves else 0):
            stored = tiles.get((0, number))
            if stored is None:
                continue
            start = max(first, number * TILE_WIDTH)
            stop = min(first + len(leaves), (number + 1) * TILE_WIDTH)
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
