import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.crypto.seal import (
    SEAL_OVERHEAD,
    WRAPPED_KEY_BYTES,
    derive,
    seal,
    unseal,
    unwrap_object_key,
    wrap_object_key,
)
from node.errors.crypto_keys import WrongKeyOrDamaged

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "object_vectors.json").read_text())
KEY = bytes(range(32))
OBJECT, STUDY = b"o" * 16, b"s" * 16


@pytest.mark.parametrize("vector", VECTORS["sealed"], ids=lambda vector: vector["what"])
def test_sealed_values_of_the_vectors_open(vector: dict[str, str]) -> None:
    raw = {name: bytes.fromhex(value) for name, value in vector.items() if name != "what"}
    assert unseal(raw["key"], raw["sealed"], raw["aad"]) == raw["plaintext"]
    if vector["what"] == "object key":
        opened = unwrap_object_key(raw["key"], raw["sealed"], object_id=raw["object_id"], study=raw["study"], version=1)
        assert opened == raw["plaintext"]


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_what_was_sealed_opens(plaintext: bytes, aad: bytes) -> None:
    blob = seal(KEY, plaintext, aad)
    assert len(blob) == len(plaintext) + SEAL_OVERHEAD
    assert unseal(KEY, blob, aad) == plaintext


@given(st.data())
def test_any_change_is_refused(data: st.DataObject) -> None:
    blob = bytearray(seal(KEY, b"a secret", b"aad"))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WrongKeyOrDamaged):
        unseal(KEY, bytes(blob), b"aad")


@pytest.mark.parametrize("length", range(0, 8 + SEAL_OVERHEAD, 3))
def test_any_cut_is_refused(length: int) -> None:
    with pytest.raises(WrongKeyOrDamaged):
        unseal(KEY, seal(KEY, b"a secret", b"aad")[:length], b"aad")


def test_another_key_or_place_is_refused() -> None:
    blob = seal(KEY, b"a secret", b"aad")
    for key, aad in ((bytes(32), b"aad"), (KEY, b"AAD"), (KEY, b"")):
        with pytest.raises(WrongKeyOrDamaged):
            unseal(key, blob, aad)


def test_an_object_key_opens_for_its_object_study_and_version_only() -> None:
    blob = wrap_object_key(KEY, b"k" * 32, object_id=OBJECT, study=STUDY, version=1)
    assert len(blob) == WRAPPED_KEY_BYTES
    assert unwrap_object_key(KEY, blob, object_id=OBJECT, study=STUDY, version=1) == b"k" * 32
    for object_id, study, version in ((STUDY, STUDY, 1), (OBJECT, OBJECT, 1), (OBJECT, STUDY, 2)):
        with pytest.raises(WrongKeyOrDamaged):
            unwrap_object_key(KEY, blob, object_id=object_id, study=study, version=version)
    with pytest.raises(ValueError, match="15"):
        wrap_object_key(KEY, b"k" * 32, object_id=OBJECT[1:], study=STUDY, version=1)


def test_derived_keys_depend_on_key_and_label() -> None:
    keys = {derive(KEY, "a"), derive(KEY, "b"), derive(bytes(32), "a"), derive(KEY, "a", 64)[32:]}
    assert len(keys) == 4
    assert derive(KEY, "a", 64)[:32] == derive(KEY, "a")
    with pytest.raises(ValueError, match="31"):
        derive(bytes(31), "a")
