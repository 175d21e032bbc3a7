"""Proofs from stored tiles."""

from collections.abc import Sequence

from hookbus.audit.repository.leading import Connection
from hookbus.audit.repository.reading import load_tiles
from hookbus.audit.tiles import Range, consistency_ranges, inclusion_ranges, range_root, tiles_for


async def inclusion_proof(connection: Connection, index: int, size: int) -> tuple[bytes, ...]:
    """The RFC 9162 inclusion proof of ``index`` in the tree of ``size``, bottom up.

    Raises:
        ValueError: the index lies outside the tree.
        KeyError: the log does not have (any more) what the proof needs.
    """
    return await _roots(connection, inclusion_ranges(index, size), size)


async def consistency_proof(connection: Connection, from_size: int, to_size: int) -> tuple[bytes, ...]:
    """The RFC 9162 consistency proof between two sizes, bottom up; empty from size 0.

    Raises:
        ValueError: the sizes are out of order.
        KeyError: the log does not have (any more) what the proof needs.
    """
    if from_size == 0:
        return ()
    return await _roots(connection, consistency_ranges(from_size, to_size), to_size)


async def tree_root(connection: Connection, size: int) -> bytes:
    """The root of the tree of ``size``."""
    return (await _roots(connection, [(0, size)], size))[0]


async def _roots(connection: Connection, ranges: Sequence[Range], size: int) -> tuple[bytes, ...]:
    hashes = await load_tiles(connection, tiles_for(ranges, size))
    return tuple(range_root(hashes, start, end) for start, end in ranges)
