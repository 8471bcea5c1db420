"""``Idempotency-Key`` on POSTs below ``/api/v1``."""

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from node.errors.access import InvalidInput
from node.model.access import Caller
from node.sharing.idempotency import Answer, Idempotency, KeyedCall

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"
# A structured string (RFC 8941 section 3.3.3), or the bare words that many clients send.
_KEY = re.compile(r'"?([\x21\x23-\x5b\x5d-\x7e]{1,255})"?')


async def once(
    idempotency: Idempotency,
    request: web.Request,
    caller: Caller,
    raw: bytes,
    work: Callable[[], Awaitable[web.Response]],
) -> web.Response:
    """What ``work`` answers, now or at the first time; ``raw`` is the request's body.

    Raises:
        InvalidInput: no key that could be one. IdempotencyKeyReused, StillRunning, UnknownOutcome.
    """
    found = _KEY.fullmatch(request.headers[KEY_HEADER].strip())
    if found is None:
        raise InvalidInput(KEY_HEADER)
    target = f"{request.method} {request.path}"
    call = KeyedCall(caller.actor, target, found[1], request.query_string.encode() + b"\0" + raw)

    async def answer() -> Answer:
        made = await work()
        body = made.body if isinstance(made.body, bytes) else b""
        return Answer(made.status, made.content_type if body else "", body)

    given, is_old = await idempotency.once(call, answer)
    headers = {REPLAYED_HEADER: "true"} if is_old else {}
    return web.Response(status=given.status, body=given.body, content_type=given.kind or None, headers=headers)
