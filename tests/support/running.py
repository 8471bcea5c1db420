"""Whole nodes in this process, through the composition root."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, UnixConnector

from node.app.keys import open_keys
from node.app.node import Node
from node.app.setup import NewNode, initialise
from node.config import Settings, load
from node.log import make_logger

LOOPBACK = "127.0.0.1:0"


@dataclass
class Running:
    """A node that serves, and its admin socket as a client uses it."""

    directory: Path
    node: Node
    logged: io.StringIO
    admin: ClientSession

    @property
    def api(self) -> str:
        return f"http://{self.node.addresses['api']}"

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON body of a call on the admin socket."""
        async with self.admin.request(method, f"http://localhost/api/v1{path}", **options) as answer:
            raw = await answer.read()
            return answer.status, (await answer.json(content_type=None)) if raw else None

    async def done(self, method: str, path: str, **options: Any) -> Any:
        """The JSON body of a call that must succeed."""
        status, body = await self.call(method, path, **options)
        assert status < 300, body
        return body

    async def token(self, role: str, name: str | None = None) -> str:
        user = name or role
        await self.done("POST", "/users", json={"name": user, "role": role})
        return str((await self.done("POST", f"/users/{user}/tokens"))["token"])


def initialised(directory: Path, name: str, **options: Any) -> Settings:
    """A new node on free loopback ports; call it in a thread."""
    new = NewNode(name, peer_listen=LOOPBACK, api_listen=LOOPBACK, dicom_listen=LOOPBACK, **options)
    initialise(directory, new)
    settings = load(directory, {})
    return replace(settings, peer=replace(settings.peer, discovery=False))


@asynccontextmanager
async def running(directory: Path, name: str = "north", *, settings: Settings | None = None) -> AsyncIterator[Running]:
    """A node that serves while the block runs; made first if there is none."""
    if settings is None:
        settings = await asyncio.to_thread(initialised, directory, name)
    keys = await asyncio.to_thread(open_keys, directory, settings.node)
    logged = io.StringIO()
    async with (
        Node(directory, settings, keys, log=make_logger(logged)) as node,
        ClientSession(connector=UnixConnector(str(directory / "admin.sock"))) as admin,
    ):
        yield Running(directory, node, logged, admin)
