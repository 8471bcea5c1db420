"""WADO-RS frames (PS3.18 section 10.4.1.1.6): one or several, as stored or decoded."""

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence

from aiohttp import web

from node.api.dicomweb.accept import OCTETS
from node.api.dicomweb.media import FrameForm, choose, frame_form
from node.api.dicomweb.multipart import new_boundary
from node.api.dicomweb.qido import BASE, base_url
from node.api.dicomweb.retrieval import Finder, closing, multipart_type, part_head, stream
from node.api.rest.access import OWN_IMAGES
from node.api.routing import Call, Route
from node.dicom.frames import KEEP_FROM, FrameIndex, FrameIndexes, FramePlace, frame_bytes
from node.dicom.pixels import Picture
from node.dicom.pool import ParserPool
from node.errors.access import InvalidInput
from node.errors.base import LeveretError
from node.model.instance import StoredInstance
from node.store.objects import ObjectStore
from node.store.reading import ObjectReader

MAX_FRAMES = 10_000  # named in one request
_NUMBER = re.compile(r"[0-9]{1,10}")
INSTANCE = f"{BASE}/studies/{{study}}/series/{{series}}/instances/{{instance}}"


class Shown:
    """An instance whose frames are asked for: where they lie, and how they are read."""

    def __init__(self, instance: StoredInstance, reader: ObjectReader, index: FrameIndex, frames: "FrameStore") -> None:
        self.instance = instance
        self.reader = reader
        self.index = index
        self._frames = frames
        self._syntax = instance.header.transfer_syntax_uid

    async def place(self, number: int) -> FramePlace:
        """Where frame ``number`` lies; raises NoSuchFrame, NotDecodable."""
        place = await self.index.place(self.reader, number)
        await self._frames.keep(self)
        return place

    async def picture(self, number: int, form: str = "") -> Picture:
        """What a worker must know of frame ``number``; raises NoSuchFrame, NotDecodable."""
        place = await self.place(number)
        return Picture(spans=place.spans, skip_bits=place.skip_bits, number=number, form=form)

    async def decoded(self, number: int) -> bytes:
        """A frame as native pixels; raises NoSuchFrame, NotDecodable."""
        return await self._frames.pool.frame(self.reader, self._syntax, await self.picture(number))

    def stored(self, place: FramePlace) -> AsyncIterator[bytes]:
        """A frame's bytes."""
        return frame_bytes(self.reader, self.index.layout, place)


class FrameStore:
    """Finds frames, and remembers where they were."""

    def __init__(self, store: ObjectStore, pool: ParserPool) -> None:
        self.pool = pool
        self._store = store
        self._indexes = FrameIndexes()

    async def open(self, instance: StoredInstance) -> Shown:
        """An instance, ready for its frames to be read.

        Raises:
            DicomRefused: its data set cannot be read.
            ObjectDamaged: it is not what was stored.
        """
        reader = await self._store.reader(instance.header.sop_instance_uid)
        index = self._indexes.get(reader.object_id)
        if index is None:
            index = await self._index_of(instance, reader)
        self._indexes.keep(reader.object_id, index)
        return Shown(instance, reader, index, self)

    async def keep(self, shown: Shown) -> None:
        """Keep for the next start what was found by now; a disk that is full keeps nobody from seeing a frame."""
        found = await shown.index.to_keep()
        if found is not None:
            with contextlib.suppress(LeveretError):
                await self._store.keep_frame_table(shown.reader.object_id, found)

    async def _index_of(self, instance: StoredInstance, reader: ObjectReader) -> FrameIndex:
        if instance.header.frames >= KEEP_FROM:
            kept = await self._store.frame_table(reader.object_id)
            index = None if kept is None else FrameIndex.from_kept(kept)
            if index is not None:
                return index
        return FrameIndex(await self.pool.layout(reader, instance.header.transfer_syntax_uid))


class Frames:
    """The retrieve frames transaction."""

    def __init__(self, frames: FrameStore, finder: Finder) -> None:
        self._frames = frames
        self._finder = finder

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [Route("GET", f"{INSTANCE}/frames/{{frames}}", self.retrieve, OWN_IMAGES, "Frames of an instance")]

    async def retrieve(self, call: Call) -> object:
        """RetrieveFrames."""
        numbers = frame_numbers(call.parameter("frames"))
        (instance,) = await self._finder.find(call, "frames")
        return await answer_frames(call, await self._frames.open(instance), numbers)


async def answer_video(call: Call, shown: Shown, available: Sequence[str]) -> web.StreamResponse:
    """A video as the stream that it is, alone or as the one part of a body.

    Raises:
        NotAcceptable: none of the ``available`` media types is accepted.
    """
    form, multipart = choose(call.request.headers.get("Accept", ""), call.query("accept"), available)
    place = await shown.index.everything(shown.reader)
    syntax = shown.instance.header.transfer_syntax_uid
    kind = f"{form}; transfer-syntax={syntax}" if form == OCTETS else form
    if not multipart:
        return await stream(call, kind, _frame(shown, 1, place, decoded=False), length=place.length)
    boundary = new_boundary()
    return await stream(call, multipart_type(form, boundary), _one_part(shown, place, kind, boundary))


async def _one_part(shown: Shown, place: FramePlace, kind: str, boundary: str) -> AsyncGenerator[bytes, None]:
    yield part_head(boundary, kind)
    async for piece in shown.stored(place):
        yield piece
    yield closing(boundary)


async def answer_frames(call: Call, shown: Shown, numbers: Sequence[int]) -> web.StreamResponse:
    """Frames in the form that the caller accepts.

    Raises:
        NotAcceptable: there is none.
        NoSuchFrame, NotDecodable: the pixel data does not have them.
    """
    layout = shown.index.layout
    form = frame_form(
        call.request.headers.get("Accept", ""),
        call.query("accept"),
        str(shown.instance.header.transfer_syntax_uid),
        encapsulated=layout.encapsulated,
        count=len(numbers),
    )
    places = [await shown.place(number) for number in numbers]  # before anything is answered
    decoded = form.decoded or layout.deflated
    if not form.multipart:
        length = places[0].length if layout.encapsulated and not decoded else None
        return await stream(call, form.part_type, _frame(shown, numbers[0], places[0], decoded=decoded), length=length)
    boundary = new_boundary()
    return await stream(call, multipart_type(form.media_type, boundary), _parts(call, shown, numbers, form, boundary))


async def _parts(
    call: Call, shown: Shown, numbers: Sequence[int], form: FrameForm, boundary: str
) -> AsyncGenerator[bytes, None]:
    for number in numbers:
        yield part_head(boundary, form.part_type, _location(call, shown, number))
        place = await shown.place(number)
        async for piece in _frame(shown, number, place, decoded=form.decoded or shown.index.layout.deflated):
            yield piece
    yield closing(boundary)


async def _frame(shown: Shown, number: int, place: FramePlace, *, decoded: bool) -> AsyncGenerator[bytes, None]:
    if decoded:
        yield await shown.decoded(number)
        return
    async for piece in shown.stored(place):
        yield piece


def frame_numbers(text: str) -> list[int]:
    """The frame list of a path, counted from 1; raises InvalidInput."""
    parts = text.split(",")
    if len(parts) > MAX_FRAMES or not all(_NUMBER.fullmatch(part) and int(part) for part in parts):
        raise InvalidInput("frame list")
    return [int(part) for part in parts]


def _location(call: Call, shown: Shown, number: int) -> str:
    return f"{instance_url(call, shown.instance)}/frames/{number}"


def instance_url(call: Call, instance: StoredInstance) -> str:
    """The address of an instance as the caller would write it."""
    header = instance.header
    series = f"{base_url(call)}/studies/{header.study_instance_uid}/series/{header.series_instance_uid}"
    return f"{series}/instances/{header.sop_instance_uid}"
