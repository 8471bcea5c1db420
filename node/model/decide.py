"""The decision about a request, as one pure and total function.

It sees facts only: what is asked, what the operator allows this peer, which consents the request *proved*, and what
this node found for it. Whatever it permits lies within all of them: scope ⊆ request ∩ consent ∩ policy. When in doubt,
a person decides (:class:`Review`); what cannot be proved is refused with ``not_released`` and no other word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.model.consent import SHARE_CODE_PURPOSES, Consent, ConsentId, RefusalCode
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.request import ReleaseRequest, StudyTarget
from node.model.trust import PeerPolicy


class ReviewReason(StrEnum):
    """Why a person must look at a request."""

    NAME_CONFLICT = "name_conflict"
    BIRTH_DATE_CONFLICT = "birth_date_conflict"
    SEX_CONFLICT = "sex_conflict"
    PATIENT_ID_CONFLICT = "patient_id_conflict"
    POLICY = "policy"  # auto_release is off for this peer


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study of this node that a request names."""

    target: StudyTarget  # as the request names it
    study: StudyInstanceUID
    patient: PatientKey
    is_own: bool  # received copies are never released onward


@dataclass(frozen=True, slots=True)
class Match:
    """What this node found for a request."""

    studies: tuple[FoundStudy, ...] = ()
    conflicts: frozenset[ReviewReason] = frozenset()  # said demographics against those of the consent's patient


@dataclass(frozen=True, slots=True)
class Permit:
    """Release ``scope`` under ``consent_id``."""

    scope: frozenset[StudyInstanceUID]
    consent_id: ConsentId


@dataclass(frozen=True, slots=True)
class Refuse:
    """Release nothing; ``code`` is all that the requester hears."""

    code: RefusalCode


@dataclass(frozen=True, slots=True)
class Review:
    """A person decides; ``permit`` is what a yes releases."""

    reasons: frozenset[ReviewReason]
    permit: Permit


Decision = Permit | Refuse | Review


def decide(
    request: ReleaseRequest, peer_policy: PeerPolicy, consents: Sequence[Consent], match: Match, now: int
) -> Decision:
    """Decide a request whose signature, age, audience and signer were verified already.

    ``consents`` are those whose possession the request proved, in the order of its proofs; without one nothing is said.
    """
    if not consents:
        return Refuse(RefusalCode.NOT_RELEASED)
    refusals = [consent.refusal(now) for consent in consents]
    usable = [consent for consent, refusal in zip(consents, refusals, strict=True) if refusal is None]
    if not usable:
        return Refuse(next(refusal for refusal in refusals if refusal is not None))
    if request.purpose not in SHARE_CODE_PURPOSES:
        return Refuse(RefusalCode.PURPOSE)
    permits = [Permit(_scope(request, consent, match), consent.consent_id) for consent in usable]
    permit = max(permits, key=lambda one: len(one.scope))  # the first of equals
    if not permit.scope:
        return Refuse(RefusalCode.OTHER_STUDY)
    reasons = match.conflicts
    if not peer_policy.auto_release:
        reasons |= {ReviewReason.POLICY}
    return Review(reasons, permit) if reasons else permit


def _scope(request: ReleaseRequest, consent: Consent, match: Match) -> frozenset[StudyInstanceUID]:
    return frozenset(
        found.study
        for found in match.studies
        if found.is_own
        and found.target in request.targets
        and found.study in consent.studies
        and found.patient == consent.patient
    )
