import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node.crypto.objects import (
    CHUNK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Decryptor,
    Encryptor,
    decrypt,
    encrypt,
    encrypted_size,
    plain_size,
)
from node.errors.base import all_codes
from node.errors.crypto_keys import DamagedCiphertext, IntegrityError, WrongKeyOrDamaged

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "object_vectors.json").read_text())
KEY = bytes(range(32))
SEALED = CHUNK_BYTES + TAG_BYTES
PLAIN = hashlib.shake_256(b"three chunks").digest(2 * CHUNK_BYTES + 1000)
OBJECT = encrypt(KEY, PLAIN, b"here")
BORDERS = [HEADER_BYTES, HEADER_BYTES + SEALED, HEADER_BYTES + 2 * SEALED]

# Places in an encrypted object that are of different kinds, and their neighbours.
OFFSETS = st.one_of(
    st.integers(0, HEADER_BYTES - 1),
    st.sampled_from([border + near for border in BORDERS for near in (-TAG_BYTES, -1, 0, 1)]),
    st.integers(0, len(OBJECT) - 1),
)


@pytest.mark.parametrize("vector", VECTORS["objects"], ids=lambda vector: vector["plaintext_length"])
def test_objects_of_the_vectors_in_both_directions(vector: dict[str, Any]) -> None:
    plaintext = hashlib.shake_256(b"object plaintext").digest(vector["plaintext_length"])
    key, context = bytes.fromhex(vector["key"]), bytes.fromhex(vector["context"])
    encryptor = Encryptor(key, context, salt=bytes.fromhex(vector["salt"]))
    ciphertext = encryptor.header + b"".join(encryptor.encrypt(plaintext))
    assert encryptor.header.hex() == vector["header"]
    assert len(ciphertext) == vector["encrypted_length"] == encrypted_size(len(plaintext))
    assert hashlib.sha256(ciphertext).hexdigest() == vector["sha256"]
    assert vector.get("ciphertext", ciphertext.hex()) == ciphertext.hex()
    assert decrypt(key, ciphertext, context) == plaintext


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["what"])
def test_refused_objects_of_the_vectors(vector: dict[str, str]) -> None:
    with pytest.raises(all_codes()[vector["code"]]):
        decrypt(bytes.fromhex(vector["key"]), bytes.fromhex(vector["ciphertext"]), bytes.fromhex(vector["context"]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3 * CHUNK_BYTES), st.lists(st.integers(0, 2 * CHUNK_BYTES), max_size=4))
@example(CHUNK_BYTES, [0, CHUNK_BYTES])
@example(2 * CHUNK_BYTES, [1, CHUNK_BYTES - 1, CHUNK_BYTES])
@example(0, [])
def test_in_pieces_or_at_once_an_object_is_the_same(length: int, pieces: list[int]) -> None:
    plaintext = PLAIN[:length]
    streaming = Encryptor(KEY, b"here", salt=bytes(24))
    out, at = [streaming.header], 0
    for piece in pieces:
        out.append(streaming.update(plaintext[at : at + piece]))
        at += piece
    out.extend((streaming.update(plaintext[at:]), streaming.finish()))
    at_once = Encryptor(KEY, b"here", salt=bytes(24))
    assert b"".join(out) == at_once.header + b"".join(at_once.encrypt(memoryview(plaintext)))
    assert decrypt(KEY, b"".join(out), b"here") == plaintext


@pytest.mark.parametrize("length", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, len(PLAIN)])
def test_into_a_buffer_that_was_used_before_an_object_is_the_same(length: int) -> None:
    buffer = bytearray(b"x" * (encrypted_size(length) + 100))
    into, at_once = Encryptor(KEY, b"here", salt=bytes(24)), Encryptor(KEY, b"here", salt=bytes(24))
    size = into.encrypt_into(PLAIN[:length], memoryview(buffer))
    assert buffer[:size] == b"".join(at_once.encrypt(PLAIN[:length]))
    assert buffer[size:] == b"x" * (100 + HEADER_BYTES)
    with pytest.raises(RuntimeError):
        into.encrypt_into(b"", memoryview(buffer))


def test_a_buffer_that_is_too_small_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match=r"."):
        Encryptor(KEY, b"").encrypt_into(b"abc", memoryview(bytearray(3 + TAG_BYTES - 1)))


def test_an_encryptor_never_encrypts_a_second_message() -> None:
    for first in ("encrypt", "finish"):
        encryptor = Encryptor(KEY, b"")
        getattr(encryptor, first)(*([b"a"] if first == "encrypt" else []))
        for method in (encryptor.finish, lambda e=encryptor: e.encrypt(b"b"), lambda e=encryptor: e.update(PLAIN)):
            with pytest.raises(RuntimeError):
                method()
    begun = Encryptor(KEY, b"")
    begun.update(b"a")
    with pytest.raises(RuntimeError):
        begun.encrypt(b"b")


def test_equal_plaintexts_make_different_objects() -> None:
    assert encrypt(KEY, b"same", b"") != encrypt(KEY, b"same", b"")


@pytest.mark.parametrize(("key", "salt"), [(b"", bytes(24)), (bytes(31), bytes(24)), (bytes(32), bytes(23))])
def test_keys_and_salts_of_another_length_are_a_mistake_of_ours(key: bytes, salt: bytes) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        Encryptor(key, b"", salt=salt)


@settings(max_examples=150, deadline=None)
@given(OFFSETS, st.integers(0, 7))
def test_a_flipped_bit_is_refused_wherever_it_is(offset: int, bit: int) -> None:
    changed = bytearray(OBJECT)
    changed[offset] ^= 1 << bit
    expected = WrongKeyOrDamaged if offset < HEADER_BYTES else DamagedCiphertext
    with pytest.raises(expected):
        decrypt(KEY, changed, b"here")


@settings(max_examples=150, deadline=None)
@given(OFFSETS)
def test_a_cut_is_refused_wherever_it_is(offset: int) -> None:
    with pytest.raises(IntegrityError):
        decrypt(KEY, OBJECT[:offset], b"here")


@given(st.binary(min_size=1, max_size=SEALED + 20))
@settings(max_examples=30, deadline=None)
def test_bytes_added_at_the_end_are_refused(more: bytes) -> None:
    with pytest.raises(IntegrityError):
        decrypt(KEY, OBJECT + more, b"here")


def test_chunks_that_changed_places_are_refused() -> None:
    header, first, second, last = (
        OBJECT[:HEADER_BYTES], OBJECT[BORDERS[0] : BORDERS[1]], OBJECT[BORDERS[1] : BORDERS[2]], OBJECT[BORDERS[2] :],
    )  # fmt: skip
    for body in (
        second + first + last,
        first + first + last,
        first + last,
        second + last,
        last,
        first + second + second + last,
        first + second + last + last,
    ):
        with pytest.raises(IntegrityError):
            decrypt(KEY, header + body, b"here")


def test_an_object_in_another_ones_place_is_refused() -> None:
    other = encrypt(KEY, PLAIN, b"there")
    with pytest.raises(WrongKeyOrDamaged):
        decrypt(KEY, other, b"here")
    with pytest.raises(WrongKeyOrDamaged):
        decrypt(KEY, other[:HEADER_BYTES] + OBJECT[HEADER_BYTES:], b"here")
    with pytest.raises(DamagedCiphertext):  # same key and context, another salt: the body is another object's
        decrypt(KEY, OBJECT[:HEADER_BYTES] + encrypt(KEY, PLAIN, b"here")[HEADER_BYTES:], b"here")


@given(st.binary(min_size=32, max_size=32).filter(lambda key: key != KEY), st.binary(max_size=40))
def test_only_its_key_and_context_open_an_object(key: bytes, context: bytes) -> None:
    small = encrypt(KEY, b"small", b"here")
    with pytest.raises(WrongKeyOrDamaged):
        decrypt(key, small, b"here")
    if context != b"here":
        with pytest.raises(WrongKeyOrDamaged):
            decrypt(KEY, small, context)


def test_each_length_has_one_encrypted_length() -> None:
    valid = {encrypted_size(length) for length in range(3 * CHUNK_BYTES)}
    assert len(valid) == 3 * CHUNK_BYTES
    for size in [*range(200), *(border + near for border in BORDERS for near in range(-20, 40))]:
        if size in valid:
            assert encrypted_size(plain_size(size)) == size
        else:
            with pytest.raises(DamagedCiphertext):
                plain_size(size)
    for impossible in (-1, 2**80):
        with pytest.raises(DamagedCiphertext):
            plain_size(impossible)
        with pytest.raises(ValueError, match=str(impossible)):
            encrypted_size(impossible)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PLAIN) + 10), st.integers(0, len(PLAIN) + 10))
@example(CHUNK_BYTES, CHUNK_BYTES)
@example(CHUNK_BYTES - 1, 2)
@example(len(PLAIN) - 1, 1)
def test_any_range_costs_only_its_chunks(offset: int, length: int) -> None:
    reader = Decryptor(KEY, b"here", OBJECT[:HEADER_BYTES], len(OBJECT))
    where = reader.locate(offset, length)
    read = OBJECT[where.offset : where.offset + where.length]
    assert len(read) == where.length
    plain = b"".join(
        reader.chunk(where.first + number, read[number * SEALED : (number + 1) * SEALED])
        for number in range(where.count)
    )
    assert plain[where.skip : where.skip + where.take] == PLAIN[offset : offset + length]
    assert len(plain) < where.take + 2 * CHUNK_BYTES


def test_impossible_ranges_and_chunks_are_a_mistake_of_ours() -> None:
    reader = Decryptor(KEY, b"here", OBJECT[:HEADER_BYTES], len(OBJECT))
    assert (reader.size, reader.chunks) == (len(PLAIN), 3)
    for offset, length in ((-1, 1), (0, -1)):
        with pytest.raises(ValueError, match=r"-1"):
            reader.locate(offset, length)
    for index in (-1, 3):
        with pytest.raises(IndexError):
            reader.span(index)


def test_a_chunk_is_read_in_its_place_or_not_at_all() -> None:
    reader = Decryptor(KEY, b"here", OBJECT[:HEADER_BYTES], len(OBJECT))
    second = OBJECT[BORDERS[1] : BORDERS[2]]
    assert reader.chunk(1, second) == PLAIN[CHUNK_BYTES : 2 * CHUNK_BYTES]
    for index, data in ((0, second), (1, second[:-1]), (1, b""), (2, second)):
        with pytest.raises(DamagedCiphertext):
            reader.chunk(index, data)


def test_nothing_is_decrypted_before_the_commitment_holds() -> None:
    with pytest.raises(WrongKeyOrDamaged):
        Decryptor(bytes(32), b"here", OBJECT[:HEADER_BYTES], len(OBJECT))
    with pytest.raises(DamagedCiphertext):
        Decryptor(KEY, b"here", OBJECT[: HEADER_BYTES - 1], len(OBJECT))


def test_a_shorter_length_that_is_told_is_found_out_at_the_end() -> None:
    told = len(OBJECT) - 5
    reader = Decryptor(KEY, b"here", OBJECT[:HEADER_BYTES], told)
    offset, length = reader.span(2)
    with pytest.raises(DamagedCiphertext):
        reader.chunk(2, OBJECT[offset : offset + length])
