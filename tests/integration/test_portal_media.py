"""The media set that patients download: valid for dcmtk, imported by Orthanc and by another node."""

import asyncio
import io
import subprocess
import zipfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from support.ct import CtStudy, dataset_of
from support.peers import orthanc
from support.portal import browser
from support.running import Running, running
from support.viewer import dataset_of as zoo_dataset
from support.viewer import pdf

from node.dicom.sources import SourceFile, find_sources

CT = CtStudy(instances=4, patient_id="ANA-1", patient_name="García^Ana", birth_date="19640327", rows=64, seed=11)


def files() -> list[bytes]:
    """A CT, its reports, and one image in implicit encoding, all of one study."""
    found = list(CT.files())
    implicit = pydicom.dcmread(io.BytesIO(found.pop()))
    others = [pdf(), zoo_dataset("test-SR.dcm")]
    for number, one in enumerate([implicit, *others]):
        for tag in [tag for tag in one.keys() if tag.group == 0]:  # noqa: SIM118 - a dataset iterates over elements
            del one[tag]
        one.SpecificCharacterSet, one.StudyInstanceUID = "ISO_IR 192", CT.study_uid
        one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "ANA-1", "García^Ana", "19640327", "F"
        one.StudyDate, one.StudyTime, one.AccessionNumber, one.StudyID = CT.study_date, "101500", "ACC11", "1"
        if number:
            one.SeriesInstanceUID = generate_uid(entropy_srcs=["report", str(number)])
            one.SOPInstanceUID = generate_uid(entropy_srcs=["document", str(number)])
            one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        out = io.BytesIO()
        if not number:
            one.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        pydicom.dcmwrite(out, one, enforce_file_format=True)
        found.append(out.getvalue())
    return found


@pytest.fixture
async def north(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north") as node:
        await take(node, files())
        yield node


async def take(node: Running, all_files: list[bytes]) -> None:
    run = (await node.done("POST", "/imports"))["import_id"]
    headers = {"Content-Type": "application/octet-stream"}
    for file in all_files:
        await node.done("POST", f"/imports/{run}/files", data=io.BytesIO(file), headers=headers)
    await node.done("POST", f"/imports/{run}/end")


async def downloaded(node: Running) -> tuple[int | None, bytes]:
    """What the patient gets, and the length that was said before."""
    async with AsyncExitStack() as stack:
        ana = browser(node)
        await stack.enter_async_context(ana.session)
        letter = await node.done("POST", "/portal/invitations", json={"patient_id": "ANA-1"})
        await ana.enrol(letter)
        async with ana.session.get(ana.api + "/portal/images.zip") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Disposition"] == 'attachment; filename="images.zip"'
            return answer.content_length, await answer.read()


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def unpacked(data: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder


@pytest.mark.peers
async def test_others_import_it(north: Running, tmp_path: Path) -> None:
    _, data = await downloaded(north)
    await asyncio.to_thread(check_with_dcmtk, data, tmp_path)
    await asyncio.to_thread(check_with_orthanc, data, tmp_path)
    await asyncio.to_thread(check_contents, data)


def check_with_dcmtk(data: bytes, folder: Path) -> None:
    medium = unpacked(data, folder / "medium")
    assert sorted(path.name for path in medium.iterdir()) == ["DICOM", "DICOMDIR", "README.TXT"]
    shown = run("dcmdump", "-q", str(medium / "DICOMDIR"))
    for kind, count in (("PATIENT", 1), ("STUDY", 1), ("IMAGE", 4), ("SR DOCUMENT", 1), ("ENCAP DOC", 1)):
        assert shown.count(f'"Directory Record" {kind} ') == count, kind
    # dcmtk's own tool reads ours, checks every file against it, and finds nothing to add.
    run("dcmmkdir", "+r", "+id", str(medium), "+A", "+D", str(medium / "DICOMDIR"), "DICOM")
    again = run("dcmdump", "-q", str(medium / "DICOMDIR"))
    assert again.count("Directory Record") == shown.count("Directory Record")


def check_with_orthanc(data: bytes, folder: Path) -> None:
    with orthanc(folder, "PACS") as pacs:
        pacs.rest("POST", "/instances", data)
        assert len(pacs.rest("GET", "/instances")) == 6
        (study,) = pacs.rest("GET", "/studies")
        tags = pacs.rest("GET", f"/studies/{study}")
        assert tags["MainDicomTags"]["StudyInstanceUID"] == CT.study_uid
        assert tags["PatientMainDicomTags"]["PatientName"] == "García^Ana"


def check_contents(data: bytes) -> None:
    """Images are what was stored, byte for byte; what was implicit is explicit now."""
    kept = {pydicom.dcmread(io.BytesIO(one)).SOPInstanceUID: one for one in files()[:4]}
    same, converted = 0, 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        readme = archive.read("README.TXT").decode("utf-8-sig")
        for name in archive.namelist():
            if not name.startswith("DICOM/"):
                continue
            body = archive.read(name)
            assert body[:128] == bytes(128), "no preamble that could be a program"
            found = pydicom.dcmread(io.BytesIO(body))
            if found.SOPInstanceUID not in kept:
                continue
            original = kept[found.SOPInstanceUID]
            if dataset_of(original) == dataset_of(body):
                same += 1
                continue
            converted += 1
            assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
            assert found.PixelData == pydicom.dcmread(io.BytesIO(original)).PixelData
    assert (same, converted) == (3, 1)
    assert "CT scan of the chest, 15 January 2025" in readme
    assert "Tomografía (TC) del tórax, 15 de enero de 2025" in readme
    assert "García" not in readme


async def test_another_node_imports_it_and_the_length_was_right(tmp_path: Path) -> None:
    async with running(tmp_path / "north") as north, running(tmp_path / "south") as south:
        await take(north, list(CT.files()))
        length, data = await downloaded(north)
        assert length == len(data), "a phone shows how far the download is"
        path = tmp_path / "images.zip"
        await asyncio.to_thread(path.write_bytes, data)
        sources = await asyncio.to_thread(lambda: list(find_sources([path])))
        assert all(isinstance(one, SourceFile) for one in sources)
        bodies = [await asyncio.to_thread(one.read) for one in sources if isinstance(one, SourceFile)]
        await take(south, bodies)
        (study,) = (await south.done("GET", "/studies"))["studies"]
        assert (study["study_instance_uid"], study["instances"]) == (CT.study_uid, 4)
