"""Which releases are being streamed, and what must hold for every single object of them.

What may change while a stream runs (trust, consent, cancellation) reaches it as :meth:`ObjectServer.stop`. Every such
change is made in this process, and a stream is known here before the index is asked whether it may run, so no change
falls between. The bytes themselves are ``sharing.stream``'s business.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from node.clock import Clock
from node.crypto.identity import Identity
from node.crypto.jws import JwsType, verify_jws
from node.errors.base import LeveretError
from node.errors.lifecycle import StudyChanged
from node.errors.sharing import (
    ConsentRevoked,
    InvalidRequest,
    NoSuchRequest,
    ReleaseExpired,
    TooManyStreams,
    TransferCancelled,
)
from node.errors.trust import PeerNotTrusted
from node.log import Logger
from node.metrics import Metrics
from node.model.audit import AuditEvent, AuditType
from node.model.consent import DAY_SECONDS, RefusalCode
from node.model.ids import PeerId, RequestId
from node.model.release import ReleaseManifest
from node.model.transfer import ENDED, Direction, Transfer, TransferEvent, TransferState
from node.model.trust import TrustState
from node.peers.messages import MAX_MANIFEST_BYTES, decode_manifest
from node.sharing.evidence import is_live
from node.sharing.stream import Lane, LiveRelease, OutStream
from node.sharing.trust import TrustList
from node.store import audit, requests, transfers
from node.store.codec import CODEC_SHUFFLE_ZSTD
from node.store.engine import Database, Read, Write
from node.store.objects import ObjectStore

MAX_STREAMS = 16  # to one peer at once: three transfers with the usual number of streams, and some
IDLE_SECONDS = 5.0  # a transfer without a stream for that long is SUSPENDED
TICK_SECONDS = 1.0
SWEEP_TICKS = 60  # how often expired releases, and refused requests that are old, are looked for
REFUSED_SECONDS = 30 * DAY_SECONDS  # requesters repeat a request for a week at most; the audit log keeps the event

_STOPPED: dict[str, type[LeveretError]] = {
    error.code: error for error in (ConsentRevoked, TransferCancelled, ReleaseExpired, PeerNotTrusted, StudyChanged)
}


def why_ended(transfer: Transfer) -> LeveretError:
    """What a recipient hears that asks for more of a transfer which has ended.

    One that ended when the recipient was revoked stays ended: trusted again, it must not take that for a suspension.
    """
    if transfer.code == PeerNotTrusted.code:
        return ReleaseExpired()
    return _STOPPED.get(transfer.code, ReleaseExpired)()


@dataclass(frozen=True, slots=True)
class ServerParts:
    """What the object server works with."""

    db: Database
    store: ObjectStore
    identity: Identity
    trust: TrustList
    clock: Clock
    metrics: Metrics
    log: Logger


class ObjectServer:
    """Serves released objects (``peers.handlers_requests.ObjectPort``)."""

    def __init__(self, parts: ServerParts) -> None:
        self._parts = parts
        self._live: dict[tuple[PeerId, RequestId], LiveRelease] = {}
        self._lanes: dict[PeerId, Lane] = {}

    def stop(self, request_id: RequestId, code: str) -> None:
        """End the streams of a release within a second; ``code`` tells the recipient why."""
        for live in self._live.values():
            if live.request_id == request_id:
                live.stop(code)

    def trust_changed(self, peer: PeerId, state: TrustState) -> None:
        """End all streams of a peer that is not trusted any more (``peers.ports.TrustListener``)."""
        if state is not TrustState.TRUSTED:
            for live in self._live.values():
                if live.peer == peer:
                    live.stop(PeerNotTrusted.code)

    @asynccontextmanager
    async def open(
        self, peer: PeerId, request_id: RequestId, indexes: Sequence[int], codecs: Collection[int] = ()
    ) -> AsyncIterator[OutStream]:
        """Check that ``peer`` may have these instances now, and hold a place for the stream.

        Raises:
            NoSuchRequest, ReleaseExpired, ConsentRevoked, TransferCancelled, PeerNotTrusted, TooManyStreams: why not.
            InvalidRequest: an index that the manifest does not have, or one twice.
        """
        live = self._live.get((peer, request_id))
        if live is None or live.stopped:
            lane = self._lanes.setdefault(peer, Lane(self._parts.clock))
            live = self._live[peer, request_id] = LiveRelease(request_id, peer, lane)
        live.streams += 1
        live.lane.streams += 1
        try:
            if live.lane.streams > MAX_STREAMS:
                raise TooManyStreams
            async with live.loading:
                if live.manifest is None:
                    live.manifest = await self._load(live)
            if len(set(indexes)) != len(indexes) or max(indexes) >= len(live.manifest.instances):
                raise InvalidRequest("instances")
            live.lane.pace.rate = self._parts.trust.policy_of(peer).max_rate
            self._check(live)
            packed = CODEC_SHUFFLE_ZSTD in codecs
            yield OutStream(self._parts.store, live, live.manifest, indexes, self._check, packed=packed)
        finally:
            live.streams -= 1
            live.lane.streams -= 1
            live.idle_since = self._parts.clock.monotonic()
            if live.manifest is None and not live.streams and self._live.get((peer, request_id)) is live:
                del self._live[peer, request_id]

    async def run(self) -> None:
        """Write progress down, mark what stands still, end what expired and forget old refusals, until cancelled."""
        await self._try(self._interrupt_left_over)
        ticks = 0
        try:
            while True:
                if ticks % SWEEP_TICKS == 0:
                    await self._try(self._expire)
                await asyncio.sleep(TICK_SECONDS)
                self._stop_expired()
                await self._try(self._tick)
                ticks += 1
        finally:
            await asyncio.shield(self._try(self._tick))

    async def _try(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except LeveretError as error:  # a full disk must not stop the node; there is a next time
            self._parts.log.warning("transfers not written down", component="object-server", code=error.code)

    def _stop_expired(self) -> None:
        """Not even the instance under way outlives its release: a reader that dawdles would stretch it for days."""
        now = self._parts.clock.now()
        for live in self._live.values():
            if live.manifest is not None and now >= live.manifest.expires_at:
                live.stop(ReleaseExpired.code)

    def _check(self, live: LiveRelease) -> None:
        """What must hold for every object, at the moment that it is sent."""
        assert live.manifest is not None
        if live.stopped:
            raise _STOPPED.get(live.code, TransferCancelled)
        if self._parts.clock.now() >= live.manifest.expires_at:
            raise ReleaseExpired
        if self._parts.trust.state_of(live.peer) is not TrustState.TRUSTED:
            raise PeerNotTrusted

    async def _load(self, live: LiveRelease) -> ReleaseManifest:
        """The release as it is kept, if it is still good; the transfer is TRANSFERRING from then on."""
        parts = self._parts
        async with parts.db.read() as rx:  # what is refused does not get to take the writer
            await _good(rx, live)
            stored = await transfers.release_of(rx, live.request_id)
        if stored is None:
            raise NoSuchRequest
        async with parts.db.write() as tx:
            transfer = await _good(tx, live)
            await self._move(tx, transfer, TransferEvent.START)
        live.done_before = (transfer.instances_done, transfer.bytes_done)
        return await asyncio.to_thread(self._own_manifest, stored.manifest)

    def _own_manifest(self, token: str) -> ReleaseManifest:
        """What this node signed, checked like a stranger's word: a changed row must not widen a release."""
        key = self._parts.identity.public_key
        return decode_manifest(verify_jws(token, JwsType.MANIFEST, key, max_bytes=MAX_MANIFEST_BYTES))

    async def _interrupt_left_over(self) -> None:
        """What the last process was sending when it ended."""
        async with self._parts.db.write() as tx:
            for transfer in await transfers.unfinished(tx, Direction.OUT):
                is_live = (transfer.peer, transfer.request_id) in self._live
                if transfer.state is TransferState.TRANSFERRING and not is_live:
                    await self._move(tx, transfer, TransferEvent.INTERRUPT)

    async def _expire(self) -> None:
        now = self._parts.clock.now()
        async with self._parts.db.write() as tx:
            for transfer in await transfers.expired(tx, Direction.OUT, now):
                await self._move(tx, transfer, TransferEvent.FAIL, ReleaseExpired.code)
            await requests.forget_refused(tx, RefusalCode.NOT_RELEASED.value, now - REFUSED_SECONDS)

    async def _tick(self) -> None:
        now = self._parts.clock.monotonic()
        for key, live in list(self._live.items()):
            over = not live.streams and (live.stopped or now - live.idle_since > IDLE_SECONDS)
            if live.manifest is not None and (over or live.unwritten):
                await self._write_down(live, over=over)
            if over and not live.streams and self._live.get(key) is live:
                del self._live[key]

    async def _write_down(self, live: LiveRelease, *, over: bool) -> None:
        live.unwritten = False
        wire_bytes, live.wire_bytes = live.wire_bytes, 0
        self._parts.metrics.transfer_bytes.labels(Direction.OUT.value).inc(wire_bytes)
        now = self._parts.clock.now()
        async with self._parts.db.write() as tx:
            transfer = await transfers.get(tx, live.request_id)
            await transfers.add_effort(tx, live.request_id, wire_bytes=wire_bytes, seconds=0.0)
            if transfer is None or transfer.state in ENDED:
                return
            await transfers.set_progress(
                tx,
                live.request_id,
                instances=min(live.done_before[0] + len(live.sent), transfer.instances_total),
                size=min(live.done_before[1] + live.bytes_sent, transfer.bytes_total),
                at=now,
            )
            if over and not live.streams and transfer.state is TransferState.TRANSFERRING:
                await self._move(tx, transfer, TransferEvent.INTERRUPT)

    async def _move(self, tx: Write, transfer: Transfer, event: TransferEvent, code: str = "") -> None:
        now = self._parts.clock.now()
        state = await transfers.move(tx, transfer.request_id, event, at=now, code=code)
        detail = {"state": state.value, "direction": Direction.OUT.value}
        await audit.append(
            tx,
            AuditEvent(
                AuditType.TRANSFER_STATE, now, peer=transfer.peer, request=transfer.request_id, code=code, detail=detail
            ),
        )
        self._parts.log.info("transfer", transfer=str(transfer.request_id), state=state.value, peer=transfer.peer.log)


async def _good(rx: Read, live: LiveRelease) -> Transfer:
    """The transfer of a release that may be streamed; raises why it may not."""
    row = await requests.get_received(rx, live.request_id)
    transfer = await transfers.get(rx, live.request_id)
    if row is None or row.peer != live.peer or transfer is None:
        raise NoSuchRequest
    if transfer.state in ENDED:
        raise why_ended(transfer)
    if row.consent_id is None or row.consent_kind is None or not await is_live(rx, row.consent_kind, row.consent_id):
        raise ConsentRevoked
    return transfer
