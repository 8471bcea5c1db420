"""Style sheets, scripts and pictures of the pages: read once, named by their hash, kept by browsers for ever."""

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from aiohttp import web

from node.api.routing import ANONYMOUS, Call, Route
from node.errors.access import NotFound

_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}
_SHRINKS = frozenset({".css", ".js", ".svg", ".webmanifest"})
_DIGEST_CHARS = 16
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, plain and perhaps packed."""

    url: str
    content_type: str
    body: bytes
    packed: bytes | None


class Assets:
    """The files of ``node/api/web/static`` and its subfolders, by their path below it."""

    def __init__(self) -> None:
        root = files("node.api.web") / "static"
        self._by_name = {name: _asset(name, file.read_bytes()) for name, file in _walk(root, "")}
        self._by_url = {asset.url: asset for asset in self._by_name.values()}

    def url(self, name: str) -> str:
        """The address of a file; a KeyError is a defect of a template."""
        return self._by_name[name].url

    def routes(self) -> Iterable[Route]:
        """The route."""
        return [
            Route(
                "GET", "/assets/{digest}/{name:.+}", self.show, ANONYMOUS, "A style sheet, script or icon", quiet=True
            )
        ]

    async def show(self, call: Call) -> object:
        """One file, packed where the browser takes that."""
        asset = self._by_url.get(f"/assets/{call.parameter('digest')}/{call.parameter('name')}")
        if asset is None:
            raise NotFound
        headers = {"Cache-Control": _FOR_EVER, "Content-Type": asset.content_type, "Vary": "Accept-Encoding"}
        if asset.packed is not None and "gzip" in call.request.headers.get("Accept-Encoding", ""):
            return web.Response(body=asset.packed, headers=headers | {"Content-Encoding": "gzip"})
        return web.Response(body=asset.body, headers=headers)


def _walk(folder: Traversable, prefix: str) -> Iterable[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif _suffix(entry.name) in _TYPES:
            yield f"{prefix}{entry.name}", entry


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2]


def _asset(name: str, body: bytes) -> Asset:
    digest = hashlib.sha256(body).hexdigest()[:_DIGEST_CHARS]
    kind = _TYPES[_suffix(name)]
    content_type = f"{kind}; charset=utf-8" if _suffix(name) in _SHRINKS else kind
    packed = gzip.compress(body, mtime=0) if _suffix(name) in _SHRINKS else None
    return Asset(f"/assets/{digest}/{name}", content_type, body, packed)
