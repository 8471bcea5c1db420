"""The routes of the viewer."""

from collections.abc import Iterable
from importlib.resources import files

from aiohttp import web

from node.api.rest.access import OWN_IMAGES
from node.api.routing import ANONYMOUS, Call, Route
from node.api.viewer.archive import Archive
from node.api.viewer.config import app_config
from node.api.web.assets import Assets
from node.api.web.pages import Pages
from node.errors.access import InvalidInput, NotFound
from node.errors.identifiers import InvalidUid
from node.errors.storage import UnknownStudy
from node.model.access import STAFF
from node.model.ids import StudyInstanceUID
from node.sharing.arrivals import Arrival, Arrivals, ArrivalState

MAX_STUDIES = 32  # looked at before a page is answered; more than anybody compares
_FOR_EVER = "public, max-age=31536000, immutable"
_SCRIPT = "text/javascript"
_STUDIES = "studyinstanceuids"  # OHIF writes the parameter's name in several ways

# Styles are set by scripts, codecs are WebAssembly, some workers begin as blobs, documents are shown in <object>: from
# their address, or as a blob where they are so small that the metadata hold them.
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'"
    "; img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self' blob: data:; font-src 'self' data:"
    "; object-src 'self' blob:; media-src 'self' blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
# A worker's policy is that of its own script; the glue code of the codecs makes functions from text.
SCRIPT_POLICY = "default-src 'none'; script-src 'self' 'unsafe-eval'; connect-src 'self'"


class Viewer:
    """``/viewer``."""

    def __init__(self, pages: Pages, assets: Assets, arrivals: Arrivals, *, node_name: str) -> None:
        self._archive = Archive()
        self._pages = pages
        self._assets = assets
        self._arrivals = arrivals
        self._node_name = node_name
        self._script = (files("node.api.viewer") / "static" / "arriving.js").read_bytes()

    def routes(self) -> Iterable[Route]:
        """The routes; OHIF's own addresses come last, for they are whatever is left."""
        file = f"{self._archive.base}{{name:.+}}"
        return [
            Route("GET", "/viewer", self.go, OWN_IMAGES, "To the viewer", page=True),
            Route("GET", file, self.file, ANONYMOUS, "A file of the viewer", quiet=True),
            Route("GET", "/viewer/icon.svg", self.icon, ANONYMOUS, "The viewer's icon", quiet=True),
            Route("GET", "/viewer/arriving.js", self.script, ANONYMOUS, "Says what is still arriving", quiet=True),
            Route("GET", "/viewer/app-config.js", self.config, OWN_IMAGES, "The viewer's configuration"),
            Route("GET", "/viewer/arriving", self.arriving, OWN_IMAGES, "How much of a study is here", quiet=True),
            Route("GET", "/viewer/{page:.*}", self.page, OWN_IMAGES, "The viewer", page=True),
        ]

    async def go(self, _call: Call) -> object:
        """The address without its slash."""
        return web.Response(status=308, headers={"Location": "/viewer/"})

    async def file(self, call: Call) -> object:
        """One file of OHIF."""
        takes_gzip = "gzip" in call.request.headers.get("Accept-Encoding", "")
        file = await self._archive.read(call.parameter("name"), packed=takes_gzip)
        headers = {"Content-Type": file.content_type, "Cache-Control": _FOR_EVER, "Vary": "Accept-Encoding"}
        if file.packed:
            headers["Content-Encoding"] = "gzip"
        if file.content_type.startswith(_SCRIPT):
            headers["Content-Security-Policy"] = SCRIPT_POLICY
        return web.Response(body=file.body, headers=headers)

    async def icon(self, _call: Call) -> object:
        """The node's mark."""
        return web.Response(status=302, headers={"Location": self._assets.url("mark.svg")})

    async def script(self, _call: Call) -> object:
        """The node's own script in OHIF's page."""
        return web.Response(body=self._script, content_type=_SCRIPT, charset="utf-8")

    async def config(self, call: Call) -> object:
        """``window.config`` for this session."""
        return web.Response(body=app_config(self._node_name, call.caller.role), content_type=_SCRIPT, charset="utf-8")

    async def arriving(self, call: Call) -> object:
        """One study's state."""
        arrival = await self._arrivals.of(call.caller, StudyInstanceUID.parse(call.query("study")))
        return {"state": arrival.state, "instances": arrival.instances, "total": arrival.total}

    async def page(self, call: Call) -> object:
        """OHIF's page, whatever it will show; first of all a study that is not here (yet) is told as such."""
        if "." in call.parameter("page").rpartition("/")[2]:
            raise NotFound
        missing, here = await self._missing(call), call.request.path_qs
        is_coming = missing is not None and missing.state is ArrivalState.COMING
        if "HX-Request" in call.request.headers and not is_coming:
            return web.Response(status=204, headers={"HX-Redirect": here})  # what was waited for, or nothing any more
        if missing is not None and call.caller.role not in STAFF:
            raise UnknownStudy
        if missing is not None:
            status = 200 if is_coming else 404
            return self._pages.page(call, "viewer/missing.html", status=status, arrival=missing, here=here)
        file = await self._archive.read("index.html", packed=False)
        headers = {"Content-Type": file.content_type, "Content-Security-Policy": PAGE_POLICY}
        return web.Response(body=file.body, headers=headers)

    async def _missing(self, call: Call) -> Arrival | None:
        """The first study of the address that cannot be shown."""
        for study in _studies_of(call):
            arrival = await self._arrivals.of(call.caller, study)
            if arrival.state in {ArrivalState.ABSENT, ArrivalState.COMING}:
                return arrival
        return None


def _studies_of(call: Call) -> list[StudyInstanceUID]:
    """The studies that OHIF is asked to open; raises InvalidInput."""
    values = [value for name, value in call.request.query.items() if name.lower() == _STUDIES]
    names = [name for value in values for name in value.split(",") if name]
    if len(names) > MAX_STUDIES:
        raise InvalidInput("too many studies")
    try:
        return [StudyInstanceUID.parse(name) for name in names]
    except InvalidUid as exc:
        raise InvalidInput("StudyInstanceUIDs") from exc
