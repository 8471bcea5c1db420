"""RFC 6962 trees: published roots, thousands of proofs, and none for what is not so."""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.crypto.tlog import (
    MAX_SIZE,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from node.errors.crypto_identity import FrontierDamaged, ProofRejected

# The leaves and roots of the reference tests of Certificate Transparency (merkletree's testdata).
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT = [leaf_hash(bytes.fromhex(leaf)) for leaf in CT_LEAVES]
# The proofs of the same tests: (leaf index, tree size, path) and (old size, new size, path).
CT_INCLUSION = [
    (0, 1, []),
    (0, 8, [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]),
    (5, 8, [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (1, 5, [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]),
]  # fmt: skip
CT_CONSISTENCY = [
    (1, 1, []),
    (1, 8, [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]),
    (6, 8, [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]),
    (2, 5, [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ]),
]  # fmt: skip

LEAVES = [leaf_hash(b"%d" % n) for n in range(70)]
OTHER = hashlib.sha256(b"other").digest()


def is_rejected(check: Callable[..., None], *args: object) -> bool:
    """Whether a verifier called with ``args`` refuses."""
    try:
        check(*args)
    except ProofRejected:
        return True
    return False


@pytest.mark.parametrize("size", range(len(CT_ROOTS)))
def test_the_reference_roots(size: int) -> None:
    frontier = Frontier()
    for leaf in CT[:size]:
        frontier.append(leaf)
    assert root_of(CT[:size]).hex() == frontier.root().hex() == CT_ROOTS[size]


@pytest.mark.parametrize(("index", "size", "path"), CT_INCLUSION)
def test_the_reference_inclusion_proofs(index: int, size: int, path: list[str]) -> None:
    assert [part.hex() for part in inclusion_proof(CT[:size], index)] == path
    verify_inclusion(CT[index], index, size, [bytes.fromhex(p) for p in path], bytes.fromhex(CT_ROOTS[size]))


@pytest.mark.parametrize(("old", "new", "path"), CT_CONSISTENCY)
def test_the_reference_consistency_proofs(old: int, new: int, path: list[str]) -> None:
    assert [part.hex() for part in consistency_proof(CT[:new], old)] == path
    roots = bytes.fromhex(CT_ROOTS[old]), bytes.fromhex(CT_ROOTS[new])
    verify_consistency(old, roots[0], new, roots[1], [bytes.fromhex(p) for p in path])


def test_a_leaf_never_passes_for_a_node() -> None:
    assert leaf_hash(OTHER + OTHER) != node_hash(OTHER, OTHER)
    assert leaf_hash(b"") != hashlib.sha256(b"").digest()


def test_every_inclusion_in_trees_of_1_to_64_leaves() -> None:
    """2080 proofs; each holds, and does not hold for anything else."""
    for size in range(1, 65):
        leaves, root = LEAVES[:size], root_of(LEAVES[:size])
        for index in range(size):
            proof, leaf = inclusion_proof(leaves, index), leaves[index]
            verify_inclusion(leaf, index, size, proof, root)
            assert is_rejected(verify_inclusion, OTHER, index, size, proof, root)
            assert is_rejected(verify_inclusion, leaf, index, size, proof, OTHER)
            assert is_rejected(verify_inclusion, leaf, index, size, [*proof, OTHER], root)
            if proof:
                assert is_rejected(verify_inclusion, leaf, index, size, proof[:-1], root)
                assert is_rejected(verify_inclusion, leaf, index, size, [OTHER, *proof[1:]], root)
                assert is_rejected(verify_inclusion, leaf, index ^ 1, size, proof, root)


def test_every_consistency_in_trees_of_1_to_64_leaves() -> None:
    for size in range(1, 65):
        leaves, root = LEAVES[:size], root_of(LEAVES[:size])
        for old in range(1, size + 1):
            proof, old_root = consistency_proof(leaves, old), root_of(leaves[:old])
            verify_consistency(old, old_root, size, root, proof)
            assert is_rejected(verify_consistency, old, OTHER, size, root, proof)
            assert is_rejected(verify_consistency, old, old_root, size, OTHER, proof)
            assert is_rejected(verify_consistency, old, old_root, size, root, [*proof, OTHER])
            if proof:
                assert is_rejected(verify_consistency, old, old_root, size, root, proof[:-1])
                assert is_rejected(verify_consistency, old, old_root, size, root, [OTHER, *proof[1:]])
                assert is_rejected(verify_consistency, old, old_root, size, root, [])


def test_a_rewritten_entry_cannot_be_proved_consistent() -> None:
    honest = root_of(LEAVES[:20])
    rewritten = [*LEAVES[:7], OTHER, *LEAVES[8:40]]
    proof = consistency_proof(rewritten, 20)
    assert is_rejected(verify_consistency, 20, honest, 40, root_of(rewritten), proof)


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (9, 8), (0, 0), (0, MAX_SIZE + 1), (2**70, 2**71)])
def test_inclusion_outside_the_tree_is_rejected(index: int, size: int) -> None:
    assert is_rejected(verify_inclusion, CT[0], index, size, inclusion_proof(CT, 0), root_of(CT))


@pytest.mark.parametrize(("old", "new"), [(0, 8), (-1, 8), (9, 8), (0, 0), (1, MAX_SIZE + 1)])
def test_consistency_of_impossible_sizes_is_rejected(old: int, new: int) -> None:
    root = root_of(CT)
    assert is_rejected(verify_consistency, old, root, new, root, [])


def test_equal_sizes_need_equal_roots_and_no_proof() -> None:
    root = root_of(CT)
    verify_consistency(8, root, 8, root, [])
    assert is_rejected(verify_consistency, 8, root, 8, OTHER, [])
    assert is_rejected(verify_consistency, 8, root, 8, root, [OTHER])


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33)])
def test_hashes_of_another_length_are_rejected(wrong: bytes) -> None:
    root = root_of(CT[:2])
    assert is_rejected(verify_inclusion, CT[0], 0, 2, [wrong], root)
    assert is_rejected(verify_inclusion, wrong, 0, 1, [], wrong)
    assert is_rejected(verify_consistency, 1, wrong, 1, wrong, [])
    with pytest.raises(ValueError, match=str(len(wrong))):
        Frontier().append(wrong)


def test_provers_refuse_to_prove_what_is_not_there() -> None:
    for index in (-1, 8):
        with pytest.raises(IndexError):
            inclusion_proof(CT, index)
    for old in (-1, 0, 9):
        with pytest.raises(IndexError):
            consistency_proof(CT, old)


@given(st.integers(1, 2**63 - 1), st.integers(0, 2**63), st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_no_proof_makes_a_verifier_do_anything_but_answer(size: int, index: int, proof: list[bytes]) -> None:
    assert is_rejected(verify_inclusion, OTHER, index, size, proof, CT[0])
    assert is_rejected(verify_consistency, index, OTHER, size, CT[0], proof)


# --- the frontier -----------------------------------------------------------------------------------------------


def test_the_frontier_equals_the_full_tree_at_every_size() -> None:
    frontier = Frontier()
    for size, leaf in enumerate(LEAVES):
        assert frontier.size == size
        assert frontier.root() == _recursive_root(LEAVES[:size])
        assert Frontier.parse(frontier.serialise()).root() == frontier.root()
        frontier.append(leaf)


def _recursive_root(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962 section 2.1 defines it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return node_hash(_recursive_root(leaves[:middle]), _recursive_root(leaves[middle:]))


@given(st.integers(0, 69), st.integers(0, 69))
def test_a_stored_frontier_goes_on_where_it_was(first: int, then: int) -> None:
    frontier = Frontier()
    for leaf in LEAVES[:first]:
        frontier.append(leaf)
    again = Frontier.parse(frontier.serialise())
    for leaf in LEAVES[:then]:
        frontier.append(leaf)
        again.append(leaf)
    assert (again.size, again.root(), again.serialise()) == (frontier.size, frontier.root(), frontier.serialise())


def test_the_layout_of_a_stored_frontier() -> None:
    frontier = Frontier()
    for leaf in CT[:3]:
        frontier.append(leaf)
    assert frontier.serialise().hex() == "0000000000000003" + CT_ROOTS[2] + CT[2].hex()


@given(st.binary(max_size=120))
def test_what_is_no_frontier_is_refused(data: bytes) -> None:
    try:
        frontier = Frontier.parse(data)
    except FrontierDamaged:
        return
    assert frontier.serialise() == data


@pytest.mark.parametrize(
    "data",
    [b"", bytes(7), bytes(9), bytes(7) + b"\1", bytes(7) + b"\1" + bytes(31), bytes(7) + b"\3" + bytes(96),
     (2**63).to_bytes(8) + bytes(32)],
)  # fmt: skip
def test_a_damaged_frontier_is_refused(data: bytes) -> None:
    with pytest.raises(FrontierDamaged):
        Frontier.parse(data)
