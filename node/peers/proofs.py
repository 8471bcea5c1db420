"""What a request brings as consent, as JSON says it, and the patient's grant (docs/protocol/transfer.md)."""

from typing import Annotated

import msgspec

from node.errors.base import LeveretError
from node.errors.crypto_identity import MalformedJws
from node.errors.sharing import RequestMalformed
from node.model.consent import ConsentId, PurposeOfUse
from node.model.directive import MAX_DIRECTIVE_STUDIES, MAX_DIRECTIVE_VALUES, Scope
from node.model.evidence import MAX_GRANT_SECONDS, MAX_REASON
from node.model.ids import MAX_UID_LENGTH, PeerId, StudyInstanceUID
from node.model.request import AttestedProof, CodeProof, EmergencyProof, GrantProof, Proof
from node.peers.strict import b64, decode_json, unb64

MAX_GRANT_BYTES = 8 * 1024  # of the JWS: some hundred UIDs at their longest do not belong into a patient's wallet
KEY_BYTES = 32  # an Ed25519 public key

_Hex64 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Short = Annotated[str, msgspec.Meta(max_length=16)]
_Date = Annotated[str, msgspec.Meta(pattern=r"^([0-9]{8})?\Z")]
_Time = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class _Code(_Proof, frozen=True, tag="share_code"):
    code: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16,64}\Z")]
    mac: _Hex64


class _Grant(_Proof, frozen=True, tag="patient_key"):
    grant: Annotated[str, msgspec.Meta(max_length=MAX_GRANT_BYTES)]


class _Attested(_Proof, frozen=True, tag="attested"):
    form: _Hex64
    staff: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class _Emergency(_Proof, frozen=True, tag="emergency"):
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON)]


AnyProof = _Code | _Grant | _Attested | _Emergency


def shown_proof(proof: Proof) -> AnyProof:
    """The proof as the message has it."""
    match proof:
        case CodeProof():
            return _Code(proof.lookup_id.hex(), proof.mac.hex())
        case GrantProof():
            return _Grant(proof.token)
        case AttestedProof():
            return _Attested(proof.form_digest.hex(), proof.staff)
        case EmergencyProof():
            return _Emergency(proof.reason)


def read_proof(shown: AnyProof) -> Proof:
    """Read what :func:`shown_proof` made; raises RequestMalformed."""
    try:
        match shown:
            case _Code():
                return CodeProof(bytes.fromhex(shown.code), bytes.fromhex(shown.mac))
            case _Grant():
                return GrantProof(shown.grant)
            case _Attested():
                return AttestedProof(bytes.fromhex(shown.form), shown.staff)
            case _Emergency():
                return EmergencyProof(shown.reason)
    except ValueError as exc:
        raise RequestMalformed from exc


def encode_proof(proof: Proof) -> bytes:
    """A proof as it is kept."""
    return msgspec.json.encode(shown_proof(proof))


def decode_proof(data: bytes) -> Proof:
    """Read what :func:`encode_proof` made; raises RequestMalformed."""
    return read_proof(decode_json(data, AnyProof))  # type: ignore[arg-type]  # mypy has no TypeForm for unions yet


class _GrantText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: Annotated[int, msgspec.Meta(ge=1, le=1)]
    jti: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    key: Annotated[str, msgspec.Meta(min_length=43, max_length=43)]
    aud: Annotated[str, msgspec.Meta(min_length=56, max_length=56)]
    sub: Annotated[str, msgspec.Meta(min_length=56, max_length=56)]
    nbf: _Time
    exp: _Time
    purposes: Annotated[list[PurposeOfUse], msgspec.Meta(min_length=1, max_length=8)]
    studies: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=MAX_UID_LENGTH)]], msgspec.Meta(max_length=MAX_DIRECTIVE_STUDIES)
    ]
    modalities: Annotated[list[_Short], msgspec.Meta(max_length=MAX_DIRECTIVE_VALUES)]
    body_parts: Annotated[list[_Short], msgspec.Meta(max_length=MAX_DIRECTIVE_VALUES)]
    from_date: _Date
    to_date: _Date


class GrantText(msgspec.Struct, frozen=True):
    """What a patient signed. ``key`` is the signer's public key, ``holder`` the audience, ``recipient`` the subject."""

    jti: ConsentId
    key: bytes
    holder: PeerId
    recipient: PeerId
    not_before: int
    expires_at: int
    purposes: frozenset[PurposeOfUse]
    scope: Scope


def encode_grant(grant: GrantText) -> bytes:
    """The payload of a grant's JWS."""
    scope = grant.scope
    return msgspec.json.encode(
        _GrantText(
            v=1,
            jti=str(grant.jti),
            key=b64(grant.key),
            aud=grant.holder.compact,
            sub=grant.recipient.compact,
            nbf=grant.not_before,
            exp=grant.expires_at,
            purposes=sorted(grant.purposes),
            studies=sorted(str(uid) for uid in scope.studies),
            modalities=sorted(scope.modalities),
            body_parts=sorted(scope.body_parts),
            from_date=scope.from_date,
            to_date=scope.to_date,
        )
    )


def decode_grant(payload: bytes) -> GrantText:
    """Read what :func:`encode_grant` made.

    Raises:
        RequestMalformed: anything else, and a period that is none or longer than a year.
    """
    text = decode_json(payload, _GrantText)
    if not 0 < text.exp - text.nbf <= MAX_GRANT_SECONDS:
        raise RequestMalformed
    try:
        return GrantText(
            ConsentId.parse(text.jti),
            unb64(text.key),
            PeerId.parse(text.aud),
            PeerId.parse(text.sub),
            text.nbf,
            text.exp,
            frozenset(text.purposes),
            Scope(
                frozenset(StudyInstanceUID.parse(uid) for uid in text.studies),
                frozenset(text.modalities),
                frozenset(text.body_parts),
                text.from_date,
                text.to_date,
            ),
        )
    except (LeveretError, ValueError) as exc:
        raise RequestMalformed from exc


def signer_of_grant(payload: bytes) -> bytes:
    """The public key that a grant names as its signer; raises MalformedJws."""
    try:
        key = decode_grant(payload).key
    except RequestMalformed as exc:
        raise MalformedJws from exc
    if len(key) != KEY_BYTES:
        raise MalformedJws
    return key
