"""Pictures for patients: rendered by this node frame by frame, so that an old phone can show them; and their viewer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiohttp import web

from node.api.dicomweb.frames import FrameStore
from node.api.dicomweb.reads import Reads
from node.api.portal.studies import STUDIES
from node.api.rest.access import PATIENTS
from node.api.routing import Call, Route
from node.api.web.pages import Pages
from node.dicom.pixels import Picture
from node.dicom.pool import ParserPool
from node.errors.access import InvalidInput, NotFound
from node.model.instance import StoredInstance
from node.sharing.portal.gallery import Contents, Gallery, Series
from node.sharing.portal.plain_words import Words, say

SIZES = (160, 512, 1024)  # of the longer side, in pixels
_THUMBNAIL, _NORMAL = SIZES[0], SIZES[2]
_QUALITY = 85
_MAX_DIGITS = 9
_JPEG = "image/jpeg"


@dataclass(frozen=True, slots=True)
class Look:
    """A window (PS3.3 section C.11.2.1.2): centre and width, by the name of what it shows."""

    name: Words
    window: tuple[float, float, str] | None


_AS_STORED = Look(say("Normal"), None)
# Of CT values in Hounsfield units; other modalities have no common scale.
LOOKS: Mapping[str, Mapping[str, Look]] = {
    "CT": {
        "": _AS_STORED,
        "soft": Look(say("Soft tissue"), (40.0, 400.0, "LINEAR")),
        "lung": Look(say("Lung"), (-600.0, 1500.0, "LINEAR")),
        "bone": Look(say("Bone"), (480.0, 2500.0, "LINEAR")),
        "brain": Look(say("Brain"), (40.0, 80.0, "LINEAR")),
    }
}
_ONE_LOOK: Mapping[str, Look] = {"": _AS_STORED}


class ImagePages:
    """The viewer, its pictures, and the thumbnails of lists."""

    def __init__(self, pages: Pages, gallery: Gallery, frames: FrameStore, renderers: ParserPool, reads: Reads) -> None:
        self._pages = pages
        self._gallery = gallery
        self._frames = frames
        self._renderers = renderers
        self._reads = reads

    def routes(self) -> Iterable[Route]:
        """The routes."""
        study = f"{STUDIES}/{{study}}"
        series = f"{study}/series/{{series}}"
        return [
            Route("GET", series, self.viewer, PATIENTS, "The images of a series, one after another", page=True),
            Route("GET", f"{series}/images/{{image}}", self.image, PATIENTS, "One image of a series", quiet=True),
            Route("GET", f"{study}/thumbnail", self.thumbnail, PATIENTS, "A small picture of a study", quiet=True),
        ]

    async def viewer(self, call: Call) -> object:
        """One image, and links to the others."""
        contents, series = await self._series(call)
        at = call.number("image", 1, len(series.pictures))
        looks = looks_of(series)
        look = call.query("look")
        if at < 1 or look not in looks:
            raise NotFound
        await self._read(call, contents)
        return self._pages.page(
            call, "portal/viewer.html", contents=contents, held=contents.held, series=series, at=at, look=look,
            looks=looks, large=call.query("large") == "1", place=f"{STUDIES}/{contents.held.handle}",
        )  # fmt: skip

    async def image(self, call: Call) -> object:
        """A picture as JPEG."""
        contents, series = await self._series(call)
        number = _whole(call.parameter("image"))
        look = looks_of(series).get(call.query("look"))
        if look is None or not 1 <= number <= len(series.pictures):
            raise NotFound
        size = call.number("size", _NORMAL, _NORMAL)
        if size not in SIZES:
            raise InvalidInput("size")
        await self._read(call, contents)
        return await self._drawn(*series.pictures[number - 1], size=size, look=look)

    async def thumbnail(self, call: Call) -> object:
        """The middle image of the first series."""
        contents = await self._gallery.open(call.caller, call.parameter("study"))
        if not contents.series:
            raise NotFound
        await self._read(call, contents)
        pictures = contents.series[0].pictures
        return await self._drawn(*pictures[len(pictures) // 2], size=_THUMBNAIL, look=_AS_STORED)

    async def _series(self, call: Call) -> tuple[Contents, Series]:
        contents = await self._gallery.open(call.caller, call.parameter("study"))
        number = _whole(call.parameter("series"))
        found = next((series for series in contents.series if series.number == number), None)
        if found is None:
            raise NotFound
        return contents, found

    async def _read(self, call: Call, contents: Contents) -> None:
        study = contents.held.study
        await self._reads.read(call.caller, study.study_instance_uid, study.patient, "rendered")

    async def _drawn(self, instance: StoredInstance, number: int, *, size: int, look: Look) -> web.Response:
        shown = await self._frames.open(instance)
        found = await shown.picture(number, _JPEG)
        picture = Picture(
            spans=found.spans, skip_bits=found.skip_bits, number=number, form=_JPEG, window=look.window,
            viewport=(size, size, 0, 0, 0, 0), quality=_QUALITY,
        )  # fmt: skip
        syntax = instance.header.transfer_syntax_uid
        return web.Response(body=await self._renderers.render(shown.reader, syntax, picture), content_type=_JPEG)


def looks_of(series: Series) -> Mapping[str, Look]:
    """The looks that make sense for a series."""
    return LOOKS.get(series.pictures[0][0].header.modality, _ONE_LOOK)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise NotFound
    return int(text)
