"""The proof of a fork: two notes of one log, both properly signed, that no single tree can have led to.

It convinces whoever holds the log's first public key and nothing else. Two notes of one size with different roots speak
for themselves. For two sizes the proof shows, by an RFC 9162 consistency proof, what root the later tree has at the
earlier size: another one than the earlier note says.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from hookbus.audit.export import Export, Published
from hookbus.audit.inspection import FaultError
from hookbus.audit.note import Checkpoint, NoteInvalidError, VerifierKey
from hookbus.audit.tiles import TILE_WIDTH, TileAddress, consistency_ranges, range_root, split_hashes, tiles_for
from hookbus.audit.tree import Frontier, FrontierAppender, ProofInvalidError, verify_consistency
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


def find_fork(export: Export, pinned: VerifierKey, notes: Sequence[Published], size: int) -> str | None:
    """The text of a proof that two of these notes contradict each other; None where the export holds none.

    Args:
        export: a log with leaf hashes; whether they are right does not matter, for what is found is checked.
        pinned: the log's first public key.
        notes: signed ones, of the log and from elsewhere.
        size: how far the export goes.
    """
    by_size: dict[int, Published] = {}
    handovers = _handovers(export)
    for item in notes:
        other = by_size.setdefault(item.checkpoint.size, item)
        if other.checkpoint.root != item.checkpoint.root and item.checkpoint.size:
            # Of equal sizes the later tree's own root is what it has at the earlier size.
            return _written(other, item, handovers, item.checkpoint.root, ())
    roots = _roots_at(export, sorted(found for found in by_size if 0 < found <= size), size)
    held = [item for item in by_size.values() if roots.get(item.checkpoint.size) == item.checkpoint.root]
    broken = [
        item
        for item in by_size.values()
        if roots.get(item.checkpoint.size, item.checkpoint.root) != item.checkpoint.root
    ]
    if not held or not broken:
        return None
    later = max(held, key=lambda item: item.checkpoint.size)
    earlier = min(broken, key=lambda item: item.checkpoint.size)
    if earlier.checkpoint.size > later.checkpoint.size:
        return None
    proof = _proof(export, earlier.checkpoint.size, later.checkpoint.size, size)
    if proof is None:
        return None
    text = _written(earlier, later, handovers, roots[earlier.checkpoint.size], proof)
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


def _roots_at(export: Export, sizes: Sequence[int], size: int) -> Mapping[int, bytes]:
    """The roots that the leaf hashes lead to at these sizes, as far as the tiles are at hand."""
    roots: dict[int, bytes] = {}
    wanted = list(reversed(sizes))
    appender = FrontierAppender(Frontier())
    for number in range(-(-size // TILE_WIDTH)):
        try:
            hashes = split_hashes(export.tile(TileAddress(0, number, min(TILE_WIDTH, size - number * TILE_WIDTH))))
        except FaultError:
            break
        for at, leaf in enumerate(hashes, number * TILE_WIDTH + 1):
            appender.append(leaf)
            if wanted and wanted[-1] == at:
                roots[wanted.pop()] = appender.frontier.root
    return roots


def _proof(export: Export, from_size: int, to_size: int, size: int) -> tuple[bytes, ...] | None:
    ranges = consistency_ranges(from_size, to_size)
    try:
        tiles = {(address.level or 0, address.number): export.tile(address) for address in tiles_for(ranges, size)}
        return tuple(range_root(tiles, *each) for each in ranges)
    except (FaultError, KeyError):
        return None
