"""Corrected identities: patients that are one, what was said wrongly, studies of somebody else."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, cut
from node.api.rest.access import OPERATION
from node.api.rest.shapes.images import CorrectionList, CorrectionShown
from node.api.routing import Call, Route
from node.errors.lifecycle import UnknownCorrection
from node.model.correction import Changes, Correction, CorrectionId
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.withdrawal import MAX_WORDS
from node.sharing.corrections import Corrections

_Text = Annotated[str, msgspec.Meta(max_length=64)]
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WORDS)]


class Patient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A patient of this facility; without ``issuer``: under its own."""

    patient_id: _Id
    issuer: _Text | None = None


class Merge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two patients that are one."""

    patient: Patient
    into: Patient
    reason: _Reason


class Correct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be said of a patient instead; what is left out stays. ``birth_date`` as YYYYMMDD."""

    patient: Patient
    reason: _Reason
    patient_id: _Id | None = None
    issuer: _Text | None = None
    name: Annotated[str, msgspec.Meta(max_length=324)] | None = None
    birth_date: Annotated[str, msgspec.Meta(pattern=r"^([0-9]{8})?\Z")] | None = None
    sex: Annotated[str, msgspec.Meta(pattern=r"^[MFO]?\Z")] | None = None


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A study that is another patient's."""

    study: _Id
    into: Patient
    reason: _Reason


class CorrectionsResource:
    """``corrections``."""

    def __init__(self, corrections: Corrections, *, issuer: str) -> None:
        self._corrections = corrections
        self._issuer = issuer

    def routes(self) -> Iterable[Route]:
        """The routes."""
        path = "/api/v1/corrections"
        merge, correct = "Say that two patients are one", "Correct what is said of a patient"
        move, undo = "File a study under another patient", "Take a correction back"
        return [
            Route(
                "GET",
                path,
                self.list,
                OPERATION,
                "Corrected identities, last first",
                query=Window,
                answer=CorrectionList,
            ),
            Route("POST", f"{path}/merge", self.merge, OPERATION, merge, Merge, 201, answer=CorrectionShown),
            Route("POST", f"{path}/patient", self.correct, OPERATION, correct, Correct, 201, answer=CorrectionShown),
            Route("POST", f"{path}/study", self.move, OPERATION, move, Move, 201, answer=CorrectionShown),
            Route("POST", f"{path}/{{correction_id}}/undo", self.undo, OPERATION, undo, answer=CorrectionShown),
        ]

    async def list(self, call: Call) -> CorrectionList:
        """All of them, undone ones too."""
        found, more = cut(call, await self._corrections.page())
        return {"corrections": [_shown(one) for one in found], "next": more}

    async def merge(self, call: Call) -> CorrectionShown:
        """ADT A40."""
        said: Merge = call.body
        patient, into = self._key(said.patient), self._key(said.into)
        return _shown(await self._corrections.merge(patient, into, said.reason, by=call.caller.actor))

    async def correct(self, call: Call) -> CorrectionShown:
        """ADT A08."""
        said: Correct = call.body
        changes = Changes(said.patient_id, said.issuer, said.name, said.birth_date, said.sex)
        patient = self._key(said.patient)
        return _shown(await self._corrections.correct(patient, changes, said.reason, by=call.caller.actor))

    async def move(self, call: Call) -> CorrectionShown:
        """The wrong patient's study."""
        said: Move = call.body
        study, into = StudyInstanceUID.parse(said.study), self._key(said.into)
        return _shown(await self._corrections.move(study, into, said.reason, by=call.caller.actor))

    async def undo(self, call: Call) -> CorrectionShown:
        """What was said before is said again."""
        try:
            correction_id = CorrectionId.parse(call.parameter("correction_id"))
        except ValueError as exc:
            raise UnknownCorrection from exc
        return _shown(await self._corrections.undo(correction_id, by=call.caller.actor))

    def _key(self, patient: Patient) -> PatientKey:
        return PatientKey(self._issuer if patient.issuer is None else patient.issuer, patient.patient_id)


def _shown(c: Correction) -> CorrectionShown:
    return {
        "correction_id": str(c.correction_id),
        "kind": c.kind,
        "patient_id": c.patient.patient_id,
        "issuer_of_patient_id": c.patient.issuer,
        "into_patient_id": c.into.patient_id,
        "into_issuer_of_patient_id": c.into.issuer,
        "patient_name": c.demographics.name,
        "birth_date": c.demographics.birth_date,
        "sex": c.demographics.sex,
        "reason": c.reason,
        "studies": [one.study for one in c.studies],
        "at": c.made_at,
        "by": c.made_by,
        "undone_at": c.undone_at,
    }
