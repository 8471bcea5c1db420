"""Verifiable oblivious PRF, RFC 9497 mode 1, suite ristretto255-SHA512, over the PyPI package ``voprf``.

The holder answers ``F(token)`` without seeing the token; the asker verifies that the key is the one in the holder's
signed feed. Each answer carries its own proof: the batch call of voprf 0.2.0 panics (a BaseException) on a false one.
Nothing that a peer sends can raise anything but this room's errors; lengths are checked here, because the library
ignores bytes that follow a valid element.

All operations hold the interpreter lock and take about 60 to 140 µs: many at once belong in a thread.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from voprf import ristretto

from node.errors.base import LeveretError
from node.errors.feeds import FalseProof, InvalidElement

SEED_BYTES = 32
ELEMENT_BYTES = 32
PROOF_BYTES = 64
ANSWER_BYTES = ELEMENT_BYTES + PROOF_BYTES
OUTPUT_BYTES = 64
MAX_TOKEN_BYTES = 2**16 - 1  # RFC 9497 section 3.3: PrivateInput

_KEY_INFO = b"leveret/epoch-key/v1"


class EpochKey:
    """The holder's secret key for one peer and epoch. ``public_key`` goes into the signed feed."""

    __slots__ = ("_evaluator", "public_key")

    def __init__(self, evaluator: Any) -> None:
        self._evaluator = evaluator
        self.public_key: bytes = evaluator.public_key.serialize()

    @classmethod
    def from_seed(cls, seed: bytes, info: bytes = _KEY_INFO) -> Self:
        """DeriveKeyPair (RFC 9497 section 3.2.1) from 32 random bytes."""
        if len(seed) != SEED_BYTES:
            raise ValueError(len(seed))
        return cls(ristretto.Evaluator.from_seed(seed, info))

    def evaluate_known(self, token: bytes) -> bytes:
        """F(token), 64 bytes: what an asker would learn who named the same token (Evaluate, section 3.3.2)."""
        _check_token(token)
        return bytes(self._evaluator.evaluate_known_input(token))

    def evaluate(self, blinded: Sequence[bytes]) -> list[bytes]:
        """The answer to each blinded element, in order: evaluated element and proof, ANSWER_BYTES (BlindEvaluate).

        Raises:
            InvalidElement: one of them is not a canonical, non-identity element; nothing was evaluated.
        """
        with _panics_as(InvalidElement):
            elements = [ristretto.BlindedInput.deserialize(_exact(item)) for item in blinded]
        answers = (bytes(self._evaluator.evaluate(element).serialize()) for element in elements)
        return [answer[PROOF_BYTES:] + answer[:PROOF_BYTES] for answer in answers]  # the library puts the proof first


class Question:
    """One blinded token on its way to a holder. ``blinded`` (32 bytes) is all that the holder sees, random to it."""

    __slots__ = ("_client", "blinded")

    def __init__(self, client: Any, blinded: bytes) -> None:
        self._client = client
        self.blinded = blinded

    @classmethod
    def blind(cls, token: bytes) -> Self:
        """A fresh blinding of ``token`` (Blind)."""
        _check_token(token)
        client, blinded = ristretto.Client.blind(token)
        return cls(client, bytes(blinded.serialize()))

    def finish(self, answer: bytes, public_key: bytes) -> bytes:
        """F(token), 64 bytes, if ``answer`` was computed with the secret key of ``public_key`` (Finalize).

        Raises:
            InvalidElement: ``public_key`` is not a valid element.
            FalseProof: the answer is malformed or its proof does not hold.
        """
        with _panics_as(InvalidElement):
            key = ristretto.PublicKey.deserialize(_exact(public_key))
        if len(answer) != ANSWER_BYTES:
            raise FalseProof
        with _panics_as(FalseProof):
            output = ristretto.VerifiableOutput.deserialize(answer[ELEMENT_BYTES:] + answer[:ELEMENT_BYTES])
            return bytes(self._client.finalize(output, key))


def check_public_key(public_key: bytes) -> None:
    """Refuse a key that no honest holder has.

    Raises:
        InvalidElement: not a canonical, non-identity element.
    """
    with _panics_as(InvalidElement):
        ristretto.PublicKey.deserialize(_exact(public_key))


def _check_token(token: bytes) -> None:
    if not 0 < len(token) <= MAX_TOKEN_BYTES:
        raise ValueError(len(token))


def _exact(element: bytes) -> bytes:
    if len(element) != ELEMENT_BYTES:
        raise InvalidElement
    return element


@contextmanager
def _panics_as(error: type[LeveretError]) -> Generator[None]:
    """Turn what the library raises, a Rust panic included, into ``error``."""
    try:
        yield
    except LeveretError:
        raise
    except Exception as exc:
        raise error from exc
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":  # pyo3 does not export the class
            raise
        raise error from exc
