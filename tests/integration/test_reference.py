"""The documents say what the program does: commands, routes and roles, error codes, metrics."""

import inspect
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, DummyCookieJar
from support.reference import DOCS, render, routes_of_a_node
from support.running import running

from node.api.cookies import CSRF_HEADER, SAFE_METHODS, cookie_name
from node.api.encoding import encode_json
from node.api.rest.openapi import document
from node.api.routing import Route
from node.api.web.assets import Assets
from node.clock import SystemClock
from node.errors.access import Forbidden, ForgedRequest
from node.metrics import Metrics
from node.model.access import STAFF, Caller, Role
from node.sharing.sessions import Sessions
from node.store.engine import Database

_TITLE = (inspect.getdoc(Forbidden) or "").rstrip(".")
_FORGED_TITLE = (inspect.getdoc(ForgedRequest) or "").rstrip(".")
OPERATIONS = DOCS / "operations.md"


async def test_the_reference_is_the_program(tmp_path: Path) -> None:
    for path, wanted in render(await routes_of_a_node(tmp_path)).items():
        assert path.read_text() == wanted, "PYTHONPATH=tests .venv/bin/python -m support.reference"


def test_every_metric_is_explained() -> None:
    text = OPERATIONS.read_text()
    for family in Metrics().registry.collect():
        assert f"`{family.name}" in text, family.name


@dataclass
class Somebody:
    """A caller: a browser session of any role, or a token of a user."""

    role: Role
    headers: dict[str, str]
    csrf: dict[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> dict[str, str]:
        return {**self.headers, **self.csrf}


ACTORS = {Role.PATIENT: f"patient:{'0' * 32}", Role.RECIPIENT: f"link:{'0' * 32}"}  # who have no user to sign in as


async def signed_in(db: Database, cookie: str) -> dict[Role, Somebody]:
    """A session for each role, as signing in would make it."""
    found = {}
    async with db.write() as tx:
        for role in Role:
            issued = await Sessions(db, SystemClock()).open(tx, Caller(ACTORS.get(role, f"user:{role}"), role))
            headers, csrf = {"Cookie": f"{cookie}={issued.cookie}"}, {CSRF_HEADER: issued.session.csrf}
            found[role] = Somebody(role, headers, csrf)
    return found


def address_of(route: Route) -> str:
    """A path that the route serves, of things that there are not."""
    if route.path.startswith("/assets/"):
        return Assets().url("leveret.css")
    filled = re.sub(r"\{(study|series|instance)\}", "1.2.3", route.path).replace("{element:[0-9A-Fa-f/]+}", "7FE00010")
    filled = re.sub(r"\{\w+:(\w+)\|[\w|]*\}", r"\1", filled)  # one of several words
    return re.sub(r"\{\w+(:[^{}]*)?\}", "1", filled)


# They ask for more than a role: a session to end, the token of a link.
MORE_THAN_A_ROLE = {"/console/logout", "/links/session"}
FORGED: tuple[dict[str, str], ...] = ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"})


@pytest.mark.timeout(180)
async def test_each_route_is_open_to_its_roles_alone(tmp_path: Path) -> None:
    """Every route, as everybody, by token and by session."""
    async with (
        running(tmp_path / "north") as node,
        ClientSession(node.api, cookie_jar=DummyCookieJar()) as http,
        await Database.open(node.directory / "index.db", node.node._keys.index_key()) as db,
    ):
        tokens = [Somebody(role, {"Authorization": f"Bearer {await node.token(role.value)}"}) for role in STAFF]
        cookie = cookie_name(int(node.node.addresses["api"].rpartition(":")[2]))
        wrong = []
        for route in node.node.routes:
            asked = Asked(http, route)
            if not route.roles or route.socket_only:
                wrong += [await asked.by_nobody()]
                continue
            wrong += [await asked.by_nobody()]
            sessions = await signed_in(db, cookie)  # for each route: some end them
            if route.method not in SAFE_METHODS:
                wrong += [await asked.forged(sessions[min(route.roles)], headers) for headers in FORGED]
            wrong += [await asked.by(somebody) for somebody in (*tokens, *sessions.values())]
        assert not any(wrong), "\n".join(line.replace("\n", " ")[:160] for line in wrong if line)


@dataclass
class Asked:
    """One route, asked by this one and that; a line for each answer that is not as the table says."""

    http: ClientSession
    route: Route

    async def _answer(self, headers: dict[str, str]) -> tuple[int, str, str]:
        """Status, Location, and the text of an answer in words."""
        address = address_of(self.route)
        async with self.http.request(self.route.method, address, headers=headers, allow_redirects=False) as answer:
            text = await answer.text() if answer.status >= 400 else ""
            return answer.status, answer.headers.get("Location", ""), text

    async def by_nobody(self) -> str:
        status, place, _ = await self._answer({})
        if self.route.socket_only:
            right = status in {404, 405}
        elif not self.route.roles:
            right = status < 500 and (status not in {401, 403} or self.route.method not in SAFE_METHODS)
        elif self.route.page and self.route.method == "GET" and not self.route.path.startswith("/links/"):
            right = status == 303 and place.startswith(("/console/login?next=/", "/portal/?next=/"))
        else:
            right = status == 401
        return "" if right else f"{self.route.method} {self.route.path} nobody: {status} {place}"

    async def by(self, somebody: Somebody) -> str:
        status, _, text = await self._answer(somebody.whole)
        is_refused = status == 403 and ("forbidden" in text or _TITLE in text)
        right = is_refused is (somebody.role not in self.route.roles) and status != 500
        right &= status != 401 or self.route.path in MORE_THAN_A_ROLE
        return "" if right else f"{self.route.method} {self.route.path} {somebody.role}: {status} {text[:200]}"

    async def forged(self, somebody: Somebody, headers: dict[str, str]) -> str:
        """By the right role's session, from another site's page or without the token."""
        given = {**(somebody.whole if headers else somebody.headers), **headers}
        status, _, text = await self._answer(given)
        right = status == 403 and ("forged_request" in text or _FORGED_TITLE in text)
        return "" if right else f"{self.route.method} {self.route.path} forged {headers}: {status} {text[:200]}"


async def test_openapi_describes_what_is_served(tmp_path: Path) -> None:
    async with running(tmp_path / "north") as node, ClientSession(node.api) as http:
        async with http.get("/api/v1/openapi.json") as answer:
            described = await answer.json()
        assert described == json.loads(encode_json(document(node.node.routes)))
    assert described["openapi"] == "3.1.0"
    asked = described["paths"]["/api/v1/requests"]["post"]
    assert asked["x-roles"] == ["clinician", "operator"]
    schema = described["components"]["schemas"][
        asked["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/")[-1]
    ]
    assert {"peer", "studies"} <= set(schema["required"])
    assert "/api/v1/imports" not in described["paths"], "the admin socket's alone"
    operations = [one for path in described["paths"].values() for one in path.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    for one in operations:
        assert one["description"], one["operationId"]
        for status, answer in one["responses"].items():
            content = answer.get("content", {})
            assert status[0] != "2" or content.get("application/json") != {}, f"{one['operationId']}: no schema"
