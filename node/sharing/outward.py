"""What the facility's own DICOM systems may know of and have: its own studies, and received ones that are linked.

A received study that is linked to no local patient is neither told of nor sent. One that is linked stands under the
local patient, in answers as in what is sent: as a delivery by ``leveret send`` would make it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from node.model.delivery import StudyLink
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics, PatientSummary, SeriesSummary, StoredInstance, StudySummary
from node.sharing.links import local_record
from node.store import links
from node.store.engine import Database, Read
from node.store.patients import find_patients
from node.store.study_queries import InstanceQuery, SeriesQuery, StudyQuery, find_instances, find_series, find_studies


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Instances that may be sent. ``links`` and ``records``: of the linked studies among theirs."""

    instances: Sequence[StoredInstance]
    studies: Mapping[StudyInstanceUID, StudySummary]  # as they came
    links: Mapping[StudyInstanceUID, StudyLink]
    records: Mapping[StudyInstanceUID, Demographics]

    def patients(self) -> set[PatientKey]:
        """Whose they are, as the receiver will see it."""
        return {self.links[uid].patient if uid in self.links else study.patient for uid, study in self.studies.items()}


class Outward:
    """Answers with at most ``limit`` of what a query's own limit would allow."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def patients(self, query: StudyQuery, limit: int) -> list[PatientSummary]:
        """The patients of matching studies."""
        async with self._db.read() as rx:
            own = await find_patients(rx, replace(query, own=True, limit=limit))
            linked = await find_patients(rx, replace(query, linked=True, limit=limit))
        merged = {one.patient: one for one in own}
        for one in linked:
            known = merged.get(one.patient)
            merged[one.patient] = one if known is None else _sum(known, one)
        return list(islice(merged.values(), limit))

    async def studies(self, query: StudyQuery, limit: int) -> list[StudySummary]:
        """Matching studies, those of linked ones under their local patient."""
        async with self._db.read() as rx:
            own = await find_studies(rx, replace(query, own=True, limit=limit))
            linked = await find_studies(rx, replace(query, linked=True, limit=limit))
            return [*own, *[await _as_local(rx, study) for study in linked]][:limit]

    async def series(self, query: SeriesQuery, limit: int) -> list[SeriesSummary]:
        """Matching series."""
        async with self._db.read() as rx:
            found: list[SeriesSummary] = []
            for studies in _both(query.studies):
                found += await find_series(rx, replace(query, studies=studies, limit=limit))
        return found[:limit]

    async def instances(self, query: InstanceQuery, limit: int) -> list[StoredInstance]:
        """Matching instances; their headers are as they came."""
        async with self._db.read() as rx:
            return await _instances(rx, query, limit)

    async def outgoing(self, query: InstanceQuery, limit: int) -> Outgoing:
        """Matching instances with what is needed to send them."""
        async with self._db.read() as rx:
            instances = await _instances(rx, query, limit)
            uids = tuple({one.header.study_instance_uid for one in instances})
            studies = await find_studies(rx, StudyQuery(study_uids=uids)) if uids else []
            found: dict[StudyInstanceUID, StudyLink] = {}
            records: dict[StudyInstanceUID, Demographics] = {}
            for study in studies:
                uid = study.study_instance_uid
                link = await links.get(rx, uid) if study.origin is not None else None
                if link is not None:
                    found[uid], records[uid] = link, await local_record(rx, link.patient, link.said)
        may_go = {
            study.study_instance_uid: study
            for study in studies
            if study.origin is None or study.study_instance_uid in found
        }
        return Outgoing([one for one in instances if one.header.study_instance_uid in may_go], may_go, found, records)


def _both(query: StudyQuery) -> tuple[StudyQuery, StudyQuery]:
    return replace(query, own=True), replace(query, linked=True)


async def _instances(rx: Read, query: InstanceQuery, limit: int) -> list[StoredInstance]:
    found: list[StoredInstance] = []
    for studies in _both(query.studies):
        found += await find_instances(rx, replace(query, studies=studies, limit=limit))
    return found[:limit]


async def _as_local(rx: Read, study: StudySummary) -> StudySummary:
    link = await links.get(rx, study.study_instance_uid)
    if link is None:  # both questions see the same state of the index
        return study
    record = await local_record(rx, link.patient, link.said)
    came = study.demographics
    local = Demographics(record.name or came.name, record.birth_date or came.birth_date, record.sex or came.sex)
    return replace(study, patient=link.patient, demographics=local)


def _sum(one: PatientSummary, more: PatientSummary) -> PatientSummary:
    return replace(
        one,
        studies=one.studies + more.studies,
        series=one.series + more.series,
        instances=one.instances + more.instances,
    )
