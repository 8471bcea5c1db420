"""Files of health links are JWE as others read them: RFC vectors, the specification's own example, and jwcrypto."""

import base64
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from node.crypto.jwe import KEY_BYTES, NONCE_BYTES, encrypt_file, new_key, seal

# RFC 7516 appendix A.1: AES-256-GCM under a header of another alg, whose content encryption is the same.
RFC_KEY = bytes([
    177, 161, 244, 128, 84, 143, 225, 115, 63, 180, 3, 255, 107, 154, 212, 246, 138, 7, 110, 91, 112, 46, 34, 105, 47,
    130, 203, 46, 122, 234, 64, 252,
])  # fmt: skip
RFC_NONCE = bytes([227, 197, 117, 252, 2, 219, 233, 68, 180, 225, 77, 219])
RFC_TEXT = b"The true sign of intelligence is not knowledge but imagination."
RFC_SEALED = (
    "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ..48V1_ALb6US04U3b."
    "5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A.XFBoMYUZodetZdvTiFvSkQ"
)

# The encryption example of the links specification.
SHL_EXAMPLE = (Path(__file__).parents[1] / "data" / "shl_example.jwe").read_text().strip()
SHL_KEY = base64.urlsafe_b64decode("rxTgYlOaKJPFtcEd0qcceN8wEU4p94SqAwIWQe6uX7Q=")
SHL_HEADER = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIiwiY3R5IjoiYXBwbGljYXRpb24vc21hcnQtaGVhbHRoLWNhcmQifQ"


def opened(text: str, key: bytes) -> tuple[bytes, dict[str, Any]]:
    """What jwcrypto makes of it."""
    token = JWE()
    token.deserialize(text, JWK(kty="oct", k=base64.urlsafe_b64encode(key).rstrip(b"=").decode()))
    return token.payload, json.loads(token.objects["protected"])


def test_the_content_encryption_is_that_of_rfc_7516() -> None:
    assert seal(RFC_KEY, RFC_NONCE, b'{"alg":"RSA-OAEP","enc":"A256GCM"}', RFC_TEXT) == RFC_SEALED


def test_the_example_of_the_specification_comes_out_byte_for_byte() -> None:
    text, header = opened(SHL_EXAMPLE, SHL_KEY)
    assert header == {"alg": "dir", "enc": "A256GCM", "cty": "application/smart-health-card"}
    assert set(json.loads(text)) == {"verifiableCredential"}
    nonce = base64.urlsafe_b64decode(SHL_EXAMPLE.split(".")[2] + "==")
    assert seal(SHL_KEY, nonce, base64.urlsafe_b64decode(SHL_HEADER + "=="), text) == SHL_EXAMPLE


def test_the_header_is_that_of_the_specification() -> None:
    made = encrypt_file(SHL_KEY, b"{}", "application/smart-health-card")
    header, wrapped, nonce, _, tag = made.split(".")
    assert (header, wrapped) == (SHL_HEADER, "")
    assert len(base64.urlsafe_b64decode(nonce + "==")) == NONCE_BYTES
    assert len(base64.urlsafe_b64decode(tag + "==")) == 16
    assert opened(made, SHL_KEY) == (
        b"{}",
        {"alg": "dir", "enc": "A256GCM", "cty": "application/smart-health-card"},
    )


@given(body=st.binary(min_size=1, max_size=2000))
def test_others_read_what_is_written(body: bytes) -> None:
    key = new_key()
    made = encrypt_file(key, body, "application/fhir+json")
    read, header = opened(made, key)
    assert read == body
    assert "zip" not in header
    assert "=" not in made


def test_no_two_files_share_a_nonce() -> None:
    key = new_key()
    assert len(key) == KEY_BYTES
    assert len({encrypt_file(key, b"", "a/b").split(".")[2] for _ in range(1000)}) == 1000
