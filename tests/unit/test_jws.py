"""Signed messages have one form; everything near it is refused."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from node.crypto.identity import Identity, verify_text
from node.crypto.jws import JwsType, sign_jws, verify_jws, verify_self_signed
from node.errors.base import LeveretError
from node.errors.crypto_identity import BadSignature, MalformedJws

ONE, TWO = Identity.from_seed(b"\1" * 32), Identity.from_seed(b"\2" * 32)
LIMIT = 10_000
PAYLOAD = b'{"request":"1"}'  # 15 bytes: no unused bits
TOKEN = sign_jws(ONE, JwsType.REQUEST, PAYLOAD)
HEADER, BODY, SIGNATURE = TOKEN.split(".")


def verify(token: str, typ: JwsType = JwsType.REQUEST, key: bytes = ONE.public_key) -> bytes:
    return verify_jws(token, typ, key, max_bytes=LIMIT)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed_by_a_foreign_library(header: bytes, payload: bytes, seed: bytes = ONE.seed) -> str:
    """A token as somebody else's code would make it."""
    text = f"{b64(header)}.{b64(payload)}"
    return f"{text}.{b64(Ed25519PrivateKey.from_private_bytes(seed).sign(text.encode()))}"


def test_rfc_8037_appendix_a4() -> None:
    """The key, signing input and signature of the RFC's example; its header is not one of ours."""
    seed = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    text = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    identity = Identity.from_seed(seed)
    assert b64(identity.public_key) == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert b64(identity.sign_text(text)) == signature
    verify_text(identity.public_key, text, base64.urlsafe_b64decode(signature + "=="))
    with pytest.raises(MalformedJws):
        verify(f"{text}.{signature}", key=identity.public_key)


def test_a_foreign_library_makes_the_same_token() -> None:
    header = b'{"alg":"EdDSA","typ":"leveret-request+jws"}'
    assert signed_by_a_foreign_library(header, PAYLOAD) == TOKEN
    assert verify(TOKEN) == PAYLOAD


@given(st.binary(max_size=300), st.sampled_from(JwsType))
def test_round_trip(payload: bytes, typ: JwsType) -> None:
    assert verify(sign_jws(ONE, typ, payload), typ) == payload


def test_no_type_passes_for_another() -> None:
    for signed in JwsType:
        for wanted in JwsType:
            token = sign_jws(ONE, signed, PAYLOAD)
            if signed is wanted:
                assert verify(token, wanted) == PAYLOAD
            else:
                with pytest.raises(MalformedJws):
                    verify(token, wanted)


TYP = "leveret-request+jws"
JWK = {"kty": "OKP", "crv": "Ed25519", "x": b64(ONE.public_key)}


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none","typ":"leveret-request+jws"}',
        b'{"alg":"HS256","typ":"leveret-request+jws"}',
        b'{"alg":"Ed25519","typ":"leveret-request+jws"}',
        b'{"alg":"eddsa","typ":"leveret-request+jws"}',
        b'{"typ":"leveret-request+jws","alg":"EdDSA"}',
        b'{"alg":"EdDSA", "typ":"leveret-request+jws"}',
        b'{"alg":"EdDSA","typ":"leveret-request+jws"} ',
        b'{"alg":"EdDSA","typ":"leveret-request+jws"}\n',
        b'\xef\xbb\xbf{"alg":"EdDSA","typ":"leveret-request+jws"}',
        b'{"alg":"EdDSA"}',
        b'{"typ":"leveret-request+jws"}',
        b'{"alg":"EdDSA","alg":"EdDSA","typ":"leveret-request+jws"}',
        b'{"alg":"EdDSA","typ":"leveret-card+jws","typ":"leveret-request+jws"}',
        b'{"alg":"EdDSA","typ":"application/leveret-request+jws"}',
        b'{"alg":"EdDSA","typ":"LEVERET-REQUEST+JWS"}',
        b'{"alg":"\\u0045dDSA","typ":"leveret-request+jws"}',
        json.dumps({"alg": "EdDSA", "typ": TYP, "crit": ["exp"], "exp": 0}, separators=(",", ":")).encode(),
        json.dumps({"alg": "EdDSA", "typ": TYP, "kid": "1"}, separators=(",", ":")).encode(),
        json.dumps({"alg": "EdDSA", "typ": TYP, "jwk": JWK}, separators=(",", ":")).encode(),
        json.dumps({"alg": "EdDSA", "typ": TYP, "b64": False}, separators=(",", ":")).encode(),
        b"null",
        b"[]",
        b"",
    ],
)
def test_every_other_header_is_refused_however_well_signed(header: bytes) -> None:
    with pytest.raises(MalformedJws):
        verify(signed_by_a_foreign_library(header, PAYLOAD))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        HEADER,
        f"{HEADER}.{BODY}",
        f"{HEADER}.{BODY}.",
        f".{BODY}.{SIGNATURE}",
        f"{TOKEN}.",
        f"{TOKEN}.{SIGNATURE}",
        f".{TOKEN}",
        f"{HEADER}..{BODY}.{SIGNATURE}",
        f"{TOKEN}\n",
        f"{TOKEN} ",
        f" {TOKEN}",
        f"{TOKEN}\0",
        f"{TOKEN}=",
        f"{TOKEN}==",
        f"{HEADER}=.{BODY}.{SIGNATURE}",
        f"{HEADER}.{BODY}=.{SIGNATURE}",
        f"{HEADER}.{BODY}====.{SIGNATURE}",
        f"{HEADER}.{BODY[:4]}\n{BODY[4:]}.{SIGNATURE}",
        f"{HEADER}.{BODY}.{SIGNATURE[:40]}\r\n{SIGNATURE[40:]}",
        f"{HEADER}.{BODY}.{SIGNATURE}A",
        f"{HEADER}.{BODY}.{SIGNATURE}AA",
        f"{HEADER}.{BODY}.{SIGNATURE[:-1]}",
        f"{HEADER}.{BODY}.{SIGNATURE[:-2]}",
        f"{HEADER}.{BODY}A.{SIGNATURE}",
        f"{HEADER}.{BODY[:-1]}\u0430.{SIGNATURE}",
        f"{HEADER}.{BODY[:-1]}\uff21.{SIGNATURE}",
        f"{HEADER}.{BODY[:-1]}\ud800.{SIGNATURE}",
        json.dumps({"payload": BODY, "protected": HEADER, "signature": SIGNATURE}),
        json.dumps({"payload": BODY, "signatures": [{"protected": HEADER, "signature": SIGNATURE}]}),
    ],
)
def test_every_other_form_is_refused(token: str) -> None:
    with pytest.raises(MalformedJws):
        verify(token)


def test_the_other_alphabet_is_refused() -> None:
    token = sign_jws(ONE, JwsType.REQUEST, b"\xff\xfe\xfd\xfb\xef\xbe")
    assert "_" in token
    assert "-" in token.split(".")[1]
    with pytest.raises(MalformedJws):
        verify(token.replace("_", "/").replace("-", "+"))


@pytest.mark.parametrize("payload", [b"a", b"ab", b"abcd", b"abcde"])
def test_unused_bits_must_be_zero(payload: bytes) -> None:
    """A second spelling of the same bytes, as a lenient decoder would take it."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    header, body, signature = sign_jws(ONE, JwsType.REQUEST, payload).split(".")
    respelled = body[:-1] + alphabet[alphabet.index(body[-1]) + 1]
    assert base64.urlsafe_b64decode(respelled + "==") == payload
    with pytest.raises(MalformedJws):
        verify(f"{header}.{respelled}.{signature}")
    respelled = signature[:-1] + alphabet[alphabet.index(signature[-1]) + 1]
    with pytest.raises(MalformedJws):
        verify(f"{header}.{body}.{respelled}")


def test_every_changed_character_is_refused() -> None:
    for at, old in enumerate(TOKEN):
        for new in ("A", "B", "_", ".", "=", "+", " "):
            if new != old:
                with pytest.raises((MalformedJws, BadSignature)):
                    verify(TOKEN[:at] + new + TOKEN[at + 1 :])


@given(st.text(max_size=400))
def test_any_text_is_refused_with_our_own_error(text: str) -> None:
    for token in (text, f"{HEADER}.{text}.{SIGNATURE}", f"{HEADER}.{BODY}.{text}", f"{text}.{BODY}.{SIGNATURE}"):
        if token != TOKEN:
            with pytest.raises((MalformedJws, BadSignature)):
                verify(token)


def test_another_signer_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify(TOKEN, key=TWO.public_key)
    with pytest.raises(BadSignature):
        verify(f"{HEADER}.{BODY}.{sign_jws(TWO, JwsType.REQUEST, PAYLOAD).split('.')[2]}")


def test_a_token_has_a_maximum() -> None:
    assert verify_jws(TOKEN, JwsType.REQUEST, ONE.public_key, max_bytes=len(TOKEN)) == PAYLOAD
    with pytest.raises(MalformedJws):
        verify_jws(TOKEN, JwsType.REQUEST, ONE.public_key, max_bytes=len(TOKEN) - 1)


# --- messages that name their own signer ------------------------------------------------------------------------


class _Unreadable(LeveretError):
    """Nobody can read this."""


def named_key(payload: bytes) -> bytes:
    try:
        return bytes.fromhex(payload.decode("ascii"))
    except ValueError as exc:
        raise _Unreadable from exc


def test_a_card_is_verified_with_the_key_it_names() -> None:
    payload = ONE.public_key.hex().encode()
    token = sign_jws(ONE, JwsType.CARD, payload)
    assert verify_self_signed(token, JwsType.CARD, named_key, max_bytes=LIMIT) == payload


def test_a_card_that_names_somebody_else_is_refused() -> None:
    token = sign_jws(TWO, JwsType.CARD, ONE.public_key.hex().encode())
    with pytest.raises(BadSignature):
        verify_self_signed(token, JwsType.CARD, named_key, max_bytes=LIMIT)


@pytest.mark.parametrize("named", ["", "00" * 32, "00" * 31])
def test_a_card_that_names_no_key_is_refused(named: str) -> None:
    with pytest.raises(BadSignature):
        verify_self_signed(sign_jws(ONE, JwsType.CARD, named.encode()), JwsType.CARD, named_key, max_bytes=LIMIT)


def test_what_the_reader_of_the_key_raises_comes_through() -> None:
    with pytest.raises(_Unreadable):
        verify_self_signed(sign_jws(ONE, JwsType.CARD, b"?"), JwsType.CARD, named_key, max_bytes=LIMIT)
