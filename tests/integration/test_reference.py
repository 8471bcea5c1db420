"""The documents say what the program does: commands, routes and roles, error codes, metrics."""

import json
from pathlib import Path

import pytest
from aiohttp import ClientSession
from support.reference import DOCS, render, routes_of_a_node
from support.running import running

from node.api.encoding import encode_json
from node.api.rest.openapi import document
from node.api.web.assets import Assets
from node.metrics import Metrics
from node.model.access import STAFF

OPERATIONS = DOCS / "operations.md"


async def test_the_reference_is_the_program(tmp_path: Path) -> None:
    for path, wanted in render(await routes_of_a_node(tmp_path)).items():
        assert path.read_text() == wanted, "PYTHONPATH=tests .venv/bin/python -m support.reference"


def test_every_metric_is_explained() -> None:
    text = OPERATIONS.read_text()
    for family in Metrics().registry.collect():
        assert f"`{family.name}" in text, family.name


@pytest.mark.timeout(120)
async def test_each_route_is_open_to_its_roles_alone(tmp_path: Path) -> None:
    """Every route, as everybody: 401 without a user, 403 in the wrong role, anything else in the right one."""
    async with running(tmp_path / "north") as node, ClientSession(node.api) as http:
        tokens = {role: await node.token(role.value) for role in STAFF}
        for route in node.node.routes:
            path = route.path.replace("{element:[0-9A-Fa-f/]+}", "7FE00010")
            path = path.replace("/assets/{digest}/{name:.+}", Assets().url("leveret.css"))
            for name in ("study", "series", "instance"):
                path = path.replace(f"{{{name}}}", "1.2.3")
            path = path.replace("{", "").replace("}", "")
            async with http.request(route.method, path) as answer:
                expected = {404, 405} if route.socket_only else {200} if not route.roles else {401}
                assert answer.status in expected, (route.method, path)
            for role, token in tokens.items():
                headers = {"Authorization": f"Bearer {token}"}
                async with http.request(route.method, path, headers=headers) as answer:
                    allowed = not route.roles or role in route.roles
                    if route.socket_only:
                        assert answer.status in {404, 405}
                    else:
                        assert (answer.status != 403) is allowed, (route.method, path, role)
                        assert answer.status not in {401, 500}, (route.method, path, role)


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
