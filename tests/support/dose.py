"""A radiation dose report as a CT scanner writes it (PS3.16 TID 10011), as a Part 10 file."""

import io

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, XRayRadiationDoseSRStorage, generate_uid

from support.ct import CtStudy


def dose_report(study: CtStudy, dose_length_product: str) -> bytes:
    """The report of ``study``, which states this total (mGy.cm)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    uid = generate_uid(entropy_srcs=["dose", study.study_uid])
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = XRayRadiationDoseSRStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet, ds.Modality = "ISO_IR 192", "SR"
    ds.StudyInstanceUID = study.study_uid
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["dose series", study.study_uid])
    ds.PatientID, ds.PatientName = study.patient_id, study.patient_name
    ds.PatientBirthDate, ds.PatientSex = study.birth_date, study.sex
    ds.StudyDate, ds.StudyDescription, ds.SeriesNumber, ds.InstanceNumber = study.study_date, "CT chest", 99, 1
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = Sequence([_code("113701", "DCM", "X-Ray Radiation Dose Report")])
    measured = Dataset()
    measured.NumericValue = dose_length_product
    measured.MeasurementUnitsCodeSequence = Sequence([_code("mGy.cm", "UCUM", "mGy.cm")])
    total = Dataset()
    total.RelationshipType, total.ValueType = "CONTAINS", "NUM"
    total.ConceptNameCodeSequence = Sequence([_code("113813", "DCM", "CT Dose Length Product Total")])
    total.MeasuredValueSequence = Sequence([measured])
    accumulated = Dataset()
    accumulated.RelationshipType, accumulated.ValueType = "CONTAINS", "CONTAINER"
    accumulated.ContinuityOfContent = "SEPARATE"
    accumulated.ConceptNameCodeSequence = Sequence([_code("113811", "DCM", "CT Accumulated Dose Data")])
    accumulated.ContentSequence = Sequence([total])
    ds.ContentSequence = Sequence([accumulated])
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
