"""C-MOVE and C-GET before dcmtk's programs and pynetdicom: what arrives, what is counted, what is refused."""

import asyncio
import re
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from support.ct import CtStudy, dataset_of
from support.dimse import DimseNode, call, dimse_node
from support.pacs import foreign, scripted_pacs
from support.peers import free_port, storescp
from support.zoo import zoo

from node.model.delivery import StudyLink
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics
from node.store import links

pytestmark = pytest.mark.peers

STUDY_GET, PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.1.2"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
STUDY = CtStudy(instances=4, rows=32, seed=21, patient_id="P1")
OTHER = CtStudy(instances=1, rows=32, seed=22, patient_id="P1")
FOREIGN = CtStudy(instances=2, rows=32, seed=23, patient_id="F9", patient_name="Muller^Anne")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DimseNode]:
    async with dimse_node(tmp_path) as made:
        await made.take(*STUDY.files(), *OTHER.files())
        for data in FOREIGN.files():
            await made.receive(data, foreign())
        await made.know("VIEWER")
        yield made


async def movescu(node: DimseNode, destination: str, *keys: str, options: tuple[str, ...] = ("-S",)) -> tuple[int, str]:
    wanted = [part for key in keys for part in ("-k", key)]
    titles = ("-aet", "VIEWER", "-aec", "LEVERET", "-aem", destination)
    return await call("movescu", "-d", *titles, *options, *wanted, "127.0.0.1", node.port)


def final(said: str) -> dict[str, int]:
    """The numbers of sub-operations in the last answer that movescu shows."""
    last = said.rsplit("Message Type", 1)[-1]
    found = re.findall(r"(Remaining|Completed|Failed|Warning) Suboperations\s*: (\d+)", last)
    return {name: int(number) for name, number in found}


async def test_movescu_sends_a_study_to_a_third_system(node: DimseNode, tmp_path: Path) -> None:
    with storescp(tmp_path / "archive", "-aet", "ARCHIVE") as port:
        await node.know("ARCHIVE", port)
        keys = ("QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY.study_uid}")
        status, said = await movescu(node, "ARCHIVE", *keys)
        assert status == 0, said
    received = {str(dcmread(path).SOPInstanceUID): path for path in (tmp_path / "archive").iterdir()}
    assert set(received) == {STUDY.sop_uid(number) for number in range(1, 5)}
    for number, data in enumerate(STUDY.files(), 1):
        assert dcmread(received[STUDY.sop_uid(number)]).PixelData == dcmread_bytes(data).PixelData
    (event,) = await node.events("study_retrieved")
    assert event["actor"] == "ae:VIEWER"
    assert event["detail"] == {"service": "c-move", "to": "archive", "instances": 4, "address": "127.0.0.1"}
    assert STUDY.study_uid not in node.logged.getvalue()


def dcmread_bytes(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))


def _move(port: int, keys: dict[str, Any], destination: str, root: str, cancel_after: int) -> list[Dataset]:
    ae = AE(ae_title="VIEWER")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    ae.add_requested_context(root)
    association = ae.associate("127.0.0.1", port, ae_title="LEVERET")
    assert association.is_established
    query = Dataset()
    for name, value in keys.items():
        setattr(query, name, value)
    answers = []
    for status, identifier in association.send_c_move(query, destination, root):
        if identifier is not None and "FailedSOPInstanceUIDList" in identifier:
            status.FailedSOPInstanceUIDList = identifier.FailedSOPInstanceUIDList
        answers.append(status)
        if len(answers) == cancel_after:
            association.send_c_cancel(1, query_model=root)
    association.release()
    return answers


STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


async def move(
    node: DimseNode, keys: dict[str, Any], destination: str = "PACS", root: str = STUDY_MOVE, cancel_after: int = 0
) -> list[Dataset]:
    return await asyncio.to_thread(_move, node.port, keys, destination, root, cancel_after)


def counts(answer: Dataset) -> tuple[int | None, int, int, int]:
    return (
        getattr(answer, "NumberOfRemainingSuboperations", None),
        answer.NumberOfCompletedSuboperations,
        answer.NumberOfFailedSuboperations,
        answer.NumberOfWarningSuboperations,
    )


async def test_counters_of_a_move(node: DimseNode) -> None:
    uids = [STUDY.sop_uid(number) for number in range(1, 5)]
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": STUDY.study_uid}
    with scripted_pacs() as pacs:
        await node.know("PACS", pacs.port)
        answers = await move(node, keys)
        assert [one.Status for one in answers] == [0xFF00] * (len(answers) - 1) + [0]
        assert counts(answers[-1]) == (None, 4, 0, 0)
        pending = [counts(one) for one in answers[:-1]]
        assert all(remaining and remaining + done == 4 for remaining, done, _, _ in pending)
        assert pacs.order == uids
        pacs.statuses = {uids[1]: [0xC000], uids[2]: [0xB000]}
        last = (await move(node, keys))[-1]
        assert (last.Status, counts(last)) == (0xB000, (None, 2, 1, 1))
        assert last.FailedSOPInstanceUIDList == uids[1]
        pacs.statuses = {uid: [0xC000] for uid in uids}
        last = (await move(node, keys))[-1]
        assert (last.Status, counts(last)) == (0xA702, (None, 0, 4, 0))
        assert sorted(last.FailedSOPInstanceUIDList) == sorted(uids)
        pacs.abort_at = len(pacs.order) + 2
        last = (await move(node, keys))[-1]
        assert (last.Status, counts(last)) == (0xB000, (None, 1, 3, 0))
        await node.directory.remove("pacs", "user:op")
        await node.know("PACS", free_port())  # nobody there
        last = (await move(node, keys))[-1]
        assert (last.Status, counts(last)) == (0xA702, (None, 0, 4, 0))


async def test_a_move_says_on_whose_behalf(node: DimseNode) -> None:
    told = []

    def take(event: Any) -> int:
        told.append((event.request.MoveOriginatorApplicationEntityTitle, event.request.MoveOriginatorMessageID))
        return 0

    ae = AE("PACS")
    ae.add_supported_context(CT, EXPLICIT)
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    assert server is not None
    try:
        await node.know("PACS", port)
        keys = {
            "QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": STUDY.study_uid, "SeriesInstanceUID": STUDY.series_uid,
            "SOPInstanceUID": [STUDY.sop_uid(1), STUDY.sop_uid(3)],
        }  # fmt: skip
        assert (await move(node, keys))[-1].Status == 0
    finally:
        server.shutdown()
    assert told == [("VIEWER", 1)] * 2


async def test_cancel_ends_a_move(node: DimseNode) -> None:
    with scripted_pacs() as pacs:
        await node.know("PACS", pacs.port)
        pacs.gate.clear()

        def later() -> None:
            pacs.gate.set()

        loop = asyncio.get_running_loop()
        loop.call_later(0.5, later)
        keys = {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}
        answers = await move(node, keys, root=PATIENT_MOVE, cancel_after=1)
        last = answers[-1]
        if last.Status == 0xFE00:
            remaining, done, failed, _ = counts(last)
            assert (remaining or 0) + done == 5
            assert failed == 0
        else:  # the last instance was on its way when the cancel came
            assert last.Status == 0


async def test_a_caller_that_waits_for_a_slow_destination_is_not_taken_for_silent(tmp_path: Path) -> None:
    async with dimse_node(tmp_path, network_timeout=1.0) as node:
        await node.take(*OTHER.files())
        await node.know("VIEWER")
        with scripted_pacs() as pacs:
            await node.know("PACS", pacs.port)
            pacs.gate.clear()
            asyncio.get_running_loop().call_later(2.5, pacs.gate.set)
            answers = await move(node, {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": OTHER.study_uid})
        assert [one.Status for one in answers] == [0]


async def test_what_is_refused(node: DimseNode) -> None:
    study = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": STUDY.study_uid}
    assert [one.Status for one in await move(node, study, "NOWHERE")] == [0xA801]
    with scripted_pacs() as pacs:
        await node.know("PACS", pacs.port)
        for keys, root, status in (
            ({"QueryRetrieveLevel": "STUDY"}, STUDY_MOVE, 0xA900),
            ({"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": STUDY.series_uid}, STUDY_MOVE, 0xA900),
            ({"QueryRetrieveLevel": "PATIENT", "PatientID": "P*"}, PATIENT_MOVE, 0xA900),
            ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3"}, STUDY_MOVE, 0),
            ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": FOREIGN.study_uid}, STUDY_MOVE, 0),
        ):
            answers = await move(node, keys, root=root)
            assert [one.Status for one in answers] == [status], keys
        assert not pacs.order


async def test_one_patient_id_of_two_issuers_is_nobody_until_one_is_named(node: DimseNode) -> None:
    namesake = next(iter(CtStudy(instances=1, rows=16, seed=29, patient_id="P1").files()))
    dataset = dcmread_bytes(namesake)
    dataset.IssuerOfPatientID = "ELSEWHERE"
    out = BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    await node.take(out.getvalue())
    with scripted_pacs() as pacs:
        await node.know("PACS", pacs.port)
        keys = {"QueryRetrieveLevel": "PATIENT", "PatientID": "P1"}
        assert [one.Status for one in await move(node, keys, root=PATIENT_MOVE)] == [0xA900]
        answers = await move(node, {**keys, "IssuerOfPatientID": "ELSEWHERE"}, root=PATIENT_MOVE)
        assert answers[-1].Status == 0
        assert len(pacs.order) == 1


async def test_a_linked_study_leaves_under_its_local_patient(node: DimseNode) -> None:
    link = StudyLink(StudyInstanceUID(FOREIGN.study_uid), PatientKey("HERE", "P1"), Demographics(), 1, "user:op")
    async with node.db.write() as tx:
        await links.add(tx, link)
    with scripted_pacs() as pacs:
        await node.know("PACS", pacs.port)
        keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": FOREIGN.study_uid}
        answers = await move(node, keys)
        assert (answers[-1].Status, counts(answers[-1])) == (0, (None, 2, 0, 0))
        sent = pacs.dataset(FOREIGN.sop_uid(1))
    assert (sent.PatientID, sent.IssuerOfPatientID) == ("P1", "HERE")
    assert sent.OriginalAttributesSequence
    assert [one.PatientID for one in sent.OtherPatientIDsSequence] == ["F9"]
    (event,) = await node.events("study_retrieved")
    assert "P1" in str(event["patient"])


async def test_getscu_brings_a_series(node: DimseNode, tmp_path: Path) -> None:
    folder = tmp_path / "got"
    folder.mkdir()
    status, said = await call(
        "getscu", "-v", "-S", "-aet", "VIEWER", "-aec", "LEVERET", "-od", folder, "-k", "QueryRetrieveLevel=SERIES",
        "-k", f"StudyInstanceUID={STUDY.study_uid}", "-k", f"SeriesInstanceUID={STUDY.series_uid}",
        "127.0.0.1", node.port,
    )  # fmt: skip
    assert status == 0, said
    received = {str(dcmread(path).SOPInstanceUID): path for path in folder.iterdir()}
    assert set(received) == {STUDY.sop_uid(number) for number in range(1, 5)}
    for number, data in enumerate(STUDY.files(), 1):
        assert dataset_of(received[STUDY.sop_uid(number)].read_bytes())[-1000:] == dataset_of(data)[-1000:]


def _get(
    port: int, keys: dict[str, Any], contexts: list[tuple[str, str]], status: int
) -> tuple[list[Dataset], list[str]]:
    kept: list[str] = []

    def take(event: Any) -> int:
        kept.append(str(event.request.AffectedSOPInstanceUID))
        return status

    ae = AE(ae_title="VIEWER")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    ae.add_requested_context(STUDY_GET)
    for abstract, syntax in contexts:
        ae.add_requested_context(abstract, syntax)
    roles = [build_role(abstract, scp_role=True) for abstract, _ in contexts]
    association = ae.associate(
        "127.0.0.1", port, ae_title="LEVERET", ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, take)]
    )
    assert association.is_established
    query = Dataset()
    for name, value in keys.items():
        setattr(query, name, value)
    answers = [one for one, _ in association.send_c_get(query, STUDY_GET)]
    association.release()
    return answers, kept


async def test_counters_of_a_get(node: DimseNode) -> None:
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": STUDY.study_uid}
    answers, kept = await asyncio.to_thread(_get, node.port, keys, [(CT, EXPLICIT)], 0)
    assert kept == [STUDY.sop_uid(number) for number in range(1, 5)]
    assert [one.Status for one in answers] == [0xFF00] * 3 + [0]
    assert [counts(one) for one in answers] == [(3, 1, 0, 0), (2, 2, 0, 0), (1, 3, 0, 0), (None, 4, 0, 0)]
    answers, kept = await asyncio.to_thread(_get, node.port, keys, [(CT, EXPLICIT)], 0xC000)
    assert (answers[-1].Status, counts(answers[-1])) == (0xA702, (None, 0, 4, 0))
    answers, kept = await asyncio.to_thread(_get, node.port, keys, [("1.2.840.10008.5.1.4.1.1.4", EXPLICIT)], 0)
    assert (answers[-1].Status, counts(answers[-1]), kept) == (0xA702, (None, 0, 4, 0), [])
    foreign_keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": FOREIGN.study_uid}
    answers, kept = await asyncio.to_thread(_get, node.port, foreign_keys, [(CT, EXPLICIT)], 0)
    assert ([one.Status for one in answers], kept) == ([0], [])


async def test_compressed_images_are_decompressed_for_who_takes_no_others(node: DimseNode) -> None:
    (path,) = [path for path in zoo() if path.name == "MR_small_RLE.dcm"]
    await node.take(path.read_bytes())
    told = dcmread(path)
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": str(told.StudyInstanceUID)}
    answers, kept = await asyncio.to_thread(_get, node.port, keys, [(str(told.SOPClassUID), EXPLICIT)], 0)
    assert (answers[-1].Status, kept) == (0, [str(told.SOPInstanceUID)])
