"""The Merkle tree against the recursive definition of RFC 9162 section 2.1 and against published vectors."""

import base64
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vectors import load, vectors_folder

from hookbus.audit.tiles import (
    LogTree,
    TileAddress,
    consistency_ranges,
    inclusion_ranges,
    partial_addresses,
    range_root,
    tiles_for,
)
from hookbus.audit.tree import (
    EMPTY_ROOT,
    Frontier,
    ProofInvalidError,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(b"entry %d" % number) for number in range(size)]


LEAVES = leaves_of(1_300)
"""More than five tiles."""


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH, word for word."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def naive_proof(size: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF, word for word."""
    if size == len(leaves):
        return [] if whole else [naive_root(leaves)]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if size <= split:
        return [*naive_proof(size, leaves[:split], whole=whole), naive_root(leaves[split:])]
    return [*naive_proof(size - split, leaves[split:], whole=False), naive_root(leaves[:split])]


def grown(size: int, steps: list[int]) -> tuple[LogTree, dict[tuple[int, int], bytes]]:
    """A tree of ``size`` leaves appended in steps, and its tiles, full and partial."""
    tree, at = LogTree(), 0
    tiles: dict[tuple[int, int], bytes] = {}
    for step in [*steps, size]:
        stop = min(size, at + step)
        tree, filled = tree.appended(LEAVES[at:stop])
        tiles.update({(tile.level, tile.number): tile.hashes for tile in filled})
        at = stop
    for address in partial_addresses(size):
        level = address.level or 0
        tiles[(level, address.number)] = b"".join(tree.partial[level])
    return tree, tiles


@given(st.integers(0, len(LEAVES)), st.lists(st.integers(1, 400), max_size=6))
def test_the_frontier_gives_the_recursive_root_however_it_grew(size: int, steps: list[int]):
    tree, _ = grown(size, steps)
    assert tree.frontier.root == naive_root(LEAVES[:size])
    assert tree.frontier == Frontier.from_bytes(size, tree.frontier.to_bytes())


@given(st.data())
def test_inclusion_proofs_from_tiles_are_the_recursive_ones_and_hold(data: st.DataObject):
    size = data.draw(st.integers(1, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    # The tiles of a later tree serve the proofs of every earlier one.
    _, tiles = grown(data.draw(st.integers(size, len(LEAVES))), [])
    ranges = inclusion_ranges(index, size)
    assert {(tile.level, tile.number) for tile in tiles_for(ranges, size)} <= set(tiles)
    proof = [range_root(tiles, *each) for each in ranges]
    assert proof == naive_path(index, LEAVES[:size])
    verify_inclusion(leaf=LEAVES[index], index=index, size=size, proof=proof, root=naive_root(LEAVES[:size]))


@given(st.data())
def test_consistency_proofs_from_tiles_are_the_recursive_ones_and_hold(data: st.DataObject):
    to_size = data.draw(st.integers(1, len(LEAVES)))
    from_size = data.draw(st.integers(1, to_size))
    _, tiles = grown(data.draw(st.integers(to_size, len(LEAVES))), [])
    proof = [range_root(tiles, *each) for each in consistency_ranges(from_size, to_size)]
    assert proof == naive_proof(from_size, LEAVES[:to_size])
    verify_consistency(
        from_size=from_size,
        to_size=to_size,
        from_root=naive_root(LEAVES[:from_size]),
        to_root=naive_root(LEAVES[:to_size]),
        proof=proof,
    )


@given(st.data())
def test_a_doctored_proof_never_holds(data: st.DataObject):
    size = data.draw(st.integers(2, 300))
    index = data.draw(st.integers(0, size - 1))
    proof = naive_path(index, LEAVES[:size])
    root = naive_root(LEAVES[:size])
    doctored = list(proof)
    what = data.draw(st.sampled_from(["bit", "drop", "add", "index", "size", "leaf"]))
    leaf, at, of = LEAVES[index], index, size
    match what:
        case "bit":
            place = data.draw(st.integers(0, len(proof) - 1))
            changed = bytearray(proof[place])
            changed[data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
            doctored[place] = bytes(changed)
        case "drop":
            doctored.pop(data.draw(st.integers(0, len(proof) - 1)))
        case "add":
            doctored.insert(data.draw(st.integers(0, len(proof))), LEAVES[0])
        case "index":
            at = data.draw(st.integers(0, size - 1).filter(lambda other: other != index))
        case "size":
            # Another size with a path of the same shape is told apart by the root alone when the checkpoint is signed.
            of = index
        case _:
            leaf = LEAVES[(index + 1) % size]
    with pytest.raises(ProofInvalidError):
        verify_inclusion(leaf=leaf, index=at, size=of, proof=doctored, root=root)


@given(st.data())
def test_a_consistency_proof_holds_between_its_own_two_trees_alone(data: st.DataObject):
    to_size = data.draw(st.integers(2, 300))
    from_size = data.draw(st.integers(1, to_size - 1))
    proof = naive_proof(from_size, LEAVES[:to_size])
    roots = {"from_root": naive_root(LEAVES[:from_size]), "to_root": naive_root(LEAVES[:to_size])}
    which = data.draw(st.sampled_from(sorted(roots)))
    changed = bytearray(roots[which])
    changed[data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
    doctored = roots | {which: bytes(changed)}
    with pytest.raises(ProofInvalidError):
        verify_consistency(from_size=from_size, to_size=to_size, proof=proof, **doctored)
    if proof:
        with pytest.raises(ProofInvalidError):
            verify_consistency(from_size=from_size, to_size=to_size, proof=proof[:-1], **roots)
    with pytest.raises(ProofInvalidError):
        verify_consistency(from_size=from_size, to_size=to_size, proof=[*proof, LEAVES[0]], **roots)


def test_the_empty_tree_has_the_hash_of_nothing():
    assert Frontier().root == EMPTY_ROOT == naive_root([])
    with pytest.raises(ProofInvalidError):
        verify_consistency(from_size=0, to_size=1, from_root=EMPTY_ROOT, to_root=LEAVES[0], proof=[])


def test_hashes_are_those_of_rfc_9162_section_2_1_1():
    """Known answers: the leaf of an empty entry, and small trees worked out by hand."""
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    first, second, third = (sha256(b"\x00" + entry).digest() for entry in (b"a", b"b", b"c"))
    pair = sha256(b"\x01" + first + second).digest()
    assert [leaf_hash(entry) for entry in (b"a", b"b", b"c")] == [first, second, third]
    assert root_of([first]) == first
    assert root_of([first, second]) == pair
    assert root_of([first, second, third]) == sha256(b"\x01" + pair + third).digest()


def test_a_leaf_cannot_pass_for_a_node():
    left, right = LEAVES[0], LEAVES[1]
    assert leaf_hash(left + right) != root_of([left, right])


@pytest.mark.parametrize(("size", "width"), [(-1, 0), (1, 0), (3, 32), (4, 64)])
def test_a_frontier_that_does_not_fit_its_size_is_refused(size: int, width: int):
    with pytest.raises(ValueError, match="one hash for each set bit"):
        Frontier.from_bytes(size, bytes(width))


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, 2**40), st.integers(1, 256))
def test_a_tile_path_reads_back(level: int | None, number: int, width: int):
    address = TileAddress(level, number, width)
    assert TileAddress.parse(address.path) == address


def test_tile_paths_are_those_of_the_specification():
    assert TileAddress(0, 1_234_067).path == "0/x001/x234/067"
    assert TileAddress(None, 273, 112).path == "entries/273.p/112"
    # A tree of 70,000: 273 full tiles at level 0, then a partial one of 112; one full at level 1, then one of 17; and
    # one partial tile of width 1 at level 2.
    assert [address.path for address in partial_addresses(70_000)] == ["0/273.p/112", "1/001.p/17", "2/000.p/1"]


def _decode(text: str) -> bytes:
    return base64.b64decode(text)


def _proof(case: dict[str, Any]) -> list[bytes]:
    items: list[str] = case["proof"] or []
    return [_decode(item) for item in items]


def test_the_published_proof_vectors_pass_and_fail_as_they_must():
    folder = vectors_folder("merkle_rfc6962/testdata")
    counts = {True: 0, False: 0}
    for path in sorted(folder.rglob("*.json")):
        case = load(path)
        proof = _proof(case)
        refused = False
        try:
            match path.relative_to(folder).parts[0]:
                case "inclusion":
                    verify_inclusion(
                        leaf=_decode(case["leafHash"]),
                        index=case["leafIdx"],
                        size=case["treeSize"],
                        proof=proof,
                        root=_decode(case["root"]),
                    )
                case "subtreeinclusion":
                    verify_subtree_inclusion(
                        leaf=_decode(case["leafHash"]),
                        index=case["leafIdx"],
                        start=case["start"],
                        end=case["end"],
                        proof=proof,
                        root=_decode(case["root"]),
                    )
                case "consistency":
                    verify_consistency(
                        from_size=case["size1"],
                        to_size=case["size2"],
                        from_root=_decode(case["root1"]),
                        to_root=_decode(case["root2"]),
                        proof=proof,
                    )
                case _:
                    verify_subtree_consistency(
                        start=case["start"],
                        end=case["end"],
                        size=case["size"],
                        subtree_root=_decode(case["root1"]),
                        root=_decode(case["root2"]),
                        proof=proof,
                    )
        except ProofInvalidError:
            refused = True
        assert refused == case["wantErr"], path
        counts[refused] += 1
    assert counts[True] > 300
    assert counts[False] > 20
