"""The audit log in other systems' words: JSON lines, FHIR R4 AuditEvent (IHE BALP), DICOM audit messages (PS3.15 A.5).

One document a line, oldest first. JSON lines carry the exact bytes that the tree covers, so that whoever has an export
and a signed head can prove each line (``leveret audit proof``); the other two are for audit repositories.

``codes`` says once what each event is in the vocabularies of DICOM (CID 400 and 401) that both formats share.
"""

from collections.abc import Callable
from enum import StrEnum

from node.sharing.export.dicom import audit_message
from node.sharing.export.fhir import fhir_audit_event
from node.sharing.export.lines import json_line
from node.sharing.export.source import Source
from node.store.audit import AuditRow

__all__ = ["MEDIA_TYPES", "ExportFormat", "Source", "exporter"]


class ExportFormat(StrEnum):
    """How the log leaves."""

    JSON_LINES = "jsonl"
    FHIR = "fhir"
    DICOM = "dicom"


MEDIA_TYPES = {
    ExportFormat.JSON_LINES: "application/jsonl",
    ExportFormat.FHIR: "application/fhir+ndjson",
    ExportFormat.DICOM: "application/xml-seq",
}


def exporter(form: ExportFormat, source: Source) -> Callable[[AuditRow], bytes]:
    """What makes one line, without its end, of one event."""
    match form:
        case ExportFormat.JSON_LINES:
            return json_line
        case ExportFormat.FHIR:
            return lambda row: fhir_audit_event(row, source)
        case ExportFormat.DICOM:
            return lambda row: audit_message(row, source)
