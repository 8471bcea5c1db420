"""Announcements between two nodes: the feed, the nudge, the questions (docs/protocol/locating.md)."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Protocol

import msgspec
from aiohttp import web

from node.errors.peers import MalformedMessage
from node.model.feed_chain import MAX_NUMBER
from node.model.ids import PeerId
from node.peers import limits, wire

FEED = "/peer/v1/feed"
FEED_POSITION = "/peer/v1/feed/position"
NUDGE = "/peer/v1/feed/nudge"
EVALUATE = "/peer/v1/evaluate"

FRAME_BYTES = 4  # each batch is preceded by its length, big-endian
MAX_ELEMENTS = 48  # questions in one call: 16 patients; 5 ms of work for the holder
MAX_BASE64 = 128  # characters of one element or answer (32 or 96 bytes)

_Number = Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
_Element = Annotated[bytes, msgspec.Meta(max_length=MAX_BASE64)]


class Questions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reader asks: blinded tokens, under one epoch of the holder's feed for it.

    ``purpose`` is a PurposeOfUse code (HL7 v3), ``user`` a pseudonym that only the reader can resolve.
    """

    incarnation: _Number
    epoch: _Number
    purpose: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{1,16}\Z")]
    user: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    elements: Annotated[list[_Element], msgspec.Meta(min_length=1, max_length=MAX_ELEMENTS)]


class Answers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For each question, in the same order, the evaluated element and the proof that the feed's key made it."""

    answers: Annotated[list[_Element], msgspec.Meta(min_length=1, max_length=MAX_ELEMENTS)]


class FeedPosition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far the caller's own feed was followed here; zeros: nothing of it was taken over."""

    incarnation: Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
    epoch: Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
    sequence: Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]


class FeedPort(Protocol):
    """What announcing and locating do for a peer."""

    async def batches(self, peer: PeerId, incarnation: int, first: int) -> Sequence[bytes]:
        """Signed batches for ``peer`` from sequence number ``first`` on, some of them; none: that was all.

        A reader that names another incarnation gets the present one from its start.
        """

    async def position(self, peer: PeerId) -> FeedPosition:
        """How far the feed of ``peer`` was followed; it asks after it was restored from a backup."""

    def nudged(self, peer: PeerId) -> None:
        """``peer`` says that its feed has grown."""

    async def answer(self, peer: PeerId, questions: Questions) -> Sequence[bytes]:
        """Evaluate the questions of ``peer``; raises EpochOver, QuestionsRefused, QuestionsExhausted."""


def routes(port: FeedPort) -> Iterable[web.RouteDef]:
    """The handlers, for ``PeerServer.add_routes``."""
    large = wire.LargeAnswers()

    async def feed(request: web.Request) -> web.StreamResponse:
        incarnation, first = _number(request, "incarnation"), _number(request, "from")
        async with large.turn(request):
            batches = await port.batches(wire.peer_of(request), incarnation, first)
            length = sum(FRAME_BYTES + len(batch) for batch in batches)
            async with wire.stream_reply(request, length=length) as reply:
                for batch in batches:
                    await reply.write(len(batch).to_bytes(FRAME_BYTES, "big") + batch)
            return reply.response

    async def position(request: web.Request) -> web.Response:
        return wire.json_reply(await port.position(wire.peer_of(request)))

    async def nudge(request: web.Request) -> web.Response:
        await wire.read_body(request, limit=0)
        port.nudged(wire.peer_of(request))
        return wire.empty_reply()

    async def evaluate(request: web.Request) -> web.Response:
        questions = await wire.read_struct(request, Questions, limit=limits.MESSAGE_BYTES)
        answers = await port.answer(wire.peer_of(request), questions)
        return wire.json_reply(Answers(list(answers)))

    return [web.get(FEED, feed), web.get(FEED_POSITION, position), web.post(NUDGE, nudge), web.post(EVALUATE, evaluate)]


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_NUMBER))):
        raise MalformedMessage(f"{name} must be a number")
    if int(text) > MAX_NUMBER:
        raise MalformedMessage(f"{name} is out of range")
    return int(text)
