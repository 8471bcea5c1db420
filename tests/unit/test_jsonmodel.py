from dataclasses import replace

import pydicom
from support.datasets import EXPLICIT, identity
from support.zoo import MemorySource

from node.dicom.jsonmodel import DicomJson, instance_result, series_result, study_result
from node.dicom.scan import header_of, scan
from node.model.ids import Digest, ObjectId, PatientKey, SeriesInstanceUID, StudyInstanceUID
from node.model.instance import Demographics, SeriesSummary, StoredInstance, StudySummary

BASE = "http://node/dicom-web"
STUDY = StudySummary(
    study_instance_uid=StudyInstanceUID("1.2.3"),
    patient=PatientKey("ISSUER", "P1"),
    demographics=Demographics("Wang^XiaoDong=王^小東", "19700101", "M"),
    date="20250115", time="", accession_number="A1", study_id="", description="Thorax",
    referring_physician="", modalities=("CT", "SR"), body_parts=(), series=2, instances=20, size=1, revision=1,
    revision_open=False, origin=None, has_report=True,
)  # fmt: skip
SERIES = SeriesSummary(
    StudyInstanceUID("1.2.3"), SeriesInstanceUID("1.2.3.1"), "CT", "2", "Axial", "CHEST", "20250115", "", 20
)


def read(result: DicomJson) -> pydicom.Dataset:
    """As a DICOMweb client reads it."""
    return pydicom.Dataset.from_json(result)


def test_a_study() -> None:
    result = study_result(STUDY, BASE)
    dataset = read(result)
    assert list(dataset.ModalitiesInStudy) == ["CT", "SR"]
    assert dataset.PatientName.ideographic == "王^小東"
    assert dataset.RetrieveURL == "http://node/dicom-web/studies/1.2.3"
    assert (dataset.NumberOfStudyRelatedSeries, dataset.NumberOfStudyRelatedInstances) == (2, 20)
    assert result["00080030"] == {"vr": "TM"}
    assert result["00080005"]["Value"] == ["ISO_IR 192"]


def test_a_study_always_has_a_modality() -> None:
    assert study_result(replace(STUDY, modalities=()), BASE)["00080061"]["Value"] == ["OT"]


def test_a_series() -> None:
    dataset = read(series_result(SERIES, BASE))
    assert (dataset.SeriesNumber, dataset.Modality, dataset.NumberOfSeriesRelatedInstances) == (2, "CT", 20)
    assert series_result(replace(SERIES, number="2A"), BASE)["00200011"] == {"vr": "IS"}
    assert series_result(replace(SERIES, modality=""), BASE)["00080060"] == {"vr": "CS", "Value": ["OT"]}


def test_an_instance() -> None:
    header = replace(header_of(scan(MemorySource(identity()), EXPLICIT), EXPLICIT), instance_number="-3")
    stored = StoredInstance(header, ObjectId.new(), Digest(bytes(32)), 10, b"")
    result = instance_result(stored, BASE)
    dataset = read(result)
    assert dataset.InstanceNumber == -3
    assert dataset.AvailableTransferSyntaxUID == EXPLICIT
    assert "00280010" not in result
    pixels = replace(stored, header=replace(header, frames=2, rows=3, columns=4, bits_allocated=16))
    dataset = read(instance_result(pixels, BASE))
    assert (dataset.NumberOfFrames, dataset.Rows, dataset.Columns, dataset.BitsAllocated) == (2, 3, 4, 16)
