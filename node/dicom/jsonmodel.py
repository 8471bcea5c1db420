"""DICOM JSON (PS3.18 annex F) from what the index knows: QIDO-RS results.

Every attribute of the result tables is there, empty where the data set had none. Modalities in Study always has a
value: viewers leave out studies without one. Text is UTF-8, and Specific Character Set says so.
"""

from collections.abc import Iterable
from typing import Any

from node.model.ids import PatientKey
from node.model.instance import PatientSummary, SeriesSummary, StoredInstance, StudySummary

DicomJson = dict[str, dict[str, Any]]

_PERSON_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
UNKNOWN_MODALITY = "OT"


def patient_result(patient: PatientSummary) -> DicomJson:
    """What C-FIND tells of a patient (PS3.4 table C.6-1)."""
    return _result({
        "00100010": _person(patient.demographics.name),
        "00100020": _text("LO", patient.patient.patient_id),
        "00100021": _text("LO", patient.patient.issuer),
        "00100030": _text("DA", patient.demographics.birth_date),
        "00100040": _text("CS", patient.demographics.sex),
        "00201200": _number("IS", patient.studies),
        "00201202": _number("IS", patient.series),
        "00201204": _number("IS", patient.instances),
    })  # fmt: skip


def study_result(study: StudySummary, base_url: str) -> DicomJson:
    """A QIDO-RS study result (PS3.18 table 10.6.3-3); ``base_url`` ends before ``/studies``."""
    return _result({
        "00080020": _text("DA", study.date),
        "00080030": _text("TM", study.time),
        "00080050": _text("SH", study.accession_number),
        "00080061": _texts("CS", study.modalities or (UNKNOWN_MODALITY,)),
        "00080090": _person(study.referring_physician),
        "00081030": _text("LO", study.description),
        "00081190": _text("UR", f"{base_url}/studies/{study.study_instance_uid}"),
        "00100010": _person(study.demographics.name),
        "00100020": _text("LO", study.patient.patient_id),
        "00100021": _text("LO", study.patient.issuer),
        "00100030": _text("DA", study.demographics.birth_date),
        "00100040": _text("CS", study.demographics.sex),
        "0020000D": _text("UI", study.study_instance_uid),
        "00200010": _text("SH", study.study_id),
        "00201206": _number("IS", study.series),
        "00201208": _number("IS", study.instances),
        **_other_ids(study.linked),
    })  # fmt: skip


def series_result(series: SeriesSummary, base_url: str) -> DicomJson:
    """A QIDO-RS series result (PS3.18 table 10.6.3-4)."""
    study = f"{base_url}/studies/{series.study_instance_uid}"
    return _result({
        "00080021": _text("DA", series.date),
        "00080031": _text("TM", series.time),
        "00080060": _text("CS", series.modality or UNKNOWN_MODALITY),
        "0008103E": _text("LO", series.description),
        "00081190": _text("UR", f"{study}/series/{series.series_instance_uid}"),
        "00180015": _text("CS", series.body_part),
        "0020000D": _text("UI", series.study_instance_uid),
        "0020000E": _text("UI", series.series_instance_uid),
        "00200011": _integer_text(series.number),
        "00201209": _number("IS", series.instances),
    })  # fmt: skip


def instance_result(instance: StoredInstance, base_url: str) -> DicomJson:
    """A QIDO-RS instance result (PS3.18 table 10.6.3-5)."""
    header = instance.header
    series = f"{base_url}/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
    result = _result({
        "00080016": _text("UI", header.sop_class_uid),
        "00080018": _text("UI", header.sop_instance_uid),
        "00080060": _text("CS", header.modality),
        "00081190": _text("UR", f"{series}/instances/{header.sop_instance_uid}"),
        "00083002": _text("UI", header.transfer_syntax_uid),
        "0020000D": _text("UI", header.study_instance_uid),
        "0020000E": _text("UI", header.series_instance_uid),
        "00200013": _integer_text(header.instance_number),
    })  # fmt: skip
    if header.frames:
        result |= {
            "00280008": _number("IS", header.frames),
            "00280010": _number("US", header.rows),
            "00280011": _number("US", header.columns),
            "00280100": _number("US", header.bits_allocated),
        }
    return result


def _other_ids(linked: PatientKey | None) -> DicomJson:
    """The local id of a received study, whose own stays as it came (Other Patient IDs Sequence)."""
    if linked is None:
        return {}
    item = {
        "00100020": _text("LO", linked.patient_id),
        "00100021": _text("LO", linked.issuer),
        "00100022": _text("CS", "TEXT"),
    }
    return {"00101002": {"vr": "SQ", "Value": [item]}}


def _result(attributes: DicomJson) -> DicomJson:
    return {"00080005": _text("CS", "ISO_IR 192"), "00080056": _text("CS", "ONLINE"), **attributes}


def _text(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [str(value)]} if value else {"vr": vr}


def _texts(vr: str, values: Iterable[str]) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def _number(vr: str, value: int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _integer_text(value: str) -> dict[str, Any]:
    """An IS as it stands in the index: a number where it is one, else left out."""
    digits = value.removeprefix("-").removeprefix("+")
    return _number("IS", int(value)) if digits.isascii() and digits.isdigit() else {"vr": "IS"}


def _person(value: str) -> dict[str, Any]:
    groups = {name: group for name, group in zip(_PERSON_GROUPS, value.split("="), strict=False) if group}
    return {"vr": "PN", "Value": [groups]} if groups else {"vr": "PN"}
