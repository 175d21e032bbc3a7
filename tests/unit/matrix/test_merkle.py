"""The recount's own Merkle tree: it agrees with the definitions of RFC 9162 and rejects what is changed."""

import base64
import hashlib
from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.matrix.merkle import EMPTY_ROOT, ForkError, Head, check_consistency, leaf_hash, open_note, roots_at

SIZES = range(1, 20)
LEAVES = [leaf_hash(bytes([number])) for number in SIZES]
NAME = "log.example"


def root_of(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word by word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + root_of(leaves[:split]) + root_of(leaves[split:])).digest()


def proof_of(first: int, leaves: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """RFC 9162, 2.1.4.1, word by word."""
    if first == len(leaves):
        return [] if whole else [root_of(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if first <= split:
        return [*proof_of(first, leaves[:split], whole=whole), root_of(leaves[split:])]
    return [*proof_of(first - split, leaves[split:], whole=False), root_of(leaves[:split])]


def head(size: int) -> Head:
    return Head(NAME, size, root_of(LEAVES[:size]))


def test_roots_of_all_sizes_are_found_in_one_go():
    found = roots_at(LEAVES, {0, *SIZES, 1_000})
    assert found == {0: EMPTY_ROOT} | {size: root_of(LEAVES[:size]) for size in SIZES}


@pytest.mark.parametrize("first", SIZES)
def test_a_proof_of_continuation_holds_and_a_changed_one_does_not(first: int):
    for second in range(first, len(LEAVES) + 1):
        proof = proof_of(first, LEAVES[:second])
        check_consistency(head(first), head(second), proof)
        forged = Head(NAME, second, hashlib.sha256(b"another log").digest())
        changes = [[*proof[:n], bytes(32), *proof[n + 1 :]] for n in range(len(proof))]
        for wrong in (*changes, [*proof, bytes(32)], *([proof[:-1]] if proof else [])):
            with pytest.raises(ForkError):
                check_consistency(head(first), head(second), wrong)
        with pytest.raises(ForkError):
            check_consistency(head(first), forged, proof)


def test_a_log_that_shrinks_is_a_fork():
    with pytest.raises(ForkError, match="shrank"):
        check_consistency(head(5), head(4), [])


def test_a_note_opens_under_its_key_alone():
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    text = f"{NAME}\n5\n{base64.b64encode(bytes(32)).decode()}\n"
    key_id = hashlib.sha256(NAME.encode() + b"\n\x01" + public).digest()[:4]
    good = f"{text}\n\u2014 {NAME} {base64.b64encode(key_id + key.sign(text.encode())).decode()}\n"
    bad = f"{text}\n\u2014 {NAME} {base64.b64encode(key_id + other.sign(text.encode())).decode()}\n"
    assert open_note(good, NAME, public) == Head(NAME, 5, bytes(32))
    for note, reader in ((bad, public), (good, other.public_key().public_bytes_raw())):
        with pytest.raises(ForkError):
            open_note(note, NAME, reader)
