"""Parts of pages that stay up to date: rendered now and then, sent where they changed (server-sent events)."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from node.api.routing import Call
from node.api.server import STARTED

LOOK_SECONDS = 3.0
ALIVE_LOOKS = 5  # without a change: then a comment is sent, so that proxies keep the stream
MOST_LOOKS = 200  # then the browser asks again, and is known or not


async def stream(call: Call, event: str, render: Callable[[], Awaitable[str]]) -> web.StreamResponse:
    """Send what ``render`` makes, at once and whenever it is something else, for ten minutes at most."""
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    call.request[STARTED] = True
    await answer.prepare(call.request)
    last, quiet = "", 0
    for _ in range(MOST_LOOKS):
        text = await render()
        if text != last:
            lines = "".join(f"data: {line}\n" for line in text.splitlines())
            await answer.write(f"event: {event}\n{lines}\n".encode())
            last, quiet = text, 0
        elif (quiet := quiet + 1) >= ALIVE_LOOKS:
            await answer.write(b": still here\n\n")
            quiet = 0
        await asyncio.sleep(LOOK_SECONDS)
    await answer.write_eof()
    return answer
