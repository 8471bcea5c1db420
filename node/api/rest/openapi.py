"""``/api/v1/openapi.json``: made from the table of routes, so that it cannot lag behind."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from node import __version__
from node.api.problem import PROBLEM_TYPE, Problem
from node.api.rest.shapes.system import Described
from node.api.routing import ANONYMOUS, Call, Route


class OpenApi:
    """The description of all routes, its own included."""

    def __init__(self) -> None:
        self._document: dict[str, Any] = {}

    def routes(self) -> Iterable[Route]:
        """The route."""
        return [
            Route("GET", "/api/v1/openapi.json", self.show, ANONYMOUS, "This description", quiet=True, answer=Described)
        ]

    def describe(self, routes: Sequence[Route]) -> None:
        """Make the document; once the table is complete."""
        self._document = document(routes)

    async def show(self, _call: Call) -> object:
        """The document."""
        return self._document


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 for the routes that TCP callers can use."""
    shown = [route for route in routes if not route.socket_only]
    bodies = [route.body for route in shown if route.body is not None]
    schemas, components = msgspec.json.schema_components([*bodies, Problem], ref_template="#/components/schemas/{name}")
    by_body = dict(zip(bodies, schemas, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for route in shown:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_body)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Leveret", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, schemas: dict[type[msgspec.Struct], dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", route.path)
        ],
        "responses": {
            str(route.status): {"description": "Done"},
            "default": {
                "description": "What went wrong",
                "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if route.roles:
        operation["security"] = [{"bearer": []}]
        operation["x-roles"] = sorted(route.roles)
    if route.body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": schemas[route.body]}}}
    return operation
