"""Media sets: names that any importer takes, and a directory that others read as it is meant."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.fileset import FileSet
from support.store import header

from node.dicom.dicomdir import referenced_files
from node.dicom.media import MAX_FILES, Facts, name_files, needs_facts, record_type, write_directory
from node.model.ids import Digest, ObjectId, PatientKey, SOPClassUID, SOPInstanceUID, TransferSyntaxUID
from node.model.instance import Demographics, InstanceHeader, StoredInstance, StudySummary

SR = SOPClassUID("1.2.840.10008.5.1.4.1.1.88.11")
PDF = SOPClassUID("1.2.840.10008.5.1.4.1.1.104.1")
PR = SOPClassUID("1.2.840.10008.5.1.4.1.1.11.1")
KO = SOPClassUID("1.2.840.10008.5.1.4.1.1.88.59")
UNKNOWN = SOPClassUID("1.2.826.0.1.3680043.10.543.99")
TEXT = st.text(st.characters(codec="utf-8"), max_size=80)


def stored(made: InstanceHeader) -> StoredInstance:
    return StoredInstance(made, ObjectId.new(), Digest(bytes(32)), 1000, b"")


def study_of(made: InstanceHeader, count: int) -> StudySummary:
    return StudySummary(
        made.study_instance_uid, made.patient, made.demographics, made.study_date, made.study_time,
        made.accession_number, made.study_id, made.study_description, made.referring_physician, (made.modality,),
        (made.body_part,), 1, count, 1000 * count, 1, False, None, False,
    )  # fmt: skip


def directory(headers: list[InstanceHeader], facts: dict[SOPInstanceUID, Facts] | None = None) -> bytes:
    instances = [stored(one) for one in headers]
    studies = {one.study_instance_uid: study_of(one, len(headers)) for one in headers}
    return write_directory(studies.values(), name_files(instances, {}), facts or {})


def records(data: bytes) -> list[pydicom.Dataset]:
    return list(pydicom.dcmread(io.BytesIO(data)).DirectoryRecordSequence)


def _forget(found: FileSet) -> None:
    """Remove its temporary folders, which it leaves to the garbage collector, which warns."""
    for value in [*vars(found).values(), *found._stage.values()]:
        if isinstance(value, TemporaryDirectory):
            value.cleanup()


def test_names_are_those_of_the_oldest_file_system() -> None:
    headers = [header(study=s, series=e, instance=10 * e + n) for s in (1, 2) for e in (1, 2) for n in (1, 2, 3)]
    files = name_files([stored(one) for one in headers], {})
    names = ["/".join(one.name) for one in files]
    assert len(set(names)) == len(headers)
    assert names[0] == "DICOM/ST000001/SE000001/IM000001"
    assert names[-1] == "DICOM/ST000002/SE000002/IM000012"
    for one in files:
        assert all(len(part) <= 8 and part.isalnum() and part == part.upper() for part in one.name)
    with pytest.raises(ValueError, match="1000000"):
        name_files([stored(headers[0])] * (MAX_FILES + 1), {})


def test_the_directory_leads_from_the_patient_to_each_file(tmp_path: Path) -> None:
    headers = [header(study=s, series=e, instance=10 * e + n) for s in (1, 2) for e in (1, 2) for n in (1, 2, 3)]
    other = header(study=3, instance=1, patient=PatientKey("LEVERET-TEST", "PAT-0043"))
    data = directory([*headers, other])
    assert len(referenced_files(data)) == 13
    (tmp_path / "DICOMDIR").write_bytes(data)
    for parts in referenced_files(data):
        path = tmp_path.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = FileSet(tmp_path / "DICOMDIR")
    _forget(found)
    assert sorted(found.find_values("PatientID")) == ["PAT-0042", "PAT-0043"]
    assert len(found) == 13
    assert len(found.find(PatientID="PAT-0042", StudyInstanceUID=headers[0].study_instance_uid)) == 6
    assert {str(one.SOPInstanceUID) for one in found} == {str(one.sop_instance_uid) for one in [*headers, other]}


def test_reports_and_other_documents_have_records_of_their_own() -> None:
    kinds = {SR: "SR DOCUMENT", PDF: "ENCAP DOC", PR: "PRESENTATION", KO: "KEY OBJECT DOC"}
    headers = [
        header(instance=n, series=n, sop_class_uid=one, rows=0, columns=0) for n, one in enumerate([*kinds, UNKNOWN], 1)
    ]
    code = {"00080100": {"Value": ["18747-6"]}, "00080102": {"Value": ["LN"]}, "00080104": {"Value": ["CT report"]}}
    report: Facts = {
        "0040A491": {"Value": ["COMPLETE"]}, "0040A493": {"Value": ["VERIFIED"]}, "00080023": {"Value": ["20260103"]},
        "0040A043": {"Value": [code]}, "0040A073": {"Value": [{"0040A030": {"Value": ["20260104101112"]}}]},
    }  # fmt: skip
    found = records(directory(headers, {headers[0].sop_instance_uid: report}))
    by_type = {one.DirectoryRecordType: one for one in found}
    assert set(kinds.values()) <= set(by_type)
    written = by_type["SR DOCUMENT"]
    assert (written.CompletionFlag, written.VerificationFlag) == ("COMPLETE", "VERIFIED")
    assert written.VerificationDateTime == "20260104101112"
    assert written.ConceptNameCodeSequence[0].CodeMeaning == "CT report"
    assert by_type["PRESENTATION"].ContentLabel == "UNNAMED"
    assert by_type["KEY OBJECT DOC"].ConceptNameCodeSequence[0].CodeValue, "type 1: there is always one"
    assert not needs_facts(stored(headers[-1]))
    assert record_type(stored(headers[-1])) == ""
    assert len([one for one in found if "ReferencedFileID" in one]) == len(kinds), (
        "what has no record is not referenced"
    )


@settings(max_examples=60)
@given(texts=st.tuples(*[TEXT] * 7))
def test_whatever_the_files_say_the_directory_can_be_read(texts: tuple[str, ...]) -> None:
    name, patient_id, description, series, number, date, modality = texts
    made = header(
        patient=PatientKey("X", patient_id), demographics=Demographics(name, date, modality), study_date=date,
        study_description=description, series_description=series, series_number=number, modality=modality,
        rows=1 << 20,
    )  # fmt: skip
    data = directory([made])
    assert referenced_files(data) == [("DICOM", "ST000001", "SE000001", "IM000001")]
    for record in records(data):
        for element in record:  # pydicom warns about values that their VR does not allow, and warnings are errors
            if element.VR in {"LO", "CS", "SH"} and element.tag != 0x00041500:
                assert len(str(element.value)) <= 64


def test_the_written_transfer_syntax_is_the_one_that_is_said() -> None:
    made = header(transfer_syntax_uid=TransferSyntaxUID("1.2.840.10008.1.2"))
    explicit = TransferSyntaxUID("1.2.840.10008.1.2.1")
    (file,) = name_files([stored(made)], {made.sop_instance_uid: explicit})
    found = records(write_directory([study_of(made, 1)], [file], {}))
    assert found[-1].ReferencedTransferSyntaxUIDInFile == explicit
