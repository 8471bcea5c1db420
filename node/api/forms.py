"""HTML forms (application/x-www-form-urlencoded), read once and within limits."""

from typing import TypeVar, get_origin, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from node.api.bodies import read_body
from node.api.cookies import CSRF_FIELD
from node.api.problem import error_of_decoding
from node.errors.access import InvalidInput, UnsupportedMedia

MAX_FORM_BYTES = 64 * 1024
MAX_FIELDS = 500  # a table of ticked studies
FORM = "application/x-www-form-urlencoded"
_FIELDS = web.RequestKey("form", list[tuple[str, str]])
_T = TypeVar("_T")


async def form_fields(request: web.Request) -> list[tuple[str, str]]:
    """Names and values in order, the CSRF token too; the body is read at the first call.

    Raises:
        UnsupportedMedia, TooLarge, InvalidInput: another media type, too many bytes, not a form.
    """
    known: list[tuple[str, str]] | None = request.get(_FIELDS)
    if known is not None:
        return known
    raw = await read_body(request, MAX_FORM_BYTES)
    if raw and request.content_type != FORM:
        raise UnsupportedMedia(request.content_type[:60])
    try:
        fields = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except (ValueError, UnicodeDecodeError) as exc:
        raise InvalidInput("not a form") from exc
    request[_FIELDS] = fields
    return fields


async def read_form(request: web.Request, kind: type[_T]) -> _T:
    """The form as a ``kind`` (a msgspec struct): numbers and booleans as they are meant, tuples of repeated fields.

    A field left empty counts as not sent, so that the struct's default holds. Raises as :func:`form_fields`.
    """
    lists = {name for name, hint in get_type_hints(kind).items() if get_origin(hint) in {tuple, list}}
    values: dict[str, str | list[str]] = {}
    for name, value in await form_fields(request):
        if name == CSRF_FIELD or not value.strip():
            continue
        if name in lists:
            held = values.setdefault(name, [])
            assert isinstance(held, list)
            held.append(value)
        else:
            values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.MsgspecError as exc:
        raise error_of_decoding(exc) from exc
