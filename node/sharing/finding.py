"""Finding a local patient by whatever a person types or scans: a Patient ID, an accession number, a name."""

from collections.abc import Iterable
from dataclasses import dataclass

from node.clock import Clock
from node.model.audit import AuditEvent, AuditType
from node.model.ids import PatientKey
from node.model.instance import Demographics, StudySummary
from node.sharing.audit import AuditLog
from node.sharing.reading import caught_up
from node.store.matching import fold
from node.store.objects import ObjectStore
from node.store.study_queries import StudyQuery

MAX_TEXT = 200  # characters of what is typed: names have 64, barcodes fewer
MAX_STUDIES = 300  # looked at for one search; whoever gets more should type more
_WILD = str.maketrans({"*": " ", "?": " "})  # a name is searched by its words, not as a pattern


@dataclass(frozen=True, slots=True)
class FoundPatient:
    """A patient of the index: the newest study says who it is."""

    patient: PatientKey
    demographics: Demographics
    studies: int
    newest: str  # DA, perhaps empty
    by: str  # what matched: "patient ID", "accession number" or "name"


@dataclass(frozen=True, slots=True)
class FoundPatients:
    """What a search found. ``more``: there were too many to look at all."""

    patients: tuple[FoundPatient, ...]
    more: bool


class PatientFinder:
    """Searches the index; every search is on record."""

    def __init__(self, store: ObjectStore, audit: AuditLog, clock: Clock) -> None:
        self._store = store
        self._audit = audit
        self._clock = clock

    async def find(self, text: str, *, actor: str) -> FoundPatients:
        """Patients whose ID or accession number is ``text``, else those whose name has all its words."""
        text = text.strip()[:MAX_TEXT]
        await caught_up(self._store)
        found: list[tuple[StudySummary, str]] = []
        if text:
            exact = text.translate(_WILD)
            by_id = await self._store.studies(StudyQuery(patient_id=exact, limit=MAX_STUDIES))
            by_accession = await self._store.studies(StudyQuery(accession_number=exact, limit=MAX_STUDIES))
            found = [(study, "patient ID") for study in by_id]
            found += [(study, "accession number") for study in by_accession]
            if not found:
                found = [(study, "name") for study in await self._named(text)]
        patients = _grouped(found)
        event = AuditEvent(AuditType.STUDIES_SEARCHED, self._clock.now(), actor, detail={"found": len(found)})
        await self._audit.record(event)
        return FoundPatients(tuple(patients), len(found) >= MAX_STUDIES)

    async def _named(self, text: str) -> list[StudySummary]:
        words = fold(text.translate(_WILD).replace(",", " ").replace("^", " ").replace("[", " ")).split()
        if not words:
            return []
        longest = max(words, key=len)
        some = await self._store.studies(StudyQuery(patient_name=f"*{longest}*", limit=MAX_STUDIES))
        return [study for study in some if all(word in fold(study.demographics.name) for word in words)]


def _grouped(found: Iterable[tuple[StudySummary, str]]) -> list[FoundPatient]:
    """By patient, in the order of their names; a linked study belongs to the local patient."""
    groups: dict[PatientKey, dict[str, StudySummary]] = {}
    reasons: dict[PatientKey, str] = {}
    for study, reason in found:
        key = study.linked or study.patient
        groups.setdefault(key, {})[study.study_instance_uid] = study
        reasons.setdefault(key, reason)
    patients = []
    for key, studies in groups.items():
        newest = max(studies.values(), key=lambda study: (study.origin is None, study.date))
        date = max(study.date for study in studies.values())
        patients.append(FoundPatient(key, newest.demographics, len(studies), date, reasons[key]))
    return sorted(patients, key=lambda one: (fold(one.demographics.name), one.patient.patient_id))
