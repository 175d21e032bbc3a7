"""A Merkle tree and signed notes, written for these tests from RFC 9162 and the C2SP documents alone.

It shares no line with the audit service: what both agree on is what the documents say.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EMPTY_ROOT = hashlib.sha256(b"").digest()


class ForkError(Exception):
    """What was published does not belong to one log; the text says what."""


def leaf_hash(record: bytes) -> bytes:
    """RFC 9162, 2.1.1: of one entry."""
    return hashlib.sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162, 2.1.1: of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """Grows leaf by leaf; remembers the roots of whole subtrees only, so that many sizes are checked in one go."""

    def __init__(self) -> None:
        self.size = 0
        self._whole: list[bytes] = []
        """Roots of the whole subtrees, largest first: one for each bit that is set in the size."""

    def add(self, leaf: bytes) -> None:
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self._whole.pop(), node)
            size >>= 1
        self._whole.append(node)
        self.size += 1

    @property
    def root(self) -> bytes:
        if not self._whole:
            return EMPTY_ROOT
        node = self._whole[-1]
        for left in reversed(self._whole[:-1]):
            node = node_hash(left, node)
        return node


def roots_at(leaves: Sequence[bytes], sizes: set[int]) -> dict[int, bytes]:
    """Size -> root of the tree of the first so many leaves, for those of ``sizes`` that the leaves reach."""
    tree = Tree()
    found = {0: tree.root} if 0 in sizes else {}
    for leaf in leaves:
        tree.add(leaf)
        if tree.size in sizes:
            found[tree.size] = tree.root
    return found


def check_consistency(first: "Head", second: "Head", proof: Sequence[bytes]) -> None:
    """RFC 9162, 2.1.4.2: the log of ``second`` continues that of ``first``.

    Raises:
        ForkError: it does not.
    """
    if first.size > second.size:
        raise ForkError(f"a log of {first.size} entries shrank to {second.size}")
    if first.size == second.size and (proof or first.root != second.root):
        raise ForkError(f"two trees of {first.size} entries")
    if first.size in {0, second.size}:
        return
    whole = first.size & (first.size - 1) == 0
    path = [first.root, *proof] if whole else list(proof)
    if not path or _climb(first.size, second.size, path) != (first.root, second.root):
        raise ForkError(f"the tree of {second.size} entries does not continue that of {first.size}")


def _climb(first_size: int, second_size: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The roots of both trees that a path leads to; None where it is too long or too short."""
    number, last = first_size - 1, second_size - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    old = new = path[0]
    for node in path[1:]:
        if last == 0:
            return None
        if number & 1 or number == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while number and not number & 1:
                number, last = number >> 1, last >> 1
        else:
            new = node_hash(new, node)
        number, last = number >> 1, last >> 1
    return (old, new) if last == 0 else None


@dataclass(frozen=True)
class Head:
    """What a checkpoint says."""

    origin: str
    size: int
    root: bytes


def open_note(note: str, name: str, public_key: bytes) -> Head:
    """The head in a note that ``public_key`` signed under ``name``.

    Raises:
        ForkError: no such signature holds.
    """
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + public_key).digest()[:4]
    for line in signatures.splitlines():
        _dash, signer, encoded = line.split(" ")
        signature = base64.b64decode(encoded)
        if signer == name and signature[:4] == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(public_key).verify(signature[4:], text.encode())
            except InvalidSignature as error:
                raise ForkError("a checkpoint's signature does not hold") from error
            origin, size, root = text.splitlines()[:3]
            return Head(origin, int(size), base64.b64decode(root))
    raise ForkError(f"a checkpoint without a signature of {name}")
