"""Directives: what a patient allowed or forbade, recorded at the holder. Pure.

A directive says who may have what, for what purpose, from when until when. PERMIT opens, DENY closes, and DENY wins
(FHIR R4 Consent ``provision.type``; IHE PCF). What a study does not say of itself is read against release: a PERMIT
for CT does not cover a study without a modality, a DENY for CT does.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from node.model.consent import ConsentId, ConsentKind, PurposeOfUse, RefusalCode
from node.model.ids import PatientKey, PeerId, StudyInstanceUID

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
