"""The page on which a browser opens a SMART Health Link of this node.

The link stands in the fragment of the page's address, which browsers send nowhere; the page's script reads it, asks for
the manifest, decrypts and shows. The node learns what any receiving application would tell it, and no more.
"""

from collections.abc import Iterable

from aiohttp import web

from node.api.cookies import set_cookie
from node.api.routing import ANONYMOUS, Call, Route
from node.api.web.pages import PAGE_CSP, Pages
from node.model.access import Role
from node.sharing.health_links.keeping import VIEWER_PATH, HealthLinks
from node.sharing.portal.plain_words import modality_name

_MODALITIES = ("CT", "MR", "CR", "DX", "MG", "US", "PT", "NM", "XA", "RF", "SR", "DOC", "SEG", "")  # "": others
RECIPIENTS = frozenset({Role.RECIPIENT})
# Pictures and documents come by a token in a header, so that no cookie is needed, and are shown from memory.
_CSP = PAGE_CSP.replace("img-src 'self' data:", "img-src 'self' data: blob:")


class LinkPage:
    """``/links``."""

    def __init__(self, pages: Pages, links: HealthLinks) -> None:
        self._pages = pages
        self._links = links

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", VIEWER_PATH, self.view, ANONYMOUS, "Open a health link in a browser", page=True),
            Route("POST", "/links/session", self.sign_in, RECIPIENTS, "A session for who shows a link's token"),
        ]

    async def view(self, call: Call) -> object:
        """The page; the same for every link and for none."""
        answer = self._pages.page(
            call, "links/view.html", modalities={code: modality_name(code) for code in _MODALITIES}
        )
        answer.headers["Content-Security-Policy"] = _CSP
        return answer

    async def sign_in(self, call: Call) -> object:
        """A cookie, for the viewer."""
        issued = await self._links.sign_in(call.caller)
        answer = web.Response(status=204)
        set_cookie(call.request, answer, issued)
        return answer
