"""The steps of an incoming transfer, each a few reads, perhaps a talk with the holder, and one transaction.

A step that is torn leaves the index as it was, and :meth:`Inbound.next_step` names it again. Admission, completion,
the audit events and the receipt that must be delivered are one transaction: the study is whole and signed for, or not
there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum, auto

from node.clock import Clock
from node.crypto.identity import Identity
from node.errors.sharing import InstanceConflict, ManifestRefused, NoSuchRequest, ReleaseExpired, TransferCancelled
from node.metrics import Metrics
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.ids import PeerId, RequestId, SOPInstanceUID
from node.model.instance import Manifest
from node.model.release import DecisionNotice, ReleaseManifest, Verdict
from node.model.request import RequestEvent, RequestState
from node.model.transfer import ENDED, Direction, Transfer, TransferEvent, TransferState
from node.peers.messages import decode_body, encode_body
from node.sharing.asking import Asking, HeldRelease
from node.sharing.incoming import Count
from node.sharing.pull import Pull, PullParts
from node.sharing.receipts import sign_receipt
from node.store import audit, followed, identity, requests, tombstones, transfers
from node.store.engine import Database, Read, Write
from node.store.requests import SentRequest
from node.store.study_queries import StudyQuery, digests, find_studies

PROGRESS_SECONDS = 0.5  # how often progress is written down


class Step(Enum):
    """What has to be done next for a request of this node."""

    ASK = auto()
    LOOK_AGAIN = auto()  # it is in review
    FETCH_MANIFEST = auto()
    PULL = auto()
    DELIVER_RECEIPT = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class InboundParts:
    """What the steps work with."""

    db: Database
    identity: Identity
    asking: Asking
    pull: PullParts
    clock: Clock
    metrics: Metrics


class Inbound:
    """The steps."""

    def __init__(self, parts: InboundParts) -> None:
        self._parts = parts
        self._db = parts.db
        self.on_progress: Callable[[], None] = lambda: None  # called after each count of what has come

    async def unfinished(self) -> list[RequestId]:
        """Requests with something left to do. What the last process was moving is SUSPENDED now."""
        async with self._db.write() as tx:
            found = await transfers.unfinished(tx, Direction.IN)
            for transfer in found:
                if transfer.state in {TransferState.TRANSFERRING, TransferState.VERIFYING}:
                    await self._move(tx, transfer, TransferEvent.INTERRUPT)
            return [t.request_id for t in found] + await transfers.receipts_to_deliver(tx)

    async def next_step(self, request_id: RequestId) -> Step:
        """What is left to do, read from the index."""
        async with self._db.read() as rx:
            row, transfer = await _rows(rx, request_id)
            if transfer.state in ENDED:
                waiting = await transfers.receipts_to_deliver(rx)
                return Step.DELIVER_RECEIPT if request_id in waiting else Step.NOTHING
            if row.state is RequestState.ASKED:
                return Step.ASK
            if row.state is RequestState.REVIEW:
                return Step.LOOK_AGAIN
            return Step.PULL if await transfers.is_released(rx, request_id) else Step.FETCH_MANIFEST

    async def row(self, request_id: RequestId) -> SentRequest:
        """The request as it was written down."""
        async with self._db.read() as rx:
            return (await _rows(rx, request_id))[0]

    async def ask(self, request_id: RequestId, *, seconds: float) -> None:
        """Send the request and take the decision in."""
        row = await self.row(request_id)
        await self._take_decision(row, await self._parts.asking.ask(row, seconds=seconds))

    async def look_again(self, request_id: RequestId) -> None:
        """See whether a person has decided."""
        row = await self.row(request_id)
        await self._take_decision(row, await self._parts.asking.ask_again(row))

    async def fetch_manifest(self, request_id: RequestId) -> None:
        """Fetch and keep what was released."""
        row = await self.row(request_id)
        release = await self._parts.asking.fetch_manifest(row)
        refs = {s.ref: s.study_instance_uid for s in release.manifest.studies if s.ref is not None}
        async with self._db.write() as tx:
            _, transfer = await _rows(tx, request_id)
            await transfers.set_release(tx, release.token, release.digest, release.manifest)
            await followed.learn_refs(tx, row.peer, refs)
            await self._move(tx, transfer, TransferEvent.RELEASE)

    async def pull(self, request_id: RequestId) -> None:
        """Bring what is missing, then admit it.

        Raises:
            ReleaseExpired: too late. InstanceConflict: other bytes are held here under one of its UIDs.
            As ``Pull.run``.
        """
        release = await self._release(request_id)
        if self._parts.clock.now() >= release.manifest.expires_at:
            raise ReleaseExpired
        async with self._db.write() as tx:
            _, transfer = await _rows(tx, request_id)
            await self._move(tx, transfer, TransferEvent.START)
        count = Count()
        async with self._effort(request_id, count):
            while missing := await self._missing(release.manifest, count):
                await self._pull_some(release.manifest, missing, count)
            await self._admit(release)

    async def deliver_receipt(self, request_id: RequestId) -> None:
        """Give the holder the receipt."""
        async with self._db.read() as rx:
            row, _ = await _rows(rx, request_id)
            token = await transfers.receipt_of(rx, request_id)
        assert token is not None, "next_step() saw it"
        await self._parts.asking.deliver_receipt(row.peer, request_id, token)
        await self._receipt_done(row, "")

    async def receipt_refused(self, request_id: RequestId, code: str) -> None:
        """The holder does not want the receipt and never will; this node keeps it."""
        await self._receipt_done(await self.row(request_id), code)

    async def suspend(self, request_id: RequestId, code: str) -> None:
        """It stands still because of ``code``, and goes on later."""
        async with self._db.write() as tx:
            _, transfer = await _rows(tx, request_id)
            if transfer.state not in ENDED:
                await self._move(tx, transfer, TransferEvent.INTERRUPT, code)

    async def fail(self, request_id: RequestId, code: str) -> None:
        """Give it up because of ``code``; what had arrived is discarded."""
        await self._end(request_id, TransferEvent.FAIL, code, by="node")

    async def fail_over(
        self, request_id: RequestId, code: str, is_trusted: Callable[[PeerId], bool]
    ) -> RequestId | None:
        """The holder was not reached: give the request up, and make it of the next that is trusted; None: of nobody.

        Nothing was released yet, and who holds the study as its own decides by itself: the other request is like any.
        """
        now = self._parts.clock.now()
        async with self._db.write() as tx:
            row, transfer = await _rows(tx, request_id)
            if transfer.state in ENDED or row.state is not RequestState.ASKED:
                return None
            left = [peer for peer in row.fallbacks if is_trusted(peer)]
            if not left:
                return None
            request = replace(decode_body(row.body), request_id=RequestId.new(), holder=left[0])
            other = replace(
                row, request_id=request.request_id, peer=left[0], body=encode_body(request), created_at=now,
                fallbacks=tuple(left[1:]),
            )  # fmt: skip
            await requests.move_sent(tx, row, RequestEvent.FAIL, code=code)
            await self._move(tx, transfer, TransferEvent.FAIL, code)
            await requests.add_sent(tx, other)
            await requests.continue_as(tx, row.request_id, other.request_id)
            await transfers.add(tx, other.request_id, Direction.IN, other.peer, TransferState.QUEUED, at=now)
            detail: dict[str, str | int] = {"instead_of": str(row.request_id), "user": request.user}
            event = AuditEvent(
                AuditType.REQUEST_SENT, now, peer=other.peer, patient=request.subject.patient,
                request=other.request_id, purpose=request.purpose.value, detail=detail,
            )  # fmt: skip
            await audit.append(tx, event)
        return other.request_id

    async def cancel(self, request_id: RequestId, *, by: str) -> None:
        """Give it up because somebody said so."""
        await self._end(request_id, TransferEvent.CANCEL, TransferCancelled.code, by=by)

    async def discard(self, request_id: RequestId) -> None:
        """Throw away what had arrived of a transfer that was given up; its pull must have ended."""
        await self._parts.pull.store.discard_staged(request_id)

    async def tell_cancelled(self, peer: PeerId, request_id: RequestId) -> None:
        """Tell the holder, if it can be reached."""
        await self._parts.asking.cancel(peer, request_id)

    async def _take_decision(self, row: SentRequest, notice: DecisionNotice) -> None:
        async with self._db.write() as tx:
            row, transfer = await _rows(tx, row.request_id)
            if notice.verdict is Verdict.PERMIT:
                await requests.move_sent(tx, row, RequestEvent.PERMIT)
            elif notice.verdict is Verdict.REVIEW:
                await requests.move_sent(tx, row, RequestEvent.REVIEW)
            else:
                await requests.move_sent(tx, row, RequestEvent.REFUSE, code=notice.code)
                await self._move(tx, transfer, TransferEvent.FAIL, notice.code)

    async def _release(self, request_id: RequestId) -> HeldRelease:
        async with self._db.read() as rx:
            row, _ = await _rows(rx, request_id)
            stored = await transfers.release_of(rx, request_id)
        assert stored is not None, "next_step() saw it"
        return await asyncio.to_thread(self._parts.asking.read_manifest, decode_body(row.body), stored.manifest)

    async def _missing(self, manifest: ReleaseManifest, count: Count) -> list[int]:
        """Indexes of instances that are neither held nor staged; ``count`` is set to those that are."""
        staged = await self._parts.pull.store.staged(manifest.request_id)
        uids: list[SOPInstanceUID] = [entry.sop_instance_uid for _, entry in manifest.instances]
        async with self._db.read() as rx:
            held = await digests(rx, uids)
            if any(held.get(e.sop_instance_uid, e.digest) != e.digest for _, e in manifest.instances):
                raise InstanceConflict
            await _require_origin(rx, manifest)
            hidden = await tombstones.hidden_digests(rx, uids)
        # What was withdrawn is here, and would be taken for the same if it came again: it is not asked for.
        known = {e.sop_instance_uid for _, e in manifest.instances if e.digest in hidden.get(e.sop_instance_uid, ())}
        have = staged.keys() | held.keys() | known
        missing = [i for i, uid in enumerate(uids) if uid not in have]
        count.instances = len(uids) - len(missing)
        count.size = sum(entry.size for _, entry in manifest.instances if entry.sop_instance_uid in have)
        return missing

    async def _pull_some(self, manifest: ReleaseManifest, missing: list[int], count: Count) -> None:
        await Pull(self._parts.pull, manifest, count).run(missing)

    async def _admit(self, release: HeldRelease) -> None:
        manifest, store = release.manifest, self._parts.pull.store
        async with self._db.write() as tx:
            _, transfer = await _rows(tx, manifest.request_id)
            await self._move(tx, transfer, TransferEvent.RECEIVED)
        now = self._parts.clock.now()
        receipt = sign_receipt(self._parts.identity, manifest, release.digest, now)
        await store.indexed()
        async with self._db.write() as tx:
            _, transfer = await _rows(tx, manifest.request_id)
            await _require_origin(tx, manifest)  # again: the facility's own images may have come meanwhile
            for study in manifest.studies:
                whole = Manifest(
                    study.study_instance_uid, study.patient, study.revision, manifest.released_at, study.entries
                )
                await identity.add_former(tx, study.study_instance_uid, *study.formerly)
                await store.admit(tx, manifest.request_id, whole, origin=manifest.holder)
                await audit.append(tx, _received_event(manifest, whole, now))
            await self._move(tx, transfer, TransferEvent.ADMIT)
            total = len(manifest.instances)
            await transfers.set_progress(tx, manifest.request_id, instances=total, size=manifest.total_bytes, at=now)
            await transfers.keep_receipt(tx, manifest.request_id, receipt, done_at=None)

    @asynccontextmanager
    async def _effort(self, request_id: RequestId, count: Count) -> AsyncIterator[None]:
        """Write progress down while the block runs, and at its end what it cost."""
        begun = self._parts.clock.monotonic()
        reporter = asyncio.create_task(self._report(request_id, count), name="transfer-progress")
        try:
            yield
        finally:
            reporter.cancel()
            await asyncio.wait((reporter,))
            seconds = self._parts.clock.monotonic() - begun
            self._parts.metrics.transfer_bytes.labels(Direction.IN.value).inc(count.wire_bytes)
            async with self._db.write() as tx:
                await transfers.add_effort(tx, request_id, wire_bytes=count.wire_bytes, seconds=seconds)
        if not reporter.cancelled():
            reporter.result()

    async def _report(self, request_id: RequestId, count: Count) -> None:
        written = -1
        while True:
            if count.instances != written:
                written = count.instances
                now = self._parts.clock.now()
                async with self._db.write() as tx:
                    await transfers.set_progress(tx, request_id, instances=written, size=count.size, at=now)
                self.on_progress()
            await asyncio.sleep(PROGRESS_SECONDS)

    async def _receipt_done(self, row: SentRequest, code: str) -> None:
        now = self._parts.clock.now()
        outcome = Outcome.REFUSED if code else Outcome.SUCCESS
        async with self._db.write() as tx:
            await transfers.receipt_done(tx, row.request_id, now)
            _, transfer = await _rows(tx, row.request_id)
            for study in transfer.studies:
                event = AuditEvent(
                    AuditType.RECEIPT_SENT,
                    now,
                    outcome=outcome,
                    peer=row.peer,
                    study=study,
                    request=row.request_id,
                    code=code,
                )
                await audit.append(tx, event)

    async def _end(self, request_id: RequestId, event: TransferEvent, code: str, *, by: str) -> None:
        async with self._db.write() as tx:
            row, transfer = await _rows(tx, request_id)
            if transfer.state in ENDED:
                return
            if row.state in {RequestState.ASKED, RequestState.REVIEW}:
                await requests.move_sent(tx, row, RequestEvent.FAIL, code=code)
            await self._move(tx, transfer, event, code, by=by)

    async def _move(
        self, tx: Write, transfer: Transfer, event: TransferEvent, code: str = "", *, by: str = "node"
    ) -> None:
        now = self._parts.clock.now()
        state = await transfers.move(tx, transfer.request_id, event, at=now, code=code)
        if state in ENDED:
            tx.after_commit(lambda: self._parts.metrics.transfers.labels(Direction.IN.value, state.value).inc())
        if state is transfer.state:
            return
        detail = {"state": state.value, "direction": Direction.IN.value}
        outcome = Outcome.FAILURE if state is TransferState.FAILED else Outcome.SUCCESS
        await audit.append(
            tx,
            AuditEvent(
                AuditType.TRANSFER_STATE,
                now,
                by,
                outcome,
                transfer.peer,
                request=transfer.request_id,
                code=code,
                detail=detail,
            ),
        )


async def _rows(rx: Read, request_id: RequestId) -> tuple[SentRequest, Transfer]:
    row = await requests.get_sent(rx, request_id)
    transfer = await transfers.get(rx, request_id)
    if row is None or transfer is None:
        raise NoSuchRequest
    return row, transfer


async def _require_origin(rx: Read, manifest: ReleaseManifest) -> None:
    """Refuse instances that would join a study of this facility, or of another one, and pass for theirs."""
    for study in manifest.studies:
        found = await find_studies(rx, StudyQuery(study_uids=(study.study_instance_uid,)))
        if found and found[0].origin != manifest.holder:
            held = await digests(rx, [entry.sop_instance_uid for entry in study.entries])
            if len(held) < len(study.entries):
                raise ManifestRefused("a study of another origin")


def _received_event(manifest: ReleaseManifest, study: Manifest, now: int) -> AuditEvent:
    return AuditEvent(
        AuditType.STUDY_RECEIVED,
        now,
        peer=manifest.holder,
        patient=study.patient,
        study=study.study_instance_uid,
        request=manifest.request_id,
        detail={"revision": study.revision, "instances": len(study.entries)},
    )
