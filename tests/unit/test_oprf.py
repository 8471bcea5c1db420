import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voprf import ristretto

from node.crypto import oprf
from node.crypto.oprf import ANSWER_BYTES, ELEMENT_BYTES, EpochKey, Question, check_public_key
from node.errors.feeds import FalseProof, InvalidElement

SUITES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "rfc9497_ristretto255_vectors.json").read_text()
)
VERIFIABLE = next(suite for suite in SUITES if suite["mode"] == 1)
KEY = EpochKey.from_seed(b"s" * 32)
NOT_ELEMENTS = [
    bytes(32),  # the identity
    b"\xff" * 32,
    b"\1" + bytes(31),  # an odd, so negative, encoding
    bytes(31) + b"\x80",
    (2**255 - 19).to_bytes(32, "little"),  # zero, not reduced
    b"",
    bytes(31),
    KEY.public_key + b"\0",  # the library alone would ignore what follows
]


def rfc_rows() -> list[tuple[str, str, str, str]]:
    names = ("Input", "BlindedElement", "EvaluationElement", "Output")
    return [
        row
        for vector in VERIFIABLE["vectors"]
        for row in zip(*(vector[name].split(",") for name in names), strict=True)
    ]


@pytest.mark.parametrize(("token", "blinded", "evaluated", "output"), rfc_rows())
def test_rfc_9497_vectors(token: str, blinded: str, evaluated: str, output: str) -> None:
    key = EpochKey.from_seed(bytes.fromhex(VERIFIABLE["seed"]), bytes.fromhex(VERIFIABLE["keyInfo"]))
    assert key.public_key.hex() == VERIFIABLE["pkSm"]
    assert key.evaluate_known(bytes.fromhex(token)).hex() == output
    (answer,) = key.evaluate([bytes.fromhex(blinded)])
    assert answer[:ELEMENT_BYTES].hex() == evaluated
    assert len(answer) == ANSWER_BYTES


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=100), min_size=1, max_size=5))
def test_asking_learns_what_the_holder_would_compute(tokens: list[bytes]) -> None:
    questions = [Question.blind(token) for token in tokens]
    answers = KEY.evaluate([question.blinded for question in questions])
    for token, question, answer in zip(tokens, questions, answers, strict=True):
        assert question.finish(answer, KEY.public_key) == KEY.evaluate_known(token)


def test_the_same_token_is_blinded_differently_each_time() -> None:
    assert Question.blind(b"token").blinded != Question.blind(b"token").blinded


def test_keys_of_two_epochs_know_nothing_of_each_other() -> None:
    assert EpochKey.from_seed(b"t" * 32).evaluate_known(b"token") != KEY.evaluate_known(b"token")


def test_an_answer_under_another_key_is_a_false_proof() -> None:
    question = Question.blind(b"token")
    (answer,) = EpochKey.from_seed(b"t" * 32).evaluate([question.blinded])
    with pytest.raises(FalseProof):
        question.finish(answer, KEY.public_key)


def test_an_answer_to_another_question_is_a_false_proof() -> None:
    question = Question.blind(b"token")
    (answer,) = KEY.evaluate([Question.blind(b"token").blinded])
    with pytest.raises(FalseProof):
        question.finish(answer, KEY.public_key)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, ANSWER_BYTES - 1), st.integers(1, 255))
def test_a_changed_answer_is_a_false_proof(offset: int, change: int) -> None:
    question = Question.blind(b"token")
    answer = bytearray(KEY.evaluate([question.blinded])[0])
    answer[offset] ^= change
    with pytest.raises(FalseProof):
        question.finish(bytes(answer), KEY.public_key)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=ANSWER_BYTES, max_size=ANSWER_BYTES) | st.binary(max_size=200))
def test_noise_for_an_answer_is_a_false_proof(answer: bytes) -> None:
    with pytest.raises(FalseProof):
        Question.blind(b"token").finish(answer, KEY.public_key)


@pytest.mark.parametrize("element", NOT_ELEMENTS, ids=bytes.hex)
def test_what_is_no_element_is_refused_everywhere(element: bytes) -> None:
    question = Question.blind(b"token")
    with pytest.raises(InvalidElement):
        KEY.evaluate([question.blinded, element])
    with pytest.raises(InvalidElement):
        check_public_key(element)
    with pytest.raises(InvalidElement):
        question.finish(KEY.evaluate([question.blinded])[0], element)
    with pytest.raises(FalseProof):
        question.finish((element + bytes(ANSWER_BYTES))[:ANSWER_BYTES], KEY.public_key)


@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_answered_or_refused(element: bytes) -> None:
    try:
        answers = KEY.evaluate([element])
    except InvalidElement:
        return
    assert len(answers[0]) == ANSWER_BYTES


def test_no_questions_have_no_answers() -> None:
    assert KEY.evaluate([]) == []


@pytest.mark.parametrize("token", [b"", b"x" * 2**16])
def test_tokens_of_impossible_length_are_a_mistake_of_ours(token: bytes) -> None:
    for use in (Question.blind, KEY.evaluate_known):
        with pytest.raises(ValueError, match=str(len(token))):
            use(token)


def test_a_seed_of_another_length_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="31"):
        EpochKey.from_seed(bytes(31))


def test_a_panic_of_the_library_becomes_an_error_of_ours() -> None:
    client, blinded = ristretto.Client.blind(b"token")
    other = ristretto.Evaluator(b"t" * 32)
    answers = other.evaluate_batch([blinded])
    key = ristretto.PublicKey.deserialize(KEY.public_key)
    with pytest.raises(FalseProof), oprf._panics_as(FalseProof):
        ristretto.Client.finalize_batch([client], answers, key)


@pytest.mark.parametrize("passing", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_meant_to_stop_the_program_passes(passing: type[BaseException]) -> None:
    with pytest.raises(passing), oprf._panics_as(FalseProof):
        raise passing
