"""Whom a request of this facility is about, as the other facility is told."""

from node.errors.announce import UnknownPatient
from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.model.request import Subject
from node.store.objects import ObjectStore
from node.store.study_queries import StudyQuery


async def subject_of(store: ObjectStore, patient: PatientKey | None, said: Demographics | None) -> Subject:
    """The subject for a local patient, for spoken demographics, for both, or for neither (the share code says who).

    A local patient's demographics are those of the newest study held; what was said takes their place.

    Raises:
        UnknownPatient: a local patient without demographics was named, and nothing of such a one is held.
    """
    if patient is None or said is not None:
        return Subject(patient, said or Demographics())
    held = await store.studies(StudyQuery(patients=(patient,), limit=1))
    if not held:
        raise UnknownPatient
    return Subject(patient, held[0].demographics)
