"""Errors as ``application/problem+json`` (RFC 9457): the code is stable, the words are for people."""

import inspect
import re

import msgspec
from aiohttp import web

from node.api.encoding import encode_json
from node.errors.access import InvalidInput, LockedOut, MethodNotAllowed, NotFound, TooLarge
from node.errors.base import LeveretError, Retryable

PROBLEM_TYPE = "application/problem+json"
RETRY_SECONDS = "5"


class Problem(msgspec.Struct, frozen=True):
    """The body of an error answer; ``detail`` is the fact that goes with it, ``advice`` what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    advice: str


def problem_of(error: LeveretError) -> Problem:
    """The words for ``error``."""
    title = (inspect.getdoc(type(error)) or "").split("\n", 1)[0].rstrip(".")
    return Problem(f"urn:leveret:error:{error.code}", title, error.status, error.code, error.fact, error.advice)


def problem_response(error: LeveretError) -> web.Response:
    """The answer to a request that ended in ``error``."""
    headers = {}
    if isinstance(error, Retryable):
        headers["Retry-After"] = RETRY_SECONDS
    elif isinstance(error, LockedOut):
        headers["Retry-After"] = error.fact.partition(" ")[0]  # it says for how many seconds
    if error.status == web.HTTPUnauthorized.status_code:
        headers["WWW-Authenticate"] = 'Bearer realm="leveret"'
    body = encode_json(problem_of(error))
    return web.Response(status=error.status, body=body, content_type=PROBLEM_TYPE, headers=headers)


def methods_of(error: web.HTTPException) -> dict[str, str]:
    """The header that a 405 must have (RFC 9110 section 15.5.6)."""
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


def error_of_http(error: web.HTTPException) -> LeveretError:
    """What aiohttp's own refusals are called here."""
    kinds: dict[int, type[LeveretError]] = {404: NotFound, 405: MethodNotAllowed, 413: TooLarge}
    return kinds.get(error.status, InvalidInput)()


def error_of_decoding(error: Exception) -> InvalidInput:
    """Which field of a body is wrong; never what stands in it."""
    place = re.search(r"at `\$\.?([A-Za-z0-9_.\[\]]+)`", str(error))
    missing = re.search(r"(?:missing required|unknown) field `[A-Za-z0-9_]{1,40}`", str(error))
    if missing:
        return InvalidInput(missing[0].replace("`", ""))
    return InvalidInput(f"field {place[1]}" if place else "not the JSON that is wanted")
