"""From a verified request to a release: the facts that ``decide`` needs, and what is written when it permits.

Everything here runs inside the caller's transaction, so that of a hundred requests with a one-use code exactly one
finds a use left, and its row, the use and the audit event are durable together before a byte leaves.
"""

import asyncio
import hashlib
from dataclasses import dataclass

from node.crypto import sharecode
from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws
from node.errors.storage import UnknownStudy
from node.model.audit import AuditEvent, AuditType
from node.model.consent import CodeConsent, ConsentId
from node.model.decide import Decision, FoundStudy, Match, Permit, decide
from node.model.directive import StudyTraits
from node.model.ids import StudyInstanceUID, StudyRef
from node.model.instance import Demographics, StudySummary
from node.model.match import identify
from node.model.release import RELEASE_SECONDS, ReleasedStudy, ReleaseManifest
from node.model.request import ReleaseRequest, SignedRequest, StudyTarget
from node.model.transfer import Direction, TransferState
from node.model.trust import PeerPolicy
from node.peers.messages import MAX_FORMERLY, encode_manifest
from node.store import audit, consents, feeds, revisions, transfers
from node.store import identity as identities
from node.store.engine import Read, Write
from node.store.namesakes import count_namesakes
from node.store.study_queries import StudyQuery, find_studies

_NO_KEY = bytes(32)  # a proof that names no code is checked all the same, so that it costs the same


@dataclass(frozen=True, slots=True)
class Proven:
    """What a request's proof came to: the consent it proves, or the one that it named and failed at."""

    consent: CodeConsent | None = None
    failed_at: ConsentId | None = None


async def check_proof(rx: Read, signed: SignedRequest) -> Proven:
    """Hold the request's proof against the code that it names."""
    if signed.proof is None:
        return Proven()
    found = await consents.look_up(rx, signed.proof.lookup_id)
    key = _NO_KEY if found is None else found[1]
    request = signed.request
    proved = sharecode.check_proof(key, signed.proof.mac, signed.digest, request.holder, request.requester)
    if found is None:
        return Proven()
    return Proven(consent=found[0]) if proved else Proven(failed_at=found[0].consent_id)


async def judge(
    rx: Read, request: ReleaseRequest, consent: CodeConsent | None, policy: PeerPolicy, now: int
) -> Decision:
    """Gather the facts as they stand and decide."""
    match = Match() if consent is None else await _match(rx, request)
    return decide(request, policy, () if consent is None else (consent,), match, now)


async def _match(rx: Read, request: ReleaseRequest) -> Match:
    found: list[FoundStudy] = []
    for target in request.targets:
        uid = await feeds.resolve_ref(rx, request.requester, target) if isinstance(target, StudyRef) else target
        studies = () if uid is None else await find_studies(rx, StudyQuery(study_uids=(uid,)))
        found += [await _found(rx, request, target, study) for study in studies]
    return Match(tuple(found))


async def _found(rx: Read, request: ReleaseRequest, target: StudyTarget, study: StudySummary) -> FoundStudy:
    alike = await count_namesakes(rx, study.demographics)
    return FoundStudy(
        target,
        study.study_instance_uid,
        study.patient,
        is_own=study.origin is None,
        traits=StudyTraits(frozenset(study.modalities), frozenset(study.body_parts), study.date),
        identification=identify(request.subject, study.patient, study.demographics, namesakes=alike),
        opted_out=await feeds.is_opted_out(rx, study.patient),
    )


async def release(
    tx: Write, identity: Identity, request: ReleaseRequest, permit: Permit, *, now: int, by: str
) -> ReleaseManifest:
    """Consume the use, sign and keep the manifest, begin the outgoing transfer, and log it."""
    consent = await consents.get(tx, permit.consent_id)
    assert consent is not None, "decide() had it"
    expires_at = min(now + RELEASE_SECONDS, consent.expires_at)
    studies = [await _released(tx, study) for study in sorted(permit.scope)]
    manifest = ReleaseManifest(request.request_id, identity.peer_id, request.requester, now, expires_at, tuple(studies))
    token = await asyncio.to_thread(_sign, identity, manifest)
    await consents.consume(tx, permit.consent_id)
    await transfers.add(tx, request.request_id, Direction.OUT, request.requester, TransferState.AUTHORIZED, at=now)
    await transfers.set_release(tx, token, manifest_digest(token), manifest)
    for study in studies:
        await audit.append(tx, _released_event(manifest, study, consent, request, by))
    return manifest


def manifest_digest(token: str) -> bytes:
    """What a receipt names: SHA-256 of the manifest's JWS, exactly as signed."""
    return hashlib.sha256(token.encode("ascii")).digest()


def _sign(identity: Identity, manifest: ReleaseManifest) -> str:
    return sign_jws(identity, JwsType.MANIFEST, encode_manifest(manifest))


async def _released(tx: Write, study: StudyInstanceUID) -> ReleasedStudy:
    manifest = await revisions.manifest(tx, study)
    if manifest is None:
        raise UnknownStudy
    said, former = await demographics_of(tx, study), tuple(await identities.formerly(tx, study))[:MAX_FORMERLY]
    return ReleasedStudy(study, manifest.revision, manifest.patient, said, manifest.entries, former)


async def demographics_of(rx: Read, study: StudyInstanceUID) -> Demographics:
    """Whose study it is, as the index has it."""
    summaries = await find_studies(rx, StudyQuery(study_uids=(study,)))
    return summaries[0].demographics if summaries else Demographics()


def _released_event(
    manifest: ReleaseManifest, study: ReleasedStudy, consent: CodeConsent, request: ReleaseRequest, by: str
) -> AuditEvent:
    return AuditEvent(
        AuditType.RELEASED,
        manifest.released_at,
        by,
        peer=manifest.recipient,
        patient=study.patient,
        study=study.study_instance_uid,
        request=manifest.request_id,
        purpose=request.purpose.value,
        detail={
            "code_id": str(consent.consent_id),
            "revision": study.revision,
            "instances": len(study.entries),
            "user": request.user,
            "role": request.role,
        },
    )
