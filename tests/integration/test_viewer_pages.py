"""The viewer's addresses without a browser: who gets what, under which policy, kept for how long."""

import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from support.ct import CtStudy
from support.running import Running, running
from yarl import URL

from node.api.viewer.archive import HERE
from node.api.web.pages import PAGE_CSP

LOCK = json.loads((HERE / "viewer.lock").read_text())
FILES = LOCK["files"]
STUDY = CtStudy(instances=2, rows=16)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "north") as one:
        yield one


async def http_of(node: Running, role: str) -> ClientSession:
    return ClientSession(node.api, headers={"Authorization": f"Bearer {await node.token(role)}"}, auto_decompress=False)


async def test_files_are_sent_as_they_lie_and_kept_for_ever(node: Running) -> None:
    name = next(n for n in LOCK["members"] if n.startswith("app.bundle.") and n.endswith(".js"))
    async with ClientSession(node.api, auto_decompress=False) as http:
        for accepted, packed in (("gzip, deflate, br", True), ("identity", False)):
            async with http.get(FILES + name, headers={"Accept-Encoding": accepted}) as answer:
                body = await answer.read()
            assert answer.status == 200
            assert (answer.headers.get("Content-Encoding") == "gzip") is packed
            assert hashlib.sha256(gzip.decompress(body) if packed else body).hexdigest() == LOCK["members"][name]
            assert "immutable" in answer.headers["Cache-Control"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for path in (f"{FILES}nothing.js", f"{FILES}..%2fviewer.lock", f"{FILES}%2e%2e%2f%2e%2e%2fserver.py"):
            async with http.get(URL(path, encoded=True), allow_redirects=False) as answer:
                assert answer.status in {303, 404}, path


async def test_pages_belong_to_a_session(node: Running) -> None:
    paths = ("/viewer", "/viewer/", f"/viewer/viewer?StudyInstanceUIDs={STUDY.study_uid}")
    async with ClientSession(node.api) as http:
        for path in paths:
            async with http.get(path, allow_redirects=False) as answer:
                assert answer.status == 303
                assert answer.headers["Location"].startswith("/console/login?next=/viewer")
                assert STUDY.study_uid not in answer.headers["Location"]
        for path in ("/viewer/app-config.js", "/viewer/arriving?study=1.2.3"):
            async with http.get(path) as answer:
                assert answer.status == 401
    for role in ("operator", "auditor"):
        async with await http_of(node, role) as http, http.get("/viewer/") as answer:
            assert answer.status == 403


async def test_the_wider_policy_is_the_viewers_alone(node: Running) -> None:
    async with await http_of(node, "clinician") as http:
        async with http.get("/viewer/local/anything") as answer:
            assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
            policy = answer.headers["Content-Security-Policy"]
            assert b"app.bundle" in await answer.read()
        assert "'unsafe-inline'" not in policy.split("style-src")[0]
        assert "'unsafe-eval'" not in policy
        assert "http" not in policy
        for path, status in (("/viewer/favicon.ico", 404), ("/viewer/viewer?StudyInstanceUIDs=1.2.3", 404)):
            async with http.get(path) as answer:
                assert answer.status == status
                assert answer.headers["Content-Security-Policy"] == PAGE_CSP, path
        async with http.get("/viewer/viewer?StudyInstanceUIDs=x,y") as answer:
            assert answer.status == 400


async def test_what_is_here_of_a_study(node: Running) -> None:
    async with await http_of(node, "clinician") as http:

        async def said() -> object:
            async with http.get("/viewer/arriving", params={"study": STUDY.study_uid}) as answer:
                return await answer.json(content_type=None)

        assert await said() == {"state": "absent", "instances": 0, "total": 0}
        for number, data in enumerate(STUDY.files(), 1):
            headers = {"Content-Type": "application/dicom"}
            async with http.post("/dicom-web/studies", data=data, headers=headers) as answer:
                assert answer.status == 200
            assert await said() == {"state": "growing", "instances": number, "total": 0}
        async with http.get("/viewer/arriving", params={"study": "no uid"}) as answer:
            assert answer.status == 400


async def test_the_configuration_holds_no_code_of_the_nodes_name(tmp_path: Path) -> None:
    name = 'St. Mary\'s `${alert(1)}` \u2028 "x"</script>'
    async with running(tmp_path / "odd", name) as node, await http_of(node, "clinician") as http:
        async with http.get("/viewer/app-config.js") as answer:
            first, _, _ = (await answer.read()).partition(b";\n")
        assert json.loads(first.removeprefix(b"const leveret = ")) == {"name": name, "home": "/console/"}
