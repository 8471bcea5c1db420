"""The requester's side: asking for studies with a patient's consent, and looking at what became of it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from node.clock import Clock
from node.crypto import sharecode
from node.crypto.identity import Identity
from node.crypto.sharecode import ShareCode
from node.errors.sharing import FallbackImpossible, InvalidRequest, NoSuchRequest, NoSuchTransfer, TransferCancelled
from node.model.audit import AuditEvent, AuditType
from node.model.consent import PurposeOfUse
from node.model.ids import PeerId, RequestId, StudyInstanceUID
from node.model.request import (
    MAX_TARGETS,
    AttestedProof,
    CodeProof,
    EmergencyProof,
    GrantProof,
    Proof,
    ReleaseRequest,
    RequestState,
    StudyTarget,
    Subject,
)
from node.model.transfer import ENDED, Direction, Transfer, TransferState
from node.peers.messages import decode_body, encode_body
from node.peers.proofs import encode_proof
from node.sharing.holder import Holder
from node.sharing.transfer import TransferEngine
from node.sharing.trust import TrustList
from node.store import audit, requests, transfers
from node.store.engine import Database, Read, Write
from node.store.requests import SentRequest

DEFAULT_TIMEOUT = 60  # seconds without contact after which an unanswered request fails
MAX_TIMEOUT = 7 * 86_400
Also = Callable[[Write, RequestId], Awaitable[object]]
FOLLOW_SECONDS = 5.0  # a follower looks at least that often


@dataclass(frozen=True, slots=True)
class TypedCode:
    """A share code as the patient gave it."""

    text: str = field(repr=False)


# The consent that a request brings; None: the holder has a directive on file.
Offered = TypedCode | GrantProof | AttestedProof | EmergencyProof | None


@dataclass(frozen=True, slots=True)
class RequestOrder:
    """What a user asks for, and with what consent; ``user`` and ``role`` are told to the holder."""

    peer: PeerId
    targets: Sequence[StudyTarget]
    consent: Offered = field(repr=False)
    user: str
    role: str
    subject: Subject = field(default_factory=Subject, repr=False)
    purpose: PurposeOfUse = PurposeOfUse.TREAT
    timeout: int = DEFAULT_TIMEOUT
    fallbacks: Sequence[PeerId] = ()  # who holds the same studies as its own, and is asked if ``peer`` is not reached


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request of this node as it stands.

    ``state`` is COMPLETED, REFUSED, REVIEW or FAILED where nothing more happens without a person, else the state of the
    transfer; ``code`` is why it was refused, failed or stands still.
    """

    request_id: RequestId
    state: str
    code: str
    transfer: Transfer
    continued_as: RequestId | None = None  # its holder was not reached, and another one is asked by that request

    @property
    def settled(self) -> bool:
        """Whether somebody who waits for the outcome has it."""
        return self.state in {"COMPLETED", "REFUSED", "REVIEW", "FAILED"}


@dataclass(frozen=True, slots=True)
class SentView:
    """A request of this node: what was asked, by whom, when, and how it stands."""

    asked: ReleaseRequest
    user: str
    created_at: int
    view: RequestView


class Requests:
    """What a clinician does with requests, and an operator with transfers in both directions."""

    def __init__(
        self,
        *,
        db: Database,
        identity: Identity,
        trust: TrustList,
        engine: TransferEngine,
        holder: Holder,
        clock: Clock,
    ) -> None:
        self._db = db
        self._identity = identity
        self._trust = trust
        self._engine = engine
        self._holder = holder
        self._clock = clock

    async def ask(self, order: RequestOrder, *, by: str, also: Also | None = None) -> RequestId:
        """Write a request down and begin to send it; ``by`` is the actor, as in audit events.

        ``also`` writes what goes with it, in the same transaction; what it raises is raised, and nothing is sent.

        The code itself is not kept: only the proof, which is good for this request and this holder alone.

        Raises:
            ShareCodeMalformed, ShareCodeMistyped: nothing was sent. UnknownPeer, PeerNotTrusted. InvalidRequest.
            FallbackImpossible: the consent or a study's name means something to one holder alone.
        """
        code = sharecode.parse(order.consent.text) if isinstance(order.consent, TypedCode) else None
        self._trust.require_trusted(order.peer)
        targets = tuple(dict.fromkeys(order.targets))
        if not 1 <= len(targets) <= MAX_TARGETS or not 1 <= order.timeout <= MAX_TIMEOUT:
            raise InvalidRequest
        self._check_fallbacks(order, targets)
        me, now = self._identity.peer_id, self._clock.now()
        request = ReleaseRequest(
            RequestId.new(), order.peer, me, order.user[:128], order.role[:128], order.purpose, order.subject, targets
        )
        body = encode_body(request)
        proof = _proof(order.consent, code, body, request)
        row = SentRequest(
            request_id=request.request_id,
            peer=order.peer,
            body=body,
            proof=None if proof is None else encode_proof(proof),
            state=RequestState.ASKED,
            code="",
            user=order.user,
            timeout=order.timeout,
            created_at=now,
            fallbacks=tuple(dict.fromkeys(order.fallbacks)),
        )
        async with self._db.write() as tx:
            await requests.add_sent(tx, row)
            await transfers.add(tx, row.request_id, Direction.IN, order.peer, TransferState.QUEUED, at=now)
            await audit.append(tx, _sent_event(request, by, now))
            if also is not None:
                await also(tx, row.request_id)
            tx.after_commit(lambda: self._engine.begin(row.request_id))
        return request.request_id

    def _check_fallbacks(self, order: RequestOrder, targets: Sequence[StudyTarget]) -> None:
        """A code or a grant is for one holder, and so is an opaque ref; what is on file or attested is not."""
        if not order.fallbacks:
            return
        by_ref = any(not isinstance(target, StudyInstanceUID) for target in targets)
        if by_ref or isinstance(order.consent, TypedCode | GrantProof) or order.peer in order.fallbacks:
            raise FallbackImpossible
        for peer in order.fallbacks:
            self._trust.require_trusted(peer)

    async def view(self, request_id: RequestId) -> RequestView:
        """How a request of this node stands; raises NoSuchRequest."""
        async with self._db.read() as rx:
            return await _view(rx, request_id)

    async def sent(self, request_id: RequestId) -> SentView:
        """A request of this node with what it asked for; raises NoSuchRequest."""
        async with self._db.read() as rx:
            row = await requests.get_sent(rx, request_id)
            if row is None:
                raise NoSuchRequest
            return await _sent_view(rx, row)

    async def sent_page(self, *, limit: int = 100, offset: int = 0) -> list[SentView]:
        """Requests of this node, newest first."""
        async with self._db.read() as rx:
            return [await _sent_view(rx, row) for row in await requests.sent_page(rx, limit=limit, offset=offset)]

    async def underway(self) -> list[SentView]:
        """Requests of this node that may still bring something, newest first."""
        async with self._db.read() as rx:
            return [await _sent_view(rx, row) for row in await requests.sent_underway(rx)]

    async def sent_by(self, user: str, *, limit: int) -> list[SentView]:
        """The newest requests of one user."""
        async with self._db.read() as rx:
            return [await _sent_view(rx, row) for row in await requests.sent_by(rx, user, limit)]

    async def follow(self, request_id: RequestId) -> AsyncIterator[RequestView]:
        """The request now and after each change, until it is settled; raises NoSuchRequest."""
        last: RequestView | None = None
        while True:
            changed = self._engine.changed()
            view = await self.view(request_id)
            if view != last:
                yield view
            if view.settled:
                return
            last = view
            await asyncio.wait((changed,), timeout=FOLLOW_SECONDS)

    async def wait(self, request_id: RequestId) -> RequestView:
        """The request once it is settled."""
        view = await self.view(request_id)
        async for view in self.follow(request_id):  # noqa: B007 - the last one counts
            pass
        return view

    async def transfers(self, *, limit: int = 1000, offset: int = 0) -> list[Transfer]:
        """Transfers in both directions, newest first."""
        async with self._db.read() as rx:
            return await transfers.page(rx, limit=limit, offset=offset)

    async def transfer(self, request_id: RequestId) -> Transfer:
        """One transfer; raises NoSuchTransfer."""
        async with self._db.read() as rx:
            found = await transfers.get(rx, request_id)
        if found is None:
            raise NoSuchTransfer
        return found

    async def cancel(self, request_id: RequestId, *, by: str) -> Transfer:
        """Give a transfer up, at both ends; what had arrived is discarded. An ended one stays as it is.

        Raises:
            NoSuchTransfer: there is none.
        """
        transfer = await self.transfer(request_id)
        if transfer.direction is Direction.IN:
            await self._engine.cancel(request_id, by=by)
        else:
            await self._holder.cancel(request_id, by=by)
        return await self.transfer(request_id)


def _proof(consent: Offered, code: ShareCode | None, body: bytes, request: ReleaseRequest) -> Proof | None:
    if isinstance(consent, TypedCode):
        assert code is not None, "it was parsed"
        digest = hashlib.sha256(body).digest()
        return CodeProof(code.lookup_id, sharecode.proof(code.mac_key, digest, request.holder, request.requester))
    return consent


async def _view(rx: Read, request_id: RequestId) -> RequestView:
    row = await requests.get_sent(rx, request_id)
    transfer = await transfers.get(rx, request_id)
    if row is None or transfer is None:
        raise NoSuchRequest
    state, code = transfer.state.value, transfer.code
    if row.state in {RequestState.REFUSED, RequestState.FAILED}:
        state, code = row.state.value, row.code
    elif row.state is RequestState.REVIEW and transfer.state not in ENDED:
        state = RequestState.REVIEW.value
    if transfer.state is TransferState.CANCELLED:
        state, code = TransferState.FAILED.value, TransferCancelled.code
    return RequestView(request_id, state, code, transfer, row.continued_as)


async def _sent_view(rx: Read, row: SentRequest) -> SentView:
    return SentView(decode_body(row.body), row.user, row.created_at, await _view(rx, row.request_id))


def _sent_event(request: ReleaseRequest, by: str, now: int) -> AuditEvent:
    return AuditEvent(
        AuditType.REQUEST_SENT,
        now,
        by,
        peer=request.holder,
        patient=request.subject.patient,
        request=request.request_id,
        purpose=request.purpose.value,
        detail={"user": request.user, "role": request.role, "studies": len(request.targets)},
    )
