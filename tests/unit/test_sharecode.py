import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.crypto.sharecode import ALPHABET, CODE_CHARACTERS, MAX_TEXT, check_proof, generate, parse, proof
from node.errors.codes import ShareCodeMalformed, ShareCodeMistyped
from node.model.ids import PeerId

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "sharecode_vectors.json").read_text())
TEXT: str = VECTORS[0]["text"]
COMPACT = TEXT.replace("-", "")
HOLDER, REQUESTER, OTHER = PeerId(b"h" * 32), PeerId(b"r" * 32), PeerId(b"o" * 32)
DIGEST = b"d" * 32


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["text"])
def test_codes_of_the_vectors(vector: dict[str, str]) -> None:
    code = parse(vector["text"])
    assert parse(vector["url"]) == code
    assert (code.text, code.url) == (vector["text"], vector["url"])
    assert (code.lookup_id.hex(), code.mac_key.hex()) == (vector["lookup_id"], vector["mac_key"])
    facts = (
        bytes.fromhex(vector["request_digest"]),
        PeerId(bytes.fromhex(vector["holder"])),
        PeerId(bytes.fromhex(vector["requester"])),
    )
    assert proof(code.mac_key, *facts).hex() == vector["proof"]


def test_a_fresh_code_has_more_than_80_bits_and_can_be_read() -> None:
    code = generate()
    assert 32 ** (CODE_CHARACTERS - 1) >= 2**80
    assert len(code.text.replace("-", "")) == CODE_CHARACTERS
    assert parse(code.text) == code != generate()


def test_the_alphabet_has_no_two_characters_that_are_read_alike() -> None:
    assert len(set(ALPHABET)) == 32
    assert not set("ILOU") & set(ALPHABET)


@given(
    st.lists(st.sampled_from(["", " ", "-", "\t", "\n", ".", "\N{EN DASH}", "\N{NO-BREAK SPACE}"]), min_size=20),
    st.booleans(),
)
def test_case_blanks_and_dashes_do_not_matter(fillers: list[str], lower: bool) -> None:  # noqa: FBT001
    typed = "".join(filler + char for filler, char in zip(fillers, COMPACT, strict=False))
    assert parse(typed.lower() if lower else typed) == parse(TEXT)


def test_lookalikes_are_read_as_what_was_meant() -> None:
    code = next(code for code in iter(generate, None) if {"0", "1"} <= set(code.text))
    assert parse(code.text.replace("0", "o").replace("1", "l")) == code
    assert parse(code.text.replace("0", "O").replace("1", "I")) == code


def test_the_qr_form_fits_the_alphanumeric_mode() -> None:
    assert set(generate().url) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")


def test_every_single_mistyped_character_is_found() -> None:
    for place, char in itertools.product(range(CODE_CHARACTERS), ALPHABET):
        if char != COMPACT[place]:
            with pytest.raises(ShareCodeMistyped):
                parse(COMPACT[:place] + char + COMPACT[place + 1 :])


def test_every_two_characters_that_changed_places_are_found() -> None:
    for first, second in itertools.combinations(range(CODE_CHARACTERS), 2):
        if COMPACT[first] != COMPACT[second]:
            swapped = list(COMPACT)
            swapped[first], swapped[second] = swapped[second], swapped[first]
            with pytest.raises(ShareCodeMistyped):
                parse("".join(swapped))


@pytest.mark.parametrize(
    "text", ["", "-", TEXT[:-1], TEXT + "0", TEXT[:-1] + "U", TEXT[:-1] + "é", "LEVERET:SHARE/", TEXT + " " * MAX_TEXT]
)
def test_what_is_no_code_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ShareCodeMalformed) as caught:
        parse(text)
    assert not isinstance(caught.value, ShareCodeMistyped)
    assert not text.strip(" -") or text not in str(caught.value)


@given(st.text(max_size=250))
def test_any_text_is_a_code_or_refused(text: str) -> None:
    try:
        code = parse(text)
    except ShareCodeMalformed:
        return
    assert parse(code.text) == code


def test_no_code_is_the_beginning_of_another() -> None:
    assert {len(generate().text) for _ in range(50)} == {CODE_CHARACTERS + 4}


def test_a_proof_holds_for_its_request_holder_requester_and_code_only() -> None:
    code, other = parse(TEXT), generate()
    made = proof(code.mac_key, DIGEST, HOLDER, REQUESTER)
    assert check_proof(code.mac_key, made, DIGEST, HOLDER, REQUESTER)
    assert not check_proof(other.mac_key, made, DIGEST, HOLDER, REQUESTER)
    assert not check_proof(code.mac_key, made, b"e" * 32, HOLDER, REQUESTER)
    assert not check_proof(code.mac_key, made, DIGEST, OTHER, REQUESTER)
    assert not check_proof(code.mac_key, made, DIGEST, HOLDER, OTHER)
    assert not check_proof(code.mac_key, made, DIGEST, REQUESTER, HOLDER)
    for bad in (b"", made[:-1], made + b"\0", bytes(32)):
        assert not check_proof(code.mac_key, bad, DIGEST, HOLDER, REQUESTER)


def test_facts_of_another_length_are_a_mistake_of_ours() -> None:
    for key, digest in ((b"short", DIGEST), (bytes(32), b"short")):
        with pytest.raises(ValueError, match="5"):
            proof(key, digest, HOLDER, REQUESTER)


def test_nothing_of_a_code_shows() -> None:
    code = generate()
    assert repr(code) == "ShareCode()"
    assert code.text not in str(code)
