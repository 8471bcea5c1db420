"""Patients at a node's portal, as their browsers are: cookies, CSRF tokens, forms and passkeys over real HTTP."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientResponse, ClientSession, CookieJar

from support.authenticator import Authenticator
from support.running import Running

PASSPHRASE = "correct horse battery staple"


@dataclass
class Page:
    status: int
    text: str
    place: str  # where a redirect leads

    def field(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.text)
        assert found is not None, f"no field {name}: {self.text[:3000]}"
        return found[1]


@dataclass
class Browser:
    """One person's browser."""

    node: Running = field(repr=False)
    api: str  # http://localhost:PORT, at which passkeys work
    session: ClientSession = field(repr=False)
    device: Authenticator = field(repr=False)

    async def _page(self, answer: ClientResponse) -> Page:
        assert answer.status < 500, self.node.logged.getvalue()[-2000:]
        return Page(answer.status, await answer.text(errors="replace"), answer.headers.get("Location", ""))

    async def get(self, path: str, **headers: str) -> Page:
        async with self.session.get(self.api + path, allow_redirects=False, headers=headers) as answer:
            return await self._page(answer)

    async def csrf(self) -> str:
        """The token of the session, from a page."""
        page = await self.get("/portal/account")
        return page.field("csrf") if page.status == 200 else ""

    async def post(self, path: str, *, csrf: str | None = None, **form: Any) -> Page:
        token = await self.csrf() if csrf is None else csrf
        data = [("csrf", token), *((k, v) for k, vs in form.items() for v in (vs if isinstance(vs, list) else [vs]))]
        headers = {"Sec-Fetch-Site": "same-origin"}
        async with self.session.post(self.api + path, data=data, allow_redirects=False, headers=headers) as answer:
            return await self._page(answer)

    async def send(self, path: str, document: Any = None, csrf: str = "") -> tuple[int, Any]:
        headers = {"Sec-Fetch-Site": "same-origin", **({"X-CSRF-Token": csrf} if csrf else {})}
        async with self.session.post(self.api + path, json=document or {}, headers=headers) as answer:
            assert answer.status < 500, self.node.logged.getvalue()[-2000:]
            return answer.status, await answer.json(content_type=None)

    async def prove(self, code: str, birth_date: str) -> Page:
        """Open the letter."""
        year, month, day = birth_date[:4], birth_date[4:6], birth_date[6:]
        return await self.post("/portal/enrol", csrf="", code=code, day=day, month=month, year=year)

    async def enrol(
        self, letter: dict[str, Any], *, name: str = "ana@example.org", passphrase: str = PASSPHRASE
    ) -> Page:
        """From the letter to the first page, by passphrase."""
        page = await self.prove(letter["code"], letter["birth_date"])
        assert page.status == 200, page.text
        ticket = page.field("ticket")
        return await self.post(
            "/portal/enrol/passphrase", csrf="", ticket=ticket, name=name, passphrase=passphrase, again=passphrase
        )

    async def enrol_passkey(self, letter: dict[str, Any]) -> tuple[int, Any]:
        """From the letter to the first page, by passkey."""
        ticket = (await self.prove(letter["code"], letter["birth_date"])).field("ticket")
        status, asked = await self.send("/portal/enrol/passkey/options", {"ticket": ticket})
        assert status == 200, asked
        answer = {"ticket": ticket, "flow": asked["flow"], "credential": self.device.create(asked["options"])}
        return await self.send("/portal/enrol/passkey", {**answer, "name": "Ana's phone"})

    async def sign_in(self, name: str = "ana@example.org", passphrase: str = PASSPHRASE) -> Page:
        return await self.post("/portal/signin", csrf="", name=name, passphrase=passphrase)

    async def sign_in_passkey(self) -> tuple[int, Any]:
        status, asked = await self.send("/portal/signin/passkey/options")
        assert status == 200, asked
        answer = {"flow": asked["flow"], "credential": self.device.get(asked["options"])}
        return await self.send("/portal/signin/passkey", answer)


def browser(node: Running) -> Browser:
    """A clean one, at the address by which passkeys work."""
    api = f"http://localhost:{urlsplit(node.api).port}"
    return Browser(node, api, ClientSession(cookie_jar=CookieJar(unsafe=True)), Authenticator(api))
