"""The local listener: whom it answers, what it takes, and what it never says."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from support.ct import CtStudy
from support.running import Running, initialised, running

from node.errors.setup import PortInUse


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north") as one:
        yield one


async def answer_of(node: Running, path: str, *, method: str = "GET", **options: Any) -> tuple[int, Any]:
    async with ClientSession(node.api) as http, http.request(method, path, **options) as answer:
        raw = await answer.read()
        return answer.status, json.loads(raw) if raw else None


async def test_health_and_metrics(node: Running) -> None:
    assert await answer_of(node, "/healthz") == (200, {"status": "ok"})
    assert await answer_of(node, "/readyz") == (200, {"status": "ok"})
    assert (await answer_of(node, "/metrics"))[0] == 401
    headers = {"Authorization": f"Bearer {await node.token('operator')}"}
    async with ClientSession(node.api) as http, http.get("/metrics", headers=headers) as answer:
        assert answer.status == 200
        assert 'leveret_http_seconds_bucket{le="+Inf",route="/healthz",status="200"}' in await answer.text()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example", "", "[::2]:80"])
async def test_foreign_hosts_are_refused(node: Running, host: str) -> None:
    status, problem = await answer_of(node, "/healthz", headers={"Host": host})
    assert (status, problem["code"]) == (421, "wrong_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080"])
async def test_own_hosts_are_served(node: Running, host: str) -> None:
    assert (await answer_of(node, "/healthz", headers={"Host": host}))[0] == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic YTpi", "bearer \udcff", "Bearer " + "x" * 5000])
async def test_foreign_tokens(node: Running, header: str) -> None:
    status, problem = await answer_of(node, "/api/v1/status", headers={"Authorization": header})
    assert (status, problem["code"]) == (401, "unauthenticated")


async def test_the_socket_header_means_nothing_on_tcp(node: Running) -> None:
    await node.done("POST", "/users", json={"name": "otto", "role": "operator"})
    status, _ = await answer_of(node, "/api/v1/status", headers={"Leveret-As": "otto"})
    assert status == 401


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        (b"{", "application/json", "invalid_input"),
        (b"[]", "application/json", "invalid_input"),
        (b"{}", "application/json", "invalid_input"),
        (b'{"name": "x", "role": "god"}', "application/json", "invalid_input"),
        (b'{"name": "x", "role": "auditor", "admin": true}', "application/json", "invalid_input"),
        (b'{"name": 7, "role": "auditor"}', "application/json", "invalid_input"),
        (b'{"name": "x", "role": "auditor"}', "text/plain", "unsupported_media_type"),
        (b'{"name": "' + b"x" * 70_000 + b'"}', "application/json", "too_large"),
        (b'{"name": "\xff"}', "application/json", "invalid_input"),
        (b'{"name": "a/b", "role": "auditor"}', "application/json", "invalid_user_name"),
    ],
)
async def test_bodies(node: Running, body: bytes, kind: str, code: str) -> None:
    status, problem = await node.call("POST", "/users", data=body, headers={"Content-Type": kind})
    assert status >= 400
    assert problem["code"] == code
    assert set(problem) == {"type", "title", "status", "code", "detail", "advice"}
    assert "god" not in json.dumps(problem), "never what was said"


async def test_encoded_bodies_are_refused(node: Running) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    _, problem = await node.call("POST", "/users", data=b"x", headers=headers)
    assert problem["code"] == "unsupported_media_type"


async def test_unknown_addresses_and_methods(node: Running) -> None:
    for path in ("/api/v1/nothing", "/", "/api/v2/status", "/api/v1/../../etc/passwd"):
        status, problem = await answer_of(node, path)
        assert (status, problem["code"]) == (404, "not_found")
    status, problem = await answer_of(node, "/api/v1/status", method="PATCH")
    assert (status, problem["code"]) == (405, "method_not_allowed")


async def test_patients_have_opaque_ids(node: Running) -> None:
    """The id is random, good for its maker only, and nothing of the patient stands in a log or an address."""
    who = {"name": "Garcia^Elena", "birth_date": "19610203", "sex": "F"}
    handle = (await node.done("POST", "/patients", json=who))["id"]
    assert await node.done("GET", f"/patients/{handle}/priors") == {"local": [], "peers": []}
    status, problem = await answer_of(
        node, f"/api/v1/patients/{handle}/priors", headers={"Authorization": f"Bearer {await node.token('clinician')}"}
    )
    assert (status, problem["code"]) == (404, "not_found"), "another caller's id is no id"
    for body, code in (
        ({}, "invalid_input"),
        ({"name": "A^B"}, "invalid_input"),
        ({**who, "birth_date": "1961-02-03"}, "invalid_input"),
        ({**who, "sex": "X"}, "invalid_input"),
    ):
        assert (await node.call("POST", "/patients", json=body))[1]["code"] == code
    unknown = (await node.done("POST", "/patients", json={"patient_id": "NOBODY"}))["id"]
    assert (await node.call("GET", f"/patients/{unknown}/priors"))[1]["code"] == "unknown_patient"
    logged = node.logged.getvalue()
    assert "Garcia" not in logged
    assert handle not in logged
    assert "NOBODY" not in logged


async def test_an_import_over_the_socket(node: Running) -> None:
    run = (await node.done("POST", "/imports"))["import_id"]
    files = list(CtStudy(instances=4, rows=16).files())
    answers = await asyncio.gather(*(node.done("POST", f"/imports/{run}/files", data=data) for data in files))
    assert [a["outcome"] for a in answers] == ["stored"] * 4
    assert (await node.call("POST", f"/imports/{run}/files", data=b"nonsense"))[1]["code"] == "not_dicom"
    assert (await node.call("POST", f"/imports/{'0' * 32}/files", data=files[0]))[1]["code"] == "not_found"
    assert await node.done("POST", f"/imports/{run}/end") == {"studies": [CtStudy().study_uid]}
    assert (await node.call("POST", f"/imports/{run}/end"))[1]["code"] == "not_found"
    (study,) = (await node.done("GET", "/studies"))["studies"]
    assert (study["revision"], study["revision_open"]) == (1, False)
    stored = (await node.done("GET", "/audit?types=study_stored"))["events"]
    assert [e["detail"] for e in stored] == [{"revision": 1, "instances": 4}]


async def test_quiet_studies_close_by_themselves(tmp_path: Path) -> None:
    settings = await asyncio.to_thread(initialised, tmp_path / "n", "north")
    settings = replace(settings, store=replace(settings.store, stable_age=1))
    async with running(tmp_path / "n", settings=settings) as node:
        run = (await node.done("POST", "/imports"))["import_id"]
        await node.done("POST", f"/imports/{run}/files", data=next(CtStudy(instances=1, rows=16).files()))
        async with asyncio.timeout(20):
            while (await node.done("GET", "/studies"))["studies"][0]["revision"] != 1:  # noqa: ASYNC110 - asks from outside
                await asyncio.sleep(0.2)


async def test_three_nodes_in_one_process(tmp_path: Path) -> None:
    """No module state: each has its own keys, store, listeners and metrics."""
    async with (
        running(tmp_path / "a", "a") as a,
        running(tmp_path / "b", "b") as b,
        running(tmp_path / "c", "c") as c,
    ):
        invitation = (await a.done("POST", "/peers/invitations", json={"auto_confirm": True}))["invitation"]
        joined = await b.done("POST", "/peers/joined", json={"invitation": invitation})
        assert (joined["name"], joined["trust"], joined["confirmed"]) == ("a", "TRUSTED", True)
        status, problem = await c.call("POST", "/peers/joined", json={"invitation": invitation})
        assert (status, problem["code"]) == (410, "invitation_used")
        peers = {n.directory.name: (await n.done("GET", "/peers"))["peers"] for n in (a, b, c)}
        assert [len(peers[name]) for name in ("a", "b", "c")] == [1, 1, 0]
        assert peers["a"][0]["safety_phrase"] == peers["b"][0]["safety_phrase"]
        names = {(await n.done("GET", "/status"))["peer_id"] for n in (a, b, c)}
        assert len(names) == 3


async def test_a_failing_start_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = await asyncio.to_thread(initialised, tmp_path / "n", "n")
    async with running(tmp_path / "other", "other") as other:
        taken = replace(settings, api=replace(settings.api, listen=other.node.addresses["api"]))
        with pytest.raises(PortInUse):
            async with running(tmp_path / "n", settings=taken):
                pass
    async with running(tmp_path / "n", settings=settings) as node:
        assert (await node.done("GET", "/status"))["problems"] == []


async def test_refused_access_is_on_record(node: Running) -> None:
    """Who, what kind of address, from where; never the address itself, which may name a study."""
    clinician = {"Authorization": f"Bearer {await node.token('clinician')}"}
    auditor = {"Authorization": f"Bearer {await node.token('auditor')}"}
    for headers, path in (
        ({}, "/dicom-web/studies/1.2.3.4.5"),
        ({"Authorization": "Bearer wrong"}, "/dicom-web/studies/1.2.3.4.5"),
        (clinician, "/api/v1/users"),
        (auditor, "/dicom-web/studies/1.2.3.4.5/series/1.2/instances/1.3/frames/1"),
    ):
        status, _ = await answer_of(node, path, headers=headers)
        assert status in {401, 403}
    status, _ = await answer_of(node, "/dicom-web/studies/1.2.3.4.5", headers=clinician)
    assert status == 404
    events = (await node.done("GET", "/audit?types=access_denied"))["events"]
    assert [(e["actor"], e["code"], e["detail"]["route"], e["detail"]["from"]) for e in reversed(events)] == [
        ("anonymous", "unauthenticated", "/dicom-web/studies/{study}", "loopback"),
        ("user:clinician", "forbidden", "/api/v1/users", "loopback"),
        (
            "user:auditor",
            "forbidden",
            "/dicom-web/studies/{study}/series/{series}/instances/{instance}/frames/{frames}",
            "loopback",
        ),
    ]
    assert "1.2.3.4.5" not in json.dumps(events)
