"""The verifier by itself: stored roots, and checkpoints given stretch by stretch."""

from hashlib import sha256
from itertools import pairwise

import pytest

from hookbus.audit.inspection import FaultError
from hookbus.audit.note import Checkpoint
from hookbus.audit.tiles import TILE_WIDTH, LogTree, StoredTiles
from hookbus.audit.tree import Frontier
from hookbus.audit.verify import LogVerifier

ENTRIES = TILE_WIDTH * TILE_WIDTH + 5
"""A full tile of level 1 and a few more."""
LEAVES = [sha256(number.to_bytes(8)).digest() for number in range(ENTRIES)]
ORIGIN = "log.example"


def stored() -> tuple[dict[tuple[int, int], bytes], dict[tuple[int, int], bytes]]:
    _, tiles = LogTree().appended(LEAVES)
    return (
        {(tile.level, tile.number): tile.hashes for tile in tiles},
        {(tile.level, tile.number): tile.root for tile in tiles},
    )


def checked(tiles: StoredTiles) -> LogVerifier:
    verifier = LogVerifier(bytes(16), (), decrypt=False)
    for first in range(0, ENTRIES, 16 * TILE_WIDTH):
        verifier.feed_leaves(b"".join(LEAVES[first : first + 16 * TILE_WIDTH]), tiles)
    verifier.finish(size=ENTRIES, tiles_stored=len(tiles.hashes))
    return verifier


@pytest.mark.parametrize(("level", "number"), [(0, 0), (0, 77), (0, 255), (1, 0)])
def test_a_root_that_is_kept_beside_other_hashes_is_found(level: int, number: int):
    """What is appended next starts from it: the log would contradict itself without an entry being changed."""
    hashes, roots = stored()
    assert checked(StoredTiles(hashes, roots)).size == ENTRIES
    with pytest.raises(FaultError, match="root") as found:
        checked(StoredTiles(hashes, roots | {(level, number): bytes(32)}))
    assert found.value.index == number * TILE_WIDTH ** (level + 1)
    # An export holds no roots.
    assert checked(StoredTiles(hashes)).size == ENTRIES


def checkpoint(size: int, root: bytes | None = None) -> Checkpoint:
    return Checkpoint(ORIGIN, size, Frontier().extended(LEAVES[:size]).root if root is None else root)


def fed(verifier: LogVerifier, first: int, end: int) -> None:
    verifier.feed_leaves(b"".join(LEAVES[first:end]), StoredTiles({}))


def walk(wrong: int | None) -> None:
    """Two stretches, with checkpoints at either end and within, each of them twice; one is wrong."""
    verifier = LogVerifier(bytes(16), (), decrypt=False)
    for first, end in pairwise((0, 100, 200)):
        sizes = sorted({first, first + 1, first + 50, end - 1, end})
        verifier.expect(checkpoint(size, bytes(32) if size == wrong else None) for size in sizes)
        verifier.expect(checkpoint(size) for size in sizes)
        fed(verifier, first, end)
    verifier.finish(size=200, tiles_stored=None)


@pytest.mark.parametrize("wrong", [0, 1, 50, 99, 100, 101, 200])
def test_checkpoints_given_stretch_by_stretch_are_each_compared(wrong: int):
    walk(None)
    with pytest.raises(FaultError, match=f"checkpoint of size {wrong}$"):
        walk(wrong)


def test_right_checkpoints_are_forgotten_and_later_ones_missed():
    verifier = LogVerifier(bytes(16), (checkpoint(0), checkpoint(150)), decrypt=False)
    verifier.expect(checkpoint(size) for size in range(101))
    fed(verifier, 0, 100)
    with pytest.raises(FaultError, match="checkpoint of 150 entries"):
        verifier.finish(size=100, tiles_stored=None)
    with pytest.raises(ValueError, match="out of order"):
        verifier.expect([checkpoint(99)])
    fed(verifier, 100, 150)
    verifier.finish(size=150, tiles_stored=None)
