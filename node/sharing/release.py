"""From a verified request to a release: the facts that ``decide`` needs, and what is written when it permits.

Everything here runs inside the caller's transaction, so that of a hundred requests with a one-use code exactly one
finds a use left, and its row, the use and the audit event are durable together before a byte leaves.
"""

import asyncio
import hashlib
import time
from dataclasses import dataclass, replace

from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws
from node.errors.storage import UnknownStudy
from node.model.audit import AuditEvent, AuditType
from node.model.consent import ConsentKind
from node.model.decide import Consent, Decision, FoundStudy, Match, Permit, Standing, decide
from node.model.directive import Effect, traits_of
from node.model.ids import PatientKey, PeerId, StudyInstanceUID, StudyRef
from node.model.instance import Demographics, StudySummary
from node.model.match import identify
from node.model.release import ReleasedStudy, ReleaseManifest
from node.model.request import ReleaseRequest, StudyTarget
from node.model.transfer import Direction, TransferState
from node.model.trust import PeerPolicy
from node.peers.messages import MAX_FORMERLY, encode_manifest
from node.sharing.evidence import Proven
from node.store import audit, brought, consents, directives, feeds, offers, requests, restored, revisions, transfers
from node.store import identity as identities
from node.store.brought import EmergencyReview
from node.store.engine import Read, Write
from node.store.namesakes import count_namesakes
from node.store.study_queries import StudyQuery, find_studies

_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what this facility decides just now; ``emergency_daily`` is how often break-glass may be used in a day.

    ``is_new``: the request has just come. Then what waits for a person takes its place under that cap too, so that no
    peer can fill the inbox with emergencies; of those that wait, a person may release as many as the cap leaves.
    """

    now: int
    emergency_daily: int = 0
    is_new: bool = False


async def judge(rx: Read, request: ReleaseRequest, proven: Proven, policy: PeerPolicy, terms: Terms) -> Decision:
    """Gather the facts as they stand and decide."""
    match = await _match(rx, request)
    on_file = await directives.of_patients(rx, {found.patient for found in match.studies})
    offered: list[Consent] = [] if proven.consent is None else [proven.consent]
    offered += [one for one in on_file if proven.on_file or one.effect is Effect.DENY]
    standing = await _standing(rx, request.requester, policy, terms)
    return decide(request, policy, offered, match, terms.now, standing=standing)


async def _standing(rx: Read, peer: PeerId, policy: PeerPolicy, terms: Terms) -> Standing:
    since = terms.now - terms.now % _DAY_SECONDS
    local = time.localtime(terms.now)
    return Standing(
        releases_today=await requests.released_since(rx, peer, since) if policy.daily_releases else 0,
        emergencies_today=await _emergencies(rx, since, terms) if terms.emergency_daily else 0,
        emergency_cap=terms.emergency_daily,
        restored=await restored.is_under_review(rx),
        within_hours=policy.is_within_hours(local.tm_hour * 60 + local.tm_min),
    )


async def _emergencies(rx: Read, since: int, terms: Terms) -> int:
    waiting = await requests.emergencies_in_review(rx) if terms.is_new else 0
    return await brought.emergencies_since(rx, since) + waiting


async def _match(rx: Read, request: ReleaseRequest) -> Match:
    found: list[FoundStudy] = []
    for target in request.targets:
        uid = await feeds.resolve_ref(rx, request.requester, target) if isinstance(target, StudyRef) else target
        studies = () if uid is None else await find_studies(rx, StudyQuery(study_uids=(uid,)))
        found += [await _found(rx, request, target, study) for study in studies]
    return Match(tuple(found))


async def concerns(rx: Read, request: ReleaseRequest, patient: PatientKey) -> bool:
    """Whether the request names a study of this patient."""
    return any(found.patient == patient for found in (await _match(rx, request)).studies)


async def _found(rx: Read, request: ReleaseRequest, target: StudyTarget, study: StudySummary) -> FoundStudy:
    alike = await count_namesakes(rx, study.demographics)
    return FoundStudy(
        target,
        study.study_instance_uid,
        study.patient,
        is_own=study.origin is None,
        traits=traits_of(study),
        identification=identify(request.subject, study.patient, study.demographics, namesakes=alike),
        opted_out=await feeds.is_opted_out(rx, study.patient),
    )


async def release(
    tx: Write, identity: Identity, request: ReleaseRequest, permit: Permit, *, now: int, by: str
) -> ReleaseManifest:
    """Consume the use, sign and keep the manifest, begin the outgoing transfer, and log it."""
    expires_at = now + permit.seconds
    refs = await _refs(tx, request)
    studies = [replace(await _released(tx, study), ref=refs.get(study)) for study in sorted(permit.scope)]
    manifest = ReleaseManifest(request.request_id, identity.peer_id, request.requester, now, expires_at, tuple(studies))
    token = await asyncio.to_thread(_sign, identity, manifest)
    await _consume(tx, request, permit, now)
    await offers.accept_released(tx, request.requester, permit.scope)
    await transfers.add(tx, request.request_id, Direction.OUT, request.requester, TransferState.AUTHORIZED, at=now)
    await transfers.set_release(tx, token, manifest_digest(token), manifest)
    for study in studies:
        await audit.append(tx, _released_event(manifest, study, permit, request, by))
    return manifest


async def _refs(rx: Read, request: ReleaseRequest) -> dict[StudyInstanceUID, StudyRef]:
    """Which studies were asked for by a ref alone."""
    named = {target for target in request.targets if isinstance(target, StudyInstanceUID)}
    refs = [target for target in request.targets if isinstance(target, StudyRef)]
    found = {await feeds.resolve_ref(rx, request.requester, ref): ref for ref in refs}
    return {study: ref for study, ref in found.items() if study is not None and study not in named}


async def _consume(tx: Write, request: ReleaseRequest, permit: Permit, now: int) -> None:
    """What a release does to its consent: a code has one use less, break-glass must be looked at by somebody."""
    if permit.kind is ConsentKind.SHARE_CODE:
        await consents.consume(tx, permit.consent_id)
    if permit.kind is ConsentKind.EMERGENCY:
        review = EmergencyReview(request.request_id, permit.consent_id, request.requester, now)
        await brought.add_review(tx, review)


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


async def patient_of(rx: Read, study: StudyInstanceUID) -> PatientKey | None:
    """The patient whose study it is here."""
    summaries = await find_studies(rx, StudyQuery(study_uids=(study,)))
    return summaries[0].patient if summaries else None


async def demographics_of(rx: Read, study: StudyInstanceUID) -> Demographics:
    """Whose study it is, as the index has it."""
    summaries = await find_studies(rx, StudyQuery(study_uids=(study,)))
    return summaries[0].demographics if summaries else Demographics()


def _released_event(
    manifest: ReleaseManifest, study: ReleasedStudy, permit: Permit, request: ReleaseRequest, by: str
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
            "consent_id": str(permit.consent_id),
            "consent": permit.kind.value,
            "revision": study.revision,
            "instances": len(study.entries),
            "user": request.user,
            "role": request.role,
        },
    )
