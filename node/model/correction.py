"""Corrections of who a patient is: two that are one (ADT A40), what was said wrongly (A08), a study of another."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from node.model.ids import PatientKey, RandomId, StudyInstanceUID
from node.model.instance import Demographics


class CorrectionId(RandomId):
    """A correction."""


class CorrectionKind(StrEnum):
    """What was wrong."""

    MERGE = "merge"
    CORRECT = "correct"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be said of a patient instead; None leaves it as it is."""

    patient_id: str | None = field(default=None, repr=False)
    issuer: str | None = None
    name: str | None = field(default=None, repr=False)
    birth_date: str | None = field(default=None, repr=False)
    sex: str | None = None

    def key_of(self, patient: PatientKey) -> PatientKey:
        """The corrected key."""
        return PatientKey(
            patient.issuer if self.issuer is None else self.issuer,
            patient.patient_id if self.patient_id is None else self.patient_id,
        )

    def said_of(self, said: Demographics) -> Demographics:
        """The corrected demographics."""
        given = {"name": self.name, "birth_date": self.birth_date, "sex": self.sex}
        return replace(said, **{member: value for member, value in given.items() if value is not None})


@dataclass(frozen=True, slots=True)
class FormerIdentity:
    """Whose a study was said to be before a correction."""

    study: StudyInstanceUID
    patient: PatientKey
    demographics: Demographics


@dataclass(frozen=True, slots=True)
class Correction:
    """What was corrected, and of which studies."""

    correction_id: CorrectionId
    kind: CorrectionKind
    patient: PatientKey  # as it was
    into: PatientKey  # as it is
    demographics: Demographics  # of the new identity; for a correction, where it says something
    reason: str = field(repr=False)
    made_at: int
    made_by: str
    studies: tuple[FormerIdentity, ...] = ()
    undone_at: int | None = None
