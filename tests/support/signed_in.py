"""Somebody who is signed in at a node of this process and uses its pages as a browser without scripts does."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from aiohttp import ClientSession, CookieJar
from yarl import URL

from support.running import Running

PASSWORD = "correct horse battery staple"


@dataclass
class Page:
    """What came back: status, address without the host, text, and where a redirect leads."""

    status: int
    place: str
    text: str
    location: str = ""

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" (?:value|content)="([^"]+)"', self.text)
        assert found is not None, self.text[:500]
        return html.unescape(found[1])

    @property
    def heading(self) -> str:
        found = re.search(r"<h1[^>]*>(.*?)</h1>", self.text, re.DOTALL)
        assert found is not None, self.text[:500]
        return html.unescape(re.sub(r"<[^>]+>", "", found[1])).strip()


@dataclass
class SignedIn:
    """A browser's side of one session."""

    http: ClientSession
    node: Running

    async def get(self, place: str) -> Page:
        """The page at ``place``, wherever it leads."""
        async with self.http.get(place) as answer:
            return Page(answer.status, answer.url.path_qs, await answer.text())

    async def post(self, place: str, fields: Any = (), *, csrf: str | None = None, **headers: str) -> Page:
        """Send a form as the page at ``/console/help`` would; redirects are not followed."""
        token = (await self.get("/console/help")).csrf if csrf is None else csrf
        pairs = list(fields.items()) if isinstance(fields, dict) else list(fields)
        async with self.http.post(
            place, data=[("csrf", token), *pairs], allow_redirects=False, headers=headers
        ) as answer:
            location = urljoin(place, answer.headers.get("Location", ""))
            return Page(answer.status, answer.url.path_qs, await answer.text(), location)

    async def done(self, place: str, fields: Any = ()) -> Page:
        """Send a form that leads elsewhere; the page there."""
        page = await self.post(place, fields)
        assert page.status == 303, page.text[:2000]
        return await self.get(urlsplit(page.location).path + "?" + urlsplit(page.location).query)


@asynccontextmanager
async def signed_in(node: Running, role: str, name: str = "") -> AsyncIterator[SignedIn]:
    """A new user of ``role``, signed in."""
    user = name or role
    await node.done("POST", "/users", json={"name": user, "role": role, "password": PASSWORD})
    async with ClientSession(node.api, cookie_jar=CookieJar(unsafe=True)) as http:
        form = {"user": user, "password": PASSWORD}
        async with http.post("/console/login", data=form, allow_redirects=False) as answer:
            assert answer.status == 303, await answer.text()
            http.cookie_jar.update_cookies(answer.cookies, URL(node.api))
        yield SignedIn(http, node)
