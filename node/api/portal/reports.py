"""Reports for patients: structured ones as a page, encapsulated documents opened or saved."""

from collections.abc import AsyncGenerator, Iterable

import msgspec
from aiohttp import web

from node.api.dicomweb.frames import FrameStore
from node.api.dicomweb.reads import Reads
from node.api.dicomweb.retrieval import stream
from node.api.portal.studies import STUDIES
from node.api.rest.access import PATIENTS
from node.api.routing import Call, Route
from node.api.web.pages import Pages
from node.dicom.pool import ParserPool
from node.dicom.report import read_report
from node.errors.access import NotFound
from node.errors.dicom import NotRenderable
from node.sharing.portal.gallery import Contents, Document, Gallery
from node.store.reading import ObjectReader

_PDF, _PDF_BEGINS = "application/pdf", b"%PDF-"
_KINDS = {_PDF: "pdf", "text/plain": "txt", "text/xml": "xml"}
# What a document may do: nothing. A PDF that is opened, not saved, is shown by the browser's own viewer, which a
# sandbox would keep from starting; it gets no origin's rights from this policy either.
_SAVED = "default-src 'none'; frame-ancestors 'none'; sandbox"
_OPENED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_MAX_DIGITS = 9


class ReportPages:
    """``/portal/studies/…/documents/…``."""

    def __init__(self, pages: Pages, gallery: Gallery, pool: ParserPool, frames: FrameStore, reads: Reads) -> None:
        self._pages = pages
        self._gallery = gallery
        self._pool = pool
        self._frames = frames
        self._reads = reads

    def routes(self) -> Iterable[Route]:
        """The routes."""
        one = f"{STUDIES}/{{study}}/documents/{{document}}"
        return [
            Route("GET", one, self.show, PATIENTS, "A report of a patient", page=True),
            Route("GET", f"{one}/file", self.file, PATIENTS, "A document as it is; save=1 to save it", page=True),
        ]

    async def show(self, call: Call) -> object:
        """A report as a page; what is not one is offered as a file."""
        contents, document = await self._document(call)
        report = None
        if not document.is_file:
            shown = await self._frames.open(document.instance)
            found = await self._pool.to_json(shown.reader, document.instance.header.transfer_syntax_uid, "")
            report = read_report(msgspec.json.decode(found))
        return self._pages.page(
            call, "portal/document.html", contents=contents, held=contents.held, document=document, report=report,
            place=f"{STUDIES}/{contents.held.handle}",
        )  # fmt: skip

    async def file(self, call: Call) -> object:
        """The document, streamed; PDF opens in the browser, everything else is saved."""
        _, document = await self._document(call)
        shown = await self._frames.open(document.instance)
        layout, reader = shown.index.layout, shown.reader
        kind = layout.document_type
        if layout.document is None or kind not in _KINDS or layout.deflated:
            raise NotRenderable
        offset, length = layout.document
        length = min(length, layout.document_length or length, max(0, reader.size - offset))
        if kind == _PDF and await reader.read(offset, len(_PDF_BEGINS)) != _PDF_BEGINS:
            raise NotRenderable
        is_opened = kind == _PDF and call.query("save") != "1"
        headers = {
            "Content-Disposition": f'{"inline" if is_opened else "attachment"}; filename="report.{_KINDS[kind]}"',
            "Content-Security-Policy": _OPENED if is_opened else _SAVED,
        }
        return await _streamed(call, reader, (offset, length), kind, headers)

    async def _document(self, call: Call) -> tuple[Contents, Document]:
        contents = await self._gallery.open(call.caller, call.parameter("study"))
        text = call.parameter("document")
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else 0
        found = next((one for one in contents.documents if one.number == number), None)
        if found is None:
            raise NotFound
        study = contents.held.study
        await self._reads.read(call.caller, study.study_instance_uid, study.patient, "report")
        return contents, found


async def _streamed(
    call: Call, reader: ObjectReader, place: tuple[int, int], kind: str, headers: dict[str, str]
) -> web.StreamResponse:
    offset, length = place

    async def pieces() -> AsyncGenerator[bytes, None]:
        async for piece in reader.chunks(offset, offset + length):
            yield piece

    return await stream(call, kind, pieces(), length=length, headers=headers)
