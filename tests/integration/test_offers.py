"""A facility sends a study without being asked: accepted by hand or by policy, or refused, or taken back in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.sharing_node import SharingNode, befriend, sharing_node
from support.tasks import in_background, until

from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws
from node.errors.crypto_identity import BadSignature
from node.errors.offers import InvalidOffer, NoSuchOffer, OfferNotPending, OfferRefused
from node.errors.sharing import RequestMalformed, TooManyRequests
from node.errors.trust import UnknownPeer
from node.model.access import Caller, Role
from node.model.audit import AuditType, Outcome
from node.model.directive import Directive, DirectiveOrder, Effect
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.model.instance import Demographics
from node.model.offer import MAX_PENDING, OFFER_SECONDS, OfferedStudy, OfferId, OfferState, OfferText
from node.model.transfer import Direction
from node.peers.handlers_offers import decode_offer, encode_offer
from node.sharing.offers import Offers, OfferView
from node.store import directives

STUDY = CtStudy(instances=3, rows=16)
OTHER = CtStudy(instances=2, rows=16, seed=2, patient_id="CT-0002", patient_name="Other^Olga", sex="M")
UID, OTHER_UID = StudyInstanceUID(STUDY.study_uid), StudyInstanceUID(OTHER.study_uid)
DOCTOR = Caller("user:doctor", Role.CLINICIAN)


class Facility:
    """A node that offers and is offered."""

    def __init__(self, node: SharingNode) -> None:
        self.node, self.offers = node, node.offers

    @property
    def peer_id(self) -> PeerId:
        return self.node.peer_id

    async def only(self) -> OfferView:
        (view,) = await self.offers.page()
        return view


Two = tuple[Facility, Facility]


@pytest.fixture
async def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Two]:
    monkeypatch.setattr("node.sharing.messenger.LOOK_SECONDS", 0.1)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(sharing_node(name, tmp_path)) for name in ("north", "lake")]
        await befriend(*nodes)
        north, lake = (Facility(node) for node in nodes)
        await north.node.hold(STUDY, OTHER)
        async with in_background(north.offers.run(), lake.offers.run()):
            yield north, lake


async def arrived(lake: Facility) -> bool:
    return bool(await lake.offers.page())


async def state_is(facility: Facility, state: OfferState) -> bool:
    return (await facility.only()).offer.state is state


async def test_an_offer_is_accepted_by_hand_and_comes_as_any_transfer(two: Two) -> None:
    north, lake = two
    made = await north.offers.make(lake.peer_id, [UID], "trauma, arriving at noon", caller=DOCTOR)
    await until(lambda: arrived(lake))
    view = await lake.only()
    assert view.text == made.text
    assert (view.text.reason, view.text.user) == ("trauma, arriving at noon", "doctor")
    assert view.text.studies[0].instances == 3
    await until(lambda: state_is(north, OfferState.OFFERED))
    request_id = await lake.offers.accept(view.offer.offer_id, caller=DOCTOR)
    assert (await lake.node.requests.wait(request_id)).state == "COMPLETED"
    held = await lake.node.bytes_of(STUDY.sop_uid(n) for n in range(1, 4))
    assert len(held) == 3
    assert await state_is(north, OfferState.ACCEPTED)
    assert (await lake.only()).offer.request_id == request_id
    kinds = [AuditType.STUDY_OFFERED, AuditType.RELEASED, AuditType.RECEIPT_RECEIVED]

    async def signed_for() -> bool:
        return [event.type for event in await north.node.events(*kinds)] == kinds

    await until(signed_for)
    with pytest.raises(OfferNotPending):
        await lake.offers.accept(view.offer.offer_id, caller=DOCTOR)


async def test_a_policy_accepts_by_itself(two: Two) -> None:
    north, lake = two
    await lake.node.trust.set_policy(north.peer_id, {"auto_accept": "true"}, actor="user:op")
    await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)

    await until(lambda: state_is(north, OfferState.ACCEPTED))
    request_id = (await lake.only()).offer.request_id
    assert request_id is not None
    assert (await lake.node.requests.wait(request_id)).state == "COMPLETED"


async def test_a_refusal_is_told_and_ends_the_consent(two: Two) -> None:
    north, lake = two
    made = await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    await until(lambda: arrived(lake))
    offer_id = (await lake.only()).offer.offer_id
    await lake.offers.refuse(offer_id, "not our patient", caller=DOCTOR)
    await until(lambda: state_is(north, OfferState.REFUSED))
    assert (await north.only()).offer.reason == "not our patient"
    assert made.offer.consent_id is not None
    async with north.node.db.read() as rx:
        directive = await directives.get(rx, made.offer.consent_id)
    assert directive is not None
    assert directive.revoked_at is not None
    (event,) = await north.node.events(AuditType.OFFER_DECIDED)
    assert event.outcome is Outcome.REFUSED
    request = await lake.node.requests.ask(lake.node.order(north.node, STUDY, None), by="user:doctor")
    assert (await lake.node.requests.wait(request)).code == "not_released"


async def test_an_offer_that_was_taken_back_releases_nothing(two: Two) -> None:
    north, lake = two
    made = await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    await until(lambda: arrived(lake))
    assert made.offer.consent_id is not None
    async with north.node.db.write() as tx:
        await directives.revoke(tx, made.offer.consent_id, north.node.clock.now())
    request_id = await lake.offers.accept((await lake.only()).offer.offer_id, caller=DOCTOR)
    view = await lake.node.requests.wait(request_id)
    assert (view.state, view.code) == ("REFUSED", "not_released")


async def test_an_offer_ends_with_the_consent_it_rests_on_and_the_other_side_is_told(two: Two) -> None:
    north, lake = two
    made = await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    await until(lambda: state_is(north, OfferState.OFFERED))
    assert made.offer.consent_id is not None
    await north.node.consents.revoke(made.offer.consent_id, by="user:op")
    assert await state_is(north, OfferState.WITHDRAWN)
    await until(lambda: state_is(lake, OfferState.WITHDRAWN))
    assert (await lake.only()).offer.reason == "consent_revoked"
    with pytest.raises(OfferNotPending):
        await lake.offers.accept(made.offer.offer_id, caller=DOCTOR)
    for facility in two:
        (event,) = await facility.node.events(AuditType.OFFER_DECIDED)
        assert event.outcome is Outcome.REFUSED


async def test_an_offer_ends_when_the_patient_forbids_it(two: Two) -> None:
    north, lake = two
    await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    await until(lambda: arrived(lake))
    forbidden = DirectiveOrder(north.node.patient(OTHER), Effect.DENY)
    await north.node.consents.add(forbidden, by="user:op")
    assert not await state_is(north, OfferState.WITHDRAWN), "another patient"
    await north.node.consents.add(DirectiveOrder(north.node.patient(STUDY), Effect.DENY, lake.peer_id), by="user:op")
    assert await state_is(north, OfferState.WITHDRAWN)
    await until(lambda: state_is(lake, OfferState.WITHDRAWN))


async def test_an_offer_ends_with_its_last_study(two: Two) -> None:
    north, lake = two
    later = replace(STUDY, seed=3)
    await north.node.hold(later)
    studies = [UID, StudyInstanceUID(later.study_uid)]
    await north.offers.make(lake.peer_id, studies, "second opinion", caller=DOCTOR)
    await until(lambda: arrived(lake))
    await north.node.withdrawals.withdraw(studies[0], "wrong side", by="user:op")
    assert not await state_is(north, OfferState.WITHDRAWN), "something is left"
    await north.node.withdrawals.withdraw(studies[1], "wrong side", by="user:op")
    assert await state_is(north, OfferState.WITHDRAWN)
    await until(lambda: state_is(lake, OfferState.WITHDRAWN))
    assert (await lake.only()).offer.reason == "study_changed"


async def test_an_offer_that_nobody_heard_of_is_taken_back_in_silence(two: Two) -> None:
    north, lake = two
    await north.node.trust.suspend(lake.peer_id)
    await lake.node.trust.suspend(north.peer_id)
    await north.node.trust.resume(lake.peer_id)
    made = await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    assert made.offer.consent_id is not None
    await north.node.consents.revoke(made.offer.consent_id, by="user:op")
    await lake.node.trust.resume(north.peer_id)
    north.offers.peer_seen(lake.peer_id)

    async def is_settled() -> bool:
        offer = (await north.only()).offer
        return offer.state is OfferState.WITHDRAWN and not offer.untold

    await until(is_settled)
    assert await lake.offers.page() == []


async def test_a_decision_stands_though_the_holder_changes_its_mind(two: Two) -> None:
    north, lake = two
    made = await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    await until(lambda: arrived(lake))
    await lake.offers.refuse(made.offer.offer_id, "not our patient", caller=DOCTOR)
    await lake.offers.refused(north.peer_id, made.offer.offer_id, "consent_revoked")
    assert await state_is(lake, OfferState.REFUSED)
    with pytest.raises(NoSuchOffer):
        await lake.offers.refused(lake.peer_id, made.offer.offer_id, "")


async def test_only_what_was_offered_is_released(two: Two) -> None:
    north, lake = two
    await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    await until(lambda: arrived(lake))
    request = await lake.node.requests.ask(lake.node.order(north.node, OTHER, None), by="user:doctor")
    assert (await lake.node.requests.wait(request)).code == "not_released"


UNKNOWN = StudyInstanceUID("1.2.3")


@pytest.mark.parametrize("uids", [[], [UID, OTHER_UID], [UNKNOWN]], ids=["none", "two patients", "unknown"])
async def test_what_cannot_be_offered(two: Two, uids: list[StudyInstanceUID]) -> None:
    north, lake = two
    with pytest.raises(InvalidOffer):
        await north.offers.make(lake.peer_id, uids, "why", caller=DOCTOR)
    with pytest.raises(InvalidOffer):
        await north.offers.make(lake.peer_id, [UID], "  ", caller=DOCTOR)
    with pytest.raises(UnknownPeer):
        await north.offers.make(PeerId(bytes(32)), [UID], "why", caller=DOCTOR)


async def test_a_received_study_is_not_offered_onward(two: Two) -> None:
    north, lake = two
    await lake.node.trust.set_policy(north.peer_id, {"auto_accept": "true"}, actor="user:op")
    await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    await until(lambda: state_is(north, OfferState.ACCEPTED))
    with pytest.raises(InvalidOffer):
        await lake.offers.make(north.peer_id, [UID], "onward", caller=DOCTOR)


async def test_an_offer_expires(two: Two) -> None:
    north, lake = two
    await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    await until(lambda: arrived(lake))
    lake.node.clock.offset = OFFER_SECONDS + 1
    await until(lambda: state_is(lake, OfferState.EXPIRED))
    with pytest.raises(OfferNotPending):
        await lake.offers.accept((await lake.only()).offer.offer_id, caller=DOCTOR)


async def test_offers_that_are_not_believed(two: Two) -> None:
    north, lake = two
    made = await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    text, me = made.text, north.node.identity

    async def give(token: str) -> None:
        await lake.offers.offered(north.peer_id, token)

    def signed(by: Identity = me, **changes: object) -> str:
        new = replace(text, **{"offer_id": OfferId.new(), **changes})  # type: ignore[arg-type]  # fields of their types
        return sign_jws(by, JwsType.OFFER, encode_offer(new))

    with pytest.raises(BadSignature):
        await give(signed(Identity.generate()))
    for changes in (
        {"recipient": north.peer_id},
        {"holder": lake.peer_id},
        {"at": text.at - OFFER_SECONDS - 10, "expires_at": text.at - 10},
        {"at": text.at + 10_000, "expires_at": text.at + 20_000},
        {"expires_at": text.at + OFFER_SECONDS + 1},
        {"expires_at": text.at},
        {"studies": (text.studies[0], text.studies[0])},
    ):
        with pytest.raises(OfferRefused):
            await give(signed(**changes))
    with pytest.raises(RequestMalformed):
        await give(signed(studies=()))
    await until(lambda: arrived(lake))
    await give(made.offer.token)
    assert len(await lake.offers.page()) == 1, "the same again is as good"
    with pytest.raises(OfferRefused):
        await give(signed(offer_id=text.offer_id, reason="another under the same id"))


async def test_a_flood_of_offers_is_refused(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    north, lake = two
    monkeypatch.setattr("node.sharing.offers.MAX_PENDING", 2)
    assert MAX_PENDING > 2
    for _ in range(3):
        await north.offers.make(lake.peer_id, [UID], "again", caller=DOCTOR)

    async def settled() -> bool:
        return sum(view.offer.state is OfferState.REFUSED for view in await north.offers.page()) == 1

    await until(settled)
    assert len(await lake.offers.page()) == 2


async def consent_of(north: Facility, view: OfferView) -> Directive:
    assert view.offer.consent_id is not None
    async with north.node.db.read() as rx:
        found = await directives.get(rx, view.offer.consent_id)
    assert found is not None
    return found


async def test_an_offer_that_is_not_taken_at_all_ends_the_consent(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    north, lake = two
    monkeypatch.setattr("node.sharing.offers.MAX_PENDING", 0)
    made = await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    await until(lambda: state_is(north, OfferState.REFUSED))
    assert (await consent_of(north, made)).revoked_at is not None


async def test_offers_that_are_accepted_by_themselves_are_a_flood_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each becomes a request of this node: a peer must not make it write as many as it likes."""
    monkeypatch.setattr("node.sharing.offers.OFFERS_BURST", 2.0)
    async with (
        sharing_node("north", tmp_path, engine=False) as north,
        sharing_node("lake", tmp_path, engine=False) as lake,
    ):
        await befriend(north, lake)
        await north.hold(STUDY)
        await lake.trust.set_policy(north.peer_id, {"auto_accept": "true"}, actor="user:op")
        made = await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
        tokens = [
            sign_jws(north.identity, JwsType.OFFER, encode_offer(replace(made.text, offer_id=OfferId.new())))
            for _ in range(3)
        ]
        for token in (*tokens[:2], tokens[0]):  # what it knows costs nothing
            await lake.offers.offered(north.peer_id, token)
        with pytest.raises(TooManyRequests):
            await lake.offers.offered(north.peer_id, tokens[2])
        assert {view.offer.state for view in await lake.offers.page()} == {OfferState.ACCEPTED}


async def test_an_offer_for_a_patient_of_this_facility_waits_for_a_person(tmp_path: Path) -> None:
    """The offering side chose the name: accepted unseen, its images would lie in an own patient's record."""
    async with (
        sharing_node("north", tmp_path, engine=False) as north,
        sharing_node("lake", tmp_path, engine=False) as lake,
    ):
        await befriend(north, lake)
        await north.hold(STUDY)
        await lake.trust.set_policy(north.peer_id, {"auto_accept": "true"}, actor="user:op")
        made = await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
        text = replace(made.text, offer_id=OfferId.new(), patient=PatientKey(f"{lake.issuer} ".lower(), "LAKE-1"))
        await lake.offers.offered(north.peer_id, sign_jws(north.identity, JwsType.OFFER, encode_offer(text)))
        (view,) = await lake.offers.page()
        assert view.offer.state is OfferState.OFFERED
        assert await lake.requests.transfers() == []
        await lake.offers.accept(text.offer_id, caller=DOCTOR)
        assert len(await lake.requests.transfers()) == 1


class Hasty:
    """A recipient that decides before it has said that the offer came."""

    def __init__(self) -> None:
        self.north: Offers | None = None

    async def offered(self, peer: PeerId, token: str) -> None:
        del peer
        assert self.north is not None
        (view,) = await self.north.page()
        assert view.offer.token == token
        await self.north.refused(view.offer.peer, view.offer.offer_id, "not ours")

    async def refused(self, peer: PeerId, offer_id: OfferId, reason: str) -> None:
        raise NoSuchOffer(f"{peer.short} {offer_id} {reason}")


async def test_a_decision_that_overtakes_the_delivery_stands(tmp_path: Path) -> None:
    hasty = Hasty()
    async with sharing_node("north", tmp_path) as north, sharing_node("lake", tmp_path, offers_port=hasty) as lake:
        await befriend(north, lake)
        await north.hold(STUDY)
        hasty.north, facility = north.offers, Facility(north)
        async with in_background(north.offers.run()):
            await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)

            async def told() -> bool:
                return not (await facility.only()).offer.untold

            await until(told)
            await asyncio.sleep(0.3)  # the answer to the delivery is on its way
        assert await state_is(facility, OfferState.REFUSED)


async def test_nobody_decides_for_another(two: Two) -> None:
    north, lake = two
    made = await north.offers.make(lake.peer_id, [UID], "second opinion", caller=DOCTOR)
    with pytest.raises(NoSuchOffer):
        await north.offers.refused(PeerId(b"x" * 32), made.offer.offer_id, "mine")
    with pytest.raises(NoSuchOffer):
        await north.offers.accept(made.offer.offer_id, caller=DOCTOR)
    assert made.offer.direction is Direction.OUT


def test_the_message_reads_back() -> None:
    text = OfferText(
        OfferId(bytes(16)), PeerId(b"h" * 32), PeerId(b"r" * 32), 5, 9, "u", "clinician", "why", PatientKey("I", "1"),
        Demographics("A^B", "19700101", "F"), (OfferedStudy(UID, "20200101", ("CT",), "thorax", 3),),
    )  # fmt: skip
    assert decode_offer(encode_offer(text)) == text
