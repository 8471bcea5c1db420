"""QIDO-RS matching in the index."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.store import header, opened_store, study_uid

from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.store.matching import fold
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery, SeriesQuery, StudyQuery

STUDIES = {
    1: ("A", "100", "Müller^Änne", "20250110", "CT", "ACC[1]"),
    2: ("A", "101", "MULLER^ANNE=漢字^名", "20250210", "MR", "ACC*2"),
    3: ("B", "100", "O'Neill^Siobhán", "", "US", ""),
    4: ("B", "20?0", "Straße^Jörg", "20250310", "CT", "X"),
}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with opened_store(tmp_path) as (opened, _db):
        for number, (issuer, patient, name, date, modality, accession) in STUDIES.items():
            await opened.put(
                header(
                    study=number,
                    patient=PatientKey(issuer, patient),
                    demographics=Demographics(name, "1970010" + str(number), "F"),
                    study_date=date,
                    modality=modality,
                    accession_number=accession,
                ),
                b"%d" % number,
            )
        await opened.indexed()
        yield opened


QUERIES: list[tuple[StudyQuery, set[int]]] = [
    (StudyQuery(), {1, 2, 3, 4}),
    (StudyQuery(patient_id="100"), {1, 3}),
    (StudyQuery(patient_id="100", issuer="B"), {3}),
    (StudyQuery(issuer=""), set()),
    (StudyQuery(patient_id="10*"), {1, 2, 3}),
    (StudyQuery(patient_id="10?"), {1, 2, 3}),
    (StudyQuery(patient_id="?0?0"), {4}),
    (StudyQuery(patient_id="*"), {1, 2, 3, 4}),
    (StudyQuery(patient_name="muller^anne"), {1, 2}),
    (StudyQuery(patient_name="MÜLLER^ÄNNE"), {1, 2}),
    (StudyQuery(patient_name="mül*"), {1, 2}),
    (StudyQuery(patient_name="*anne*"), {1, 2}),
    (StudyQuery(patient_name="*名"), {2}),
    (StudyQuery(patient_name="o'neill*"), {3}),
    (StudyQuery(patient_name="STRASSE*"), {4}),
    (StudyQuery(patient_name="muller^ann"), set()),
    (StudyQuery(birth_date="19700103"), {3}),
    (StudyQuery(accession_number="ACC[1]"), {1}),
    (StudyQuery(accession_number="ACC[1?"), {1}),
    (StudyQuery(accession_number="ACC[*"), {1}),
    (StudyQuery(accession_number="acc*"), set()),
    (StudyQuery(date_from="20250210"), {2, 4}),
    (StudyQuery(date_to="20250210"), {1, 2}),
    (StudyQuery(date_from="20250111", date_to="20250210"), {2}),
    (StudyQuery(modalities=("CT", "US")), {1, 3, 4}),
    (StudyQuery(study_uids=(study_uid(2), study_uid(9))), {2}),
    (StudyQuery(patients=()), set()),
    (StudyQuery(patients=(PatientKey("A", "100"), PatientKey("B", "20?0"))), {1, 4}),
    (StudyQuery(patients=(PatientKey("A", "100"),), patient_id="101"), set()),
    (StudyQuery(own=False), set()),
    (StudyQuery(description="CT*", study_id="S1"), {1}),
    (StudyQuery(referring_physician="x"), set()),
    (StudyQuery(patient_id="1' OR '1'='1"), set()),
]


async def test_studies(store: ObjectStore) -> None:
    for query, expected in QUERIES:
        found = {study.study_instance_uid for study in await store.studies(query)}
        assert found == {study_uid(number) for number in expected}, query


async def test_newest_first_in_pages(store: ObjectStore) -> None:
    order = [study.study_instance_uid for study in await store.studies()]
    assert order == [study_uid(number) for number in (4, 2, 1, 3)]
    assert [s.study_instance_uid for s in await store.studies(StudyQuery(limit=2))] == order[:2]
    assert [s.study_instance_uid for s in await store.studies(StudyQuery(limit=2, offset=2))] == order[2:]
    assert [s.study_instance_uid for s in await store.studies(StudyQuery(offset=3))] == order[3:]


async def test_series_and_instances(store: ObjectStore) -> None:
    await store.put(header(study=1, series=2, instance=7, modality="SR", series_description="Report"), b"r")
    await store.indexed()
    assert len(await store.series(SeriesQuery())) == 4  # the new one names another patient: put aside
    await store.put(
        header(
            study=1,
            series=3,
            instance=8,
            patient=PatientKey("A", "100"),
            modality="SR",
            series_description="Report",
            body_part="",
        ),
        b"r",
    )
    await store.indexed()
    reports = await store.series(SeriesQuery(modalities=("SR",)))
    assert [(s.description, s.number, s.instances) for s in reports] == [("Report", "3", 1)]
    assert [s.number for s in await store.series(SeriesQuery(number="3"))] == ["3"]
    assert [s.number for s in await store.series(SeriesQuery(description="Rep*", body_part="*"))] == ["3"]
    assert await store.series(SeriesQuery(body_part="HEAD")) == []
    by_number = await store.instances(InstanceQuery(number="8"))
    assert [i.header.modality for i in by_number] == ["SR"]
    assert len(await store.instances(InstanceQuery(sop_class_uids=(header().sop_class_uid,), limit=3))) == 3
    one = header(study=1, instance=8).sop_instance_uid
    assert [i.header.sop_instance_uid for i in await store.instances(InstanceQuery(instance_uids=(one,)))] == [one]


def test_folding() -> None:
    assert fold("MÜLLER") == fold("müller") == fold("Mu\u0308ller")
    assert fold("Straße") == "strasse"
