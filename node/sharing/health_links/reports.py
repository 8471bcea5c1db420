"""Reports of studies, read from where they are stored: encapsulated documents as they are, structured ones as text."""

import json
from collections.abc import Sequence

from node.dicom.pixels import Picture
from node.dicom.pool import ParserPool
from node.errors.base import LeveretError
from node.log import Logger
from node.model.ids import SOPClassUID
from node.model.instance import StoredInstance, StudySummary
from node.sharing.fhir_imaging import ReportDocument
from node.store.index_rows import REPORT_CLASSES
from node.store.objects import ObjectStore
from node.store.study_queries import InstanceQuery, StudyQuery

MAX_REPORTS = 200  # in one bundle
MAX_DOCUMENT = 8 << 20  # bytes of one report that come along; a scanned letter has some 500 KB
MAX_TOGETHER = 24 << 20  # of all of them: who opens a link holds them in memory three times over
_PDF, _TEXT = "application/pdf", "text/plain"
_PDF_BEGINS = b"%PDF-"
_KINDS = frozenset({_PDF, _TEXT, "text/xml"})
_CLASSES = tuple(SOPClassUID(uid) for uid in sorted(REPORT_CLASSES))
_COMPLETION, _VERIFICATION, _TITLE = "0040A491", "0040A493", "0040A043"


class ReportReader:
    """Reads reports. One that cannot be read is left out, and the log says so: the others are still of use."""

    def __init__(self, store: ObjectStore, renderers: ParserPool, log: Logger) -> None:
        self._store = store
        self._renderers = renderers
        self._log = log

    async def of(self, studies: Sequence[StudySummary], dicomweb: str) -> list[ReportDocument]:
        """The reports of ``studies``; ``dicomweb`` is where those that are too large are asked for."""
        named = tuple(study.study_instance_uid for study in studies if study.has_report)
        if not named:
            return []
        query = InstanceQuery(studies=StudyQuery(study_uids=named), sop_class_uids=_CLASSES, limit=MAX_REPORTS)
        found: list[ReportDocument] = []
        left = MAX_TOGETHER
        for instance in await self._store.instances(query):
            try:
                report = await self._read(instance, min(left, MAX_DOCUMENT), dicomweb)
            except LeveretError as error:
                self._log.warning("report left out of a link", component="links", code=error.code)
                continue
            if report is not None:
                found.append(report)
                left -= len(report.data or b"")
        return found

    async def _read(self, instance: StoredInstance, most: int, dicomweb: str) -> ReportDocument | None:
        header = instance.header
        syntax = header.transfer_syntax_uid
        reader = await self._store.reader(header.sop_instance_uid)
        layout = await self._renderers.layout(reader, syntax)
        where = (
            f"{dicomweb}/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
            f"/instances/{header.sop_instance_uid}/rendered"
        )
        data: bytes | None
        if layout.document is None:
            if not layout.has_content:
                return None
            data = await self._renderers.render(reader, syntax, Picture(form=_TEXT))
            kind = _TEXT
        else:
            offset, length = layout.document
            length = min(length, layout.document_length or length, max(0, reader.size - offset))
            kind = layout.document_type
            if kind not in _KINDS or layout.deflated:
                return None
            data = await reader.read(offset, length) if length <= most else None
            if kind == _PDF and data is not None and not data.startswith(_PDF_BEGINS):
                return None
        title, is_final = await self._facts(instance)
        kept = data if data is not None and len(data) <= most else None
        return ReportDocument(
            study=header.study_instance_uid,
            instance=header.sop_instance_uid,
            title=title or header.series_description,
            content_type=kind,
            is_final=is_final,
            data=kept,
            url=where if kept is None and dicomweb else "",
        )

    async def _facts(self, instance: StoredInstance) -> tuple[str, bool | None]:
        """Title, and whether it is final: what the data set says of completion and verification."""
        header = instance.header
        reader = await self._store.reader(header.sop_instance_uid)
        raw = json.loads(await self._renderers.to_json(reader, header.transfer_syntax_uid, ""))
        title = _first(raw, _TITLE)
        meaning = _first(title, "00080104") if isinstance(title, dict) else ""
        document = _first(raw, "00420010")  # Document Title
        completed, verified = _first(raw, _COMPLETION), _first(raw, _VERIFICATION)
        is_final = None
        if completed or verified:
            is_final = completed != "PARTIAL" and verified != "UNVERIFIED"
        return str(meaning or document or ""), is_final


def _first(tree: object, tag: str) -> object:
    """The first value of an element in the DICOM JSON model; None without one."""
    element = tree.get(tag) if isinstance(tree, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None
