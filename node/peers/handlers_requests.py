"""Requests, releases, object streams and receipts between two nodes (docs/protocol/transfer.md)."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Protocol

import msgspec
from aiohttp import web

from node.errors.sharing import NoSuchRequest
from node.model.ids import PeerId, RequestId
from node.peers import wire
from node.peers.frames import CONTROL
from node.peers.messages import MAX_NOTICE_BYTES, MAX_REQUEST_BYTES

REQUESTS = "/peer/v1/requests"
REQUEST = "/peer/v1/requests/{id}"
MANIFEST = "/peer/v1/requests/{id}/manifest"
OBJECTS = "/peer/v1/requests/{id}/objects"
RECEIPT = "/peer/v1/requests/{id}/receipt"
CANCEL = "/peer/v1/requests/{id}/cancel"

MAX_INDEXES = 1024  # instances one stream may be asked for; the next stream asks for more
MAX_CODECS = 8  # that a recipient can name
MAX_WANTED_BYTES = 16 * 1024  # 1024 indexes of seven digits fit

Writer = Callable[[bytes | bytearray | memoryview], Awaitable[None]]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which instances of a release to send, by their number in its manifest, in this order.

    ``codecs``: how they may be packed; those that the holder does not know mean nothing to it.
    """

    instances: Annotated[
        list[Annotated[int, msgspec.Meta(ge=0, lt=CONTROL)]], msgspec.Meta(min_length=1, max_length=MAX_INDEXES)
    ]
    codecs: Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=255)]], msgspec.Meta(max_length=MAX_CODECS)] = (
        msgspec.field(default_factory=list)
    )


class RequestPort(Protocol):
    """What the holder does about requests; texts are compact JWS."""

    async def receive(self, peer: PeerId, token: str) -> str:
        """Decide a request; the decision. The same request again gets the same decision."""

    async def decision(self, peer: PeerId, request_id: RequestId) -> str:
        """The decision as it stands; raises NoSuchRequest."""

    async def manifest(self, peer: PeerId, request_id: RequestId) -> str:
        """The manifest of a release; raises NoSuchRequest or why it is not valid any more."""

    async def take_receipt(self, peer: PeerId, request_id: RequestId, token: str) -> None:
        """Keep the recipient's receipt; the same one again is as good."""

    async def cancelled(self, peer: PeerId, request_id: RequestId) -> None:
        """The recipient gave up."""


class ObjectSource(Protocol):
    """One stream that was opened."""

    async def run(self, write: Writer) -> None:
        """Write the whole stream, its end frame included."""


class ObjectPort(Protocol):
    """Where object streams come from."""

    def open(
        self, peer: PeerId, request_id: RequestId, indexes: Sequence[int], codecs: Collection[int]
    ) -> AbstractAsyncContextManager[ObjectSource]:
        """Check that ``peer`` may have these instances now, packed by ``codecs`` or not at all; raises why not."""


def routes(requests: RequestPort, objects: ObjectPort) -> Iterable[web.RouteDef]:
    """The handlers, for ``PeerServer.add_routes``."""

    async def receive(request: web.Request) -> web.Response:
        token = await wire.read_jws(request, limit=MAX_REQUEST_BYTES)
        return wire.jws_reply(await requests.receive(wire.peer_of(request), token))

    async def decision(request: web.Request) -> web.Response:
        return wire.jws_reply(await requests.decision(wire.peer_of(request), _id(request)))

    large = wire.LargeAnswers()

    async def manifest(request: web.Request) -> web.StreamResponse:
        async with large.turn(request):
            token = (await requests.manifest(wire.peer_of(request), _id(request))).encode("ascii")
            async with wire.stream_reply(request, length=len(token), content_type=wire.JOSE) as reply:
                await reply.write(token)
            return reply.response

    async def stream(request: web.Request) -> web.StreamResponse:
        request_id = _id(request)
        wanted = await wire.read_struct(request, Wanted, limit=MAX_WANTED_BYTES)
        opened = objects.open(wire.peer_of(request), request_id, wanted.instances, wanted.codecs)
        async with opened as source:
            async with wire.stream_reply(request) as reply:
                await source.run(reply.write)
            return reply.response

    async def receipt(request: web.Request) -> web.Response:
        token = await wire.read_jws(request, limit=MAX_NOTICE_BYTES)
        await requests.take_receipt(wire.peer_of(request), _id(request), token)
        return wire.empty_reply()

    async def cancel(request: web.Request) -> web.Response:
        await wire.read_body(request, limit=0)
        await requests.cancelled(wire.peer_of(request), _id(request))
        return wire.empty_reply()

    return [
        web.post(REQUESTS, receive),
        web.get(REQUEST, decision),
        web.get(MANIFEST, manifest),
        web.post(OBJECTS, stream),
        web.post(RECEIPT, receipt),
        web.post(CANCEL, cancel),
    ]


def _id(request: web.Request) -> RequestId:
    try:
        return RequestId.parse(request.match_info["id"])
    except ValueError as exc:
        raise NoSuchRequest from exc
