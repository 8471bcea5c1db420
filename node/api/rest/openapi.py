"""``/api/v1/openapi.json``: made from the table of routes, so that it cannot lag behind.

REST and DICOMweb are described; pages for people and what belongs to them are not an interface.
"""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from node import __version__
from node.api.cookies import CSRF_HEADER, SAFE_METHODS, cookie_name
from node.api.once import KEY_HEADER
from node.api.problem import PROBLEM_TYPE, Problem
from node.api.rest import openapi_dicomweb as dicomweb
from node.api.rest.shapes.system import Described, NotReady
from node.api.routing import ANONYMOUS, Call, Route

Schemas = dict[Any, dict[str, Any]]
_REF = "#/components/schemas/{name}"
_ABOUT_COOKIE = "What signing in sets. Ends in the port that the node listens on; over TLS `__Host-` stands before it"
_JSON = "application/json"
_INTERFACES = ("/api/v1/", "/dicom-web/", "/healthz", "/readyz", "/metrics")
_PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "peer": {"description": "PeerId, its first characters, or the facility's name"},
    "id": {"description": "An opaque id of `POST /api/v1/patients`, good for an hour, for its maker"},
    "name": {"description": "The name"},
    "position": {"pattern": "^[0-9]{1,18}$", "description": "Position in the log, from 0 on"},
    "number": {"pattern": "^[0-9]{1,18}$", "description": "Number in the quarantine"},
    "token_id": {"pattern": "^[0-9a-f]{16}$", "description": "As the list of tokens shows it"},
}
_RANDOM_ID = {"pattern": "^[0-9a-f]{32}$", "description": "128 random bits, hexadecimal"}

_ALWAYS = {
    400: "The request does not have the form that is wanted",
    421: "The request names a host that this node is not",
    500: "A defect, or damaged data; nothing was changed",
    503: "A passing trouble: try again as Retry-After says",
}
_KNOWN = {401: "This needs a user", 403: "This user, token or page may not do that"}
_NAMED = {404: "There is no such thing, or it is not this caller's"}
_CHANGING = {
    404: "Something that the request names is not there",
    409: "It cannot be done as things stand",
    410: "It is over",
    413: "The body is too large",
    415: "The body has another media type",
    422: "The Idempotency-Key was used for something else, or the patient cannot be searched for",
    429: "Too often: wait as `detail` says",
    502: "Another facility or system answered in a way that cannot be right",
    504: "Another facility or system did not answer",
    507: "The disk is full",
}


class OpenApi:
    """The description of all routes, its own included."""

    def __init__(self) -> None:
        self._document: Described | None = None

    def routes(self) -> Iterable[Route]:
        """The route."""
        path = "/api/v1/openapi.json"
        return [Route("GET", path, self.show, ANONYMOUS, "This description", quiet=True, answer=Described)]

    def describe(self, routes: Sequence[Route]) -> None:
        """Make the document; once the table is complete."""
        self._document = document(routes)

    async def show(self, _call: Call) -> Described:
        """The document."""
        assert self._document is not None, "the table is not complete"
        return self._document


def document(routes: Sequence[Route]) -> Described:
    """OpenAPI 3.1 for the interfaces that TCP callers can use."""
    shown = [r for r in routes if not r.socket_only and not r.page and r.path.startswith(_INTERFACES)]
    types = {kind for route in shown for kind in (route.body, route.answer) if kind is not None}
    ordered = sorted(types | {Problem, NotReady}, key=lambda kind: f"{kind.__module__}.{kind.__name__}")
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    known: Schemas = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in shown:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Leveret",
            "version": __version__,
            "description": "The local interface of a node: for people and systems of its facility, not for others.",
        },
        "paths": paths,
        "components": {
            "schemas": _portable(components),
            "responses": _problems(known),
            "securitySchemes": _security_schemes(),
        },
    }


def _security_schemes() -> dict[str, Any]:
    return {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A token of `leveret users token`"},
        "cookie": {"type": "apiKey", "in": "cookie", "name": cookie_name(8080), "description": _ABOUT_COOKIE},
        "csrf": {"type": "apiKey", "in": "header", "name": CSRF_HEADER, "description": "`csrf` of the session"},
    }


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _id_of(route),
        "tags": [route.path.strip("/").removeprefix("api/v1/").split("/")[0]],
        "summary": route.summary,
        "description": _description(route),
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(route, schemas),
    }
    if route.roles:
        by_cookie: dict[str, list[str]] = {"cookie": []}
        if route.method not in SAFE_METHODS:
            by_cookie["csrf"] = []
        operation["security"] = [{"bearer": []}, by_cookie]
        operation["x-roles"] = sorted(route.roles)
        operation["x-scopes"] = sorted(route.scopes)
    if route.body is not None:
        needed = any(field.required for field in msgspec.structs.fields(route.body))
        operation["requestBody"] = {"required": needed, "content": {_JSON: {"schema": schemas[route.body]}}}
    elif (body := dicomweb.body_of(route)) is not None:
        operation["requestBody"] = body
    return operation


def _id_of(route: Route) -> str:
    words = re.findall(r"[A-Za-z0-9]+", route.template.removeprefix("/api/v1/"))
    return "_".join([route.method.lower(), *words]).replace("-", "_")


def _description(route: Route) -> str:
    parts = [inspect.getdoc(route.handler) or "", inspect.getdoc(route.query) if route.query else ""]
    return "\n\n".join(part for part in parts if part)


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    found = []
    for name in re.findall(r"\{(\w+)\}", route.template):
        known = dicomweb.PATH_PARAMETERS.get(name) if route.path.startswith("/dicom-web") else None
        said = dict(known or _PATH_PARAMETERS.get(name, _RANDOM_ID))
        description = said.pop("description")
        schema = {"type": "string", "minLength": 1, **said}
        found.append({"name": name, "in": "path", "required": True, "description": description, "schema": schema})
    return found


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return dicomweb.query_of(route)
    (_schema,), components = msgspec.json.schema_components([route.query], ref_template=_REF)
    whole = components[route.query.__name__]
    found = []
    for name, schema in _portable(whole["properties"]).items():
        plain = _inlined(schema, components)
        description = plain.pop("description", "")
        found.append(
            {
                "name": name,
                "in": "query",
                "required": name in whole.get("required", ()),
                **({"description": description} if description else {}),
                "schema": plain,
            }
        )
    return found


def _inlined(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is not sent is left out, so its ``null`` is none; a choice stands where it is used."""
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(choices) == 1:
        schema = choices[0]
    if "$ref" in schema:
        schema = components[schema["$ref"].rsplit("/", 1)[1]]
    return {key: value for key, value in schema.items() if not (key == "default" and value is None) and key != "title"}


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    if not route.is_idempotent:
        return []
    text = "Sent again with the same key within a day, the request is not done again: the first answer is repeated"
    schema = {"type": "string", "pattern": "^[!#-\\[\\]-~]{1,255}$", "maxLength": 255}
    return [{"name": KEY_HEADER, "in": "header", "required": False, "description": text, "schema": schema}]


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {str(route.status): _success(route, schemas)}
    found |= dicomweb.successes_of(route)
    errors = {*_ALWAYS, *route.errors, *dicomweb.errors_of(route)}
    if route.roles or route.path == "/api/v1/session":
        errors.update(_KNOWN)
    if "{" in route.path:
        errors.update(_NAMED)
    if route.method not in SAFE_METHODS:
        errors.update(_CHANGING)
    for status in errors:
        found.setdefault(str(status), {"$ref": f"#/components/responses/{status}"})
    if route.path == "/readyz":
        found["503"] = {"description": "It cannot", "content": {_JSON: {"schema": schemas[NotReady]}}}
    return dict(sorted(found.items()))


def _problems(schemas: Schemas) -> dict[str, Any]:
    errors = _ALWAYS | _KNOWN | _CHANGING | dicomweb.ERRORS | _NAMED
    content = {PROBLEM_TYPE: {"schema": schemas[Problem]}}
    return {str(status): {"description": text, "content": content} for status, text in errors.items()}


def _success(route: Route, schemas: Schemas) -> dict[str, Any]:
    if route.status == 204:  # noqa: PLR2004 - No Content
        return {"description": "Done"}
    if route.answer is not None:
        return {"description": _first_line(route.answer), "content": {_JSON: {"schema": schemas[route.answer]}}}
    media = route.media or dicomweb.media_of(route)
    return {"description": "Done", "content": {kind: {} for kind in media or (_JSON,)}}


def _first_line(kind: Any) -> str:
    return (inspect.getdoc(kind) or "Done").split("\n", 1)[0]


def _portable(value: Any) -> Any:
    """Patterns as ECMA-262 has them, which JSON Schema means: it knows no end of text but ``$``."""
    if isinstance(value, dict):
        return {
            key: one.replace("\\Z", "$") if key == "pattern" and isinstance(one, str) else _portable(one)
            for key, one in value.items()
        }
    return [_portable(one) for one in value] if isinstance(value, list) else value
