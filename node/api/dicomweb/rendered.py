"""WADO-RS rendered resources and thumbnails (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.4).

Images become JPEG or PNG; an encapsulated PDF is answered as it is; a report as a page of HTML or as text. A study, a
series or the frames of an instance come as multipart/related; an instance alone is shown by one frame, because that is
what viewers ask for.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

import msgspec
from aiohttp import web

from node.api.dicomweb.bulkdata import stream_value
from node.api.dicomweb.frames import INSTANCE, FrameStore, Shown, answer_video, frame_numbers, instance_url
from node.api.dicomweb.media import VIDEO, choose
from node.api.dicomweb.multipart import new_boundary
from node.api.dicomweb.qido import BASE
from node.api.dicomweb.retrieval import Finder, closing, multipart_type, part_head, stream
from node.api.dicomweb.viewing import Viewing, viewing
from node.api.rest.access import OWN_IMAGES
from node.api.routing import Call, Route
from node.dicom.pixels import Picture
from node.dicom.pool import ParserPool
from node.errors.access import NotAcceptable
from node.errors.dicom import DicomRefused, NotRenderable
from node.model.instance import StoredInstance

THUMBNAIL = (128, 128, 0, 0, 0, 0)  # the viewport of a thumbnail, if the caller names none
_PICTURES = ("image/jpeg", "image/png")
_PDF = "application/pdf"
_PAGE = ("text/html", "text/plain")
_TEXTS = ("text/xml", "text/plain")  # what an encapsulated document may be that is answered as it is
_PDF_BEGINS = b"%PDF-"
_Draw = Callable[[Shown, int], Awaitable[bytes]]

# A document is shown inside of the viewer's page, and may fetch and run nothing.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox"
}
_PDF_HEADERS = {"Content-Security-Policy": "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"}


class Rendered:
    """The retrieve rendered transactions."""

    def __init__(self, renderers: ParserPool, frames: FrameStore, finder: Finder) -> None:
        self._renderers = renderers
        self._frames = frames
        self._finder = finder

    def routes(self) -> Iterable[Route]:
        """The routes."""
        study = f"{BASE}/studies/{{study}}"
        levels = ((study, "a study"), (f"{study}/series/{{series}}", "a series"), (INSTANCE, "an instance"))
        frames = f"{INSTANCE}/frames/{{frames}}"
        return [
            *(
                Route("GET", f"{path}/rendered", self.rendered, OWN_IMAGES, f"Pictures of {what}")
                for path, what in levels
            ),
            Route("GET", f"{frames}/rendered", self.rendered, OWN_IMAGES, "Pictures of frames"),
            *(
                Route("GET", f"{path}/thumbnail", self.thumbnail, OWN_IMAGES, f"Thumbnail of {what}")
                for path, what in levels
            ),
            Route("GET", f"{frames}/thumbnail", self.thumbnail, OWN_IMAGES, "Thumbnail of a frame"),
        ]

    async def rendered(self, call: Call) -> object:
        """RetrieveRenderedStudy, -Series, -Instance, -Frames."""
        how = viewing(call)
        numbers = _numbers(call)
        found = await self._finder.find(call, "rendered")
        if len(found) > 1 or len(numbers) > 1:
            return await self._several(call, found, numbers, how)
        shown = await self._frames.open(found[0])
        layout = shown.index.layout
        if layout.pixels is None and not numbers:
            if layout.document is not None:
                return await _document(call, shown)
            if layout.has_content:
                return await self._report(call, shown)
        if layout.pixels is None:
            raise NotRenderable
        video = VIDEO.get(found[0].header.transfer_syntax_uid)
        if video and layout.encapsulated and not numbers:
            return await answer_video(call, shown, (video,))
        form, multipart = _form(call, _PICTURES)
        if multipart:
            return await self._several(call, found, numbers, how)
        number = numbers[0] if numbers else layout.representative or 1
        return await self._one(shown, number, form, how)

    async def thumbnail(self, call: Call) -> object:
        """RetrieveStudyThumbnail and the others: a small picture, of whatever it is."""
        how = viewing(call)
        numbers = _numbers(call)
        if len(numbers) > 1:
            raise NotAcceptable("a thumbnail is of one frame")
        form, _ = _form(call, _PICTURES)
        found = await self._finder.find(call, "thumbnail")
        shown = await self._frames.open(_representative(found))
        layout = shown.index.layout
        small = how if how.viewport else msgspec.structs.replace(how, viewport=THUMBNAIL)
        if layout.pixels is None:
            return await self._one(shown, 0, form, small)
        number = numbers[0] if numbers else layout.representative or (layout.frames + 1) // 2
        return await self._one(shown, number, form, small)

    async def _one(self, shown: Shown, number: int, form: str, how: Viewing) -> web.Response:
        """One picture; ``number`` 0: of an instance without pixels."""
        body = await self._render(shown, number, form, how)
        return web.Response(body=body, content_type=form)

    async def _render(self, shown: Shown, number: int, form: str, how: Viewing) -> bytes:
        picture = await shown.picture(number, form) if number else Picture(form=form)
        picture = msgspec.structs.replace(picture, window=how.window, viewport=how.viewport, quality=how.quality)
        syntax = shown.instance.header.transfer_syntax_uid
        return await self._renderers.render(shown.reader, syntax, picture)

    async def _report(self, call: Call, shown: Shown) -> web.Response:
        form, multipart = _form(call, _PAGE)
        if multipart:
            raise NotAcceptable("a report is answered alone")
        syntax = shown.instance.header.transfer_syntax_uid
        body = await self._renderers.render(shown.reader, syntax, Picture(form=form))
        return web.Response(body=body, content_type=form, charset="utf-8", headers=_PAGE_HEADERS)

    async def _several(
        self, call: Call, found: Sequence[StoredInstance], numbers: Sequence[int], how: Viewing
    ) -> web.StreamResponse:
        """Every frame that can be shown. The answer begins with the first of them, so that none at all is an error."""
        form, _ = _form(call, _PICTURES)
        if not _accepts_many(call):
            raise NotAcceptable("several pictures come as multipart/related")
        boundary = new_boundary()
        parts = self._parts(call, found, numbers, lambda shown, number: self._render(shown, number, form, how))
        return await stream(call, multipart_type(form, boundary), _multipart(boundary, form, parts))

    async def _parts(
        self, call: Call, found: Sequence[StoredInstance], numbers: Sequence[int], draw: _Draw
    ) -> AsyncGenerator[tuple[str, bytes], None]:
        """Address and picture of every frame that can be shown; raises the last refusal if there is none."""
        refused: DicomRefused | None = NotRenderable()
        for instance in found:
            shown = await self._frames.open(instance)
            if shown.index.layout.pixels is None:
                continue
            for number in numbers or range(1, shown.index.layout.frames + 1):
                try:
                    body = await draw(shown, number)
                except DicomRefused as exc:
                    if numbers:
                        raise
                    refused = refused and exc
                    break  # its other frames are as bad
                refused = None
                yield f"{instance_url(call, instance)}/frames/{number}/rendered", body
        if refused is not None:
            raise refused


async def _multipart(
    boundary: str, form: str, parts: AsyncGenerator[tuple[str, bytes], None]
) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(parts):
        async for place, body in parts:
            yield part_head(boundary, form, place) + body
    yield closing(boundary)


async def _document(call: Call, shown: Shown) -> web.StreamResponse:
    """An encapsulated PDF, text or XML (CDA), streamed from where it lies; whatever it says, it may run nothing."""
    layout, reader = shown.index.layout, shown.reader
    assert layout.document is not None
    offset, length = layout.document
    length = min(length, layout.document_length or length, max(0, reader.size - offset))
    kind = layout.document_type
    if kind not in {_PDF, *_TEXTS} or layout.deflated:
        raise NotRenderable
    if kind == _PDF and await reader.read(offset, len(_PDF_BEGINS)) != _PDF_BEGINS:
        raise NotRenderable
    _form(call, (kind,))
    return await stream_value(call, reader, (offset, length), kind, _PDF_HEADERS if kind == _PDF else _PAGE_HEADERS)


def _form(call: Call, available: Sequence[str]) -> tuple[str, bool]:
    return choose(call.request.headers.get("Accept", ""), call.query("accept"), available)


def _accepts_many(call: Call) -> bool:
    text = call.query("accept") or call.request.headers.get("Accept", "") or "*/*"
    return "multipart/" in text or "*/*" in text


def _numbers(call: Call) -> list[int]:
    text = call.request.match_info.get("frames")
    return [] if text is None else frame_numbers(text)


def _representative(found: Sequence[StoredInstance]) -> StoredInstance:
    """The middle image of the first series that has images; without any, the first instance."""
    images = [instance for instance in found if instance.header.frames]
    if not images:
        return found[0]
    first = images[0].header.series_instance_uid
    series = [instance for instance in images if instance.header.series_instance_uid == first]
    return series[len(series) // 2]
