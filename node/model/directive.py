"""Directives: what a patient allowed or forbade, recorded at the holder. Pure.

A directive says who may have what, for what purpose, from when until when. PERMIT opens, DENY closes, and DENY wins
(FHIR R4 Consent ``provision.type``; IHE PCF). What a study does not say of itself is read against release: a PERMIT
for CT does not cover a study without a modality, a DENY for CT does.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from node.errors.consents import InvalidDirective
from node.model.consent import ConsentId, ConsentKind, PurposeOfUse, RefusalCode
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.model.instance import StudySummary

MAX_DIRECTIVE_STUDIES = 200  # named studies in one directive
MAX_DIRECTIVE_VALUES = 32  # modalities or body parts in one directive

# Modalities (0008,0060) that travel with the images they belong to: reports, key objects, presentation states,
# registrations. A study of CT and SR is a CT study.
ACCOMPANYING = frozenset({"SR", "KO", "PR", "DOC", "REG", "AU", "PLAN"})


class Effect(StrEnum):
    """What a directive does."""

    PERMIT = "PERMIT"
    DENY = "DENY"


@dataclass(frozen=True, slots=True)
class StudyTraits:
    """What of a study a directive can be about; empty: the study does not say."""

    modalities: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()
    date: str = ""  # YYYYMMDD


def traits_of(study: StudySummary) -> StudyTraits:
    """The traits of a study that is held."""
    return StudyTraits(frozenset(study.modalities), frozenset(study.body_parts), study.date)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which studies of a patient: each part narrows, an empty part is no limit."""

    studies: frozenset[StudyInstanceUID] = frozenset()
    modalities: frozenset[str] = frozenset()
    body_parts: frozenset[str] = frozenset()
    from_date: str = ""  # YYYYMMDD, of the study, inclusive
    to_date: str = ""

    def surely_covers(self, study: StudyInstanceUID, traits: StudyTraits) -> bool:
        """Whether the study lies within this scope beyond doubt (PERMIT)."""
        main = (traits.modalities - ACCOMPANYING) or traits.modalities
        return (
            (not self.studies or study in self.studies)
            and (not self.modalities or (bool(main) and main <= self.modalities))
            and (not self.body_parts or (bool(traits.body_parts) and traits.body_parts <= self.body_parts))
            and (not self._dated or (bool(traits.date) and self._in_period(traits.date)))
        )

    def may_cover(self, study: StudyInstanceUID, traits: StudyTraits) -> bool:
        """Whether the study, or a part of it, lies within this scope or might (DENY)."""
        return (
            (not self.studies or study in self.studies)
            and (not self.modalities or not traits.modalities or bool(traits.modalities & self.modalities))
            and (not self.body_parts or not traits.body_parts or bool(traits.body_parts & self.body_parts))
            and (not self._dated or not traits.date or self._in_period(traits.date))
        )

    @property
    def _dated(self) -> bool:
        return bool(self.from_date or self.to_date)

    def _in_period(self, date: str) -> bool:
        return (not self.from_date or self.from_date <= date) and (not self.to_date or date <= self.to_date)


@dataclass(frozen=True, slots=True)
class DirectiveOrder:
    """What somebody wants recorded; times in seconds since the epoch, ``starts_at`` None for now."""

    patient: PatientKey
    effect: Effect
    recipient: PeerId | None = None
    scope: Scope = field(default_factory=Scope)
    purposes: frozenset[PurposeOfUse] = frozenset()
    starts_at: int | None = None
    until: int | None = None
    recorded_by: str = field(default="", repr=False)


_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")  # PS3.5 6.2 CS
MAX_STAFF = 128  # characters of who recorded it
MAX_TIME = 2**40


def check_order(order: DirectiveOrder, now: int) -> None:
    """Raises InvalidDirective for what cannot be kept, or would never say anything."""
    scope = order.scope
    if not order.patient.patient_id.strip() or not order.patient.issuer.strip():
        raise InvalidDirective("whose consent it is")
    if len(scope.studies) > MAX_DIRECTIVE_STUDIES:
        raise InvalidDirective("too many studies")
    for values in (scope.modalities, scope.body_parts):
        if len(values) > MAX_DIRECTIVE_VALUES or not all(_CODE_STRING.fullmatch(value) for value in values):
            raise InvalidDirective("modality or body part")
    _check_dates(scope)
    starts = now if order.starts_at is None else order.starts_at
    if not 0 <= starts <= MAX_TIME:
        raise InvalidDirective("when it begins")
    if order.until is not None and not max(starts, now) < order.until <= MAX_TIME:
        raise InvalidDirective("it would be over already")
    if len(order.recorded_by) > MAX_STAFF or not order.recorded_by.isprintable():
        raise InvalidDirective("who recorded it")


def _check_dates(scope: Scope) -> None:
    for text in (scope.from_date, scope.to_date):
        if text and not _is_date(text):
            raise InvalidDirective("a study date is not YYYYMMDD")
    if scope.from_date and scope.to_date and scope.from_date > scope.to_date:
        raise InvalidDirective("the dates are the wrong way round")


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{8}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive as it stands now."""

    consent_id: ConsentId
    patient: PatientKey
    effect: Effect
    recipient: PeerId | None = None  # None: any trusted peer
    scope: Scope = field(default_factory=Scope)
    purposes: frozenset[PurposeOfUse] = frozenset()  # empty: every purpose
    starts_at: int = 0
    until: int | None = None  # None: until it is revoked
    created_at: int = 0
    recorded_by: str = ""
    revoked_at: int | None = None

    kind = ConsentKind.DIRECTIVE
    is_proof = False  # it lies at the holder; asking proves nothing

    def refusal(self, now: int) -> RefusalCode | None:
        """Why it says nothing at ``now``; ``None`` if it does."""
        if self.revoked_at is not None:
            return RefusalCode.CONSENT_REVOKED
        if now < self.starts_at or (self.until is not None and now >= self.until):
            return RefusalCode.CONSENT_EXPIRED
        return None

    def is_about(self, requester: PeerId, purpose: PurposeOfUse) -> bool:
        """Whether it speaks of this recipient and purpose."""
        return self.recipient in {None, requester} and (not self.purposes or purpose in self.purposes)

    def denies(self, patient: PatientKey, study: StudyInstanceUID, traits: StudyTraits) -> bool:
        """Whether it forbids that study; period, recipient and purpose are the caller's to ask."""
        return self.effect is Effect.DENY and self.patient == patient and self.scope.may_cover(study, traits)


def permitted_on_file(  # noqa: PLR0917 - the facts, each of its own type
    on_file: Iterable[Directive],
    requester: PeerId,
    purpose: PurposeOfUse,
    patient: PatientKey,
    study: StudyInstanceUID,
    traits: StudyTraits,
    now: int,
) -> bool:
    """Whether directives alone let ``requester`` have ``study`` at ``now``: one surely permits, and none denies."""
    standing = [one for one in on_file if one.refusal(now) is None and one.is_about(requester, purpose)]
    permits = any(
        one.effect is Effect.PERMIT and one.patient == patient and one.scope.surely_covers(study, traits)
        for one in standing
    )
    return permits and not any(one.denies(patient, study, traits) for one in standing)
