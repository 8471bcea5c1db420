"""A passkey authenticator in software: WebAuthn from the specification, with its own CBOR and COSE, signing for real.

It stands where a browser and a phone stand: it gets the options as JSON and answers as ``navigator.credentials`` does.
What it does wrong on purpose is said by the arguments.
"""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

USER_PRESENT, USER_VERIFIED, ATTESTED = 0x01, 0x04, 0x40
_ES256, _EC2, _P256 = -7, 2, 1


@dataclass
class Credential:
    key: ec.EllipticCurvePrivateKey
    rp_id: str
    user: bytes
    count: int = 0


@dataclass
class Authenticator:
    """Holds resident keys for the pages of one origin."""

    origin: str
    verifies: bool = True
    credentials: dict[bytes, Credential] = field(default_factory=dict)

    def create(self, options: dict[str, Any], *, origin: str | None = None) -> dict[str, Any]:
        """What ``navigator.credentials.create`` answers."""
        assert options["attestation"] == "none"
        assert options["authenticatorSelection"]["residentKey"] == "required"
        assert options["authenticatorSelection"]["userVerification"] == "required"
        assert any(p == {"type": "public-key", "alg": _ES256} for p in options["pubKeyCredParams"])
        known = {unbase64(one["id"]) for one in options.get("excludeCredentials", [])}
        assert not known & set(self.credentials), "InvalidStateError"
        name = secrets.token_bytes(32)
        made = Credential(ec.generate_private_key(ec.SECP256R1()), options["rp"]["id"], unbase64(options["user"]["id"]))
        self.credentials[name] = made
        data = self._data(made, ATTESTED) + bytes(16) + len(name).to_bytes(2, "big") + name + _cose(made.key)
        attestation = cbor({"fmt": "none", "attStmt": {}, "authData": data})
        client = _client("webauthn.create", options["challenge"], origin or self.origin)
        response = {"clientDataJSON": base64url(client), "attestationObject": base64url(attestation)}
        return {"id": base64url(name), "rawId": base64url(name), "type": "public-key", "response": response}

    def get(self, options: dict[str, Any], *, origin: str | None = None, name: bytes | None = None) -> dict[str, Any]:
        """What ``navigator.credentials.get`` answers, by the newest passkey that is allowed."""
        assert options["userVerification"] == "required"
        allowed = [unbase64(one["id"]) for one in options.get("allowCredentials", [])] or list(self.credentials)
        name = name or next(one for one in reversed(self.credentials) if one in allowed)
        used = self.credentials[name]
        assert used.rp_id == options["rpId"]
        used.count += 1
        data = self._data(used)
        client = _client("webauthn.get", options["challenge"], origin or self.origin)
        signature = used.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        response = {
            "clientDataJSON": base64url(client),
            "authenticatorData": base64url(data),
            "signature": base64url(signature),
            "userHandle": base64url(used.user),
        }
        return {"id": base64url(name), "rawId": base64url(name), "type": "public-key", "response": response}

    def _data(self, credential: Credential, flags: int = 0) -> bytes:
        """Authenticator data (WebAuthn section 6.1) up to the counter."""
        flags |= USER_PRESENT | (USER_VERIFIED if self.verifies else 0)
        rp = hashlib.sha256(credential.rp_id.encode()).digest()
        return rp + bytes([flags]) + credential.count.to_bytes(4, "big")


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def cbor(value: Any) -> bytes:
    """RFC 8949, as far as WebAuthn needs it."""
    match value:
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case dict():
            return _head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())
    raise TypeError(type(value))


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    size = 1 if argument < 256 else 2
    return bytes([major << 5 | (24 if size == 1 else 25)]) + argument.to_bytes(size, "big")


def _cose(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as COSE_Key (RFC 9053 section 7.1.1)."""
    numbers = key.public_key().public_numbers()
    x, y = numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")
    return cbor({1: _EC2, 3: _ES256, -1: _P256, -2: x, -3: y})


def _client(kind: str, challenge: str, origin: str) -> bytes:
    return json.dumps({"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}).encode()
