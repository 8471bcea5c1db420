"""A patient's imaging studies and reports as a FHIR R4 Bundle (https://hl7.org/fhir/R4/imagingstudy.html). Pure.

| FHIR | what it holds |
|---|---|
| Patient | name, birth date, sex, identifier |
| Organization | the facility that holds the studies |
| Endpoint | DICOMweb (QIDO-RS and WADO-RS under one address), where there is a token for it |
| ImagingStudy, its series | what the index knows, no list of instances: those are a query away |
| DiagnosticReport, DocumentReference, Binary | each report document; Binary holds its bytes |

References within the bundle are ``urn:uuid``, derived from a secret name space, so that two bundles of one study cannot
be told to be of one study by their ids.
"""

import base64
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.model.instance import Demographics, SeriesSummary, StudySummary

FHIR_VERSION = "4.0.1"
FHIR_JSON = "application/fhir+json"
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_LOINC = "http://loinc.org"
_CONNECTION = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
_PAYLOAD = "http://terminology.hl7.org/CodeSystem/endpoint-payload-type"
_IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
_DICOM_UID = "urn:dicom:uid"
_IMAGING_REPORT = {"system": _LOINC, "code": "18748-4", "display": "Diagnostic imaging study"}
_GENDERS = {"M": "male", "F": "female", "O": "other"}
_NAME_PARTS = ("family", "given", "middle", "prefix", "suffix")  # of a PN, PS3.5 section 6.2
_DATE_DIGITS = 8
_OTHER = "OT"  # Modality of a series that says none, for FHIR wants one


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """One report of a study. ``data`` is None where it is too large to come along; then ``url`` says where it is."""

    study: str  # Study Instance UID
    instance: str  # SOP Instance UID
    title: str = field(repr=False)
    content_type: str
    is_final: bool | None  # None: the document does not say
    data: bytes | None = field(repr=False)
    url: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What a bundle is made of."""

    namespace: uuid.UUID  # secret
    at: int  # seconds since the epoch
    facility: str
    patient: Demographics
    patient_id: str = field(repr=False)
    issuer: str
    studies: Sequence[StudySummary]
    series: Mapping[str, Sequence[SeriesSummary]]  # by Study Instance UID
    reports: Sequence[ReportDocument]
    dicomweb: str  # address of the DICOMweb service; empty: none is told


def imaging_bundle(record: Record) -> dict[str, Any]:
    """The Bundle, of type collection."""
    maker = _Maker(record)
    entries = [maker.patient(), maker.organization()]
    if record.dicomweb:
        entries.append(maker.endpoint())
    for study in record.studies:
        entries.append(maker.study(study))
        for report in (one for one in record.reports if one.study == study.study_instance_uid):
            entries += maker.report(study, report)
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": _moment(record.at),
        "entry": [{"fullUrl": full_url, "resource": resource} for full_url, resource in entries],
    }


_Entry = tuple[str, dict[str, Any]]


class _Maker:
    """Makes the entries of one bundle; each is its full URL and its resource."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def _url(self, kind: str, name: str = "") -> str:
        return f"urn:uuid:{uuid.uuid5(self._record.namespace, f'{kind}/{name}')}"

    def _reference(self, kind: str, name: str = "") -> dict[str, str]:
        return {"reference": self._url(kind, name)}

    def patient(self) -> _Entry:
        record, said = self._record, self._record.patient
        resource: dict[str, Any] = {
            "resourceType": "Patient",
            "identifier": [
                {
                    "type": _concept(_IDENTIFIER_TYPES, "MR"),
                    "value": record.patient_id,
                    "assigner": {"display": record.issuer},
                }
            ],
        }
        if name := _human_name(said.name):
            resource["name"] = [name]
        if said.sex in _GENDERS:
            resource["gender"] = _GENDERS[said.sex]
        if born := _iso(said.birth_date):
            resource["birthDate"] = born
        return self._url("Patient"), resource

    def organization(self) -> _Entry:
        return self._url("Organization"), {"resourceType": "Organization", "name": self._record.facility or "Facility"}

    def endpoint(self) -> _Entry:
        return self._url("Endpoint"), {
            "resourceType": "Endpoint",
            "status": "active",
            "connectionType": {"system": _CONNECTION, "code": "dicom-wado-rs"},
            "name": "DICOMweb (WADO-RS, QIDO-RS); its token is in this link's application/smart-api-access file",
            "managingOrganization": self._reference("Organization"),
            "payloadType": [_concept(_PAYLOAD, "any")],
            "payloadMimeType": ["application/dicom", "application/dicom+json"],
            "address": self._record.dicomweb,
        }

    def study(self, study: StudySummary) -> _Entry:
        uid = study.study_instance_uid
        resource: dict[str, Any] = {
            "resourceType": "ImagingStudy",
            "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{uid}"}],
            "status": "available",
            "subject": self._reference("Patient"),
            "numberOfSeries": study.series,
            "numberOfInstances": study.instances,
        }
        if study.accession_number:
            accession = {"type": _concept(_IDENTIFIER_TYPES, "ACSN"), "value": study.accession_number}
            resource["identifier"].append(accession)
        if study.modalities:
            resource["modality"] = [{"system": _DCM, "code": code} for code in study.modalities]
        if started := _iso(study.date):
            resource["started"] = started
        if self._record.dicomweb:
            resource["endpoint"] = [self._reference("Endpoint")]
        if study.description.strip():
            resource["description"] = study.description
        if series := [_series(one) for one in self._record.series.get(uid, ())]:
            resource["series"] = series
        return self._url("ImagingStudy", uid), resource

    def report(self, study: StudySummary, report: ReportDocument) -> list[_Entry]:
        attachment: dict[str, Any] = {"contentType": report.content_type, "title": report.title or "Report"}
        entries: list[_Entry] = []
        if report.data is not None:
            attachment["url"] = self._url("Binary", report.instance)
            attachment["size"] = len(report.data)
            binary = {"contentType": report.content_type, "data": base64.b64encode(report.data).decode()}
            entries.append((attachment["url"], {"resourceType": "Binary", **binary}))
        elif report.url:
            attachment["url"] = report.url
        dated = {"effectiveDateTime": day} if (day := _iso(study.date)) else {}
        diagnostic = {
            "resourceType": "DiagnosticReport",
            "identifier": [{"system": _DICOM_UID, "value": f"urn:oid:{report.instance}"}],
            "status": {True: "final", False: "preliminary", None: "unknown"}[report.is_final],
            "category": [_concept("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD")],
            "code": {"coding": [_IMAGING_REPORT], "text": report.title or "Report"},
            "subject": self._reference("Patient"),
            **dated,
            "performer": [self._reference("Organization")],
            "imagingStudy": [self._reference("ImagingStudy", study.study_instance_uid)],
            "presentedForm": [attachment],
        }
        document = {
            "resourceType": "DocumentReference",
            "status": "current",
            "type": {"coding": [_IMAGING_REPORT], "text": report.title or "Report"},
            "subject": self._reference("Patient"),
            "custodian": self._reference("Organization"),
            "content": [{"attachment": attachment}],
            "context": {"related": [self._reference("ImagingStudy", study.study_instance_uid)]},
        }
        entries.append((self._url("DiagnosticReport", report.instance), diagnostic))
        entries.append((self._url("DocumentReference", report.instance), document))
        return entries


def _series(series: SeriesSummary) -> dict[str, Any]:
    made: dict[str, Any] = {
        "uid": str(series.series_instance_uid),
        "modality": {"system": _DCM, "code": series.modality or _OTHER},
        "numberOfInstances": series.instances,
    }
    number = series.number.strip()
    if number.isascii() and number.isdigit() and int(number) < 1 << 31:
        made["number"] = int(number)
    if series.description.strip():
        made["description"] = series.description
    if series.body_part.strip():
        made["bodySite"] = {"display": series.body_part}
    if started := _iso(series.date):
        made["started"] = started
    return made


def _human_name(pn: str) -> dict[str, Any]:
    """A PN as a HumanName: the alphabetic group, or the first that says something."""
    group = next((text for text in pn.split("=") if text.strip("^ ")), "")
    said = dict(zip(_NAME_PARTS, (part.strip() for part in group.split("^")), strict=False))
    name: dict[str, Any] = {"family": said["family"]} if said.get("family") else {}
    if given := [said[part] for part in ("given", "middle") if said.get(part)]:
        name["given"] = given
    for part in ("prefix", "suffix"):
        if said.get(part):
            name[part] = [said[part]]
    return name


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def _iso(date: str) -> str:
    """A DA as a FHIR date; empty if it is none."""
    try:
        valid = len(date) == _DATE_DIGITS and date.isascii() and bool(dt.date.fromisoformat(date))
    except ValueError:
        valid = False
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if valid else ""


def _moment(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
