"""Templates become answers: one environment, one policy, one error page."""

import gzip
from typing import Any
from urllib.parse import quote

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from node.api.cookies import SESSION
from node.api.problem import problem_of
from node.api.routing import Call
from node.api.web.advice import words_of
from node.api.web.assets import Assets
from node.api.web.languages import Languages
from node.api.web.words import FILTERS
from node.errors.base import LeveretError
from node.model.access import STAFF

PAGE_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'"
    "; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'; manifest-src 'self'"
)
_LOGINS = {"/console": "/console/login", "/viewer": "/console/login", "/portal": "/portal/"}
_PACK_FROM = 1024  # bytes: smaller answers are sent as they are


class Pages:
    """Renders the templates of ``web``, ``console``, ``portal`` and ``links``.

    Every template knows ``asset(name)`` (its address), ``session`` (None: nobody is signed in), ``csrf`` (the token for
    forms, perhaps empty), ``node_name`` and ``path`` (of the request); those for patients speak by ``t``, in
    ``language``, one of ``languages``. More globals may be added to ``environment``.
    """

    def __init__(self, assets: Assets, *, node_name: str) -> None:
        loaders = [PackageLoader(f"node.api.{room}") for room in ("web", "console", "portal", "links", "viewer")]
        self.environment = Environment(
            loader=ChoiceLoader(loaders),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.languages = Languages()
        self.environment.filters.update(FILTERS)
        self.environment.globals.update(asset=assets.url, node_name=node_name, languages=self.languages.offered)

    def page(self, call: Call, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """``template`` as an answer to ``call``."""
        return self.answer(call.request, template, status=status, caller=call.caller, **values)

    def answer(self, request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """The same where there is no call yet."""
        session = request.get(SESSION)
        body, headers = (
            self._render(request, template, **values).encode(),
            {"Content-Security-Policy": PAGE_CSP, "Vary": "Accept-Encoding, Accept-Language, Cookie, HX-Request"},
        )
        if len(body) >= _PACK_FROM and not session and "gzip" in request.headers.get("Accept-Encoding", ""):
            # Never with a session: packing secrets with what a caller sent tells them by its length (BREACH).
            body, headers["Content-Encoding"] = gzip.compress(body, 5, mtime=0), "gzip"
        return web.Response(body=body, status=status, content_type="text/html", charset="utf-8", headers=headers)

    def piece(self, call: Call, template: str, **values: Any) -> str:
        """A part of a page, for who streams it."""
        return self._render(call.request, template, caller=call.caller, **values)

    def _render(self, request: web.Request, template: str, **values: Any) -> str:
        session, tongue = request.get(SESSION), self.languages.of(request)
        csrf = session.csrf if session else ""
        known = {"session": session, "csrf": csrf, "path": request.path, "t": tongue, "language": tongue.language}
        return self.environment.get_template(template).render(**known, **values)

    def problem(self, request: web.Request, error: LeveretError) -> web.StreamResponse:
        """What a person sees of ``error``: a page with words and a next step; who is not signed in is asked to."""
        area = "/" + request.path.split("/", 2)[1]
        if error.status == web.HTTPUnauthorized.status_code and area in _LOGINS and request.method == "GET":
            place = f"{_LOGINS[area]}?next={quote(request.path)}"
            if "HX-Request" in request.headers:
                return web.Response(status=204, headers={"HX-Redirect": place})
            return web.Response(status=303, headers={"Location": place})
        session = request.get(SESSION)
        is_visitor = session is not None and session.caller.role not in STAFF
        if is_visitor or area in {"/portal", "/links"}:
            return self.answer(request, "portal/problem.html", status=error.status, problem=problem_of(error))
        words = words_of(error.code)
        return self.answer(request, "problem.html", status=error.status, problem=words, fact=error.fact)


def see_other(place: str) -> web.Response:
    """After a form: look there (Post/Redirect/Get)."""
    return web.Response(status=303, headers={"Location": place})
