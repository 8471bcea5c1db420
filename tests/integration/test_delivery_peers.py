"""Deliveries to real receivers: Orthanc, asked what it holds; dcmtk's storescp, which takes only what it is told to."""

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from support.ct import CtStudy
from support.pacs import DeliveringNode, delivering, foreign
from support.peers import orthanc, storescp
from support.sharing_node import sharing_node
from support.zoo import zoo

from node.model.delivery import Converted, Delivery, DeliveryState, Sent
from node.model.ids import PatientKey, StudyInstanceUID
from node.model.instance import Demographics
from node.sharing import delivery_engine
from node.sharing.deliveries import DeliveryOrder

pytestmark = pytest.mark.peers
LOCAL = PatientKey("HERE", "LOCAL-77")
ACTOR = "user:clin"


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DeliveringNode]:
    monkeypatch.setattr(delivery_engine, "FIRST_RETRY_SECONDS", 0.1)
    async with sharing_node("here", tmp_path, engine=False) as node, delivering(node) as made:
        yield made


async def send(node: DeliveringNode, study: str) -> Delivery:
    order = DeliveryOrder(study=StudyInstanceUID(study), pacs="pacs")
    delivery_id = await node.deliveries.order(order, by=ACTOR)
    last = None
    async with asyncio.timeout(60):
        async for view in node.deliveries.follow(delivery_id):
            last = view
    assert last is not None
    return last


def named(*names: str) -> list[bytes]:
    return [path.read_bytes() for path in zoo() if path.name in names]


async def test_orthanc_holds_the_reconciled_study(here: DeliveringNode, tmp_path: Path) -> None:
    study = CtStudy(instances=5)
    files = list(study.files())
    await here.receive(files, foreign())
    said = Demographics("Łęcka^Żaneta", study.birth_date, study.sex)
    await here.links.link(StudyInstanceUID(study.study_uid), LOCAL, said, by=ACTOR, despite_differences=True)
    with orthanc(tmp_path, "pacs") as peer:
        await here.pacs(peer.dicom, title=peer.aet)
        delivery = await send(here, study.study_uid)
        assert (delivery.state, delivery.counts) == (DeliveryState.COMPLETED, {Sent.SENT: 5})
        instances = await asyncio.to_thread(peer.rest, "GET", "/instances")
        tags = await asyncio.to_thread(peer.rest, "GET", f"/instances/{instances[0]}/tags?short")
        raw = [await asyncio.to_thread(_file, peer.url, one) for one in instances]
    assert (tags["0010,0020"], tags["0010,0021"]) == ("LOCAL-77", "HERE")
    assert tags["0010,0010"] == "Łęcka^Żaneta"
    assert tags["0010,1002"][0]["0010,0020"] == study.patient_id
    assert tags["0010,1002"][0]["0010,0021"] == "THERE"
    (original,) = tags["0400,0561"]
    assert original["0400,0550"][0]["0010,0010"] == study.patient_name
    assert original["0400,0565"] == "COERCE"
    pixels = {pydicom.dcmread(BytesIO(f)).SOPInstanceUID: pydicom.dcmread(BytesIO(f)).PixelData for f in files}
    assert {found.SOPInstanceUID: found.PixelData for found in map(pydicom.dcmread, map(BytesIO, raw))} == pixels


def _file(url: str, instance: str) -> bytes:
    import urllib.request  # noqa: PLC0415 - used here only

    with urllib.request.urlopen(f"{url}/instances/{instance}/file", timeout=60) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize(
    "case",
    [
        ("+xe", "JPEG2000.dcm", Converted.LOSSY_DECODED, "1.2.840.10008.1.2.1"),  # explicit VR little endian only
        ("+xi", "MR_small_RLE.dcm", Converted.LOSSLESS, "1.2.840.10008.1.2"),  # implicit only
        ("+xr", "MR_small_RLE.dcm", Converted.NOTHING, "1.2.840.10008.1.2.5"),  # RLE: as it is
        ("+xi", "MR_small_bigendian.dcm", Converted.LOSSLESS, "1.2.840.10008.1.2"),
        ("+xa", "SC_rgb_jpeg_dcmtk.dcm", Converted.NOTHING, ""),
    ],
)
async def test_storescp_takes_what_it_is_told_to(
    here: DeliveringNode, tmp_path: Path, case: tuple[str, str, Converted, str]
) -> None:
    option, name, converted, syntax = case
    (data,) = named(name)[:1]
    await here.receive([data])
    study = str(pydicom.dcmread(BytesIO(data)).StudyInstanceUID)
    with storescp(tmp_path / "scp", "--aetitle", "PACS", option) as port:
        await here.pacs(port)
        delivery = await send(here, study)
        (outcome,) = await here.deliveries.outcomes(delivery.delivery_id)
    assert (outcome.outcome, outcome.converted) == (Sent.SENT, converted), json.dumps(str(outcome.code))
    (path,) = (tmp_path / "scp").iterdir()
    found, before = pydicom.dcmread(path), pydicom.dcmread(BytesIO(data))
    assert found.file_meta.TransferSyntaxUID == (syntax or before.file_meta.TransferSyntaxUID)
    assert found.SOPInstanceUID == before.SOPInstanceUID
    if converted is Converted.NOTHING:
        assert found.PixelData == before.PixelData
    elif converted is Converted.LOSSLESS:
        assert (found.pixel_array == before.pixel_array).all()


async def test_every_kind_of_object_goes(here: DeliveringNode, tmp_path: Path) -> None:
    """Images, a plan, a report, a waveform, a deflated one: to a receiver of everything."""
    names = {"CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm", "image_dfl.dcm"}
    sent = {path.name: path.read_bytes() for path in zoo() if path.name in names}
    await here.receive(list(sent.values()))
    with storescp(tmp_path / "scp", "--aetitle", "PACS", "--accept-all") as port:
        await here.pacs(port)
        for data in sent.values():
            delivery = await send(here, str(pydicom.dcmread(BytesIO(data)).StudyInstanceUID))
            outcomes = await here.deliveries.outcomes(delivery.delivery_id)
            assert delivery.state is DeliveryState.COMPLETED, outcomes
    arrived = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "scp").iterdir()}
    assert arrived == {pydicom.dcmread(BytesIO(data)).SOPInstanceUID for data in sent.values()}
