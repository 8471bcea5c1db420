"""Which received study belongs to which local patient: said by a person, taken back by a person, on record both times.

A link changes nothing of the study: it is shown under the local patient too, and it is what a delivery to the PACS goes
by. Only where a request named the local patient, and what came is confirmed to be of the same person by the rules that
decide releases (``model.match``), is the order of that person taken for the link.
"""

from collections.abc import Callable
from dataclasses import dataclass

from node.clock import Clock
from node.errors.delivery import AlreadyLinked, InvalidLocalPatient, LinkConflict, NotLinked, OwnStudy
from node.errors.storage import UnknownStudy
from node.model.audit import AuditEvent, AuditType
from node.model.decide import MatchGrade
from node.model.delivery import StudyLink
from node.model.ids import PatientKey, RequestId, StudyInstanceUID
from node.model.instance import Demographics, StudySummary
from node.model.match import conflicts, identify
from node.model.request import Subject
from node.store import audit, links
from node.store.engine import Database, Read, Write
from node.store.namesakes import count_namesakes
from node.store.study_queries import StudyQuery, find_studies

Listener = Callable[[StudyInstanceUID], None]

MAX_ID = 64  # LO (PS3.5 section 6.2)
MAX_NAME = 324  # PN: three groups of 64 characters at most make a real one
_WORDS = {
    "name_conflict": "name",
    "birth_date_conflict": "birth date",
    "birth_date_swapped": "day and month swapped",
    "sex_conflict": "sex",
    "patient_id_conflict": "patient id",
}


@dataclass(frozen=True, slots=True)
class Linked:
    """A link, with the study as it came."""

    link: StudyLink
    study: StudySummary


class Links:
    """What a clinician does with links. ``on_change`` is called with the study after each change."""

    def __init__(self, *, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self.on_change: Listener = lambda _study: None

    async def link(
        self,
        study: StudyInstanceUID,
        patient: PatientKey,
        said: Demographics | None = None,
        *,
        by: str,
        despite_differences: bool = False,
    ) -> Linked:
        """Link a received study to a local patient; the same again is as good.

        ``said`` is what the person says of the patient; else the facility's own studies say it.

        Raises:
            UnknownStudy, OwnStudy: not a received study. AlreadyLinked: to another patient.
            InvalidLocalPatient: no such id can be. LinkConflict: the two records contradict each other.
        """
        said = said or Demographics()
        check_patient(patient, said)
        async with self._db.write() as tx:
            found = await _received(tx, study)
            if found.patient == patient:
                raise OwnStudy
            existing = await links.get(tx, study)
            if existing is not None and existing.patient != patient:
                raise AlreadyLinked
            record = await local_record(tx, patient, said)
            differences = conflicts(Subject(None, record), found.patient, found.demographics)
            words = ", ".join(sorted(_WORDS.get(one.value, one.value) for one in differences))
            if differences and not despite_differences:
                raise LinkConflict(words)
            if existing is not None:
                return Linked(existing, found)
            made = StudyLink(study, patient, said, self._clock.now(), by)
            await self._add(tx, made, found, {"differs": words} if words else {})
        return Linked(made, found)

    async def link_confirmed(
        self, study: StudyInstanceUID, subject: Subject, *, by: str, request: RequestId
    ) -> StudyLink | None:
        """The link that a request's own words justify: made if the study is confirmed to be of the patient it named.

        Raises:
            UnknownStudy, OwnStudy: not a received study.
        """
        async with self._db.write() as tx:
            found = await _received(tx, study)
            existing = await links.get(tx, study)
            if existing is not None:
                return existing if existing.patient == subject.patient else None
            patient = subject.patient
            if patient is None or patient == found.patient:
                return None
            record = await local_record(tx, patient, subject.demographics)
            namesakes = await count_namesakes(tx, record)
            grade = identify(Subject(found.patient, found.demographics), patient, record, namesakes=namesakes).grade
            if grade is not MatchGrade.CONFIRMED:
                return None
            made = StudyLink(study, patient, subject.demographics, self._clock.now(), by)
            await self._add(tx, made, found, {"basis": "request"}, request)
        return made

    async def unlink(self, study: StudyInstanceUID, *, by: str) -> StudyLink:
        """Take a link back; what was delivered under it stays on record. Raises NotLinked."""
        async with self._db.write() as tx:
            link = await links.get(tx, study)
            if link is None:
                raise NotLinked
            await links.remove(tx, study)
            event = AuditEvent(AuditType.STUDY_UNLINKED, self._clock.now(), by, patient=link.patient, study=study)
            await audit.append(tx, event)
            tx.after_commit(lambda: self.on_change(study))
        return link

    async def record_of(self, patient: PatientKey) -> Demographics:
        """What this facility's own studies say of a local patient; empty where there are none."""
        async with self._db.read() as rx:
            return await local_record(rx, patient, Demographics())

    async def page(self, patient: PatientKey | None = None) -> list[Linked]:
        """Links, newest first; of one local patient or of all."""
        async with self._db.read() as rx:
            found = await links.page(rx, patient=patient)
            uids = tuple(link.study for link in found)
            studies = await find_studies(rx, StudyQuery(study_uids=uids)) if uids else []
        by_uid = {study.study_instance_uid: study for study in studies}
        return [Linked(link, by_uid[link.study]) for link in found if link.study in by_uid]

    async def _add(
        self,
        tx: Write,
        link: StudyLink,
        found: StudySummary,
        detail: dict[str, str | int],
        request: RequestId | None = None,
    ) -> None:
        await links.add(tx, link)
        origin = {"origin_patient_id": found.patient.patient_id, "origin_issuer": found.patient.issuer}
        event = AuditEvent(
            AuditType.STUDY_LINKED,
            link.linked_at,
            link.linked_by,
            peer=found.origin,
            patient=link.patient,
            study=link.study,
            request=request,
            detail={**origin, **detail},
        )
        await audit.append(tx, event)
        tx.after_commit(lambda: self.on_change(link.study))


async def local_record(rx: Read, patient: PatientKey, said: Demographics) -> Demographics:
    """What this facility says of a local patient: what a person said, else its newest own study of the patient."""
    own = await find_studies(rx, StudyQuery(patients=(patient,), own=True, limit=1))
    held = own[0].demographics if own else Demographics()
    return Demographics(said.name or held.name, said.birth_date or held.birth_date, said.sex or held.sex)


def check_patient(patient: PatientKey, said: Demographics) -> None:
    """Refuse what no data set could say; raises InvalidLocalPatient."""
    for text, most in ((patient.patient_id, MAX_ID), (patient.issuer, MAX_ID), (said.name, MAX_NAME)):
        if len(text) > most or "\\" in text or not text.isprintable() or text != text.strip():
            raise InvalidLocalPatient
    if not patient.patient_id or not patient.issuer:
        raise InvalidLocalPatient


async def _received(rx: Read, study: StudyInstanceUID) -> StudySummary:
    found = await find_studies(rx, StudyQuery(study_uids=(study,)))
    if not found:
        raise UnknownStudy
    if found[0].origin is None:
        raise OwnStudy
    return found[0]
