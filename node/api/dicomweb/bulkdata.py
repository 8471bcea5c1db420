"""WADO-RS bulk data (PS3.18 section 10.4.1.1.5): the value that a BulkDataURI of the metadata names."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable

from aiohttp import web

from node.api.dicomweb.accept import OCTETS, wants_multipart_octets
from node.api.dicomweb.frames import INSTANCE, FrameStore, answer_frames, answer_video
from node.api.dicomweb.media import VIDEO
from node.api.dicomweb.multipart import new_boundary
from node.api.dicomweb.retrieval import (
    Finder,
    byte_range,
    closing,
    content_range,
    multipart_type,
    part_head,
    range_headers,
    stream,
)
from node.api.rest.access import OWN_IMAGES
from node.api.routing import Call, Route
from node.dicom.frames import swap
from node.dicom.pool import ParserPool
from node.dicom.structure import EXPLICIT_BIG
from node.errors.dicom import NoSuchElement
from node.store.objects import ObjectStore
from node.store.reading import ObjectReader

_PIXEL_DATA = "7FE00010"
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}  # bytes that big endian has in the other order


class BulkData:
    """The retrieve bulk data transaction."""

    def __init__(self, store: ObjectStore, pool: ParserPool, frames: FrameStore, finder: Finder) -> None:
        self._store = store
        self._pool = pool
        self._frames = frames
        self._finder = finder

    def routes(self) -> Iterable[Route]:
        """The routes."""
        path = f"{INSTANCE}/bulkdata/{{element:[0-9A-Fa-f/]+}}"
        return [Route("GET", path, self.retrieve, OWN_IMAGES, "One large value of an instance")]

    async def retrieve(self, call: Call) -> object:
        """RetrieveBulkdata: little endian, whole or a byte range; encapsulated pixel data comes frame by frame."""
        (instance,) = await self._finder.find(call, "bulkdata")
        element = call.parameter("element").upper()
        if element == _PIXEL_DATA:
            shown = await self._frames.open(instance)
            video = VIDEO.get(instance.header.transfer_syntax_uid)
            if shown.index.layout.encapsulated and video:
                return await answer_video(call, shown, (video, OCTETS))
            if shown.index.layout.encapsulated:
                return await answer_frames(call, shown, range(1, shown.index.layout.frames + 1))
        in_parts = wants_multipart_octets(call.request.headers.get("Accept", ""), call.query("accept"))
        reader = await self._store.reader(instance.header.sop_instance_uid)
        try:
            value = await self._pool.locate(reader, instance.header.transfer_syntax_uid, element)
        except NoSuchElement:
            data = await self._pool.value(reader, instance.header.transfer_syntax_uid, element)
            return _whole(call, data, in_parts=in_parts)
        word = _WORDS.get(value.vr, 1) if instance.header.transfer_syntax_uid == EXPLICIT_BIG else 1
        if in_parts:
            wanted = byte_range(call, value.length) if word == 1 else None
            first, end = wanted or (0, value.length)
            boundary = new_boundary()
            head = part_head(boundary, OCTETS, content_range=content_range(wanted, value.length))
            pieces = _part(boundary, head, _little(reader, value.offset + first, end - first, word))
            return await stream(call, multipart_type(OCTETS, boundary), pieces, status=206 if wanted else 200)
        if word > 1:
            return await stream(call, OCTETS, _little(reader, value.offset, value.length, word), length=value.length)
        return await stream_value(call, reader, (value.offset, value.length), OCTETS)


async def stream_value(
    call: Call,
    reader: ObjectReader,
    place: tuple[int, int],
    content_type: str,
    headers: dict[str, str] | None = None,
) -> web.StreamResponse:
    """A part of the data set as a body of its own, or the byte range of it that is asked for.

    Raises:
        RangeNotSatisfiable: the range begins after the end.
    """
    offset, length = place
    wanted = byte_range(call, length)
    first, end = wanted or (0, length)
    told = {**range_headers(wanted, length), **(headers or {})}
    pieces = reader.chunks(offset + first, offset + end)
    return await stream(call, content_type, pieces, length=end - first, status=206 if wanted else 200, headers=told)


def _whole(call: Call, data: bytes, *, in_parts: bool) -> web.Response:
    wanted = byte_range(call, len(data))
    first, end = wanted or (0, len(data))
    body, status = data[first:end], 206 if wanted else 200
    if in_parts:
        boundary = new_boundary()
        head = part_head(boundary, OCTETS, content_range=content_range(wanted, len(data)))
        headers = {"Content-Type": multipart_type(OCTETS, boundary)}
        return web.Response(body=head + body + closing(boundary), status=status, headers=headers)
    headers = {"Content-Type": OCTETS, **range_headers(wanted, len(data))}
    return web.Response(body=body, status=status, headers=headers)


async def _part(boundary: str, head: bytes, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield head
    async for piece in pieces:
        yield piece
    yield closing(boundary)


async def _little(reader: ObjectReader, offset: int, length: int, word: int) -> AsyncGenerator[bytes, None]:
    """The value in little endian."""
    held = b""
    async for piece in reader.chunks(offset, offset + length):
        data = held + piece
        whole = len(data) - len(data) % word
        yield swap(data[:whole], word)
        held = data[whole:]
    yield held
