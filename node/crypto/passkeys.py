"""Passkeys (W3C WebAuthn level 2): what a browser is asked, and whether its answer holds.

Required: a discoverable credential, so that no name has to be typed; user verification (fingerprint, face, PIN), so
that a passkey is both what one has and what one is or knows. No attestation is asked for: any authenticator is good,
and none tells its model. The relying party is the host of the portal's public address; browsers allow https there,
plain http for ``localhost`` alone, and never an IP address.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, options_to_json_dict
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from node.errors.portal import PasskeyRefused, PasskeysUnavailable

CHALLENGE_BYTES = 32
TIMEOUT_MS = 5 * 60 * 1000  # as long as a challenge is kept: somebody may have to look for their phone
MAX_CREDENTIAL_ID = 1023  # bytes (WebAuthn section 4)
_MAX_PUBLIC_KEY = 4096  # bytes of COSE_Key: an RSA-4096 key has 550


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """What registration proved: keep it."""

    credential: bytes = field(repr=False)
    public_key: bytes = field(repr=False)
    sign_count: int


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The portal as browsers know it."""

    origin: str  # scheme://host[:port]
    rp_id: str  # the host
    name: str

    @classmethod
    def of(cls, url: str, name: str) -> Self:
        """By the portal's address.

        Raises:
            PasskeysUnavailable: an IP address, or plain http for anything but localhost.
        """
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if not host or _is_address(host) or (parts.scheme != "https" and host != "localhost"):
            raise PasskeysUnavailable
        return cls(f"{parts.scheme}://{parts.netloc.lower()}", host, name)

    def registration_options(
        self, *, user_id: bytes, user_name: str, challenge: bytes, known: Sequence[bytes] = ()
    ) -> dict[str, Any]:
        """Options for ``navigator.credentials.create``; authenticators that hold one of ``known`` refuse."""
        options = generate_registration_options(
            rp_id=self.rp_id,
            rp_name=self.name,
            user_id=user_id,
            user_name=user_name,
            challenge=challenge,
            timeout=TIMEOUT_MS,
            attestation=AttestationConveyancePreference.NONE,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=_descriptors(known),
        )
        return options_to_json_dict(options)

    def verify_registration(self, answer: dict[str, Any], challenge: bytes) -> NewPasskey:
        """The new passkey; raises PasskeyRefused if the answer is not to this challenge, or proves nothing."""
        try:
            verified = verify_registration_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=self.origin,
                require_user_verification=True,
            )
        except _FOREIGN as exc:
            raise PasskeyRefused from exc
        made = NewPasskey(verified.credential_id, verified.credential_public_key, verified.sign_count)
        if len(made.credential) > MAX_CREDENTIAL_ID or len(made.public_key) > _MAX_PUBLIC_KEY:
            raise PasskeyRefused
        return made

    def authentication_options(self, *, challenge: bytes, allowed: Sequence[bytes] = ()) -> dict[str, Any]:
        """Options for ``navigator.credentials.get``; with none ``allowed``, the person chooses a passkey."""
        options = generate_authentication_options(
            rp_id=self.rp_id,
            challenge=challenge,
            timeout=TIMEOUT_MS,
            allow_credentials=_descriptors(allowed),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json_dict(options)

    def verify_assertion(self, answer: dict[str, Any], challenge: bytes, *, public_key: bytes, sign_count: int) -> int:
        """The new signature count; raises PasskeyRefused if the answer does not prove possession and the person."""
        try:
            verified = verify_authentication_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=self.origin,
                credential_public_key=public_key,
                credential_current_sign_count=sign_count,
                require_user_verification=True,
            )
        except _FOREIGN as exc:
            raise PasskeyRefused from exc
        return verified.new_sign_count


def credential_of(answer: dict[str, Any]) -> bytes:
    """Which passkey an answer says it is by; raises PasskeyRefused."""
    said = answer.get("id")
    if not isinstance(said, str) or not 0 < len(said) <= MAX_CREDENTIAL_ID * 2:
        raise PasskeyRefused
    try:
        return base64url_to_bytes(said)
    except ValueError as exc:
        raise PasskeyRefused from exc


# The library takes bytes apart that nobody has checked, and lets what it meets there escape as it is.
_FOREIGN = (WebAuthnException, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, EOFError)


def _descriptors(credentials: Sequence[bytes]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=one) for one in credentials]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
