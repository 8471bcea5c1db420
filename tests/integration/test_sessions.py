"""Signing in with a browser: cookies, CSRF tokens, other sites' pages, lock-out; and tokens good for little."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar, DummyCookieJar
from support.running import Running, running

from node.api.cookies import cookie_name
from node.model.access import Scope
from node.sharing.sessions import FREE_FAILURES

PASSWORD = "correct horse battery staple"
ANNA = {"name": "anna", "password": PASSWORD}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north") as one:
        for name, role in (("anna", "clinician"), ("otto", "operator")):
            await one.done("POST", "/users", json={"name": name, "role": role, "password": PASSWORD})
        yield one


@pytest.fixture
async def http(node: Running) -> AsyncIterator[ClientSession]:
    async with ClientSession(node.api, cookie_jar=DummyCookieJar()) as session:
        yield session


def name_at(http: ClientSession) -> str:
    """What the cookie of the node is called."""
    assert http._base_url is not None
    return cookie_name(http._base_url.port or 0)


async def ask(http: ClientSession, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
    """Status, JSON, and the session cookie that was set."""
    async with http.request(method, f"/api/v1{path}", **options) as answer:
        raw = await answer.read()
        cookie = answer.cookies.get(name_at(http))
        assert ("Retry-After" in answer.headers) is (answer.status in {429, 503})
        return answer.status, await answer.json(content_type=None) if raw else None, cookie


async def signed_in(http: ClientSession, **headers: str) -> tuple[str, str]:
    """Cookie header and CSRF token."""
    status, session, cookie = await ask(http, "POST", "/session", json=ANNA, headers=headers)
    assert status == 201
    return f"{name_at(http)}={cookie.value}", session["csrf"]


async def test_in_and_out(node: Running, http: ClientSession) -> None:
    cookie, csrf = await signed_in(http)
    status, session, _ = await ask(http, "GET", "/session", headers={"Cookie": cookie})
    assert (status, session["user"], session["role"], session["csrf"]) == (200, "user:anna", "clinician", csrf)
    out = {"Cookie": cookie, "X-CSRF-Token": csrf}
    status, _, cleared = await ask(http, "DELETE", "/session", headers=out)
    assert (status, cleared.value) == (204, "")
    assert (await ask(http, "GET", "/session", headers={"Cookie": cookie}))[0] == 401
    events = (await node.done("GET", "/audit?types=signed_in,signed_out"))["events"]
    assert [(e["type"], e["actor"]) for e in events] == [("signed_out", "user:anna"), ("signed_in", "user:anna")]


FORGED: tuple[dict[str, str], ...] = (
    {},
    {"X-CSRF-Token": "wrong"},
    {"X-CSRF-Token": "CSRF", "Sec-Fetch-Site": "cross-site"},
    {"X-CSRF-Token": "CSRF", "Sec-Fetch-Site": "same-site"},
    {"X-CSRF-Token": "CSRF", "Origin": "https://evil.example"},
    {"X-CSRF-Token": "CSRF", "Origin": "null"},
)
OWN: tuple[dict[str, str], ...] = ({"X-CSRF-Token": "CSRF", "Sec-Fetch-Site": "same-origin"}, {"X-CSRF-Token": "CSRF"})


async def test_other_sites_pages_change_nothing(http: ClientSession) -> None:
    cookie, csrf = await signed_in(http)
    for headers in (*FORGED, *OWN):
        sent = {name: csrf if value == "CSRF" else value for name, value in headers.items()} | {"Cookie": cookie}
        status, answer, _ = await ask(http, "POST", "/patients", json={"patient_id": "1"}, headers=sent)
        expected = (403, "forged_request") if headers in FORGED else (201, None)
        assert (status, answer.get("code")) == expected, headers


async def test_a_foreign_page_signs_nobody_in(http: ClientSession) -> None:
    """Else somebody could be made to work in an account that another one watches."""
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        status, answer, cookie = await ask(http, "POST", "/session", json=ANNA, headers=headers)
        assert (status, answer["code"], cookie) == (403, "forged_request", None)


async def test_a_planted_cookie_becomes_nobodys_session(http: ClientSession) -> None:
    planted = {"Cookie": f"{name_at(http)}=planted-by-somebody"}
    status, _, cookie = await ask(http, "POST", "/session", json=ANNA, headers=planted)
    assert status == 201
    assert cookie.value != "planted-by-somebody"
    assert (await ask(http, "GET", "/session", headers=planted))[0] == 401
    first, _ = await signed_in(http)
    second, _ = await signed_in(http, Cookie=first)
    assert (await ask(http, "GET", "/session", headers={"Cookie": first}))[0] == 401, "the former one of this browser"
    assert (await ask(http, "GET", "/session", headers={"Cookie": second}))[0] == 200


async def test_a_session_is_no_token_and_a_token_no_session(node: Running, http: ClientSession) -> None:
    cookie, _ = await signed_in(http)
    text = cookie.partition("=")[2]
    assert (await ask(http, "GET", "/session", headers={"Authorization": f"Bearer {text}"}))[0] == 401
    token = (await node.done("POST", "/users/anna/tokens"))["token"]
    assert (await ask(http, "GET", "/session", headers={"Cookie": f"{name_at(http)}={token}"}))[0] == 401
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await ask(http, "DELETE", "/session", headers=bearer))[1]["code"] == "no_session"
    change = {"old": PASSWORD, "new": "another fine password"}
    assert (await ask(http, "POST", "/session/password", json=change, headers=bearer))[1]["code"] == "no_session"


async def test_one_changes_ones_own_password(node: Running, http: ClientSession) -> None:
    cookie, csrf = await signed_in(http)
    own = {"Cookie": cookie, "X-CSRF-Token": csrf}
    wrong = {"old": "not my password", "new": "another fine password"}
    assert (await ask(http, "POST", "/session/password", json=wrong, headers=own))[1]["code"] == "wrong_credentials"
    right = {"old": PASSWORD, "new": "another fine password"}
    status, session, fresh = await ask(http, "POST", "/session/password", json=right, headers=own)
    assert status == 200
    assert session["csrf"] != csrf
    assert (await ask(http, "GET", "/session", headers={"Cookie": cookie}))[0] == 401
    assert (await ask(http, "GET", "/session", headers={"Cookie": f"{name_at(http)}={fresh.value}"}))[0] == 200
    await node.done("POST", "/users/anna/password", json={"password": PASSWORD})
    assert (await ask(http, "GET", "/session", headers={"Cookie": f"{name_at(http)}={fresh.value}"}))[0] == 401
    await node.done("POST", "/users/anna/disable")
    problem = (await node.call("POST", "/users/anna/password", json={"password": PASSWORD}))[1]
    assert problem["code"] == "user_disabled"


async def test_failed_attempts_lock_out_alike(http: ClientSession) -> None:
    assert await _locked_out(http, "anna") == await _locked_out(http, "nobody")


async def _locked_out(http: ClientSession, name: str) -> list[str]:
    guess = {"name": name, "password": "a guess that is wrong"}
    seen = [await ask(http, "POST", "/session", json=guess) for _ in range(FREE_FAILURES + 1)]
    assert [(status, problem["code"]) for status, problem, _ in seen[:-1]] == [
        (401, "wrong_credentials")
    ] * FREE_FAILURES
    assert (seen[-1][0], seen[-1][1]["code"]) == (429, "locked_out")
    assert (await ask(http, "POST", "/session", json={**ANNA, "name": name}))[0] == 429, "not even with the right one"
    return [str(problem) for _, problem, _ in seen]


async def test_cookies_of_plain_http_are_not_taken_for_secure_ones(http: ClientSession) -> None:
    cookie, _ = await signed_in(http)
    renamed = f"__Host-{cookie}"
    assert (await ask(http, "GET", "/session", headers={"Cookie": renamed}))[0] == 401


ADDRESSES = {
    ("GET", "/api/v1/status"): {Scope.MONITOR, Scope.READ},
    ("GET", "/metrics"): {Scope.MONITOR, Scope.READ},
    ("GET", "/api/v1/users"): {Scope.READ},
    ("GET", "/api/v1/studies"): {Scope.READ},
    ("POST", "/api/v1/patients"): {Scope.SHARE},
    ("POST", "/api/v1/users"): {Scope.ADMIN},
    ("POST", "/api/v1/announcements"): {Scope.ADMIN},
    ("GET", "/api/v1/session"): set(Scope),
}


async def test_tokens_are_good_for_their_scope_alone(node: Running, http: ClientSession) -> None:
    for scope in Scope:
        await _good_for(node, http, scope)


async def _good_for(node: Running, http: ClientSession, scope: Scope) -> None:
    issued = await node.done("POST", "/users/otto/tokens", json={"scopes": [scope.value]})
    assert issued["scopes"] == [scope.value]
    headers = {"Authorization": f"Bearer {issued['token']}"}
    for (method, path), good in ADDRESSES.items():
        async with http.request(method, path, headers=headers) as answer:
            code = (await answer.json(content_type=None))["code"] if answer.status == 403 else None
        assert (code == "out_of_scope") is (scope not in good), (method, path)
    async with http.get("/dicom-web/studies", headers=headers) as answer:
        assert (answer.status != 403) is (scope is Scope.IMAGES)
    async with http.get("/dicom-web/studies/1.2.3", headers=headers) as answer:
        assert answer.status == 403, "never more than the role may"


async def test_tokens_are_listed_and_revoked(node: Running, http: ClientSession) -> None:
    issued = await node.done("POST", "/users/anna/tokens", json={"label": "viewer", "expires_in": 60})
    headers = {"Authorization": f"Bearer {issued['token']}"}
    assert (await ask(http, "GET", "/session", headers=headers))[0] == 200
    (listed,) = (await node.done("GET", "/users/anna/tokens"))["tokens"]
    assert (listed["token_id"], listed["label"], listed["scopes"]) == (issued["token_id"], "viewer", [])
    assert issued["token"] not in str(listed)
    path = f"/users/anna/tokens/{issued['token_id']}"
    assert (await node.call("DELETE", path.replace("anna", "otto")))[1]["code"] == "unknown_token"
    assert await node.call("DELETE", path) == (204, None)
    assert (await node.call("DELETE", path))[1]["code"] == "unknown_token"
    assert (await ask(http, "GET", "/session", headers=headers))[0] == 401
    assert (await node.call("GET", "/users/nobody/tokens"))[1]["code"] == "unknown_user"


async def test_nodes_on_one_host_leave_each_others_sessions_alone(node: Running, tmp_path: Path) -> None:
    """Browsers give a cookie to every port of a host."""
    async with running(tmp_path / "south") as south, ClientSession(cookie_jar=CookieJar(unsafe=True)) as browser:
        await south.done("POST", "/users", json={"name": "anna", "role": "operator", "password": PASSWORD})
        for one in (node, south):
            async with browser.post(f"{one.api}/api/v1/session", json=ANNA) as answer:
                assert answer.status == 201
        for one, role in ((node, "clinician"), (south, "operator")):
            async with browser.get(f"{one.api}/api/v1/session") as answer:
                assert (await answer.json())["role"] == role
