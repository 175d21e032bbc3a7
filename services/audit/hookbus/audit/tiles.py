"""The log's hashes as C2SP tlog-tiles: which tile holds a hash, how tiles fill, and proofs read from them.

Only full tiles are stored. A partial tile is the leaf hashes after the last full tile or, above level 0, the roots of
the full tiles below: it is read from those, so nothing that was once written is ever written again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hookbus.audit.tree import EMPTY_ROOT, HASH_BYTES, Frontier, node_hash, perfect_root, root_of

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
LEVEL_MAX: Final = 7
"""Eight levels of tiles hold 2**64 leaves."""

_ENTRIES: Final = "entries"
_PATH: Final = re.compile(r"(entries|[0-9]|[1-5][0-9]|6[0-3])((?:/x[0-9]{3})*)/([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True)
class TileAddress:
    """One tile: ``level`` None is a bundle of entries. ``width`` counts hashes or entries, 256 when full."""

    level: int | None
    number: int
    width: int = TILE_WIDTH

    @property
    def complete(self) -> bool:
        """Full tiles never change."""
        return self.width == TILE_WIDTH

    @property
    def path(self) -> str:
        """The C2SP path below ``tile/``: ``<level or entries>/x001/234[.p/<width>]``."""
        digits = f"{self.number:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = _ENTRIES if self.level is None else str(self.level)
        return f"{level}/{number}" + ("" if self.complete else f".p/{self.width}")

    @classmethod
    def parse(cls, path: str) -> "TileAddress":
        """Raises ValueError for a path that is not exactly how C2SP writes it."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise ValueError("not a tile path")
        level, leading, last, width = match.groups()
        address = cls(
            None if level == _ENTRIES else int(level),
            int(leading.replace("/x", "") + last),
            TILE_WIDTH if width is None else int(width),
        )
        if address.path != path:
            raise ValueError("not a tile path")
        return address

    def exists_at(self, size: int) -> bool:
        """Whether a tree of ``size`` has this tile, at least as wide."""
        level = self.level or 0
        return self.number * TILE_WIDTH + self.width <= size >> (TILE_HEIGHT * level)


TileHashes = Mapping[tuple[int, int], bytes]
"""(level, number) -> the 8,192 bytes of a full tile."""


@dataclass(frozen=True, slots=True)
class StoredTiles:
    """Full tiles as they are kept somewhere. ``roots`` is None where no root is kept beside the hashes."""

    hashes: TileHashes
    roots: Mapping[tuple[int, int], bytes] | None = None


@dataclass(frozen=True, slots=True)
class FullTile:
    """A tile that has just been filled; ``root`` is one hash of the level above."""

    level: int
    number: int
    hashes: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class LogTree:
    """The right edge of the tree: its frontier and the hashes of each level's partial tile, level 0 first."""

    frontier: Frontier = field(default_factory=Frontier)
    partial: tuple[tuple[bytes, ...], ...] = ()

    def __post_init__(self) -> None:
        rest = self.frontier.size
        for hashes in self.partial:
            if len(hashes) != rest % TILE_WIDTH:
                raise ValueError("a partial tile does not fit the size of its tree")
            rest >>= TILE_HEIGHT
        if rest:
            raise ValueError("a level of partial tiles is absent")

    def appended(self, leaves: Sequence[bytes]) -> "tuple[LogTree, list[FullTile]]":
        """The tree after ``leaves`` (leaf hashes), and the tiles they filled, in the order they filled."""
        partial = [list(hashes) for hashes in self.partial]
        filled: list[FullTile] = []
        size, done = self.frontier.size, 0
        while done < len(leaves):
            room = TILE_WIDTH - size % TILE_WIDTH
            taken = leaves[done : done + room]
            if not partial:
                partial.append([])
            partial[0].extend(taken)
            size, done = size + len(taken), done + len(taken)
            if len(taken) == room:
                _carry(partial, filled, size)
        return LogTree(self._frontier_after(leaves, partial, size), tuple(tuple(row) for row in partial)), filled

    def _frontier_after(self, leaves: Sequence[bytes], partial: Sequence[Sequence[bytes]], size: int) -> Frontier:
        """Leaf by leaf where there are few; from the tiles, whose roots are known by then, where there are many."""
        if len(leaves) < TILE_WIDTH:
            return self.frontier.extended(leaves)
        hashes: list[bytes] = []
        for row in reversed(partial):
            hashes += Frontier().extended(row).hashes
        return Frontier(size, tuple(hashes))

    def partial_addresses(self) -> tuple[TileAddress, ...]:
        """Where the hashes of ``partial`` lie; levels whose partial tile is empty are left out."""
        return partial_addresses(self.frontier.size)


def _carry(partial: list[list[bytes]], filled: list[FullTile], size: int) -> None:
    """Empty the full rows of ``partial`` upwards, each leaving its root to the row above; ``size`` ends a tile."""
    level, place = 0, size // TILE_WIDTH - 1
    while level < len(partial) and len(partial[level]) == TILE_WIDTH:
        row = partial[level]
        root = perfect_root(row)
        filled.append(FullTile(level, place, b"".join(row), root))
        row.clear()
        if level + 1 == len(partial):
            partial.append([])
        partial[level + 1].append(root)
        level, place = level + 1, (place + 1) // TILE_WIDTH - 1


def partial_addresses(size: int) -> tuple[TileAddress, ...]:
    """The partial tiles of a tree of ``size``, level 0 first."""
    found: list[TileAddress] = []
    level = 0
    while size:
        if size % TILE_WIDTH:
            found.append(TileAddress(level, size // TILE_WIDTH, size % TILE_WIDTH))
        size >>= TILE_HEIGHT
        level += 1
    return tuple(found)


def split_hashes(joined: bytes) -> tuple[bytes, ...]:
    """The hashes of a tile."""
    return tuple(joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES))


Range = tuple[int, int]
"""Entries ``[start, end)``: a subtree whose root a proof holds."""


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The subtrees whose roots form the inclusion proof of ``index`` in the tree of ``size``, bottom up."""
    if not 0 <= index < size:
        raise ValueError("the index lies outside the tree")
    ranges: list[Range] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(from_size: int, to_size: int) -> list[Range]:
    """The subtrees whose roots form the consistency proof between two sizes, bottom up."""
    if not 0 < from_size <= to_size:
        raise ValueError("the earlier size must lie between 1 and the later size")
    ranges: list[Range] = []
    start, end, whole = 0, to_size, True
    while from_size != end:
        middle = start + _split(end - start)
        if from_size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start, whole = middle, False
    if not whole:
        ranges.append((start, end))
    return ranges[::-1]


def _split(width: int) -> int:
    """The largest power of two smaller than ``width``."""
    return 1 << ((width - 1).bit_length() - 1)


def tiles_for(ranges: Sequence[Range], size: int) -> set[TileAddress]:
    """The tiles, as wide as a tree of ``size`` has them, from which the roots of ``ranges`` can be computed."""
    needed: set[TileAddress] = set()
    for start, end in ranges:
        for height, number in _perfect_nodes(start, end):
            level = min(height // TILE_HEIGHT, LEVEL_MAX)
            tile = (number << (height - level * TILE_HEIGHT)) // TILE_WIDTH
            width = min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - tile * TILE_WIDTH)
            needed.add(TileAddress(level, tile, width))
    return needed


def range_root(hashes: Mapping[tuple[int, int], bytes], start: int, end: int) -> bytes:
    """The root of entries ``[start, end)`` from ``(level, number) -> tile bytes``. KeyError where a tile is absent."""
    root: bytes | None = None
    for height, number in reversed(_perfect_nodes(start, end)):
        level = min(height // TILE_HEIGHT, LEVEL_MAX)
        first = number << (height - level * TILE_HEIGHT)
        width = 1 << (height - level * TILE_HEIGHT)
        at = (first % TILE_WIDTH) * HASH_BYTES
        joined = hashes[(level, first // TILE_WIDTH)][at : at + width * HASH_BYTES]
        if len(joined) != width * HASH_BYTES:
            raise KeyError((level, first // TILE_WIDTH))
        node = root_of(split_hashes(joined))
        root = node if root is None else node_hash(node, root)
    return EMPTY_ROOT if root is None else root


def _perfect_nodes(start: int, end: int) -> list[tuple[int, int]]:
    """``[start, end)`` as perfect subtrees (height, number), left to right."""
    nodes: list[tuple[int, int]] = []
    while start < end:
        height = (end - start).bit_length() - 1
        if start:
            height = min(height, (start & -start).bit_length() - 1)
        nodes.append((height, start >> height))
        start += 1 << height
    return nodes
