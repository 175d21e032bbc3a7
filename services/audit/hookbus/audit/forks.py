"""The proof of a fork: two notes of one log, both properly signed, that no single tree can have led to.

It convinces whoever holds the log's first public key and nothing else. Two notes of one size with different roots speak
for themselves. For two sizes the proof shows, by an RFC 9162 consistency proof, what root the later tree has at the
earlier size: another one than the earlier note says.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from hookbus.audit.export import Export, Published
from hookbus.audit.inspection import FaultError
from hookbus.audit.note import Checkpoint, NoteInvalidError, VerifierKey
from hookbus.audit.tiles import TILE_WIDTH, TileAddress, consistency_ranges, range_root, split_hashes, tiles_for
from hookbus.audit.tree import HASH_BYTES, Frontier, FrontierAppender, ProofInvalidError, verify_consistency
from hookbus.audit.trust import Trust

FORMAT: Final = "hookbus.audit/fork/v1"
FORK_BYTES_MAX: Final = 1024 * 1024


class ForkUnprovenError(Exception):
    """The file does not prove a fork; the text says why."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A proven fork: the log signed ``earlier``, and ``later``, whose tree has another root at the earlier size."""

    earlier: Checkpoint
    later: Checkpoint


def check_fork(text: str, pinned: VerifierKey) -> Fork:
    """Check a proof with nothing but the log's first public key.

    Raises:
        ForkUnprovenError: malformed, of another log, not signed by it, or the two notes do not contradict each other.
    """
    try:
        if len(text) > FORK_BYTES_MAX:
            raise ForkUnprovenError("the file is too large")
        parsed = cast("dict[str, object]", json.loads(text))
        if parsed["format"] != FORMAT:
            raise ForkUnprovenError("not a proof of a fork")
        first, second = (str(note) for note in cast("list[object]", parsed["notes"]))
        trust = Trust(pinned.name, pinned, [str(note) for note in cast("list[object]", parsed["handovers"])])
        earlier, later = trust.open(first).checkpoint, trust.open(second).checkpoint
        root = bytes.fromhex(str(parsed["root"]))
        proof = [bytes.fromhex(str(item)) for item in cast("list[object]", parsed["proof"])]
        verify_consistency(from_size=earlier.size, to_size=later.size, from_root=root, to_root=later.root, proof=proof)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ForkUnprovenError("not a proof of a fork") from error
    except (NoteInvalidError, ProofInvalidError) as error:
        raise ForkUnprovenError(str(error)) from error
    if root == earlier.root:
        raise ForkUnprovenError("the two checkpoints do not contradict each other")
    return Fork(earlier, later)


def find_fork(export: Export, pinned: VerifierKey, notes: Iterable[Published], size: int) -> str | None:
    """The text of a proof that two of these notes contradict each other; None where the export holds none.

    Args:
        export: a log with leaf hashes; whether they are right does not matter, for what is found is checked.
        pinned: the log's first public key.
        notes: signed ones, of the log and from elsewhere, by size; read once and not held.
        size: how far the export goes.
    """
    handovers = _handovers(export)
    tree = _Tree(export, size)
    before: Published | None = None
    earlier: Published | None = None
    later: Published | None = None
    root_earlier = b""
    for item in notes:
        if not item.size:
            continue
        if before is not None and before.size == item.size:
            if before.checkpoint.root != item.checkpoint.root:
                # Of equal sizes the later tree's own root is what it has at the earlier size.
                return _written(before, item, handovers, item.checkpoint.root, ())
            continue
        before = item
        root = tree.root_at(item.size)
        if root == item.checkpoint.root:
            later = item
        elif root is not None and earlier is None:
            earlier, root_earlier = item, root
    if earlier is None or later is None or earlier.size > later.size:
        return None
    proof = _proof(export, earlier.size, later.size, size)
    if proof is None:
        return None
    text = _written(earlier, later, handovers, root_earlier, proof)
    try:
        check_fork(text, pinned)
    except ForkUnprovenError:
        return None
    return text


def _written(
    earlier: Published, later: Published, handovers: Sequence[str], root: bytes, proof: Sequence[bytes]
) -> str:
    parts = {
        "format": FORMAT,
        "notes": [earlier.note, later.note],
        "root": root.hex(),
        "proof": [item.hex() for item in proof],
        "handovers": list(handovers),
    }
    return json.dumps(parts, indent=1) + "\n"


def _handovers(export: Export) -> tuple[str, ...]:
    try:
        return export.handovers()
    except FaultError:
        return ()


class _Tree:
    """The tree that the leaf hashes of an export lead to, grown as far as is asked."""

    def __init__(self, export: Export, size: int) -> None:
        self._appender = FrontierAppender(Frontier())
        self._grown = 0
        self._leaves = _leaves(export, size)

    def root_at(self, size: int) -> bytes | None:
        """The root at a size, asked for in order; None where the tiles do not reach so far."""
        for leaf in itertools.islice(self._leaves, size - self._grown):
            self._appender.append(leaf)
            self._grown += 1
        return self._appender.frontier.root if self._grown == size else None


def _leaves(export: Export, size: int) -> Iterator[bytes]:
    """The leaf hashes in order, as far as the tiles are at hand."""
    for number in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        try:
            joined = export.tile(TileAddress(0, number, width))
        except FaultError:
            return
        if len(joined) != width * HASH_BYTES:
            return
        yield from split_hashes(joined)


def _proof(export: Export, from_size: int, to_size: int, size: int) -> tuple[bytes, ...] | None:
    ranges = consistency_ranges(from_size, to_size)
    try:
        tiles = {(address.level or 0, address.number): export.tile(address) for address in tiles_for(ranges, size)}
        return tuple(range_root(tiles, *each) for each in ranges)
    except (FaultError, KeyError):
        return None
