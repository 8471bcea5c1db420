"""The page on which a browser opens a SMART Health Link of this node.

The link stands in the fragment of the page's address, which browsers send nowhere; the page's script reads it, asks for
the manifest, decrypts and shows. The node learns what any receiving application would tell it, and no more.
"""

from collections.abc import Iterable

from aiohttp import web

from node.api.cookies import clear_cookie, read_cookie, set_cookie
from node.api.dicomweb.reads import Reads
from node.api.dicomweb.retrieval import stream
from node.api.routing import ANONYMOUS, Call, Route
from node.api.web.languages import Tongue
from node.api.web.pages import PAGE_CSP, Pages, see_other
from node.clock import Clock
from node.errors.access import Unauthenticated
from node.model.access import Role
from node.model.instance import StudySummary
from node.sharing.health_links.keeping import VIEWER_PATH, HealthLinks
from node.sharing.portal.media import MediaSets
from node.sharing.portal.plain_words import Moment, modality_name, name_of

RECIPIENTS = frozenset({Role.RECIPIENT})
_MODALITIES = ("CT", "MR", "CR", "DX", "MG", "US", "PT", "NM", "XA", "RF", "SR", "DOC", "SEG", "")  # "": any other
# Pictures and documents come by a token in a header, so that no cookie is needed, and are shown from memory.
_CSP = PAGE_CSP.replace("img-src 'self' data:", "img-src 'self' data: blob:")
_RULE = "-" * 60


class LinkPage:
    """``/links``."""

    def __init__(
        self, pages: Pages, links: HealthLinks, media: MediaSets, reads: Reads, *, facility: str, clock: Clock
    ) -> None:
        self._pages = pages
        self._links = links
        self._media = media
        self._reads = reads
        self._facility = facility
        self._clock = clock

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", VIEWER_PATH, self.view, ANONYMOUS, "Open a health link in a browser", page=True),
            Route("POST", "/links/session", self.sign_in, RECIPIENTS, "A session for who shows a link's token"),
            Route("POST", "/links/end", self.sign_out, RECIPIENTS, "End the session of a link", page=True),
            Route("GET", "/links/images.zip", self.download, RECIPIENTS, "A link's studies as a media set", page=True),
        ]

    async def view(self, call: Call) -> object:
        """The page; the same for every link and for none."""
        modalities = {code: modality_name(code) for code in _MODALITIES}
        answer = self._pages.page(call, "links/view.html", modalities=modalities)
        answer.headers["Content-Security-Policy"] = _CSP
        return answer

    async def sign_in(self, call: Call) -> object:
        """A cookie, for the viewer and for downloads."""
        issued = await self._links.sign_in(call.caller)
        answer = web.Response(status=204)
        set_cookie(call.request, answer, issued)
        return answer

    async def sign_out(self, call: Call) -> object:
        """End it here, on a computer that is perhaps somebody else's; the link stays as it is."""
        cookie = read_cookie(call.request)
        if cookie is None:
            raise Unauthenticated
        await self._links.sign_out(call.caller, cookie)
        answer = see_other(VIEWER_PATH)
        clear_cookie(call.request, answer)
        return answer

    async def download(self, call: Call) -> object:
        """What the link shows, as a ZIP with DICOMDIR."""
        studies = await self._links.shown_to(call.caller)
        media = await self._media.prepare([one.study_instance_uid for one in studies], readme=self._readme(studies))
        for study in studies:
            await self._reads.read(call.caller, study.study_instance_uid, study.patient, "download")
        headers = {
            "Content-Disposition": 'attachment; filename="images.zip"',
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
        }
        return await stream(call, "application/zip", self._media.stream(media), length=media.size, headers=headers)

    def _readme(self, studies: list[StudySummary]) -> str:
        parts = [self._text(tongue, studies) for tongue in self._pages.languages.all]
        return f"\n{_RULE}\n\n".join(parts)

    def _text(self, t: Tongue, studies: list[StudySummary]) -> str:
        now = Moment(self._clock.now())
        lines = [
            t("Medical images"),
            "",
            t("From {facility}, downloaded on {moment}.", facility=self._facility, moment=now),
            t("They came by a link that the patient gave to somebody. Keep them as you keep every patient's records."),
            "",
            *(f"- {t(name_of(study))}, {t.date(study.date)}" for study in studies),
            "",
            t("For your doctor: this is a DICOM media set (PS3.10) with the directory in the file DICOMDIR."),
            t("Any PACS imports it: unpack the archive, or import the whole folder."),
            t("The images are unchanged and in full quality."),
        ]
        return "\n".join(lines) + "\n"
