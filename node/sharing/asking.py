"""One exchange with a holder: the signed request goes out, a signed decision comes back, then the signed manifest.

What a holder says is believed only as far as it is signed by the holder, about this request, for this node.
"""

import asyncio
import hashlib
from dataclasses import dataclass

from node.clock import Clock
from node.crypto.identity import Identity, public_key_of_certificate
from node.crypto.jws import JwsType, sign_jws, verify_jws
from node.errors.base import LeveretError
from node.errors.peers import PeerProtocolViolation
from node.errors.sharing import ManifestRefused
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.model.release import DecisionNotice, ReleaseManifest
from node.model.request import ReleaseRequest
from node.peers.client import PeerClients
from node.peers.handlers_requests import CANCEL, MANIFEST, RECEIPT, REQUEST, REQUESTS
from node.peers.limits import CALL_SECONDS
from node.peers.messages import (
    MAX_MANIFEST_BYTES,
    MAX_NOTICE_BYTES,
    decode_body,
    decode_decision,
    decode_manifest,
    encode_request,
)
from node.peers.proofs import decode_proof
from node.sharing.trust import TrustList
from node.store.requests import SentRequest

MANIFEST_SECONDS = 300.0  # 48 MiB on a slow line
LARGEST_INSTANCE = 2**40  # bytes; beyond any object of DICOM


@dataclass(frozen=True, slots=True)
class HeldRelease:
    """A manifest that was verified, its JWS and the JWS's SHA-256."""

    manifest: ReleaseManifest
    token: str
    digest: bytes


class Asking:
    """Speaks with holders."""

    def __init__(
        self, *, identity: Identity, issuer: str, trust: TrustList, clients: PeerClients, clock: Clock
    ) -> None:
        """``issuer`` is this facility's Issuer of Patient ID: what no other one may file studies under."""
        self._identity = identity
        self._issuer = issuer
        self._trust = trust
        self._clients = clients
        self._clock = clock

    async def ask(self, row: SentRequest, *, seconds: float) -> DecisionNotice:
        """Send the request, signed now; its decision. Errors as ``PeerClient.call``."""
        proof = None if row.proof is None else decode_proof(row.proof)
        payload = encode_request(row.body, proof, self._clock.now())
        token = sign_jws(self._identity, JwsType.REQUEST, payload)
        answer = await self._clients.get(row.peer).call(
            "POST", REQUESTS, body=token.encode(), max_bytes=MAX_NOTICE_BYTES, seconds=min(seconds, CALL_SECONDS)
        )
        return self._notice(row, answer)

    async def ask_again(self, row: SentRequest) -> DecisionNotice:
        """The decision as it stands now, of a request that was in review."""
        path = REQUEST.format(id=row.request_id)
        answer = await self._clients.get(row.peer).call("GET", path, max_bytes=MAX_NOTICE_BYTES)
        return self._notice(row, answer)

    async def fetch_manifest(self, row: SentRequest) -> HeldRelease:
        """The manifest of a permitted request, verified; raises ManifestRefused."""
        path = MANIFEST.format(id=row.request_id)
        answer = await self._clients.get(row.peer).call(
            "GET", path, max_bytes=MAX_MANIFEST_BYTES, seconds=MANIFEST_SECONDS
        )
        token = _text(answer)
        return await asyncio.to_thread(self.read_manifest, decode_body(row.body), token)

    def read_manifest(self, request: ReleaseRequest, token: str) -> HeldRelease:
        """A manifest's JWS as a release of what was asked; takes a while for a large one.

        Raises:
            ManifestRefused: not signed by the holder, for another request or recipient, or not possible as it stands.
        """
        try:
            key = public_key_of_certificate(self._trust.certificate_of(request.holder))
            manifest = decode_manifest(verify_jws(token, JwsType.MANIFEST, key, max_bytes=MAX_MANIFEST_BYTES))
        except LeveretError as exc:
            raise ManifestRefused(exc.code) from exc
        said = (manifest.request_id, manifest.holder, manifest.recipient)
        if said != (request.request_id, request.holder, self._identity.peer_id):
            raise ManifestRefused("another request")
        check_manifest(manifest, request)
        check_patients(manifest, request, self._issuer)
        return HeldRelease(manifest, token, hashlib.sha256(token.encode("ascii")).digest())

    async def deliver_receipt(self, peer: PeerId, request_id: RequestId, token: str) -> None:
        """Give the holder its receipt."""
        path = RECEIPT.format(id=request_id)
        await self._clients.get(peer).call("POST", path, body=token.encode(), max_bytes=MAX_NOTICE_BYTES)

    async def cancel(self, peer: PeerId, request_id: RequestId) -> None:
        """Tell the holder that this node gave up."""
        path = CANCEL.format(id=request_id)
        await self._clients.get(peer).call("POST", path, max_bytes=MAX_NOTICE_BYTES)

    def _notice(self, row: SentRequest, answer: bytes) -> DecisionNotice:
        key = public_key_of_certificate(self._trust.certificate_of(row.peer))
        try:
            payload = verify_jws(_text(answer), JwsType.DECISION, key, max_bytes=MAX_NOTICE_BYTES)
            notice = decode_decision(payload)
        except LeveretError as exc:
            raise PeerProtocolViolation("a decision that cannot be believed") from exc
        said = (notice.request_id, notice.holder, notice.recipient)
        if said != (row.request_id, row.peer, self._identity.peer_id):
            raise PeerProtocolViolation("a decision on another request")
        return notice


def check_manifest(manifest: ReleaseManifest, request: ReleaseRequest) -> None:
    """Refuse what no honest holder releases: something twice, a series in two studies, what was not asked for."""
    asked = {target for target in request.targets if isinstance(target, StudyInstanceUID)}
    by_ref = len(request.targets) - len(asked)
    studies = [study.study_instance_uid for study in manifest.studies]
    if len(set(studies)) != len(studies) or len(set(studies) - asked) > by_ref:
        raise ManifestRefused("studies")
    refs = [study.ref for study in manifest.studies if study.ref is not None]
    if len(set(refs)) != len(refs) or not set(refs) <= set(request.targets):
        raise ManifestRefused("a ref that was not asked for")
    entries = manifest.instances
    if len({entry.sop_instance_uid for _, entry in entries}) != len(entries):
        raise ManifestRefused("an instance twice")
    series = {(entry.series_instance_uid, study.study_instance_uid) for study, entry in entries}
    if len({uid for uid, _ in series}) != len(series):
        raise ManifestRefused("a series in two studies")
    if not all(0 < entry.size <= LARGEST_INSTANCE for _, entry in entries):
        raise ManifestRefused("a size")


def check_patients(manifest: ReleaseManifest, request: ReleaseRequest, own_issuer: str) -> None:
    """Refuse a study that would be filed under a patient of this facility, unless it was asked for that patient."""
    for study in manifest.studies:
        if is_of(own_issuer, study.patient) and study.patient != request.subject.patient:
            raise ManifestRefused("a patient of this facility")


def is_of(issuer: str, patient: PatientKey) -> bool:
    """Whether the patient's id is one that ``issuer`` gives out."""
    return _comparable(patient.issuer) == _comparable(issuer)


def _comparable(issuer: str) -> str:
    """Padding means nothing in an LO (PS3.5 section 6.2), and case nothing to who reads it."""
    return issuer.strip().casefold()


def _text(answer: bytes) -> str:
    try:
        return answer.decode("ascii")
    except UnicodeDecodeError as exc:
        raise PeerProtocolViolation("not a signed message") from exc
