"""Sending studies to a PACS: a scripted one that misbehaves, dcmtk's storescp that takes little, and Orthanc."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.ct import CtStudy, dataset_of
from support.pacs import CT, EXPLICIT, IMPLICIT, DeliveringNode, delivering, foreign, scripted_pacs
from support.peers import free_port
from support.sharing_node import SharingNode, befriend, sharing_node

from node.crypto import sharecode
from node.dicom.jsonmodel import study_result
from node.errors.delivery import (
    AlreadyLinked,
    InvalidDelivery,
    InvalidLocalPatient,
    LinkConflict,
    NotLinked,
    OwnStudy,
    PatientNotNamed,
    StudyNotLinked,
)
from node.errors.dimse import UnknownPacs
from node.errors.storage import UnknownStudy
from node.model.audit import AuditType
from node.model.delivery import Delivery, DeliveryId, DeliveryState, Sent
from node.model.ids import PatientKey, RequestId, StudyInstanceUID
from node.model.instance import Demographics
from node.model.request import Subject
from node.sharing import delivery_engine
from node.sharing.deliveries import DeliveryOrder, DeliveryWish
from node.store.engine import Write
from node.store.study_queries import StudyQuery

ACTOR = "user:clin"
LOCAL = PatientKey("ISSUER-here", "LOCAL-77")


@pytest.fixture
async def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DeliveringNode]:
    monkeypatch.setattr(delivery_engine, "FIRST_RETRY_SECONDS", 0.1)
    async with sharing_node("here", tmp_path, engine=False) as node, delivering(node) as made:
        yield made


def uid(study: CtStudy) -> StudyInstanceUID:
    return StudyInstanceUID(study.study_uid)


async def ended(node: DeliveringNode, delivery_id: DeliveryId, *states: DeliveryState) -> Delivery:
    async with asyncio.timeout(30):
        while True:
            changed = node.engine.changed()
            view = await node.deliveries.view(delivery_id)
            if view.state in (states or {*DeliveryState} - {DeliveryState.QUEUED, DeliveryState.SENDING}):
                return view
            await asyncio.wait((changed,), timeout=0.2)


async def send(node: DeliveringNode, study: CtStudy, accession: str = "") -> Delivery:
    order = DeliveryOrder(study=uid(study), pacs="pacs", accession=accession)
    return await ended(node, await node.deliveries.order(order, by=ACTOR))


async def test_own_study_goes_byte_for_byte(here: DeliveringNode) -> None:
    study = CtStudy(instances=5)
    await here.node.hold(study)
    with scripted_pacs() as pacs:
        await here.pacs(pacs.port)
        delivery = await send(here, study)
    assert (delivery.state, delivery.counts) == (DeliveryState.COMPLETED, {Sent.SENT: 5})
    assert delivery.bytes_done == delivery.bytes_total > 0
    sent = {str(study.sop_uid(n)): dataset_of(file) for n, file in enumerate(study.files(), 1)}
    assert {instance: data for instance, (_, data) in pacs.received.items()} == sent
    assert pacs.order == list(sent)
    assert pacs.associations == 1
    (ordered,) = await here.node.events(AuditType.DELIVERY_ORDERED)
    assert (ordered.actor, ordered.study, ordered.detail["pacs"]) == (ACTOR, uid(study), "pacs")
    (done,) = await here.node.events(AuditType.STUDY_DELIVERED)
    assert (done.detail["state"], done.detail["sent"]) == ("COMPLETED", 5)


async def test_a_received_study_goes_only_linked_and_reconciled(here: DeliveringNode) -> None:
    local, received = CtStudy(patient_id="LOCAL-77"), CtStudy(instances=3, seed=99)
    await here.node.hold(local)
    files = list(received.files())
    await here.receive(files, foreign())
    with scripted_pacs() as pacs:
        await here.pacs(pacs.port)
        with pytest.raises(StudyNotLinked):
            await send(here, received)
        await here.links.link(uid(received), LOCAL, by=ACTOR)
        delivery = await send(here, received, "A-123")
        await here.links.unlink(uid(received), by=ACTOR)
        with pytest.raises(StudyNotLinked):
            await send(here, received)
    assert (delivery.state, delivery.counts, delivery.patient) == (DeliveryState.COMPLETED, {Sent.SENT: 3}, LOCAL)
    for number, file in enumerate(files, 1):
        found = pacs.dataset(received.sop_uid(number))
        assert (found.PatientID, found.IssuerOfPatientID, found.AccessionNumber) == ("LOCAL-77", "ISSUER-here", "A-123")
        (other,) = found.OtherPatientIDsSequence
        assert (other.PatientID, other.IssuerOfPatientID) == (received.patient_id, "THERE")
        (original,) = found.OriginalAttributesSequence
        assert original.ModifiedAttributesSequence[0].PatientID == received.patient_id
        assert found.StudyInstanceUID == received.study_uid
        assert found.PixelData == file[-len(found.PixelData) :]
    kept = await here.node.bytes_of([received.sop_uid(1)])
    assert kept[received.sop_uid(1)] == dataset_of(files[0]), "the original is untouched"
    assert (await here.deliveries.view(delivery.delivery_id)).state is DeliveryState.COMPLETED
    kinds = [event.type for event in await here.node.events(AuditType.STUDY_LINKED, AuditType.STUDY_UNLINKED)]
    assert kinds == [AuditType.STUDY_LINKED, AuditType.STUDY_UNLINKED]


async def test_a_linked_study_is_found_under_both_ids(here: DeliveringNode) -> None:
    own, received = CtStudy(patient_id="LOCAL-77"), CtStudy(seed=99, patient_id="THEIRS")
    await here.node.hold(own)
    await here.receive(list(received.files()), foreign())
    store = here.node.store

    async def found(**query: Any) -> list[str]:
        return sorted(str(one.study_instance_uid) for one in await store.studies(StudyQuery(**query)))

    both = sorted((own.study_uid, received.study_uid))
    assert await found(patient_id="LOCAL-77") == [own.study_uid]
    await here.links.link(uid(received), LOCAL, by=ACTOR)
    assert await found(patient_id="LOCAL-77") == both
    assert await found(patient_id="LOCAL-7*", issuer="ISSUER-here") == both
    assert await found(patient_id="LOCAL-77", issuer="THERE") == []
    assert await found(patient_id="LOCAL-77", own=True) == [own.study_uid]
    assert await found(patient_id="THEIRS") == [received.study_uid]
    assert await found(patients=(LOCAL,)) == [own.study_uid], "what a patient may see, and what a code covers"
    (study,) = await store.studies(StudyQuery(patient_id="THEIRS"))
    assert (study.patient, study.linked) == (PatientKey("THERE", "THEIRS"), LOCAL)
    told = study_result(study, "http://node")
    assert told["00100020"]["Value"] == ["THEIRS"]
    assert told["00101002"]["Value"][0]["00100020"]["Value"] == ["LOCAL-77"]
    await here.links.unlink(uid(received), by=ACTOR)
    assert await found(patient_id="LOCAL-77") == [own.study_uid]


async def test_what_links_refuse(here: DeliveringNode) -> None:
    own, received = CtStudy(patient_id="LOCAL-77"), CtStudy(seed=99, birth_date="19900101")
    await here.node.hold(own)
    await here.receive(list(received.files()), foreign())
    links = here.links
    with pytest.raises(UnknownStudy):
        await links.link(StudyInstanceUID("1.2.3"), LOCAL, by=ACTOR)
    with pytest.raises(OwnStudy):
        await links.link(uid(own), PatientKey("ISSUER-here", "X"), by=ACTOR)
    with pytest.raises(OwnStudy):
        await links.link(uid(received), PatientKey("THERE", received.patient_id), by=ACTOR)
    with pytest.raises(NotLinked):
        await links.unlink(uid(received), by=ACTOR)
    for bad in ("", "A\\B", "A\x1b", " A", "x" * 65):
        with pytest.raises(InvalidLocalPatient):
            await links.link(uid(received), PatientKey("ISSUER-here", bad), by=ACTOR)
    with pytest.raises(LinkConflict) as refused:
        await links.link(uid(received), LOCAL, by=ACTOR)
    assert refused.value.fact == "birth date"
    await links.link(uid(received), LOCAL, by=ACTOR, despite_differences=True)
    (event,) = await here.node.events(AuditType.STUDY_LINKED)
    assert (event.patient, event.detail["differs"], event.detail["origin_issuer"]) == (LOCAL, "birth date", "THERE")
    await links.link(uid(received), LOCAL, by=ACTOR, despite_differences=True)  # again is as good
    with pytest.raises(AlreadyLinked):
        await links.link(uid(received), PatientKey("ISSUER-here", "X"), by=ACTOR)
    assert [one.link.patient for one in await links.page(LOCAL)] == [LOCAL]
    assert await links.page(PatientKey("ISSUER-here", "X")) == []
    await here.node.store.delete_study(uid(received))
    assert await links.page() == []


async def test_what_orders_refuse(here: DeliveringNode) -> None:
    own = CtStudy()
    await here.node.hold(own)
    with pytest.raises(UnknownPacs):
        await here.deliveries.order(DeliveryOrder(study=uid(own), pacs="pacs"), by=ACTOR)
    await here.pacs(free_port())
    with pytest.raises(UnknownStudy):
        await here.deliveries.order(DeliveryOrder(study=StudyInstanceUID("1.2"), pacs="pacs"), by=ACTOR)
    with pytest.raises(InvalidDelivery):
        await here.deliveries.order(DeliveryOrder(study=uid(own), pacs="pacs", accession="1"), by=ACTOR)
    assert await here.deliveries.page() == []


async def test_each_instance_has_its_own_outcome(here: DeliveringNode) -> None:
    study = CtStudy(instances=5)
    await here.node.hold(study)
    uids = [study.sop_uid(n) for n in range(1, 6)]
    with scripted_pacs() as pacs:
        pacs.statuses = {uids[0]: [0xB000], uids[1]: [0xA900], uids[2]: [0xA700], uids[3]: [0xA700] * 9}
        await here.pacs(pacs.port)
        order = DeliveryOrder(study=uid(study), pacs="pacs")
        delivery_id = await here.deliveries.order(order, by=ACTOR)
        delivery = await ended(here, delivery_id, DeliveryState.INCOMPLETE)
    assert delivery.code == "delivery_incomplete"
    assert delivery.counts == {Sent.WARNING: 1, Sent.REFUSED: 2, Sent.SENT: 2}
    found = {o.instance: (o.outcome, o.status) for o in await here.deliveries.outcomes(delivery_id)}
    assert found == {
        uids[0]: (Sent.WARNING, 0xB000),
        uids[1]: (Sent.REFUSED, 0xA900),
        uids[2]: (Sent.SENT, 0),  # there was room the second time
        uids[3]: (Sent.REFUSED, 0xA700),
        uids[4]: (Sent.SENT, 0),
    }
    assert pacs.order.count(uids[4]) == 1, "what was taken is not sent again"


async def test_a_pacs_that_is_down_or_breaks_off_is_tried_again(here: DeliveringNode) -> None:
    study, port = CtStudy(instances=6), free_port()
    await here.node.hold(study)
    await here.pacs(port)
    delivery_id = await here.deliveries.order(DeliveryOrder(study=uid(study), pacs="pacs"), by=ACTOR)
    waiting = await ended(here, delivery_id, DeliveryState.SUSPENDED)
    assert waiting.code == "dicom_unreachable"
    with scripted_pacs(port=port) as pacs:
        pacs.abort_at = 3
        delivery = await ended(here, delivery_id, DeliveryState.COMPLETED)
    assert delivery.counts == {Sent.SENT: 6}
    assert pacs.associations == 2
    assert len(pacs.order) == 7, "only the one that got no answer is sent twice"


async def test_a_delivery_goes_on_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_engine, "FIRST_RETRY_SECONDS", 0.1)
    study, port = CtStudy(instances=4), free_port()
    async with sharing_node("here", tmp_path, engine=False) as node:
        identity = node.identity
        await node.hold(study)
        with scripted_pacs(port=port) as pacs:
            async with delivering(node) as first:
                await first.pacs(port)
                pacs.gate.clear()
                delivery_id = await first.deliveries.order(DeliveryOrder(study=uid(study), pacs="pacs"), by=ACTOR)
                await ended(first, delivery_id, DeliveryState.SENDING)
    async with sharing_node("here", tmp_path, engine=False, identity=identity) as node, delivering(node) as again:
        with scripted_pacs(port=port):
            delivery = await ended(again, delivery_id, DeliveryState.COMPLETED)
    assert delivery.counts == {Sent.SENT: 4}


async def test_taking_the_link_back_stops_it_and_linking_goes_on(here: DeliveringNode) -> None:
    received = CtStudy(instances=4, seed=99)
    await here.receive(list(received.files()), foreign())
    await here.links.link(uid(received), LOCAL, by=ACTOR)
    with scripted_pacs() as pacs:
        pacs.gate.clear()
        await here.pacs(pacs.port)
        delivery_id = await here.deliveries.order(DeliveryOrder(study=uid(received), pacs="pacs"), by=ACTOR)
        await ended(here, delivery_id, DeliveryState.SENDING)
        await asyncio.sleep(0.3)
        await here.links.unlink(uid(received), by=ACTOR)
        waiting = await ended(here, delivery_id, DeliveryState.UNLINKED)
        assert waiting.code == "study_not_linked"
        pacs.gate.set()
        other = PatientKey("ISSUER-here", "LOCAL-78")
        await here.links.link(
            uid(received), other, Demographics("Roe^Jane", "", ""), by=ACTOR, despite_differences=True
        )
        delivery = await ended(here, delivery_id, DeliveryState.COMPLETED)
    assert (delivery.patient, delivery.counts) == (other, {Sent.SENT: 4})
    assert {pacs.dataset(received.sop_uid(n)).PatientID for n in range(1, 5)} == {"LOCAL-78"}
    assert str(pacs.dataset(received.sop_uid(1)).PatientName) == "Roe^Jane"


async def test_a_delivery_can_be_cancelled(here: DeliveringNode) -> None:
    study = CtStudy(instances=4)
    await here.node.hold(study)
    with scripted_pacs() as pacs:
        pacs.gate.clear()
        await here.pacs(pacs.port)
        delivery_id = await here.deliveries.order(DeliveryOrder(study=uid(study), pacs="pacs"), by=ACTOR)
        await ended(here, delivery_id, DeliveryState.SENDING)
        delivery = await here.deliveries.cancel(delivery_id, by=ACTOR)
    assert (delivery.state, delivery.code) == (DeliveryState.CANCELLED, "delivery_cancelled")
    (event,) = await here.node.events(AuditType.STUDY_DELIVERED)
    assert (event.actor, event.detail["state"]) == (ACTOR, "CANCELLED")


@pytest.mark.parametrize("accepted", [[EXPLICIT], [IMPLICIT]])
async def test_what_the_pacs_does_not_take_is_converted_or_said(here: DeliveringNode, accepted: list[str]) -> None:
    study = CtStudy(instances=2)
    await here.node.hold(study)
    with scripted_pacs({CT: accepted}) as pacs:
        await here.pacs(pacs.port)
        delivery = await send(here, study)
    assert delivery.counts == {Sent.SENT: 2}
    assert {syntax for syntax, _ in pacs.received.values()} == set(accepted)
    found = pacs.dataset(study.sop_uid(1))
    assert found.PixelData == next(iter(study.files()))[-len(found.PixelData) :]
    with scripted_pacs({"1.2.840.10008.5.1.4.1.1.4": accepted}) as other:
        await here.pacs(other.port, "other", "OTHER")
        order = replace(DeliveryOrder(study=uid(study), pacs="other"))
        refused = await ended(here, await here.deliveries.order(order, by=ACTOR))
        (one, _) = await here.deliveries.outcomes(refused.delivery_id)
    assert (refused.state, one.outcome, one.code) == (
        DeliveryState.INCOMPLETE, Sent.NOT_CONVERTIBLE, "service_not_accepted"
    )  # fmt: skip


async def test_what_a_request_brings_waits_for_the_link_unless_the_match_is_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_engine, "FIRST_RETRY_SECONDS", 0.1)
    theirs = CtStudy(instances=3, seed=99)
    local = PatientKey("ISSUER-asker", "LOCAL-77")
    async with (
        sharing_node("holder", tmp_path) as holder,
        sharing_node("asker", tmp_path) as asker,
        delivering(asker) as made,
    ):
        await befriend(holder, asker)
        await holder.hold(theirs)
        with scripted_pacs() as pacs:
            await made.pacs(pacs.port)
            first = await _ask_and_deliver(made, holder, theirs, local)
            waiting = await ended(made, first, DeliveryState.UNLINKED)
            assert (waiting.code, waiting.study) == ("study_not_linked", uid(theirs))
            assert pacs.received == {}
            await made.links.link(uid(theirs), local, by=ACTOR)
            assert (await ended(made, first, DeliveryState.COMPLETED)).counts == {Sent.SENT: 3}
            await made.links.unlink(uid(theirs), by=ACTOR)

            await asker.hold(CtStudy(seed=5, patient_id="LOCAL-77"))  # now it is known who the local patient is
            second = await _ask_and_deliver(made, holder, theirs, local)
            assert (await ended(made, second, DeliveryState.COMPLETED)).patient == local
            refused = await _ask_and_deliver(made, holder, theirs, local, code=sharecode.generate().text)
            assert (await ended(made, refused, DeliveryState.FAILED)).code == "not_released"
        assert pacs.dataset(theirs.sop_uid(1)).PatientID == "LOCAL-77"
        with pytest.raises(PatientNotNamed):
            await _ask_and_deliver(made, holder, theirs, None)


async def _ask_and_deliver(
    made: DeliveringNode, holder: SharingNode, study: CtStudy, patient: PatientKey | None, code: str = ""
) -> DeliveryId:
    ordered: list[DeliveryId] = []

    async def also(tx: Write, request_id: RequestId) -> None:
        wish = DeliveryWish("pacs")
        ordered.append(await made.deliveries.expect(tx, request_id, wish, patient, by=ACTOR))

    text = code or await holder.code_for(study)
    order = made.node.order(holder, study, text, subject=Subject(patient))
    await made.node.requests.ask(order, by=ACTOR, also=also)
    return ordered[0]
