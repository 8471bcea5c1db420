"""Rejection notes as a PACS makes them (IHE IOCM): Key Object Selection documents, built with pydicom."""

import io
from collections.abc import Sequence

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage, generate_uid

from support.ct import CtStudy

QUALITY, SAFETY, WORKLIST, RETENTION = "113001", "113037", "113038", "113039"
_MEANINGS = {
    QUALITY: "Rejected for Quality Reasons",
    SAFETY: "Rejected for Patient Safety Reasons",
    WORKLIST: "Incorrect Modality Worklist Entry",
    RETENTION: "Data Retention Policy Expired",
    "113000": "Of Interest",
}


def note(study: CtStudy, numbers: Sequence[int], title: str = SAFETY, *, scheme: str = "DCM") -> bytes:
    """A Part 10 file that rejects these instances of ``study``."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = KeyObjectSelectionDocumentStorage
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = KeyObjectSelectionDocumentStorage, generate_uid()
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study.study_uid, generate_uid()
    ds.PatientID, ds.PatientName, ds.Modality = study.patient_id, study.patient_name, "KO"
    ds.PatientBirthDate, ds.PatientSex = study.birth_date, study.sex
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = study.study_date, "101500", "1", "A"
    ds.SeriesNumber, ds.InstanceNumber, ds.ValueType, ds.ContinuityOfContent = 99, 1, "CONTAINER", "SEPARATE"
    ds.ContentDate, ds.ContentTime = study.study_date, "120000"
    ds.ConceptNameCodeSequence = Items([_code(title, scheme)])
    ds.CurrentRequestedProcedureEvidenceSequence = Items([_evidence(study, numbers)])
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def _code(title: str, scheme: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = title, scheme, _MEANINGS[title]
    return code


def _evidence(study: CtStudy, numbers: Sequence[int]) -> Dataset:
    series, evidence = Dataset(), Dataset()
    series.SeriesInstanceUID = study.series_uid
    series.ReferencedSOPSequence = Items([_reference(study, number) for number in numbers])
    evidence.StudyInstanceUID = study.study_uid
    evidence.ReferencedSeriesSequence = Items([series])
    return evidence


def _reference(study: CtStudy, number: int) -> Dataset:
    one = Dataset()
    one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = CTImageStorage, study.sop_uid(number)
    return one
