"""What the consent that a request brings is worth: codes and grants are checked, words are taken as words.

A share code and a patient's grant are *proved* here, against what this node keeps. An attestation and an emergency are
the requester's word: they become consents that ``decide`` weighs against the policy. A request that brings nothing
relies on a directive on file.
"""

from dataclasses import dataclass

from node.crypto import sharecode
from node.crypto.jws import JwsType, verify_self_signed
from node.errors.base import LeveretError
from node.model.consent import CodeConsent, ConsentId, ConsentKind
from node.model.decide import Consent
from node.model.evidence import Attestation, Emergency, Grant
from node.model.ids import PeerId
from node.model.request import AttestedProof, CodeProof, EmergencyProof, GrantProof, SignedRequest
from node.peers.proofs import MAX_GRANT_BYTES, GrantText, decode_grant, decode_proof, encode_proof, signer_of_grant
from node.store import brought, consents, directives
from node.store.brought import Brought
from node.store.engine import Read
from node.store.requests import ReceivedRequest

_NO_KEY = bytes(32)  # a proof that names no code is checked all the same, so that it costs the same


@dataclass(frozen=True, slots=True)
class Proven:
    """What a request's proof came to: the consent that it brings, or the code that it named and failed at."""

    consent: Consent | None = None
    failed_at: ConsentId | None = None
    on_file: bool = False  # it brings nothing and relies on a directive


async def check_proof(rx: Read, signed: SignedRequest) -> Proven:
    """Hold the request's proof against what this node keeps."""
    match signed.proof:
        case None:
            return Proven(on_file=True)
        case CodeProof():
            return await _check_code(rx, signed, signed.proof)
        case GrantProof():
            grant = await read_grant(rx, signed.proof.token, signed.request.holder)
            return Proven(grant if grant is not None and grant.recipient == signed.request.requester else None)
        case AttestedProof() | EmergencyProof():
            return Proven(_word(signed.proof, ConsentId(signed.request.request_id.value)))


async def _check_code(rx: Read, signed: SignedRequest, proof: CodeProof) -> Proven:
    found = await consents.look_up(rx, proof.lookup_id)
    key = _NO_KEY if found is None else found[1]
    request = signed.request
    proved = sharecode.check_proof(key, proof.mac, signed.digest, request.holder, request.requester)
    if found is None:
        return Proven()
    return Proven(consent=found[0]) if proved else Proven(failed_at=found[0].consent_id)


async def read_grant(rx: Read, token: str, holder: PeerId) -> Grant | None:
    """A patient's grant, if a key bound here signed it for this holder; None for anything else."""
    try:
        payload = verify_self_signed(token, JwsType.GRANT, signer_of_grant, max_bytes=MAX_GRANT_BYTES)
        text = decode_grant(payload)
    except LeveretError:
        return None
    key = await brought.key(rx, text.key)
    if key is None or text.holder != holder:
        return None
    kept = await brought.get(rx, text.jti)
    if kept is not None and (kept.kind is not ConsentKind.PATIENT_KEY or not _is_same(kept, token)):
        return None  # two grants under one jti: the first one stands
    revoked = [at for at in (key.revoked_at, kept.revoked_at if kept else None) if at is not None]
    return Grant(
        text.jti,
        key.patient,
        text.recipient,
        text.scope,
        text.purposes,
        text.not_before,
        text.expires_at,
        min(revoked, default=None),
    )


def _is_same(kept: Brought, token: str) -> bool:
    return decode_proof(kept.proof) == GrantProof(token)


def _word(proof: AttestedProof | EmergencyProof, consent_id: ConsentId) -> Consent:
    if isinstance(proof, AttestedProof):
        return Attestation(consent_id, proof.form_digest, proof.staff)
    return Emergency(consent_id, proof.reason)


async def recall(rx: Read, row: ReceivedRequest) -> Proven:
    """What a request in review rests on, as it stands now."""
    if row.consent_id is None or row.consent_kind is ConsentKind.DIRECTIVE:
        return Proven(on_file=True)
    if row.consent_kind is ConsentKind.SHARE_CODE:
        return Proven(await consents.get(rx, row.consent_id))
    kept = await brought.get(rx, row.consent_id)
    if kept is None:
        return Proven()
    match decode_proof(kept.proof):
        case GrantProof(token=token):  # a revoked one too: who proved it is told so
            return Proven(await read_grant(rx, token, grant_text(kept).holder))
        case AttestedProof() | EmergencyProof() as word if kept.revoked_at is None:
            return Proven(_word(word, row.consent_id))
    return Proven()


def grant_text(kept: Brought) -> GrantText:
    """What a kept grant says; it was verified when it was kept."""
    proof = decode_proof(kept.proof)
    assert isinstance(proof, GrantProof), "it is kept as a grant"
    return decode_grant(verify_self_signed(proof.token, JwsType.GRANT, signer_of_grant, max_bytes=MAX_GRANT_BYTES))


def to_keep(signed: SignedRequest, consent: Consent, at: int) -> Brought | None:
    """What to keep of a consent that a request brought; None for one that is on file already."""
    if signed.proof is None or isinstance(consent, CodeConsent):
        return None
    patient = consent.patient if isinstance(consent, Grant) else None
    return Brought(consent.consent_id, consent.kind, signed.request.requester, patient, encode_proof(signed.proof), at)


async def is_live(rx: Read, kind: ConsentKind, consent_id: ConsentId) -> bool:
    """Whether a consent that something was released under was not revoked; no release outlives its end anyway."""
    match kind:
        case ConsentKind.SHARE_CODE:
            code = await consents.get(rx, consent_id)
            return code is not None and code.revoked_at is None
        case ConsentKind.DIRECTIVE:
            directive = await directives.get(rx, consent_id)
            return directive is not None and directive.revoked_at is None
        case _:
            kept = await brought.get(rx, consent_id)
            return kept is not None and kept.revoked_at is None
