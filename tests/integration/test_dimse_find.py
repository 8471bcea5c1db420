"""C-FIND before dcmtk's findscu and pynetdicom: levels, matching, character sets, statuses, who may ask."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from support.ct import CtStudy
from support.dimse import DimseNode, call, dimse_node, findscu
from support.pacs import foreign

from node.errors.dimse import QueryTooLarge
from node.model.delivery import StudyLink
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics
from node.sharing import find as find_module
from node.store import links

pytestmark = pytest.mark.peers

PATIENT_ROOT, STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.5.1.4.1.2.2.1"
ANNE = CtStudy(instances=3, rows=16, seed=11, patient_id="P1", patient_name="Müller^Änne=漢字^名")
BORIS = CtStudy(
    instances=1, rows=16, seed=12, patient_id="P2", patient_name="Petrov^Boris", sex="M", study_date="20240301"
)
ANNE_AGAIN = CtStudy(instances=1, rows=16, seed=13, patient_id="P1", patient_name="Müller^Änne=漢字^名")
FOREIGN = CtStudy(instances=1, rows=16, seed=14, patient_id="F9", patient_name="Muller^Anne")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DimseNode]:
    async with dimse_node(tmp_path) as made:
        await made.take(*ANNE.files(), *BORIS.files(), *ANNE_AGAIN.files())
        for data in FOREIGN.files():
            await made.receive(data, foreign())
        await made.know("VIEWER")
        yield made


def studies(said: str) -> set[str]:
    return set(re.findall(r"\(0020,000d\) UI \[([0-9.]+)\]", said)) | set()


async def ask(
    node: DimseNode, keys: dict[str, Any], *, root: str = STUDY_ROOT, relational: bool = False, cancel_after: int = 0
) -> tuple[list[int], list[Dataset]]:
    """Statuses and identifiers of the answers to pynetdicom."""
    negotiated = b"\1\0\0\0" if relational else b""
    return await asyncio.to_thread(_ask, node.port, keys, root, negotiated, cancel_after)


def _ask(
    port: int, keys: dict[str, Any], root: str, negotiated: bytes, cancel_after: int
) -> tuple[list[int], list[Dataset]]:
    ae = AE(ae_title="VIEWER")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    ae.add_requested_context(root)
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = root, negotiated
    association = ae.associate("127.0.0.1", port, ae_title="LEVERET", ext_neg=[extended] if negotiated else [])
    assert association.is_established
    query = Dataset()
    with disable_value_validation():
        for name, value in keys.items():
            setattr(query, name, value)
    statuses, found = [], []
    for number, (status, identifier) in enumerate(association.send_c_find(query, root), 1):
        statuses.append(int(status.Status))
        if identifier is not None:
            found.append(identifier)
        if number == cancel_after:
            association.send_c_cancel(1, query_model=root)
    association.release()
    return statuses, found


async def test_findscu_at_the_study_level(node: DimseNode) -> None:
    status, said = await findscu(
        node, "-S",
        keys=["QueryRetrieveLevel=STUDY", "PatientName=MUELLER*", "StudyInstanceUID", "ModalitiesInStudy"],
    )  # fmt: skip
    assert (status, studies(said)) == (0, set()), said
    status, said = await findscu(
        node, "-S",
        keys=["QueryRetrieveLevel=STUDY", "PatientName=mull*", "StudyInstanceUID", "ModalitiesInStudy=CT\\MR",
              "NumberOfStudyRelatedInstances"],
    )  # fmt: skip
    assert status == 0
    assert studies(said) == {ANNE.study_uid, ANNE_AGAIN.study_uid}
    assert "Müller^Änne=漢字^名" in said
    assert "ISO_IR 192" in said
    assert re.search(r"\(0020,1208\) IS \[3 ?\]", said)
    assert re.search(r"\(0008,0054\) AE \[LEVERET ?\]", said)
    assert re.search(r"\(0008,0056\) CS \[ONLINE\]", said)


MATCHING: list[tuple[str, Any, list[CtStudy]]] = [
    ("PatientID", "P2", [BORIS]),
    ("PatientID", "P?", [ANNE, BORIS, ANNE_AGAIN]),
    ("PatientName", "*boris*", [BORIS]),
    ("PatientName", "*名", [ANNE, ANNE_AGAIN]),
    ("PatientSex", "M", [BORIS]),
    ("StudyDate", "20240301", [BORIS]),
    ("StudyDate", "20240201-20240301", [BORIS]),
    ("StudyDate", "20240302-", [ANNE, ANNE_AGAIN]),
    ("StudyDate", "-19000101", []),
    ("StudyTime", "1000-1100", [ANNE, BORIS, ANNE_AGAIN]),
    ("AccessionNumber", "ACC1[1]", []),
    ("AccessionNumber", "ACC11", [ANNE]),
    ("StudyInstanceUID", [ANNE.study_uid, BORIS.study_uid], [ANNE, BORIS]),
    ("ModalitiesInStudy", "US", []),
    ("ModalitiesInStudy", ["US", "CT"], [ANNE, BORIS, ANNE_AGAIN]),
    ("PatientName", "", [ANNE, BORIS, ANNE_AGAIN]),
    ("PatientName", "*", [ANNE, BORIS, ANNE_AGAIN]),
]


async def test_matching(node: DimseNode) -> None:
    for key, value, expected in MATCHING:
        keys = {
            "SpecificCharacterSet": "ISO_IR 192", "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", key: value,
        }  # fmt: skip
        statuses, found = await ask(node, keys)
        assert statuses == [0xFF00] * len(expected) + [0], (key, value)
        assert {str(one.StudyInstanceUID) for one in found} == {study.study_uid for study in expected}, (key, value)


async def test_a_query_in_another_character_set(node: DimseNode) -> None:
    keys = {"SpecificCharacterSet": "ISO_IR 100", "QueryRetrieveLevel": "STUDY", "PatientName": "Müller^Ä*"}
    _, found = await ask(node, keys)
    assert {str(one.PatientName) for one in found} == {"Müller^Änne=漢字^名"}
    assert {one.SpecificCharacterSet for one in found} == {"ISO_IR 192"}


async def test_every_level(node: DimseNode) -> None:
    statuses, found = await ask(
        node,
        {"QueryRetrieveLevel": "PATIENT", "PatientID": "", "PatientName": "", "PatientSex": "",
         "NumberOfPatientRelatedStudies": "", "NumberOfPatientRelatedInstances": ""},
        root=PATIENT_ROOT,
    )  # fmt: skip
    assert statuses == [0xFF00, 0xFF00, 0]
    told = {
        one.PatientID: (one.NumberOfPatientRelatedStudies, one.NumberOfPatientRelatedInstances, one.PatientSex)
        for one in found
    }
    assert told == {"P1": (2, 4, "F"), "P2": (1, 1, "M")}
    upper = {"PatientID": "P1", "StudyInstanceUID": ANNE.study_uid}
    _, found = await ask(
        node,
        {"QueryRetrieveLevel": "SERIES", **upper, "Modality": "CT", "SeriesNumber": "", "SeriesDescription": "A*",
         "NumberOfSeriesRelatedInstances": "", "PatientName": ""},
        root=PATIENT_ROOT,
    )  # fmt: skip
    (series,) = found
    assert (series.SeriesInstanceUID, series.SeriesNumber, series.NumberOfSeriesRelatedInstances) == (
        ANNE.series_uid, 2, 3,
    )  # fmt: skip
    assert (series.PatientID, series.QueryRetrieveLevel) == ("P1", "SERIES")
    keys = {
        "QueryRetrieveLevel": "IMAGE", **upper, "SeriesInstanceUID": ANNE.series_uid, "InstanceNumber": "2",
        "SOPClassUID": "", "Rows": None, "StudyDate": "",
    }  # fmt: skip
    _, found = await ask(node, keys, root=PATIENT_ROOT)
    (image,) = found
    assert (image.SOPInstanceUID, image.Rows, image.StudyDate) == (ANNE.sop_uid(2), 16, ANNE.study_date)


async def test_what_cannot_be_answered_has_a_status(node: DimseNode) -> None:
    for root, keys, status in (
        (STUDY_ROOT, {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}, 0xA900),
        (STUDY_ROOT, {"QueryRetrieveLevel": "MOON", "PatientID": "P1"}, 0xA900),
        (STUDY_ROOT, {"PatientID": "P1"}, 0xA900),
        (STUDY_ROOT, {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": ""}, 0xA900),
        (PATIENT_ROOT, {"QueryRetrieveLevel": "STUDY", "PatientID": "P*"}, 0xA900),
        (STUDY_ROOT, {"QueryRetrieveLevel": "STUDY", "StudyDate": "202413"}, 0xC000),
    ):
        assert await ask(node, keys, root=root) == ([status], []), keys


async def test_relational_queries_where_they_were_negotiated(node: DimseNode) -> None:
    statuses, found = await ask(node, {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": ""}, relational=True)
    assert statuses == [0xFF00] * 3 + [0]
    assert all(one.StudyInstanceUID for one in found)


async def test_keys_that_are_not_known_are_left_out_with_a_warning(node: DimseNode) -> None:
    keys = {"QueryRetrieveLevel": "STUDY", "PatientID": "P2", "PatientComments": "x", "InstitutionName": ""}
    statuses, found = await ask(node, keys)
    assert statuses == [0xFF01, 0]
    assert "InstitutionName" not in found[0]


async def test_cancel(node: DimseNode, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses, _ = await ask(node, {"QueryRetrieveLevel": "STUDY", "PatientID": ""}, cancel_after=1)
    assert statuses[-1] in (0xFE00, 0)  # all may be on the way already
    monkeypatch.setattr(find_module, "MAX_MATCHES", 2)
    assert await ask(node, {"QueryRetrieveLevel": "STUDY", "PatientID": ""}) == ([0xA700], [])
    assert QueryTooLarge.status == 503


async def test_who_may_ask(node: DimseNode) -> None:
    keys = ["QueryRetrieveLevel=STUDY", "PatientID"]
    status, said = await findscu(node, "-S", keys=keys, title="STRANGER")
    assert status != 0
    assert "No Acceptable Presentation Contexts" in said or "No presentation context" in said, said
    status, said = await call("echoscu", "-aet", "STRANGER", "-aec", "LEVERET", "127.0.0.1", node.port)
    assert status == 0, said
    await node.know("ELSEWHERE", host="192.0.2.7")
    status, _ = await findscu(node, "-S", keys=keys, title="ELSEWHERE")
    assert status != 0
    await node.know("NAMED", host="localhost")
    await node.know("CLUSTER", host="192.0.2.8", calls_from=("127.0.0.0/8",))
    for title in ("NAMED", "CLUSTER"):
        status, said = await findscu(node, "-S", keys=keys, title=title)
        assert status == 0, said
    await node.directory.remove("viewer", "user:op")
    status, _ = await findscu(node, "-S", keys=keys)
    assert status != 0


async def test_received_studies_are_found_once_they_are_linked(node: DimseNode) -> None:
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": FOREIGN.study_uid, "PatientID": "", "PatientName": ""}
    assert await ask(node, keys) == ([0], [])
    link = StudyLink(StudyInstanceUID(FOREIGN.study_uid), PatientKey("HERE", "P1"), Demographics(), 1, "user:op")
    async with node.db.write() as tx:
        await links.add(tx, link)
    statuses, (found,) = await ask(node, keys)
    assert statuses == [0xFF00, 0]
    assert (found.PatientID, str(found.PatientName)) == ("P1", "Müller^Änne=漢字^名")
    _, found_of_patient = await ask(node, {"QueryRetrieveLevel": "STUDY", "PatientID": "P1", "StudyInstanceUID": ""})
    assert len(found_of_patient) == 3
    assert (await ask(node, {"QueryRetrieveLevel": "STUDY", "PatientID": "F9", "StudyInstanceUID": ""}))[1] == []
    _, patients = await ask(
        node, {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1", "NumberOfPatientRelatedStudies": ""},
        root=PATIENT_ROOT,
    )  # fmt: skip
    assert [one.NumberOfPatientRelatedStudies for one in patients] == [3]


async def test_queries_are_on_record_and_say_nothing_in_the_log(node: DimseNode) -> None:
    await ask(node, {"QueryRetrieveLevel": "STUDY", "PatientID": "P1"})
    (event,) = await node.events("studies_searched")
    assert (event["actor"], event["detail"]["found"], event["detail"]["level"]) == ("ae:VIEWER", 2, "study")  # type: ignore[index]
    assert "P1" not in node.logged.getvalue()
