"""Download of studies as a media set (``sharing.portal.media``): one ZIP for a doctor's PACS, or for the attic."""

from collections.abc import Iterable

from aiohttp import web

from node.api.dicomweb.reads import Reads
from node.api.dicomweb.retrieval import stream
from node.api.portal.studies import STUDIES
from node.api.rest.access import PATIENTS
from node.api.routing import Call, Route
from node.api.web.languages import Languages, Tongue
from node.clock import Clock
from node.sharing.portal.gallery import Gallery, Held
from node.sharing.portal.media import MediaSets
from node.sharing.portal.plain_words import Moment

_ZIP = "application/zip"
_RULE = "-" * 60


class DownloadPages:
    """``/portal/studies/{study}/images.zip`` and ``/portal/images.zip``."""

    def __init__(
        self, languages: Languages, gallery: Gallery, media: MediaSets, reads: Reads, *, facility: str, clock: Clock
    ) -> None:
        self._languages = languages
        self._gallery = gallery
        self._media = media
        self._reads = reads
        self._facility = facility
        self._clock = clock

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", f"{STUDIES}/{{study}}/images.zip", self.one, PATIENTS, "A study as a media set", page=True),
            Route("GET", "/portal/images.zip", self.all, PATIENTS, "All studies as one media set", page=True),
        ]

    async def one(self, call: Call) -> object:
        """One study."""
        return await self._answer(call, [await self._gallery.find(call.caller, call.parameter("study"))])

    async def all(self, call: Call) -> object:
        """Everything that the caller may see."""
        return await self._answer(call, await self._gallery.studies(call.caller))

    async def _answer(self, call: Call, held: list[Held]) -> web.StreamResponse:
        media = await self._media.prepare([one.study.study_instance_uid for one in held], readme=self._readme(held))
        for one in held:
            await self._reads.read(call.caller, one.study.study_instance_uid, one.study.patient, "download")
        headers = {
            "Content-Disposition": 'attachment; filename="images.zip"',
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        }
        return await stream(call, _ZIP, self._media.stream(media), length=media.size, headers=headers)

    def _readme(self, held: list[Held]) -> str:
        """What stands beside the images, in every language: a medium outlives the memory of where it came from."""
        parts = [_text(tongue, held, self._facility, self._clock.now()) for tongue in self._languages.all]
        return f"\n{_RULE}\n\n".join(parts)


def _text(t: Tongue, held: list[Held], facility: str, now: int) -> str:
    lines = [
        t("Medical images"),
        "",
        t("From {facility}, downloaded on {moment}.", facility=facility, moment=Moment(now)),
        "",
        *(f"- {t(one.name)}, {t.date(one.study.date)}" for one in held),
        "",
        t("For you: these files are your medical images. Keep them in a safe place, like your other papers."),
        t("They cannot be opened by a double click; they need a program for medical images."),
        t("You can look at them in the portal of the facility for as long as it keeps them."),
        "",
        t("For your doctor: this is a DICOM media set (PS3.10) with the directory in the file DICOMDIR."),
        t("Any PACS imports it: unpack the archive, or import the whole folder."),
        t("The images are unchanged and in full quality."),
    ]
    return "\n".join(lines) + "\n"
