"""Bodies of requests, read within limits."""

import asyncio

from aiohttp import web

from node.errors.access import TooLarge, UploadBroken

READ_SECONDS = 60.0  # no byte of a body for that long: the sender is gone
GRACE_SECONDS = 30.0  # in all that a body may be waited for, and
LEAST_RATE = 4096  # beyond that so many bytes a second of waiting: less is a drip, not a network

_WAITED = web.RequestKey("waited", float)  # seconds
_RECEIVED = web.RequestKey("received", int)  # bytes


async def read_body(request: web.Request, limit: int) -> bytearray:
    """The whole body, at most ``limit`` bytes.

    Raises:
        TooLarge: there is more.
        UploadBroken: it stopped, or the connection did.
    """
    if (request.content_length or 0) > limit:
        raise TooLarge
    body = bytearray()
    while piece := await read_piece(request):
        if len(body) + len(piece) > limit:
            raise TooLarge
        body += piece
    return body


async def read_piece(request: web.Request) -> bytes:
    """The next bytes of the body, empty at its end; raises UploadBroken if none come, or hardly any."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(READ_SECONDS):
            piece = await request.content.readany()
    except TimeoutError as exc:
        raise UploadBroken("no data for a minute") from exc
    except (ConnectionError, web.RequestPayloadError) as exc:
        raise UploadBroken from exc
    waited = request[_WAITED] = request.get(_WAITED, 0.0) + loop.time() - began
    received = request[_RECEIVED] = request.get(_RECEIVED, 0) + len(piece)
    if piece and received < (waited - GRACE_SECONDS) * LEAST_RATE:
        raise UploadBroken("hardly any data")
    return piece
