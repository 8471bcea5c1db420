"""The endpoints of a SMART Health Link: manifest, files, and the one file of a link with the flag U.

Receiving applications are pages of other sites, too: these routes alone answer across origins (CORS), and look at no
cookie. Nothing here says more to one origin than to another.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec
from aiohttp import web

from node.api.encoding import encode_json
from node.api.problem import problem_response
from node.api.routing import ACTOR, ANONYMOUS, Call, Route, read_json
from node.api.server import STARTED
from node.errors.access import InvalidInput
from node.errors.base import LeveretError
from node.errors.health_links import TooManyOpenings, WrongPasscode
from node.model.health_link import clean_recipient
from node.sharing.fhir_imaging import FHIR_JSON, FHIR_VERSION
from node.sharing.health_links.opening import Download, ManifestFile, Opening, Visitor

JOSE = "application/jose"
POLL_SECONDS = "60"  # between two looks at what may change
SEND_SECONDS = 600.0  # for one file: 45 MB at 75 KB/s; who reads more slowly keeps others from theirs
_PIECE = 256 * 1024  # bytes written at a time: between two pieces a link that is taken back cuts the answer off
_CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After"}
_PREFLIGHT = {
    **_CORS,
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "86400",
}


class ManifestRequest(msgspec.Struct, frozen=True, rename="camel"):
    """Who opens a link. Members that are not known are ignored, as the specification wants."""

    recipient: str
    passcode: str | None = None
    embedded_length_max: int | None = None


class LinkProtocol:
    """``/shl``."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    def routes(self) -> Iterable[Route]:
        """The routes."""
        link, file = "/shl/{link}", "/shl/files/{file}"
        return [
            Route("POST", link, self.manifest, ANONYMOUS, "Open a health link: its manifest", anywhere=True),
            Route("GET", link, self.direct, ANONYMOUS, "The one file of a health link", anywhere=True),
            Route("GET", file, self.file, ANONYMOUS, "A file of a health link, once", anywhere=True),
            *(
                Route("OPTIONS", path, self.preflight, ANONYMOUS, "What other sites' pages may ask", anywhere=True)
                for path in (link, file)
            ),
        ]

    async def preflight(self, _call: Call) -> object:
        """Anybody may, with a JSON body."""
        return web.Response(status=204, headers=_PREFLIGHT)

    async def manifest(self, call: Call) -> object:
        """The files behind a link."""

        async def answer() -> web.StreamResponse:
            asked = await read_json(call.request, ManifestRequest)
            if asked.embedded_length_max is not None and asked.embedded_length_max < 0:
                raise InvalidInput("embeddedLengthMax")
            visitor = Visitor(_recipient(asked.recipient), call.request.remote or "", asked.passcode)
            manifest = await self._opening.manifest(call.parameter("link"), visitor, asked.embedded_length_max)
            files = [_shown(file, may_change=manifest.long_term) for file in manifest.files]
            headers = _CORS | ({"Retry-After": POLL_SECONDS} if manifest.long_term else {})
            return web.Response(body=encode_json({"files": files}), content_type="application/json", headers=headers)

        return await _across(call, answer)

    async def direct(self, call: Call) -> object:
        """The file itself."""

        async def answer() -> web.StreamResponse:
            visitor = Visitor(_recipient(call.query("recipient")), call.request.remote or "")
            async with self._opening.direct(call.parameter("link"), visitor) as download:
                return await self._stream(call, download)

        return await _across(call, answer)

    async def file(self, call: Call) -> object:
        """A file whose address a manifest told."""

        async def answer() -> web.StreamResponse:
            async with self._opening.file(call.parameter("file"), call.request.remote or "") as download:
                return await self._stream(call, download)

        return await _across(call, answer)

    async def _stream(self, call: Call, download: Download) -> web.StreamResponse:
        """The file, piece by piece: taking the link back ends it in the middle."""
        call.request[ACTOR] = download.actor
        await self._opening.require_alive(download)
        body = memoryview(download.jwe.encode("ascii"))
        answer = web.StreamResponse(headers=_CORS | {"Content-Type": JOSE})
        answer.content_length = len(body)
        call.request[STARTED] = True
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await answer.prepare(call.request)
                for start in range(0, len(body), _PIECE):
                    await answer.write(body[start : start + _PIECE])
                await answer.write_eof()
        except TimeoutError as exc:
            raise TooManyOpenings("read too slowly") from exc
        return answer


async def _across(call: Call, answer: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """An answer that pages of other sites may read, also where it is a refusal."""
    try:
        return await answer()
    except WrongPasscode as error:
        body = encode_json({"remainingAttempts": error.remaining})
        return web.Response(status=error.status, body=body, content_type="application/json", headers=_CORS)
    except LeveretError as error:
        if call.request.get(STARTED):
            raise  # half a file is out: the server cuts the connection
        refusal = problem_response(error)
        refusal.headers.update(_CORS)
        return refusal


def _recipient(text: str) -> str:
    """Who it is, in their own words; raises InvalidInput without any."""
    if not clean_recipient(text):
        raise InvalidInput("recipient")
    return text


def _shown(file: ManifestFile, *, may_change: bool) -> dict[str, str]:
    said = {"contentType": file.content_type}
    said |= {"embedded": file.embedded} if file.embedded is not None else {"location": file.location or ""}
    if file.content_type == FHIR_JSON:
        said |= {"fhirVersion": FHIR_VERSION, "status": "can-change" if may_change else "finalized"}
    return said
