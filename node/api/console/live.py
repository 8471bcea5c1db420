"""Progress as it happens: pieces of pages over server-sent events, for htmx's SSE extension.

Each event carries the piece as it stands; the last event is called ``end``, on which the page closes the stream.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from aiohttp import web

from node.api.rest.events import with_pauses
from node.api.routing import Call
from node.api.server import STARTED
from node.api.web.pages import Pages

_T = TypeVar("_T")


async def answer_pieces(
    call: Call, pages: Pages, template: str, views: AsyncIterator[_T], values: Callable[[_T], dict[str, Any]]
) -> web.StreamResponse:
    """Stream ``template`` for each of ``views`` until they end."""
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    call.request[STARTED] = True
    await answer.prepare(call.request)
    async with contextlib.aclosing(with_pauses(views)) as paused:
        async for view in paused:
            if view is None:
                await answer.write(b": still here\n\n")
            else:
                await answer.write(_event("piece", pages.piece(call, template, **values(view))))
    await answer.write(_event("end", ""))
    await answer.write_eof()
    return answer


def _event(name: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {name}\n{lines}\n".encode()
