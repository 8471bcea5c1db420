"""What ``openapi.json`` says of DICOMweb (PS3.18), whose media types and queries are not JSON's."""

from typing import Any

from node.api.routing import Route

_UID = {"pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64}
PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "study": {**_UID, "description": "Study Instance UID"},
    "series": {**_UID, "description": "Series Instance UID"},
    "instance": {**_UID, "description": "SOP Instance UID"},
    "frames": {"pattern": "^[1-9][0-9]{0,5}(,[1-9][0-9]{0,5}){0,9}$", "description": "Frame numbers from 1 on"},
    "element": {"pattern": "^[0-9A-Fa-f]{8}$", "description": "As the metadata's BulkDataURI has it"},
}
_DICOM_JSON = "application/dicom+json"
_RELATED = "multipart/related"
ERRORS = {
    406: "It cannot be answered in a form that is accepted",
    410: "It is over",
    416: "The range begins after the end",
}
_RANGES = frozenset({"bulkdata", "rendered"})
_OF_IMAGES = frozenset({"frames", "bulkdata", "rendered", "thumbnail", ""})
_PICTURES = ("image/jpeg", "image/png", "application/pdf", "text/html", "text/plain", "text/xml", "video/mp4")


def _is(route: Route) -> bool:
    return route.path.startswith("/dicom-web")


def _kind(route: Route) -> str:
    """What a route answers: ``search``, ``metadata``, ``thumbnail`` and so on; empty: instances."""
    last = route.template.rstrip("/").rsplit("/", 1)[-1]
    if last in {"studies", "series", "instances"}:
        return "store" if route.method == "POST" else "search"
    if "/bulkdata/" in route.template:
        return "bulkdata"
    if last == "{frames}":
        return "frames"
    return last if last in {"metadata", "rendered", "thumbnail"} else "store" if route.method == "POST" else ""


_MEDIA = {
    "store": (_DICOM_JSON,),
    "search": (_DICOM_JSON,),
    "metadata": (_DICOM_JSON,),
    "frames": (_RELATED, "application/octet-stream", "image/jpeg", "image/jls", "image/jp2", "image/jphc"),
    "bulkdata": (_RELATED, "application/octet-stream"),
    "rendered": (*_PICTURES, _RELATED),
    "thumbnail": ("image/jpeg", "image/png"),
    "": (_RELATED, "application/dicom"),
}


def media_of(route: Route) -> tuple[str, ...]:
    """The media types of an answer."""
    return _MEDIA[_kind(route)] if _is(route) else ()


def successes_of(route: Route) -> dict[str, Any]:
    """Other successes than 200."""
    if not _is(route):
        return {}
    kind = _kind(route)
    content: dict[str, Any] = {name: {} for name in media_of(route)}
    if kind == "store":
        return {"202": {"description": "Some were stored", "content": content}}
    if kind in _RANGES:
        return {"206": {"description": "The range that was asked for", "content": content}}
    return {"204": {"description": "Nothing matches"}} if kind == "search" else {}


def errors_of(route: Route) -> frozenset[int]:
    """Errors beyond those of all routes."""
    if not _is(route):
        return frozenset()
    kind = _kind(route)
    return frozenset({404, 406} | ({416} if kind in _RANGES else set()) | ({410} if kind in _OF_IMAGES else set()))


def body_of(route: Route) -> dict[str, Any] | None:
    """What is sent."""
    if not _is(route) or _kind(route) != "store":
        return None
    instance = {"schema": {"type": "string", "format": "binary"}}
    return {
        "required": True,
        "description": "One instance (Part 10), or several as parts of multipart/related; type=application/dicom",
        "content": {"application/dicom": instance, _RELATED: instance},
    }


def query_of(route: Route) -> list[dict[str, Any]]:
    """Parameters of the query."""
    if not _is(route):
        return []
    kind = _kind(route)
    if kind == "search":
        return [
            _number("limit", "At most so many results", 0),
            _number("offset", "How many to leave out before them", 0),
            _text("includefield", "More attributes, by keyword or tag, or `all`"),
            _text("PatientID", "As any attribute that docs/conformance.md lists: by keyword or tag, `*` and `?` match"),
            _text("StudyDate", "A date (YYYYMMDD) or a range of dates", r"^([0-9]{8})?-?([0-9]{8})?$"),
        ]
    if kind in {"rendered", "thumbnail"}:
        return [
            _text("viewport", "width,height[,x,y,width,height]"),
            *(
                [_text("window", "centre,width[,function]"), _number("quality", "Of JPEG", 1)]
                if kind == "rendered"
                else []
            ),
        ]
    return []


def _number(name: str, description: str, least: int) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": least, **({"maximum": 100} if name == "quality" else {})}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _text(name: str, description: str, pattern: str = "") -> dict[str, Any]:
    schema = {"type": "string", **({"pattern": pattern} if pattern else {})}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
