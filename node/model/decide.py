"""The decision about a request, as one pure and total function.

It sees facts only: what is asked, what the operator allows this peer, which consents there are (those that the request
brought, and the directives on file about the patients concerned), and what this node found for it. Whatever it permits
lies within all of them: scope ⊆ request ∩ consent ∩ policy. When in doubt, a person decides (:class:`Review`).

Who proved a consent (a share code, a patient's grant) is told why it was refused; anybody else hears ``not_released``
and no other word, and the cause stays in the holder's audit log.

DENY wins over every kind of consent, and adding one never releases more: which consent a release rests on, and whether
a person must look, is settled before the denials are taken away from the scope.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from node.model.consent import SHARE_CODE_PURPOSES, CodeConsent, ConsentId, ConsentKind, PurposeOfUse, RefusalCode
from node.model.directive import Directive, Effect, StudyTraits
from node.model.evidence import EMERGENCY_SECONDS, EMERGENCY_STUDIES, Attestation, Emergency, Grant
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.release import RELEASE_SECONDS
from node.model.request import ReleaseRequest, StudyTarget
from node.model.trust import PeerPolicy

Consent = CodeConsent | Grant | Directive | Attestation | Emergency


class ReviewReason(StrEnum):
    """Why a person must look at a request."""

    NAME_CONFLICT = "name_conflict"
    BIRTH_DATE_CONFLICT = "birth_date_conflict"
    BIRTH_DATE_SWAPPED = "birth_date_swapped"  # day and month change places: a slip, or another person
    SEX_CONFLICT = "sex_conflict"
    PATIENT_ID_CONFLICT = "patient_id_conflict"
    NOT_IDENTIFIED = "not_identified"  # nothing contradicts, and too little agrees
    NAMESAKES = "namesakes"  # more than one patient here fits what is said
    POLICY = "policy"  # auto_release is off for this peer
    RESTORED = "restored"  # the node was restored from a backup: what was revoked since is not known here
    OUTSIDE_HOURS = "outside_hours"  # of what the operator lets go out unseen


class MatchGrade(StrEnum):
    """How sure it is that the requester means the patient whose study was found."""

    CONFIRMED = "confirmed"
    CANDIDATE = "candidate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Identification:
    """What comparing the said demographics with the holder's came to; ``reasons`` says why it is not confirmed."""

    grade: MatchGrade = MatchGrade.CANDIDATE
    reasons: frozenset[ReviewReason] = frozenset()

    @property
    def conflicts(self) -> frozenset[ReviewReason]:
        """What contradicts, if anything does."""
        return self.reasons if self.grade is MatchGrade.CONFLICT else frozenset()


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study of this node that a request names."""

    target: StudyTarget  # as the request names it
    study: StudyInstanceUID
    patient: PatientKey
    is_own: bool  # received copies are never released onward
    traits: StudyTraits = field(default_factory=StudyTraits)
    identification: Identification = field(default_factory=Identification)
    opted_out: bool = False  # the patient wants nothing shared without being asked


@dataclass(frozen=True, slots=True)
class Match:
    """What this node found for a request."""

    studies: tuple[FoundStudy, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """What this peer had so far today, and whether it is within the hours of its policy."""

    releases_today: int = 0
    emergencies_today: int = 0  # of all peers: the cap is the facility's
    emergency_cap: int = 0  # 0: break-glass is off at this facility
    within_hours: bool = True
    restored: bool = False  # this node was put back to an older state, and nobody has looked through it yet


@dataclass(frozen=True, slots=True)
class Permit:
    """Release ``scope`` under ``consent_id`` for ``seconds``."""

    scope: frozenset[StudyInstanceUID]
    consent_id: ConsentId
    kind: ConsentKind = ConsentKind.SHARE_CODE
    seconds: int = RELEASE_SECONDS


@dataclass(frozen=True, slots=True)
class Refuse:
    """Release nothing. The requester hears ``code``; ``cause`` is for the holder's audit log alone."""

    code: RefusalCode
    cause: RefusalCode = RefusalCode.NO_CONSENT


@dataclass(frozen=True, slots=True)
class Review:
    """A person decides; ``permit`` is what a yes releases."""

    reasons: frozenset[ReviewReason]
    permit: Permit


Decision = Permit | Refuse | Review


@dataclass(frozen=True, slots=True)
class _Claim:
    """A consent that allows something: which of the found studies it covers, before denials."""

    consent: Consent
    covered: tuple[FoundStudy, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    """All that a decision rests on, but the consents."""

    request: ReleaseRequest
    policy: PeerPolicy
    match: Match
    now: int
    standing: Standing


def decide(
    request: ReleaseRequest,
    peer_policy: PeerPolicy,
    consents: Sequence[Consent],
    match: Match,
    now: int,
    *,
    standing: Standing = Standing(),
) -> Decision:
    """Decide a request whose signature, age, audience and signer were verified already.

    ``consents`` are those that the request brought or proved, in the order of its proofs, and then every directive on
    file about the patients of ``match``, PERMIT and DENY.
    """
    case = _Case(request, peer_policy, match, now, standing)
    offered = [consent for consent in consents if not _is_denial(consent)]
    weighed = [_weigh(consent, case) for consent in offered]
    claims = [claim for claim in weighed if isinstance(claim, _Claim)]
    if not claims:
        return _refuse(offered, weighed)
    claim = max(claims, key=lambda one: len({found.study for found in one.covered}))  # the first of equals
    scope = _without_denied(claim.covered, [one for one in consents if _is_denial(one)], request, now)
    if not scope:
        return _refusal(claim.consent, RefusalCode.CONSENT_DENIED)
    permit = Permit(scope, claim.consent.consent_id, claim.consent.kind, _seconds(claim.consent, now))
    reasons = _reasons(claim, peer_policy, standing)
    return Review(reasons, permit) if reasons else permit


def _is_denial(consent: Consent) -> bool:
    return isinstance(consent, Directive) and consent.effect is Effect.DENY


def _weigh(consent: Consent, case: _Case) -> _Claim | RefusalCode:
    """What the consent covers of what was found, or why it allows nothing."""
    if barred := consent.refusal(case.now) or _barred(consent, case):
        return barred
    request = case.request
    asked = [found for found in case.match.studies if found.is_own and found.target in request.targets]
    if isinstance(consent, Attestation | Emergency):
        asked = _of_one_patient(asked)
    covered = tuple(found for found in asked if _covers(consent, found, request))
    if not covered:
        return _why_nothing(consent, asked)
    if case.policy.daily_releases and case.standing.releases_today >= case.policy.daily_releases:
        return RefusalCode.QUOTA
    return _Claim(consent, covered)


_SUREST_FIRST = (MatchGrade.CONFIRMED, MatchGrade.CANDIDATE, MatchGrade.CONFLICT)


def _of_one_patient(asked: Sequence[FoundStudy]) -> list[FoundStudy]:
    """The studies of the patient whom the requester means most surely: its word is about one, and names none here."""
    surest = min(asked, key=lambda found: _SUREST_FIRST.index(found.identification.grade), default=None)
    return [found for found in asked if surest is not None and found.patient == surest.patient]


def _barred(consent: Consent, case: _Case) -> RefusalCode | None:
    """Why a consent of this kind does not count for this peer, purpose and day, whatever it covers."""
    request = case.request
    if not case.policy.accepts(consent.kind):
        return RefusalCode.KIND
    if not _covers_purpose(consent, request) or not case.policy.allows_purpose(request.purpose):
        return RefusalCode.PURPOSE
    if isinstance(consent, Emergency) and not _within_cap(request, case.standing):
        return RefusalCode.EMERGENCY_LIMIT
    return None


def _covers_purpose(consent: Consent, request: ReleaseRequest) -> bool:
    match consent:
        case CodeConsent():
            return request.purpose in SHARE_CODE_PURPOSES
        case Grant():
            return request.purpose in consent.purposes
        case Directive():
            return consent.is_about(request.requester, request.purpose)
        case Attestation():
            return request.purpose in SHARE_CODE_PURPOSES
        case Emergency():
            return request.purpose is PurposeOfUse.ETREAT


def _covers(consent: Consent, found: FoundStudy, request: ReleaseRequest) -> bool:
    match consent:
        case CodeConsent():
            return found.study in consent.studies and found.patient == consent.patient
        case Grant():
            is_theirs = found.patient == consent.patient and request.requester == consent.recipient
            return is_theirs and consent.scope.surely_covers(found.study, found.traits)
        case Directive():
            return found.patient == consent.patient and consent.scope.surely_covers(found.study, found.traits)
        case Attestation() | Emergency():
            return not found.opted_out


def _why_nothing(consent: Consent, asked: Sequence[FoundStudy]) -> RefusalCode:
    if isinstance(consent, CodeConsent):
        return RefusalCode.OTHER_STUDY
    if isinstance(consent, Attestation | Emergency):
        return RefusalCode.OPTED_OUT if any(found.opted_out for found in asked) else RefusalCode.NO_CONSENT
    return RefusalCode.CONSENT_OTHER_STUDY


def _within_cap(request: ReleaseRequest, standing: Standing) -> bool:
    return standing.emergencies_today < standing.emergency_cap and len(request.targets) <= EMERGENCY_STUDIES


def _without_denied(
    covered: Sequence[FoundStudy], denials: Sequence[Consent], request: ReleaseRequest, now: int
) -> frozenset[StudyInstanceUID]:
    standing = [
        one
        for one in denials
        if isinstance(one, Directive) and one.refusal(now) is None and one.is_about(request.requester, request.purpose)
    ]
    denied = {
        found.study
        for found in covered
        if any(one.denies(found.patient, found.study, found.traits) for one in standing)
    }
    return frozenset(found.study for found in covered) - denied


def _reasons(claim: _Claim, policy: PeerPolicy, standing: Standing) -> frozenset[ReviewReason]:
    """Why a person must look. A proved consent identifies the patient by itself, so that only contradictions count."""
    reasons: set[ReviewReason] = set()
    for found in claim.covered:
        about = found.identification
        reasons |= about.conflicts if claim.consent.is_proof else about.reasons
        if not claim.consent.is_proof and about.grade is MatchGrade.CANDIDATE and not about.reasons:
            reasons.add(ReviewReason.NOT_IDENTIFIED)
    if not policy.auto_release:
        reasons.add(ReviewReason.POLICY)
    if standing.restored:
        reasons.add(ReviewReason.RESTORED)
    if not standing.within_hours:
        reasons.add(ReviewReason.OUTSIDE_HOURS)
    return frozenset(reasons)


def _seconds(consent: Consent, now: int) -> int:
    """How long the release lasts: never longer than the consent, and hours only in an emergency."""
    match consent:
        case Emergency():
            return EMERGENCY_SECONDS
        case CodeConsent() | Grant():
            return min(RELEASE_SECONDS, consent.expires_at - now)
        case Directive():
            return RELEASE_SECONDS if consent.until is None else min(RELEASE_SECONDS, consent.until - now)
        case Attestation():
            return RELEASE_SECONDS


# What stands and does not fit explains more than what is over.
_LAPSED = {RefusalCode.CONSENT_EXPIRED: 1, RefusalCode.CONSENT_REVOKED: 2}


def _refuse(offered: Sequence[Consent], weighed: Sequence[_Claim | RefusalCode]) -> Refuse:
    causes = [(consent, why) for consent, why in zip(offered, weighed, strict=True) if isinstance(why, RefusalCode)]
    for consent, why in causes:
        if consent.is_proof:
            return _refusal(consent, why)
    whys = sorted((why for _, why in causes), key=lambda why: _LAPSED.get(why, 0))
    return Refuse(RefusalCode.NOT_RELEASED, whys[0] if whys else RefusalCode.NO_CONSENT)


def _refusal(consent: Consent, why: RefusalCode) -> Refuse:
    return Refuse(why if consent.is_proof else RefusalCode.NOT_RELEASED, why)
