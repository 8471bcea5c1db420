"""Requests of this facility: made, looked at, followed."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from node.api.paging import Window, part
from node.api.rest.access import CLINICAL
from node.api.rest.events import EVENTS, answer_events
from node.api.rest.inbox import named_request
from node.api.rest.patients import Person, described
from node.api.rest.shapes.sharing import RequestList, RequestNamed, RequestOnRecord, RequestShown
from node.api.routing import Call, Route
from node.errors.base import all_codes
from node.errors.sharing import InvalidRequest
from node.model.consent import PurposeOfUse
from node.model.evidence import MAX_REASON
from node.model.ids import PatientKey, StudyInstanceUID, StudyRef
from node.model.request import MAX_TARGETS, AttestedProof, EmergencyProof, GrantProof, StudyTarget
from node.peers.proofs import MAX_GRANT_BYTES
from node.sharing.deliveries import Deliveries, DeliveryWish
from node.sharing.requests import (
    DEFAULT_TIMEOUT,
    MAX_TIMEOUT,
    Also,
    Offered,
    RequestOrder,
    Requests,
    RequestView,
    SentView,
    TypedCode,
)
from node.sharing.subjects import subject_of
from node.sharing.trust import TrustList
from node.store.objects import ObjectStore

_MAX_CODE = 256


class Attested(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This facility holds the patient's signed form: its SHA-256, and who saw it signed."""

    form_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    staff: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class NewRequest(Person, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked of ``peer``; ``studies`` are UIDs or refs, ``timeout`` seconds without contact.

    ``or_from``: who holds the same studies as its own, and is asked if ``peer`` cannot be reached in that time.

    Exactly one consent: a share code, the patient's grant, an attestation, an emergency's reason, or ``on_file``.
    """

    peer: Annotated[str, msgspec.Meta(max_length=200)]
    studies: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_TARGETS)]
    share_code: Annotated[str, msgspec.Meta(max_length=_MAX_CODE)] | None = None
    grant: Annotated[str, msgspec.Meta(max_length=MAX_GRANT_BYTES)] | None = None
    attestation: Attested | None = None
    emergency: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON)] | None = None
    on_file: bool = False
    purpose: PurposeOfUse = PurposeOfUse.TREAT
    timeout: Annotated[int, msgspec.Meta(ge=1, le=MAX_TIMEOUT)] = DEFAULT_TIMEOUT
    deliver: Annotated[str, msgspec.Meta(max_length=64)] = ""  # DICOM system to which what comes is sent
    accession: Annotated[str, msgspec.Meta(max_length=16)] = ""  # that it gets there
    or_from: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=200)], ...], msgspec.Meta(max_length=8)] = ()


class RequestsResource:
    """``requests`` and ``requests/{id}/events``."""

    def __init__(
        self, requests: Requests, *, deliveries: Deliveries, store: ObjectStore, trust: TrustList, issuer: str
    ) -> None:
        """``issuer`` is this facility's Issuer of Patient ID, meant where none is said."""
        self._requests = requests
        self._deliveries = deliveries
        self._store = store
        self._trust = trust
        self._issuer = issuer

    def routes(self) -> Iterable[Route]:
        """The routes."""
        requests, one = "/api/v1/requests", "/api/v1/requests/{request_id}"
        return [
            Route("POST", requests, self.ask, CLINICAL, "Ask a peer for studies", NewRequest, 201, answer=RequestNamed),
            Route("GET", requests, self.list, CLINICAL, "Requests of this facility", query=Window, answer=RequestList),
            Route("GET", one, self.show, CLINICAL, "How a request stands", answer=RequestShown),
            Route(
                "GET",
                f"{one}/events",
                self.events,
                CLINICAL,
                "The same as an event stream, until it is settled",
                media=EVENTS,
            ),
        ]

    async def ask(self, call: Call) -> RequestNamed:
        """Write the request down and begin to send it."""
        new: NewRequest = call.body
        if new.or_from and new.deliver:
            raise InvalidRequest("a delivery belongs to the request of one holder")
        patient, said = described(new, self._issuer)
        order = RequestOrder(
            peer=self._trust.find(new.peer),
            targets=[_target(text) for text in new.studies],
            consent=_consent(new),
            user=call.caller.name,
            role=call.caller.role.value,
            subject=await subject_of(self._store, patient, said),
            purpose=new.purpose,
            timeout=new.timeout,
            fallbacks=[self._trust.find(text) for text in new.or_from],
        )
        request_id = await self._requests.ask(order, by=call.caller.actor, also=self._delivery(new, patient, call))
        return {"request_id": str(request_id)}

    def _delivery(self, new: NewRequest, patient: PatientKey | None, call: Call) -> Also | None:
        """What writes down, with the request, that what it brings is to be sent to a PACS."""
        if not new.deliver:
            return None
        wish = DeliveryWish(new.deliver, new.accession)
        return lambda tx, request_id: self._deliveries.expect(tx, request_id, wish, patient, by=call.caller.actor)

    async def list(self, call: Call) -> RequestList:
        """Newest first."""
        asked: Window = call.asked
        found, more = part(call, await self._requests.sent_page(limit=asked.ahead, offset=asked.offset))
        return {"requests": [_shown_sent(one) for one in found], "next": more}

    async def show(self, call: Call) -> RequestShown:
        """One."""
        return _shown(await self._requests.view(named_request(call)))

    async def events(self, call: Call) -> object:
        """Server-sent events: the request now and after each change."""
        request_id = named_request(call)
        await self._requests.view(request_id)  # an unknown one is refused before the stream begins
        return await answer_events(call, self._requests.follow(request_id), _shown)


def _shown_sent(one: SentView) -> RequestOnRecord:
    return {**_shown(one.view), "user": one.user, "purpose": one.asked.purpose, "created_at": one.created_at}


def _shown(view: RequestView) -> RequestShown:
    transfer = view.transfer
    error = all_codes().get(view.code)
    return {
        "request_id": str(view.request_id),
        "state": view.state,
        "code": view.code,
        "advice": error.advice if error and view.code else "",
        "peer_id": transfer.peer.full,
        "studies": list(transfer.studies),
        "instances": transfer.instances_done,
        "bytes": transfer.bytes_done,
        "wire_bytes": transfer.wire_bytes,
        "seconds": round(transfer.seconds, 3),
        "instances_done": transfer.instances_done,
        "instances_total": transfer.instances_total,
        "bytes_done": transfer.bytes_done,
        "bytes_total": transfer.bytes_total,
        "ended": view.settled,
        "continued_as": str(view.continued_as) if view.continued_as else None,
    }


def _consent(new: NewRequest) -> Offered:
    """The one consent that was given; raises InvalidRequest for none or several."""
    given: list[Offered] = []
    if new.share_code is not None:
        given.append(TypedCode(new.share_code))
    if new.grant is not None:
        given.append(GrantProof(new.grant))
    if new.attestation is not None:
        given.append(AttestedProof(bytes.fromhex(new.attestation.form_sha256), new.attestation.staff))
    if new.emergency is not None:
        given.append(EmergencyProof(new.emergency))
    if new.on_file:
        given.append(None)
    if len(given) != 1:
        raise InvalidRequest("exactly one consent")
    return given[0]


def _target(text: str) -> StudyTarget:
    """A study by its UID, or by the ref of an announcement; raises InvalidUid for neither."""
    try:
        return StudyRef.parse(text)
    except ValueError:
        return StudyInstanceUID.parse(text)
