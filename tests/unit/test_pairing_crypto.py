"""The secret of an invitation, the proof that somebody knows it, and the phrase."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.crypto.identity import Identity
from node.crypto.pairing import (
    PHRASE_WORDS,
    SECRET_BYTES,
    check_join_mac,
    join_mac,
    new_invitation_secret,
    safety_phrase,
)
from node.errors.crypto_identity import BadJoinProof

SECRET = bytes(range(16))
INVITER, JOINER, MIDDLE = (Identity.from_seed(bytes([n]) * 32) for n in (1, 2, 3))


def test_secrets_are_fresh_and_long_enough() -> None:
    secrets = {new_invitation_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(len(secret) == SECRET_BYTES == 128 // 8 for secret in secrets)


def test_the_proof_is_hmac_sha256_of_both_keys() -> None:
    """Computed with `openssl dgst -sha256 -mac HMAC` from the description in the docstring."""
    assert join_mac(SECRET, b"\1" * 32, b"\2" * 32).hex() == (
        "37b05583ec96ad67fd9f353bc3257528f75b02ce4303998095358cdc29598420"
    )


def test_a_proof_holds_for_its_secret_and_its_two_keys_in_their_places() -> None:
    mac = join_mac(SECRET, INVITER.public_key, JOINER.public_key)
    check_join_mac(SECRET, INVITER.public_key, JOINER.public_key, mac)
    for secret, inviter, joiner, proof in (
        (bytes(16), INVITER.public_key, JOINER.public_key, mac),
        (SECRET, MIDDLE.public_key, JOINER.public_key, mac),
        (SECRET, INVITER.public_key, MIDDLE.public_key, mac),
        (SECRET, JOINER.public_key, INVITER.public_key, mac),
        (SECRET, INVITER.public_key, JOINER.public_key, mac[:-1]),
        (SECRET, INVITER.public_key, JOINER.public_key, mac + b"\0"),
        (SECRET, INVITER.public_key, JOINER.public_key, b""),
        (SECRET, INVITER.public_key, JOINER.public_key, bytes([mac[0] ^ 1]) + mac[1:]),
    ):
        with pytest.raises(BadJoinProof):
            check_join_mac(secret, inviter, joiner, proof)


@pytest.mark.parametrize(
    ("secret", "one", "other"), [(15, 32, 32), (16, 31, 32), (16, 31, 33), (16, 32, 33), (0, 32, 32)]
)
def test_lengths_are_fixed_so_that_the_keys_border_is_certain(secret: int, one: int, other: int) -> None:
    with pytest.raises(ValueError, match=str(one)):
        join_mac(bytes(secret), bytes(one), bytes(other))


def test_a_phrase_does_not_change() -> None:
    """Operators compare it over the telephone with a node of another version."""
    assert safety_phrase(INVITER.certificate, JOINER.certificate) == (
        "kosor vijub nuliv mojar matil luhad zifug dinuf saroz hijak"
    )


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_both_sides_see_the_same_phrase_of_ten_words(one: bytes, other: bytes) -> None:
    phrase = safety_phrase(one, other)
    assert phrase == safety_phrase(other, one)
    word = "[bdfghjklmnprstvz][aiou]" * 2 + "[bdfghjklmnprstvz]"
    assert re.fullmatch(f"{word}( {word}){{{PHRASE_WORDS - 1}}}", phrase)


def test_a_phrase_carries_more_than_128_bits() -> None:
    assert (16**3 * 4**2) ** PHRASE_WORDS >= 2**128
    words = [safety_phrase(bytes([n]), b"").split() for n in range(200)]
    for place in range(PHRASE_WORDS):
        assert len({phrase[place] for phrase in words}) > 190, "every word depends on the cards"


def test_other_nodes_have_another_phrase() -> None:
    right = safety_phrase(INVITER.certificate, JOINER.certificate)
    assert safety_phrase(INVITER.certificate, MIDDLE.certificate) != right
    assert safety_phrase(MIDDLE.certificate, JOINER.certificate) != right
    assert safety_phrase(b"ab", b"c") != safety_phrase(b"a", b"bc")
