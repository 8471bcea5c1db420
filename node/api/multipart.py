"""Forms with files (multipart/form-data, RFC 7578), read part by part and within limits.

The CSRF token is the first part, so that it is known before anything else is read. What follows is read by the
handler, once, in the order in which it comes; a file is never kept in memory as a whole.
"""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import BodyPartReader, MultipartReader, web

from node.api.bodies import READ_SECONDS
from node.errors.access import InvalidInput, TooLarge, UnsupportedMedia, UploadBroken

MULTIPART = "multipart/form-data"
MAX_PARTS = 500
MAX_FIELD_BYTES = 8 * 1024  # of a field that is no file
_PIECE = 64 * 1024
_READER = web.RequestKey("multipart", MultipartReader)


async def first_field(request: web.Request, name: str) -> str:
    """The first part, if it is the field ``name``, else nothing; the other parts are left for :func:`parts`."""
    reader = await _reader(request)
    part = await _next(reader)
    if part is None or part.name != name or part.filename is not None:
        return ""
    return await text_of(part)


async def parts(request: web.Request) -> AsyncIterator[BodyPartReader]:
    """What has not been read yet, in order; each must be read before the next is asked for.

    Raises:
        UnsupportedMedia, InvalidInput, UploadBroken: no such form, a malformed one, or it stopped.
    """
    reader = await _reader(request)
    for _ in range(MAX_PARTS):
        part = await _next(reader)
        if part is None:
            return
        yield part
    raise InvalidInput("too many parts")


async def text_of(part: BodyPartReader) -> str:
    """A field's text; raises TooLarge, InvalidInput."""
    data = bytearray()
    async for piece in pieces(part, MAX_FIELD_BYTES):
        data += piece
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise InvalidInput("a field is not UTF-8") from exc


async def pieces(part: BodyPartReader, limit: int) -> AsyncIterator[bytes]:
    """The bytes of a part as they come; raises TooLarge beyond ``limit``, UploadBroken if they stop coming."""
    size = 0
    while True:
        try:
            async with asyncio.timeout(READ_SECONDS):
                piece = await part.read_chunk(_PIECE)
        except TimeoutError as exc:
            raise UploadBroken("no data for a minute") from exc
        except (ConnectionError, web.RequestPayloadError) as exc:
            raise UploadBroken from exc
        except (ValueError, AssertionError) as exc:  # aiohttp asserts what a sender can get wrong
            raise InvalidInput("not a form") from exc
        if not piece:
            return
        size += len(piece)
        if size > limit:
            raise TooLarge
        yield piece


async def _reader(request: web.Request) -> MultipartReader:
    known: MultipartReader | None = request.get(_READER)
    if known is not None:
        return known
    if request.content_type != MULTIPART:
        raise UnsupportedMedia(request.content_type[:60])
    try:
        reader = await request.multipart()
    except (ValueError, AssertionError) as exc:
        raise InvalidInput("not a form") from exc
    request[_READER] = reader
    return reader


async def _next(reader: MultipartReader) -> BodyPartReader | None:
    try:
        async with asyncio.timeout(READ_SECONDS):
            part = await reader.next()
    except TimeoutError as exc:
        raise UploadBroken("no data for a minute") from exc
    except (ConnectionError, web.RequestPayloadError) as exc:
        raise UploadBroken from exc
    except (ValueError, AssertionError) as exc:
        raise InvalidInput("not a form") from exc
    if isinstance(part, MultipartReader):
        raise InvalidInput("a form within a form")
    return part
