"""Bodies of requests, read within limits."""

import asyncio

from aiohttp import web

from node.errors.access import TooLarge, UploadBroken

READ_SECONDS = 60.0  # no byte of a body for that long: the sender is gone


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
    """The next bytes of the body, empty at its end; raises UploadBroken if none come."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await request.content.readany()
    except TimeoutError as exc:
        raise UploadBroken("no data for a minute") from exc
    except (ConnectionError, web.RequestPayloadError) as exc:
        raise UploadBroken from exc
