"""Real DICOMweb programs against a running node: every method of dicomweb-client, and Orthanc's DICOMweb plugin."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pydicom
import pytest
import pytest_asyncio
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.dataset import Dataset
from support.ct import CtStudy, dataset_of
from support.peers import Orthanc, orthanc
from support.running import Running, running
from support.viewer import dataset_of as zoo_dataset

pytestmark = pytest.mark.asyncio(loop_scope="module")
T = TypeVar("T")
STUDY = CtStudy(instances=3, rows=32, seed=61)
OTHER = CtStudy(instances=4, rows=32, seed=62, patient_id="CT-0062")


async def in_thread(work: Callable[..., T], *args: Any, **options: Any) -> T:
    return await asyncio.to_thread(work, *args, **options)


def read(study: CtStudy) -> list[Dataset]:
    return [pydicom.dcmread(io.BytesIO(data)) for data in study.files()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(tmp_path_factory.mktemp("peers") / "node") as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token(node: Running) -> str:
    return await node.token("clinician")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(node: Running, token: str) -> DICOMwebClient:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    client = DICOMwebClient(url=f"{node.api}/dicom-web", session=session, chunk_size=100_000)
    answer = await in_thread(client.store_instances, read(STUDY), STUDY.study_uid)
    assert len(answer.ReferencedSOPSequence) == 3
    return client


async def test_search(client: DICOMwebClient) -> None:
    filters = {"PatientID": STUDY.patient_id}
    (study,) = await in_thread(
        client.search_for_studies, search_filters=filters, fields=["PatientName", "StudyDescription"], limit=5, offset=0
    )
    assert study["00100010"]["Value"] == [{"Alphabetic": STUDY.patient_name}]
    assert await in_thread(client.search_for_studies, fuzzymatching=True, get_remaining=True, limit=1)
    (series,) = await in_thread(client.search_for_series, STUDY.study_uid, search_filters={"Modality": "CT"})
    assert series["0020000E"]["Value"] == [STUDY.series_uid]
    assert await in_thread(client.search_for_series, search_filters=filters)
    assert len(await in_thread(client.search_for_instances, search_filters=filters)) == 3
    assert len(await in_thread(client.search_for_instances, STUDY.study_uid)) == 3
    numbered = {"InstanceNumber": "2"}
    (one,) = await in_thread(client.search_for_instances, STUDY.study_uid, STUDY.series_uid, search_filters=numbered)
    assert one["00080018"]["Value"] == [STUDY.sop_uid(2)]
    assert await in_thread(client.search_for_studies, search_filters={"PatientID": "NOBODY"}) == []


async def test_retrieve(client: DICOMwebClient) -> None:
    place = (STUDY.study_uid, STUDY.series_uid)
    expected = {str(one.SOPInstanceUID): one for one in read(STUDY)}
    for retrieve, names in ((client.retrieve_study, place[:1]), (client.retrieve_series, place)):
        assert {str(one.SOPInstanceUID): one for one in await in_thread(retrieve, *names)} == expected
        explicit = (("application/dicom", "1.2.840.10008.1.2.1"),)
        assert len(await in_thread(retrieve, *names, media_types=explicit)) == 3
    for iterate, names in ((client.iter_study, place[:1]), (client.iter_series, place)):
        assert len(await in_thread(lambda i=iterate, n=names: list(i(*n)))) == 3
    one = await in_thread(client.retrieve_instance, *place, STUDY.sop_uid(2))
    assert one == expected[STUDY.sop_uid(2)]
    for metadata, names in ((client.retrieve_study_metadata, place[:1]), (client.retrieve_series_metadata, place)):
        assert len(await in_thread(metadata, *names)) == 3
    metadata = await in_thread(client.retrieve_instance_metadata, *place, STUDY.sop_uid(1))
    (pixels,) = await in_thread(client.retrieve_bulkdata, metadata["7FE00010"]["BulkDataURI"])
    assert pixels == expected[STUDY.sop_uid(1)].PixelData
    (part,) = await in_thread(client.retrieve_bulkdata, metadata["7FE00010"]["BulkDataURI"], byte_range=(10, 19))
    assert part == pixels[10:20]
    assert list(await in_thread(lambda: list(client.iter_bulkdata(metadata["7FE00010"]["BulkDataURI"])))) == [pixels]


async def test_frames_and_pictures(client: DICOMwebClient) -> None:
    image = zoo_dataset("emri_small.dcm")
    await in_thread(client.store_instances, [image])
    place = (image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID)
    size = image.Rows * image.Columns * 2
    expected = [image.PixelData[n * size : (n + 1) * size] for n in (0, 4)]
    assert await in_thread(client.retrieve_instance_frames, *place, [1, 5]) == expected
    assert list(await in_thread(lambda: list(client.iter_instance_frames(*place, [1, 5])))) == expected
    picture = await in_thread(client.retrieve_instance_frames_rendered, *place, [3], media_types=("image/png",))
    assert Image.open(io.BytesIO(picture)).size == (image.Columns, image.Rows)
    picture = await in_thread(client.retrieve_instance_rendered, *place, media_types=("image/jpeg",))
    assert Image.open(io.BytesIO(picture)).size == (image.Columns, image.Rows)


async def test_nothing_is_deleted_over_the_web(client: DICOMwebClient) -> None:
    with pytest.raises(requests.HTTPError, match="405"):
        await in_thread(client.delete_study, STUDY.study_uid)


@pytest.mark.peers
async def test_orthanc_sends_searches_and_retrieves(node: Running, token: str, tmp_path: Path) -> None:
    """Its DICOMweb plugin as client: STOW-RS of a study, QIDO-RS, and WADO-RS of another one back into Orthanc."""
    server = {"Url": f"{node.api}/dicom-web/", "HttpHeaders": {"Authorization": f"Bearer {token}"}}
    settings = {"DicomWeb": {"Enable": True, "Servers": {"leveret": server}}}

    def exchange(peer: Orthanc) -> tuple[Any, list[bytes]]:
        for data in OTHER.files():
            peer.rest("POST", "/instances", data)
        (study,) = peer.rest("GET", "/studies")
        peer.rest("POST", "/dicom-web/servers/leveret/stow", {"Resources": [study], "Synchronous": True})
        uri = {"Uri": "/studies", "Arguments": {"PatientID": OTHER.patient_id}}
        found = peer.rest("POST", "/dicom-web/servers/leveret/qido", uri)
        peer.rest("DELETE", f"/studies/{study}")
        wanted = {"Resources": [{"Study": OTHER.study_uid}], "Synchronous": True}
        peer.rest("POST", "/dicom-web/servers/leveret/retrieve", wanted)
        return found, [peer.file(instance) for instance in peer.rest("GET", "/instances")]

    def run() -> tuple[Any, list[bytes]]:
        with orthanc(tmp_path, "web", **settings) as peer:
            return exchange(peer)

    found, back = await in_thread(run)
    assert [one["0020000D"]["Value"] for one in found] == [OTHER.study_uid]
    assert {dataset_of(data) for data in back} == {dataset_of(data) for data in OTHER.files()}
    events = (await node.done("GET", "/audit?types=study_read"))["events"]
    assert any(event["study_instance_uid"] == OTHER.study_uid for event in events)
