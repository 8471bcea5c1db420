"""A holder that cannot be reached: who holds the same study as its own is asked instead, and decides by itself."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.sharing_node import ACTOR, SharingNode, befriend, sharing_node

from node.errors.sharing import FallbackImpossible
from node.errors.trust import PeerNotTrusted
from node.model.audit import AuditType
from node.model.directive import DirectiveOrder, Effect
from node.model.ids import StudyRef
from node.model.instance import Demographics
from node.model.request import AttestedProof, GrantProof, Subject
from node.sharing.requests import RequestOrder, RequestView, TypedCode

STUDY = CtStudy(instances=3, rows=16)
WHO = Subject(demographics=Demographics(STUDY.patient_name, STUDY.birth_date, STUDY.sex))
Three = tuple[SharingNode, SharingNode, SharingNode]


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[Three]:
    """A facility that asks, one that is away, and one that holds the same study as its own."""
    async with sharing_node("lake", tmp_path) as lake, sharing_node("hill", tmp_path) as hill:
        async with sharing_node("north", tmp_path) as north:
            await befriend(lake, north)
        await befriend(lake, hill)
        await hill.hold(STUDY)
        yield lake, north, hill


async def permit(holder: SharingNode) -> None:
    order = DirectiveOrder(holder.patient(STUDY), Effect.PERMIT, recorded_by="N")
    await holder.consents.add(order, by=ACTOR)


def asked(lake: SharingNode, north: SharingNode, *others: SharingNode) -> RequestOrder:
    fallbacks = tuple(other.peer_id for other in others)
    return lake.order(north, STUDY, None, subject=WHO, timeout=1, fallbacks=fallbacks)


async def ended(lake: SharingNode, order: RequestOrder) -> list[RequestView]:
    """The request and those that were made instead of it."""
    views = [await lake.requests.wait(await lake.requests.ask(order, by=ACTOR))]
    while views[-1].continued_as is not None:
        views.append(await lake.requests.wait(views[-1].continued_as))
    return views


async def test_another_holder_is_asked_and_decides_by_itself(three: Three) -> None:
    lake, north, hill = three
    refused = await ended(lake, asked(lake, north, hill))
    assert [(view.state, view.code) for view in refused] == [
        ("FAILED", "peer_unreachable"),
        ("REFUSED", "not_released"),
    ]
    await permit(hill)
    first, second = await ended(lake, asked(lake, north, hill))
    assert (first.state, first.code) == ("FAILED", "peer_unreachable")
    assert (second.state, second.transfer.instances_done) == ("COMPLETED", 3)
    assert second.transfer.peer == hill.peer_id
    assert len(await lake.bytes_of(STUDY.sop_uid(n) for n in (1, 2, 3))) == 3
    events = await lake.events(AuditType.REQUEST_SENT)
    assert events[-1].detail["instead_of"] == str(first.request_id)
    assert events[-1].peer == hill.peer_id


async def test_nobody_is_asked_where_nobody_is_named_or_trusted_any_more(three: Three) -> None:
    lake, north, hill = three
    await permit(hill)
    assert [view.code for view in await ended(lake, asked(lake, north))] == ["peer_unreachable"]
    request_id = await lake.requests.ask(asked(lake, north, hill), by=ACTOR)
    await lake.trust.revoke(hill.peer_id)
    view = await lake.requests.wait(request_id)
    assert (view.code, view.continued_as) == ("peer_unreachable", None)
    with pytest.raises(PeerNotTrusted):
        await lake.requests.ask(asked(lake, north, hill), by=ACTOR)


async def test_what_means_something_to_one_holder_alone_has_no_other(three: Three) -> None:
    lake, north, hill = three
    for consent in (TypedCode(await hill.code_for(STUDY)), GrantProof("a.b.c")):
        with pytest.raises(FallbackImpossible):
            await lake.requests.ask(lake.order(north, STUDY, consent, fallbacks=(hill.peer_id,)), by=ACTOR)
    for changes in ({"targets": (StudyRef.new(),)}, {"fallbacks": (north.peer_id,)}):
        order = lake.order(north, STUDY, None, **{"fallbacks": (hill.peer_id,), **changes})
        with pytest.raises(FallbackImpossible):
            await lake.requests.ask(order, by=ACTOR)
    await hill.trust.set_policy(lake.peer_id, {"accept_attested": "true"})
    order = lake.order(
        north, STUDY, AttestedProof(b"f" * 32, "N. Nurse"), subject=WHO, timeout=1, fallbacks=(hill.peer_id,)
    )
    assert (await ended(lake, order))[-1].state == "COMPLETED"
