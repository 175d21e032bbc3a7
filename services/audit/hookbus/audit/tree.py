"""The Merkle tree of RFC 9162 section 2.1 over SHA-256: hashes, an appending frontier, and the check of proofs.

Pure functions over bytes. A hash is 32 bytes; a proof is a sequence of hashes, bottom up. A proof that does not hold
raises :class:`ProofInvalidError`, never returns False, so that a caller cannot forget to look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of a tree without leaves."""

INDEX_MAX: Final = 2**63 - 1
"""The largest index or size: it must fit PostgreSQL's bigint."""


class ProofInvalidError(Exception):
    """A proof, or the statement it should prove, is wrong; the text says what."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry)."""
    return sha256(LEAF_PREFIX + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(NODE_PREFIX + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The roots of the perfect subtrees a tree of ``size`` leaves falls into, largest first: one a set bit of size."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if len(self.hashes) != self.size.bit_count():
            raise ValueError("a frontier holds one hash for each set bit of its size")

    @property
    def root(self) -> bytes:
        """The Merkle tree hash of the whole tree."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root

    def extended(self, leaves: Sequence[bytes]) -> "Frontier":
        """The frontier after appending ``leaves`` (leaf hashes)."""
        appender = FrontierAppender(self)
        for leaf in leaves:
            appender.append(leaf)
        return appender.frontier

    def to_bytes(self) -> bytes:
        """The hashes, concatenated, largest subtree first."""
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, joined: bytes) -> "Frontier":
        """Raises ValueError where the length does not fit the size."""
        if size < 0 or len(joined) != size.bit_count() * HASH_BYTES:
            raise ValueError("a frontier holds one hash for each set bit of its size")
        return cls(size, tuple(joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)))


class FrontierAppender:
    """A frontier that grows in place: one hash a leaf on average."""

    def __init__(self, start: Frontier) -> None:
        self._size = start.size
        self._stack = list(start.hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash."""
        node = leaf
        carry = self._size
        while carry & 1:
            node = sha256(NODE_PREFIX + self._stack.pop() + node).digest()
            carry >>= 1
        self._stack.append(node)
        self._size += 1

    @property
    def frontier(self) -> Frontier:
        """What has been built so far."""
        return Frontier(self._size, tuple(self._stack))


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of equally high nodes, level by level: what filling a tile needs, fast."""
    row = hashes
    while len(row) > 1:
        row = [sha256(NODE_PREFIX + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of leaf hashes (or of any equally high subtree roots)."""
    return Frontier().extended(leaves).root


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` lies at ``index`` in the tree of ``size`` leaves with ``root`` (RFC 9162 section 2.1.3.2)."""
    verify_subtree_inclusion(leaf=leaf, index=index, start=0, end=size, proof=proof, root=root)


def verify_subtree_inclusion(
    *, leaf: bytes, index: int, start: int, end: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that ``leaf`` lies at ``index`` of the log, in the aligned subtree ``[start, end)`` with ``root``."""
    _require_hashes(leaf, root, *proof)
    _require_subtree(start, end)
    if not start <= index < end:
        raise ProofInvalidError(f"index {index} lies outside a tree of entries {start} to {end}")
    inner, last = index - start, end - start - 1
    node = leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalidError("the inclusion proof is too long")
        if inner & 1 or inner == last:
            node = node_hash(sibling, node)
            while not inner & 1 and inner:
                inner >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        inner >>= 1
        last >>= 1
    if last != 0:
        raise ProofInvalidError("the inclusion proof is too short")
    if node != root:
        raise ProofInvalidError("the inclusion proof leads to another root")


def verify_consistency(
    *, from_size: int, to_size: int, from_root: bytes, to_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of ``to_size`` begins with the tree of ``from_size`` (RFC 9162 section 2.1.4.2).

    The empty tree is consistent with everything, which proves nothing: a ``from_size`` of 0 is refused.
    """
    if from_size == 0:
        raise ProofInvalidError("consistency with the empty tree proves nothing")
    verify_subtree_consistency(start=0, end=from_size, size=to_size, subtree_root=from_root, root=to_root, proof=proof)


def verify_subtree_consistency(
    *, start: int, end: int, size: int, subtree_root: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the aligned subtree ``[start, end)`` with ``subtree_root`` is part of the tree of ``size``.

    An empty subtree is part of every tree; its root is the empty root and its proof empty.
    """
    if 0 <= start == end <= size:
        if subtree_root != EMPTY_ROOT or proof:
            raise ProofInvalidError("an empty subtree has the empty root and an empty proof")
        return
    _require_subtree(start, end)
    if end > size:
        raise ProofInvalidError(f"entries up to {end} cannot lie in a tree of {size}")
    if (start, end) == (0, size):
        if proof:
            raise ProofInvalidError("equal sizes need no proof")
        if subtree_root != root:
            raise ProofInvalidError("two different roots for one size")
        return
    _require_hashes(subtree_root, root, *proof)
    old, new = _fold_consistency(start, end - 1, size - 1, subtree_root, list(proof))
    if old != subtree_root:
        raise ProofInvalidError("the consistency proof does not start from the earlier root")
    if new != root:
        raise ProofInvalidError("the consistency proof does not lead to the later root")


def _fold_consistency(first: int, inner: int, last: int, seed: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    """The earlier and the later root that a proof leads to; ``first``, ``inner`` and ``last`` number the outer leaves
    of the subtree and the last leaf of the tree, and then their ancestors."""
    shift = _levels_settled(first, inner, last)
    first, inner, last = first >> shift, inner >> shift, last >> shift
    if first != inner:
        if not proof:
            raise ProofInvalidError("the consistency proof is empty")
        seed = proof.pop(0)
    old = new = seed
    for node in proof:
        if last == 0:
            raise ProofInvalidError("the consistency proof is too long")
        if inner & 1 or inner == last:
            if first < inner:
                old = node_hash(node, old)
            new = node_hash(node, new)
            while not inner & 1 and inner:
                first, inner, last = first >> 1, inner >> 1, last >> 1
        else:
            new = node_hash(new, node)
        first, inner, last = first >> 1, inner >> 1, last >> 1
    if last != 0:
        raise ProofInvalidError("the consistency proof is too short")
    return old, new


def _levels_settled(first: int, inner: int, last: int) -> int:
    """How many levels at the bottom need no hash of the proof, being wholly inside the earlier tree."""
    shift = 0
    while first >> shift != inner >> shift and (inner == last or (inner >> shift) & 1):
        shift += 1
    return shift


def _require_subtree(start: int, end: int) -> None:
    """A subtree ``[start, end)`` is one whose start is a multiple of the power of two that holds its width."""
    if not 0 <= start < end <= INDEX_MAX:
        raise ProofInvalidError(f"entries {start} to {end} are no tree")
    if start % (1 << (end - start - 1).bit_length()):
        raise ProofInvalidError(f"entries {start} to {end} do not form a subtree")


def _require_hashes(*hashes: bytes) -> None:
    if any(len(item) != HASH_BYTES for item in hashes):
        raise ProofInvalidError(f"a hash is {HASH_BYTES} bytes")
