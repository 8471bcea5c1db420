"""Event streams (SSE): a document now and after each change, and a sign of life where nothing changes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeVar

from aiohttp import web

from node.api.encoding import encode_json
from node.api.routing import Call
from node.api.server import STARTED

EVENTS = ("text/event-stream",)
ALIVE_SECONDS = 15.0  # a comment that often keeps proxies from closing a quiet stream
_T = TypeVar("_T")


async def answer_events(call: Call, views: AsyncIterator[_T], shown: Callable[[_T], object]) -> web.StreamResponse:
    """Stream ``views`` until they end."""
    answer = web.StreamResponse(headers={"Content-Type": EVENTS[0]})
    call.request[STARTED] = True
    await answer.prepare(call.request)
    async with contextlib.aclosing(with_pauses(views)) as paused:
        async for view in paused:
            event = b": still here\n\n" if view is None else b"data: " + encode_json(shown(view)) + b"\n\n"
            await answer.write(event)
    await answer.write_eof()
    return answer


async def with_pauses(views: AsyncIterator[_T]) -> AsyncGenerator[_T | None, None]:
    """``views``, with a None whenever nothing came for a while."""
    following = asyncio.ensure_future(anext(views, None))
    try:
        while True:
            done, _ = await asyncio.wait((following,), timeout=ALIVE_SECONDS)
            if not done:
                yield None
                continue
            view = following.result()
            if view is None:
                return
            yield view
            following = asyncio.ensure_future(anext(views, None))
    finally:
        following.cancel()
        await asyncio.wait((following,))
