"""Checkpoints between two nodes: a log's owner asks for a cosignature (docs/protocol/witness.md, after C2SP).

The caller is always the owner of the log that it speaks of: it is known by its certificate, and names no other log.
"""

from collections.abc import Iterable
from typing import Annotated, Protocol

import msgspec
from aiohttp import web

from node.crypto.notes import MAX_NOTE_LENGTH
from node.crypto.tlog import MAX_SIZE
from node.model.ids import PeerId
from node.peers import wire

WITNESS = "/peer/v1/witness"

MAX_PROOF = 63  # hashes: a tree of 2^62 leaves needs no more (C2SP tlog-witness)
MAX_CHECKPOINT_BYTES = MAX_NOTE_LENGTH + 16 * 1024  # the note, and the proof in hexadecimal


class AddCheckpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signed checkpoint, and the proof that it continues the first ``old`` entries."""

    old: Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]
    proof: Annotated[list[Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]], msgspec.Meta(max_length=MAX_PROOF)]
    checkpoint: Annotated[str, msgspec.Meta(max_length=MAX_NOTE_LENGTH)]


class Witness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cosignature line, or none and the size from which the proof must start."""

    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]
    line: Annotated[str, msgspec.Meta(max_length=1024)] | None


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The caller's own head as this node has co-signed it last; empty: none."""

    checkpoint: Annotated[str, msgspec.Meta(max_length=MAX_NOTE_LENGTH)]


class WitnessPort(Protocol):
    """What a witness does for the owner of a log."""

    async def add(self, peer: PeerId, asked: AddCheckpoint) -> Witness:
        """Co-sign, or say from which size the proof must start; raises why not."""

    async def held(self, peer: PeerId) -> Held:
        """The head of the caller's log that was co-signed last."""


def routes(port: WitnessPort) -> Iterable[web.RouteDef]:
    """The handlers, for ``PeerServer.add_routes``."""

    async def add(request: web.Request) -> web.Response:
        asked = await wire.read_struct(request, AddCheckpoint, limit=MAX_CHECKPOINT_BYTES)
        return wire.json_reply(await port.add(wire.peer_of(request), asked))

    async def held(request: web.Request) -> web.Response:
        return wire.json_reply(await port.held(wire.peer_of(request)))

    return [web.post(WITNESS, add), web.get(WITNESS, held)]
