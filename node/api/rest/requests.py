"""Requests of this facility: made, looked at, followed."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Annotated, Any

import msgspec
from aiohttp import web

from node.api.encoding import encode_json
from node.api.rest.access import CLINICAL
from node.api.rest.inbox import named_request
from node.api.rest.patients import Person, described
from node.api.routing import Call, Route
from node.api.server import STARTED
from node.errors.base import all_codes
from node.model.consent import PurposeOfUse
from node.model.ids import StudyInstanceUID, StudyRef
from node.model.request import MAX_TARGETS, StudyTarget
from node.sharing.requests import DEFAULT_TIMEOUT, MAX_TIMEOUT, RequestOrder, Requests, RequestView
from node.sharing.subjects import subject_of
from node.sharing.trust import TrustList
from node.store.objects import ObjectStore

ALIVE_SECONDS = 15.0  # a comment that often keeps proxies from closing a quiet stream
_MAX_CODE = 256


class NewRequest(Person, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked of ``peer``; ``studies`` are UIDs or refs, ``timeout`` seconds without contact."""

    peer: Annotated[str, msgspec.Meta(max_length=200)]
    studies: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MAX_TARGETS)]
    share_code: Annotated[str, msgspec.Meta(max_length=_MAX_CODE)]
    purpose: PurposeOfUse = PurposeOfUse.TREAT
    timeout: Annotated[int, msgspec.Meta(ge=1, le=MAX_TIMEOUT)] = DEFAULT_TIMEOUT


class RequestsResource:
    """``requests`` and ``requests/{id}/events``."""

    def __init__(self, requests: Requests, *, store: ObjectStore, trust: TrustList, issuer: str) -> None:
        """``issuer`` is this facility's Issuer of Patient ID, meant where none is said."""
        self._requests = requests
        self._store = store
        self._trust = trust
        self._issuer = issuer

    def routes(self) -> Iterable[Route]:
        """The routes."""
        requests, one = "/api/v1/requests", "/api/v1/requests/{request_id}"
        return [
            Route("POST", requests, self.ask, CLINICAL, "Ask a peer for studies", NewRequest, 201),
            Route("GET", one, self.show, CLINICAL, "How a request stands"),
            Route("GET", f"{one}/events", self.events, CLINICAL, "The same as an event stream, until it is settled"),
        ]

    async def ask(self, call: Call) -> object:
        """Write the request down and begin to send it."""
        new: NewRequest = call.body
        patient, said = described(new, self._issuer)
        order = RequestOrder(
            peer=self._trust.find(new.peer),
            targets=[_target(text) for text in new.studies],
            share_code=new.share_code,
            user=call.caller.name,
            role=call.caller.role.value,
            subject=await subject_of(self._store, patient, said),
            purpose=new.purpose,
            timeout=new.timeout,
        )
        return {"request_id": str(await self._requests.ask(order, by=call.caller.actor))}

    async def show(self, call: Call) -> object:
        """One."""
        return _shown(await self._requests.view(named_request(call)))

    async def events(self, call: Call) -> object:
        """Server-sent events: the request now and after each change."""
        request_id = named_request(call)
        await self._requests.view(request_id)  # an unknown one is refused before the stream begins
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        call.request[STARTED] = True
        await answer.prepare(call.request)
        async with contextlib.aclosing(_with_pauses(self._requests.follow(request_id))) as views:
            async for view in views:
                await answer.write(b": still here\n\n" if view is None else _event(view))
        await answer.write_eof()
        return answer


async def _with_pauses(views: AsyncIterator[RequestView]) -> AsyncGenerator[RequestView | None, None]:
    """``views``, with a None whenever nothing came for a while."""
    following = asyncio.ensure_future(anext(views, None))
    try:
        while True:
            done, _ = await asyncio.wait((following,), timeout=ALIVE_SECONDS)
            if not done:
                yield None
                continue
            view = following.result()
            if view is None:
                return
            yield view
            following = asyncio.ensure_future(anext(views, None))
    finally:
        following.cancel()
        await asyncio.wait((following,))


def _event(view: RequestView) -> bytes:
    return b"data: " + encode_json(_shown(view)) + b"\n\n"


def _shown(view: RequestView) -> dict[str, Any]:
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
    }


def _target(text: str) -> StudyTarget:
    """A study by its UID, or by the ref of an announcement; raises InvalidUid for neither."""
    try:
        return StudyRef.parse(text)
    except ValueError:
        return StudyInstanceUID.parse(text)
