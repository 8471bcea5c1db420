"""Who may have what: codes, proofs, signed requests, refusals that tell nothing, and a person's decision."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.sharing_node import ACTOR, SharingNode, befriend, sharing_node

from node.config import ConsentSettings
from node.crypto import sharecode
from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws, verify_jws
from node.errors.access import InvalidInput
from node.errors.codes import ShareCodeMalformed, ShareCodeMistyped
from node.errors.crypto_identity import MalformedJws
from node.errors.sharing import (
    ConsentRevoked,
    InvalidRequest,
    InvalidShareCodeOrder,
    NoSuchRequest,
    NoSuchShareCode,
    NothingToShare,
    ReceiptRefused,
    ReleaseExpired,
    RequestIdReused,
    RequestMalformed,
    RequestNotPending,
    RequestStale,
    ReviewChanged,
    ShareCodeUsed,
    SignerMismatch,
    TooManyRequests,
    TransferCancelled,
    WrongHolder,
)
from node.errors.trust import PeerNotTrusted, UnknownPeer
from node.model.audit import AuditType
from node.model.consent import CodeState, ConsentId, PurposeOfUse, code_state
from node.model.directive import DirectiveOrder, Effect
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID, StudyRef
from node.model.instance import Demographics
from node.model.release import DecisionNotice, Receipt, Verdict
from node.model.request import CodeProof, ReleaseRequest, StudyTarget, Subject
from node.model.transfer import TransferState
from node.peers import limits
from node.peers.messages import decode_decision, encode_body, encode_receipt, encode_request
from node.sharing.holder import REFUSAL_GRID, Holder
from node.sharing.serve import REFUSED_SECONDS
from node.store import consents, feeds, requests, transfers

STUDY = CtStudy(instances=2, rows=16)
OTHER = CtStudy(instances=2, rows=16, seed=2, patient_id="CT-0002", patient_name="Other^Olga", sex="M")
UID = StudyInstanceUID(STUDY.study_uid)


@pytest.fixture
async def north(tmp_path: Path) -> AsyncIterator[SharingNode]:
    """A holder of two studies, with small limits."""
    settings = ConsentSettings(code_failures=3, peer_failures=6)
    async with sharing_node("north", tmp_path, consent=settings) as node:
        await node.hold(STUDY, OTHER)
        yield node


@pytest.fixture
async def lake(tmp_path: Path, north: SharingNode) -> AsyncIterator[SharingNode]:
    """A facility that north trusts; its requests are made by hand."""
    async with sharing_node("lake", tmp_path, engine=False) as node:
        await befriend(north, node)
        yield node


class Asker:
    """Makes signed requests, right ones and wrong ones, and hands them to the holder as its peer server would."""

    def __init__(self, north: SharingNode, lake: SharingNode) -> None:
        self.north, self.me, self.now = north, lake.identity, north.clock.now

    def request(self, *targets: StudyTarget, **changes: object) -> ReleaseRequest:
        request = ReleaseRequest(
            RequestId.new(),
            self.north.peer_id,
            self.me.peer_id,
            "dr.who",
            "clinician",
            PurposeOfUse.TREAT,
            Subject(),
            targets or (UID,),
        )
        return replace(request, **changes)  # type: ignore[arg-type]

    def token(
        self, request: ReleaseRequest, code: str | None, *, at: int | None = None, signer: Identity | None = None
    ) -> str:
        body = encode_body(request)
        proof = None
        if code is not None:
            parsed = sharecode.parse(code)
            digest = hashlib.sha256(body).digest()
            mac = sharecode.proof(parsed.mac_key, digest, request.holder, request.requester)
            proof = CodeProof(parsed.lookup_id, mac)
        payload = encode_request(body, proof, self.now() if at is None else at)
        return sign_jws(signer or self.me, JwsType.REQUEST, payload)

    async def send(self, token: str) -> DecisionNotice:
        answer = await self.north.holder.receive(self.me.peer_id, token)
        return decode_decision(verify_jws(answer, JwsType.DECISION, self.north.identity.public_key, max_bytes=4096))

    async def ask(self, code: str | None, *targets: StudyTarget, **changes: object) -> str:
        """The verdict, or the code of the refusal."""
        notice = await self.send(self.token(self.request(*targets, **changes), code))
        return notice.code or notice.verdict.value


@pytest.fixture
def asker(north: SharingNode, lake: SharingNode) -> Asker:
    return Asker(north, lake)


# Codes


async def test_a_code_covers_all_own_studies_of_the_patient_and_closes_revisions(north: SharingNode) -> None:
    second = CtStudy(instances=1, rows=16, seed=3)
    await north.hold(second)
    made = await north.share_codes.create(north.patient(STUDY), by=ACTOR)
    assert made.consent.studies == {UID, second.study_uid}
    assert made.consent.expires_at - made.consent.created_at == 30 * 86_400
    assert not any(s.revision_open for s in await north.store.studies() if s.patient == north.patient(STUDY))
    one = await north.share_codes.create(north.patient(STUDY), by=ACTOR, studies=[UID])
    assert one.consent.studies == {UID}
    assert [c.consent_id for c in await north.share_codes.page()] == [one.consent.consent_id, made.consent.consent_id]
    assert made.code.text not in repr(made)


async def test_a_study_that_came_later_is_not_covered(north: SharingNode, asker: Asker) -> None:
    code = await north.code_for(STUDY)
    later = CtStudy(instances=1, rows=16, seed=3)
    await north.hold(later)
    assert await asker.ask(code, StudyInstanceUID(later.study_uid)) == "share_code_other_study"


@pytest.mark.parametrize("bounds", [{"uses": 0}, {"uses": 101}, {"lifetime": 0}, {"lifetime": 367 * 86_400}])
async def test_a_code_has_bounds(north: SharingNode, bounds: dict[str, int]) -> None:
    with pytest.raises(InvalidShareCodeOrder):
        await north.share_codes.create(north.patient(STUDY), by=ACTOR, **bounds)  # type: ignore[arg-type]


async def test_nothing_to_share(north: SharingNode) -> None:
    with pytest.raises(NothingToShare):
        await north.share_codes.create(PatientKey(north.issuer, "nobody"), by=ACTOR)
    with pytest.raises(NothingToShare):
        await north.share_codes.create(north.patient(STUDY), by=ACTOR, studies=[StudyInstanceUID(OTHER.study_uid)])
    with pytest.raises(NoSuchShareCode):
        await north.share_codes.revoke(ConsentId.new(), by=ACTOR)


# Decisions


async def test_each_refusal_of_a_proved_code_says_why(north: SharingNode, asker: Asker) -> None:
    code = await north.code_for(STUDY, uses=2)
    assert await asker.ask(code, StudyInstanceUID(OTHER.study_uid)) == "share_code_other_study"
    assert await asker.ask(code, StudyInstanceUID("1.2.3")) == "share_code_other_study"
    assert await asker.ask(code, purpose=PurposeOfUse.HRESCH) == "purpose_not_covered"
    assert await asker.ask(code) == "permit"
    assert await asker.ask(code) == "permit"
    assert await asker.ask(code) == "share_code_used"
    short = await north.code_for(STUDY, lifetime=60)
    north.clock.offset += 61
    assert await asker.ask(short) == "share_code_expired"
    revoked = await north.code_for(STUDY)
    await north.share_codes.revoke((await north.share_codes.page())[0].consent_id, by=ACTOR)
    assert await asker.ask(revoked) == "share_code_revoked"


async def test_a_ref_of_an_announcement_names_a_study(north: SharingNode, lake: SharingNode, asker: Asker) -> None:
    code, ref = await north.code_for(STUDY, uses=9), StudyRef.new()
    async with north.db.write() as tx:
        await feeds.set_announced(tx, lake.peer_id, UID, feeds.Announced(ref, 1))
    assert await asker.ask(code, ref) == "permit"
    assert await asker.ask(code, StudyRef.new()) == "share_code_other_study"


async def test_whoever_proves_nothing_hears_one_thing(north: SharingNode, asker: Asker) -> None:
    code = await north.code_for(STUDY)
    foreign = sharecode.generate().text
    wrong_mac = asker.request()
    proof = CodeProof(sharecode.parse(code).lookup_id, bytes(32))
    forged = sign_jws(asker.me, JwsType.REQUEST, encode_request(encode_body(wrong_mac), proof, asker.now()))
    tokens = [
        asker.token(asker.request(), foreign),
        asker.token(asker.request(StudyInstanceUID("1.2.3")), foreign),
        asker.token(asker.request(), None),
        forged,
    ]
    answers, times = [], []
    for token in tokens:
        started = time.monotonic()
        answers.append(await north.holder.receive(asker.me.peer_id, token))
        times.append(time.monotonic() - started)
    notices = [
        decode_decision(verify_jws(a, JwsType.DECISION, north.identity.public_key, max_bytes=4096)) for a in answers
    ]
    assert {n.code for n in notices} == {"not_released"}
    assert len({len(a) for a in answers}) == 1
    assert min(times) >= REFUSAL_GRID - 0.01


async def test_a_code_is_locked_after_too_many_wrong_proofs(north: SharingNode, asker: Asker) -> None:
    code = await north.code_for(STUDY)
    for _ in range(3):
        proof = CodeProof(sharecode.parse(code).lookup_id, bytes(32))
        body = encode_body(asker.request())
        await asker.send(sign_jws(asker.me, JwsType.REQUEST, encode_request(body, proof, asker.now())))
    assert await asker.ask(code) == "share_code_locked"
    (consent,) = await north.share_codes.page()
    assert (consent.failures, code_state(consent, north.clock.now())) == (3, CodeState.LOCKED)
    assert len(await north.events(AuditType.SHARE_CODE_LOCKED)) == 1
    assert len(await north.events(AuditType.SHARE_CODE_FAILED)) == 3


async def test_a_peer_that_fails_too_often_waits_until_tomorrow(north: SharingNode, asker: Asker) -> None:
    code = await north.code_for(STUDY)
    for _ in range(6):
        assert await asker.ask(sharecode.generate().text) == "not_released"
    assert await asker.ask(code) == "not_released"
    north.clock.offset += 86_400
    assert await asker.ask(code) == "permit"
    async with north.db.read() as rx:
        assert await consents.peer_failures(rx, asker.me.peer_id, north.clock.now()) == 0


async def test_a_hundred_uses_of_a_one_use_code_release_once(north: SharingNode, asker: Asker) -> None:
    code = await north.code_for(STUDY)
    answers = await asyncio.gather(*(asker.ask(code) for _ in range(100)))
    assert sorted(set(answers)) == ["permit", "share_code_used"]
    assert answers.count("permit") == 1
    assert len(await north.events(AuditType.RELEASED)) == 1
    assert len(await north.events(AuditType.REQUEST_DECIDED)) == 100


async def test_a_retry_is_free_and_hears_the_same(north: SharingNode, asker: Asker) -> None:
    code, request = await north.code_for(STUDY), asker.request()
    first = await asker.send(asker.token(request, code))
    again = [await asker.send(asker.token(request, code, at=asker.now() - n)) for n in range(3)]
    assert {first, *again} == {first}
    (consent,) = await north.share_codes.page()
    assert consent.used == 1
    wrong = asker.request()
    for _ in range(3):
        await asker.send(asker.token(wrong, sharecode.generate().text))
    assert len(await north.events(AuditType.SHARE_CODE_FAILED)) == 1


async def test_a_release_counts_from_the_decision_and_never_outlives_its_consent(
    north: SharingNode, asker: Asker
) -> None:
    for lifetime, expected in ((30 * 86_400, 14 * 86_400), (3600, 3600)):
        code, request = await north.code_for(STUDY, lifetime=lifetime), asker.request()
        notice = await asker.send(asker.token(request, code))
        async with north.db.read() as rx:
            stored = await transfers.release_of(rx, request.request_id)
        assert stored is not None
        assert expected - 2 <= stored.expires_at - notice.at <= expected


async def test_a_peer_that_asks_too_much_waits_whomever_it_asks_about(
    north: SharingNode, asker: Asker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "REQUESTS_BURST", 3.0)
    monkeypatch.setattr(limits, "REQUESTS_PER_SECOND", 0.0)
    north.holder = Holder(north.holder._parts)
    code, early = await north.code_for(STUDY, uses=9), asker.request()
    assert (await asker.send(asker.token(early, code))).verdict is Verdict.PERMIT
    assert await asker.ask(None) == "not_released"
    assert await asker.ask(sharecode.generate().text, StudyInstanceUID("1.2.3")) == "not_released"
    decided = len(await north.events(AuditType.REQUEST_DECIDED))
    late = asker.request()
    for token in (
        asker.token(late, code),
        asker.token(asker.request(), None),
        asker.token(asker.request(StudyInstanceUID("1.2.3")), sharecode.generate().text),
    ):
        with pytest.raises(TooManyRequests):
            await asker.send(token)
    assert len(await north.events(AuditType.REQUEST_DECIDED)) == decided
    async with north.db.read() as rx:
        assert await requests.get_received(rx, late.request_id) is None
    assert (await asker.send(asker.token(early, code))).verdict is Verdict.PERMIT, "a repeated request costs nothing"
    with pytest.raises(SignerMismatch):
        await asker.send(asker.token(late, code, signer=Identity.generate()))
    async with sharing_node("third", tmp_path, engine=False) as third:
        await befriend(north, third)
        assert await Asker(north, third).ask(code) == "permit", "each peer has a budget of its own"


async def test_a_requester_tries_again_when_it_asked_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUESTS_BURST", 1.0)
    monkeypatch.setattr(limits, "REQUESTS_PER_SECOND", 0.5)
    async with sharing_node("south", tmp_path) as south, sharing_node("hill", tmp_path) as hill:
        await befriend(south, hill)
        await south.hold(STUDY)
        code = await south.code_for(STUDY, uses=2)
        asked = [await hill.requests.ask(hill.order(south, STUDY, code), by=ACTOR) for _ in range(2)]
        assert [(await hill.requests.wait(request_id)).state for request_id in asked] == ["COMPLETED", "COMPLETED"]
        assert south.metrics.requests.labels("over_budget")._value.get() > 0


async def test_old_refusals_are_forgotten(north: SharingNode, asker: Asker) -> None:
    nothing, wrong_study, released = asker.request(), asker.request(StudyInstanceUID("1.2.3")), asker.request()
    code = await north.code_for(STUDY)
    await asker.send(asker.token(nothing, None))
    await asker.send(asker.token(wrong_study, code))
    await asker.send(asker.token(released, code))

    async def kept() -> list[bool]:
        async with north.db.read() as rx:
            rows = [await requests.get_received(rx, r.request_id) for r in (nothing, wrong_study, released)]
        return [row is not None for row in rows]

    north.clock.offset += REFUSED_SECONDS - 60
    await north.objects._expire()
    assert await kept() == [True, True, True]
    north.clock.offset += 120
    await north.objects._expire()
    assert await kept() == [False, True, True]


# What is not a request of this peer for this holder, now


async def test_what_is_wrongly_signed_or_addressed_is_refused(north: SharingNode, asker: Asker) -> None:
    code, stranger = await north.code_for(STUDY), Identity.generate()
    request = asker.request()
    with pytest.raises(SignerMismatch):
        await asker.send(asker.token(request, code, signer=stranger))
    with pytest.raises(SignerMismatch):
        await asker.send(asker.token(replace(request, requester=stranger.peer_id), code))
    with pytest.raises(WrongHolder):
        await asker.send(asker.token(replace(request, holder=stranger.peer_id), code))
    for at in (asker.now() - 601, asker.now() + 121, 0):
        with pytest.raises(RequestStale):
            await asker.send(asker.token(request, code, at=at))
    with pytest.raises(MalformedJws):
        await asker.send(sign_jws(asker.me, JwsType.RECEIPT, b"{}"))
    with pytest.raises(RequestMalformed):
        await asker.send(sign_jws(asker.me, JwsType.REQUEST, b'{"v":1,"v":1}'))
    assert (await north.share_codes.page())[0].used == 0
    async with north.db.read() as rx:
        assert await requests.get_received(rx, request.request_id) is None


async def test_a_proof_is_good_for_one_requester_and_one_holder(
    north: SharingNode, asker: Asker, tmp_path: Path
) -> None:
    """A code's proof that another facility saw is worth nothing to it."""
    code = await north.code_for(STUDY)
    async with sharing_node("thief", tmp_path, engine=False) as thief:
        await befriend(north, thief)
        parsed, request = sharecode.parse(code), replace(asker.request(), requester=thief.peer_id)
        digest = hashlib.sha256(encode_body(request)).digest()
        for holder, requester in ((north.peer_id, asker.me.peer_id), (thief.peer_id, thief.peer_id)):
            mac = sharecode.proof(parsed.mac_key, digest, holder, requester)
            payload = encode_request(encode_body(request), CodeProof(parsed.lookup_id, mac), asker.now())
            answer = await north.holder.receive(thief.peer_id, sign_jws(thief.identity, JwsType.REQUEST, payload))
            notice = decode_decision(verify_jws(answer, JwsType.DECISION, north.identity.public_key, max_bytes=4096))
            assert notice.code == "not_released"
            request = replace(request, request_id=RequestId.new())
            digest = hashlib.sha256(encode_body(request)).digest()


async def test_an_id_names_one_request_of_one_peer(north: SharingNode, asker: Asker, tmp_path: Path) -> None:
    code, request = await north.code_for(STUDY, uses=9), asker.request()
    await asker.send(asker.token(request, code))
    with pytest.raises(RequestIdReused):
        await asker.send(asker.token(replace(request, user="another"), code))
    async with sharing_node("thief", tmp_path, engine=False) as thief:
        await befriend(north, thief)
        other = Asker(north, thief)
        with pytest.raises(RequestIdReused):
            await other.send(other.token(replace(request, requester=thief.peer_id), code))
        for look in (north.holder.decision, north.holder.manifest, north.holder.cancelled):
            with pytest.raises(NoSuchRequest):
                await look(thief.peer_id, request.request_id)
        with pytest.raises(NoSuchRequest):
            async with north.objects.open(thief.peer_id, request.request_id, [0]):
                pass
    async with north.objects.open(asker.me.peer_id, request.request_id, [0]):
        pass


async def test_an_unknown_id_is_refused_without_waiting_for_the_writer(north: SharingNode, asker: Asker) -> None:
    me, unknown = asker.me.peer_id, RequestId.new()
    receipt = Receipt(unknown, north.peer_id, me, asker.now(), bytes(32), 1, 1)
    token = sign_jws(asker.me, JwsType.RECEIPT, encode_receipt(receipt))

    async def stream() -> None:
        async with north.objects.open(me, unknown, [0]):
            pass

    async with north.db.write(), asyncio.timeout(20):
        for attempt in (
            stream(),
            north.holder.decision(me, unknown),
            north.holder.manifest(me, unknown),
            north.holder.take_receipt(me, unknown, token),
            north.holder.cancelled(me, unknown),
        ):
            with pytest.raises(NoSuchRequest):
                await attempt


@pytest.mark.parametrize("indexes", [[2], [0, 0], [0, 10**6]])
async def test_only_instances_of_the_manifest_are_streamed(
    north: SharingNode, asker: Asker, indexes: list[int]
) -> None:
    request = asker.request()
    await asker.send(asker.token(request, await north.code_for(STUDY)))
    with pytest.raises(InvalidRequest):
        async with north.objects.open(asker.me.peer_id, request.request_id, indexes):
            pass


async def test_what_is_over_says_why_it_is(north: SharingNode, asker: Asker) -> None:
    async def objects_of(request: ReleaseRequest) -> None:
        async with north.objects.open(asker.me.peer_id, request.request_id, [0]):
            pass

    first, second, third = asker.request(), asker.request(), asker.request()
    await asker.send(asker.token(first, await north.code_for(STUDY)))
    await north.share_codes.revoke((await north.share_codes.page())[0].consent_id, by=ACTOR)
    await asker.send(asker.token(second, await north.code_for(STUDY)))
    await north.requests.cancel(second.request_id, by=ACTOR)
    await asker.send(asker.token(third, await north.code_for(STUDY)))
    north.clock.offset += 14 * 86_400
    for request, error in ((first, ConsentRevoked), (second, TransferCancelled), (third, ReleaseExpired)):
        with pytest.raises(error):
            await objects_of(request)
        with pytest.raises(error):
            await north.holder.manifest(asker.me.peer_id, request.request_id)


async def test_a_receipt_must_fit_the_release(north: SharingNode, asker: Asker) -> None:
    request = asker.request()
    await asker.send(asker.token(request, await north.code_for(STUDY)))
    async with north.db.read() as rx:
        released = await transfers.release_of(rx, request.request_id)
        moved = await transfers.get(rx, request.request_id)
    assert released is not None
    assert moved is not None
    good = Receipt(
        request.request_id,
        north.peer_id,
        asker.me.peer_id,
        asker.now(),
        released.digest,
        moved.instances_total,
        moved.bytes_total,
    )

    async def give(receipt: Receipt, signer: Identity = asker.me) -> None:
        token = sign_jws(signer, JwsType.RECEIPT, encode_receipt(receipt))
        await north.holder.take_receipt(asker.me.peer_id, request.request_id, token)

    for lie in (
        {"manifest": bytes(32)},
        {"instances": 1},
        {"total_bytes": 0},
        {"recipient": north.peer_id},
        {"holder": asker.me.peer_id},
        {"request_id": RequestId.new()},
    ):
        with pytest.raises(ReceiptRefused):
            await give(replace(good, **lie))
    with pytest.raises(SignerMismatch):
        await give(good, Identity.generate())
    assert (await north.requests.transfer(request.request_id)).state is TransferState.AUTHORIZED
    await give(good)
    await give(good)
    assert (await north.requests.transfer(request.request_id)).state is TransferState.COMPLETED
    assert len(await north.events(AuditType.RECEIPT_RECEIVED)) == 1


# A person decides


SOMEBODY_ELSE = Subject(None, Demographics("Else^Somebody", "19000102", "M"))


async def test_a_conflict_waits_for_a_person_who_says_yes(north: SharingNode, asker: Asker) -> None:
    code, request = await north.code_for(STUDY), asker.request(subject=SOMEBODY_ELSE)
    assert (await asker.send(asker.token(request, code))).verdict is Verdict.REVIEW
    assert (await north.share_codes.page())[0].used == 0, "nothing is consumed yet"
    (entry,) = await north.inbox.page()
    assert entry.reasons == ("birth_date_conflict", "name_conflict", "sex_conflict")
    assert (entry.patient, entry.demographics.name) == (north.patient(STUDY), STUDY.patient_name)
    assert (entry.said, entry.studies) == (SOMEBODY_ELSE, (UID,))
    assert await north.inbox.release(request.request_id, by=ACTOR) == (UID,)
    assert (await north.share_codes.page())[0].used == 1
    assert (await asker.send(asker.token(request, code))).verdict is Verdict.PERMIT
    assert await north.holder.manifest(asker.me.peer_id, request.request_id)
    with pytest.raises(RequestNotPending):
        await north.inbox.release(request.request_id, by=ACTOR)
    assert await north.inbox.page() == []


async def test_a_person_says_no(north: SharingNode, asker: Asker) -> None:
    request = asker.request(subject=SOMEBODY_ELSE)
    token = asker.token(request, await north.code_for(STUDY))
    await asker.send(token)
    await north.inbox.refuse(request.request_id, reason="another person", by=ACTOR)
    assert (await asker.send(token)).code == "refused_by_operator"
    with pytest.raises(NoSuchRequest):
        await north.holder.manifest(asker.me.peer_id, request.request_id)
    with pytest.raises(NoSuchRequest):
        await north.inbox.refuse(RequestId.new(), reason="", by=ACTOR)


async def test_a_yes_comes_too_late_when_the_use_is_gone(north: SharingNode, asker: Asker) -> None:
    code, request = await north.code_for(STUDY), asker.request(subject=SOMEBODY_ELSE)
    token = asker.token(request, code)
    await asker.send(token)
    assert await asker.ask(code) == "permit"
    with pytest.raises(ShareCodeUsed):
        await north.inbox.release(request.request_id, by=ACTOR)
    assert (await asker.send(token)).code == "share_code_used"


async def test_a_peer_without_auto_release_waits_and_new_reasons_are_looked_at(
    north: SharingNode, lake: SharingNode, asker: Asker
) -> None:
    request = asker.request(subject=SOMEBODY_ELSE)
    await asker.send(asker.token(request, await north.code_for(STUDY)))
    await north.trust.set_policy(lake.peer_id, {"auto_release": "false"})
    with pytest.raises(ReviewChanged):
        await north.inbox.release(request.request_id, by=ACTOR)
    code = await north.code_for(STUDY)
    assert await asker.ask(code) == "review"
    assert [e.reasons for e in await north.inbox.page()][-1] == ("policy",)


async def test_what_changed_is_put_up_afresh_so_that_it_can_be_decided(
    north: SharingNode, lake: SharingNode, asker: Asker
) -> None:
    request = asker.request(subject=SOMEBODY_ELSE)
    await asker.send(asker.token(request, await north.code_for(STUDY)))
    await north.trust.set_policy(lake.peer_id, {"auto_release": "false"})
    (entry,) = await north.inbox.page()
    assert "policy" in entry.reasons, "the list shows what holds now"
    with pytest.raises(ReviewChanged):
        await north.inbox.release(request.request_id, by=ACTOR)
    assert await north.inbox.release(request.request_id, by=ACTOR) == (UID,), "now it was looked at"


async def test_a_part_is_released_and_no_study_that_nobody_looked_at(north: SharingNode, asker: Asker) -> None:
    second = CtStudy(instances=1, rows=16, seed=77)
    await north.hold(second)
    other = StudyInstanceUID(second.study_uid)
    request = asker.request(UID, other, subject=SOMEBODY_ELSE)
    code = await north.code_for(STUDY)
    await asker.send(asker.token(request, code))
    entry = await north.inbox.one(request.request_id)
    assert (set(entry.studies), entry.asked) == ({UID, other}, 2)
    assert {study.study_instance_uid for study in entry.held} == {UID, other}
    with pytest.raises(InvalidInput):
        await north.inbox.release(request.request_id, by=ACTOR, studies=[])
    with pytest.raises(ReviewChanged):
        await north.inbox.release(request.request_id, by=ACTOR, studies=[StudyInstanceUID("1.2.3")])
    with pytest.raises(ReviewChanged):
        await north.inbox.release(request.request_id, by=ACTOR, studies=[UID], reasons=["name_conflict"])
    assert (await north.share_codes.page())[0].used == 0
    released = await north.inbox.release(request.request_id, by=ACTOR, studies=[other], reasons=entry.reasons)
    assert released == (other,)
    assert (await north.requests.transfer(request.request_id)).studies == (other,)
    decided = (await north.events(AuditType.REQUEST_DECIDED))[-1]
    assert (decided.detail["asked"], decided.detail["released"]) == (2, 1)


async def test_what_the_scope_gained_meanwhile_is_not_released_unseen(north: SharingNode, asker: Asker) -> None:
    second = CtStudy(instances=1, rows=16, seed=78)
    other = StudyInstanceUID(second.study_uid)
    request = asker.request(UID, other, subject=SOMEBODY_ELSE)
    await north.consents.add(DirectiveOrder(north.patient(STUDY), Effect.PERMIT), by=ACTOR)
    await asker.send(asker.token(request, None))
    await north.hold(second)  # the patient's, and the directive covers it
    with pytest.raises(ReviewChanged):
        await north.inbox.release(request.request_id, by=ACTOR)
    assert set(await north.inbox.release(request.request_id, by=ACTOR)) == {UID, other}


async def test_nothing_is_released_to_a_peer_that_was_shut_out_meanwhile(
    north: SharingNode, lake: SharingNode, asker: Asker
) -> None:
    code = await north.code_for(STUDY)
    request = asker.request(subject=SOMEBODY_ELSE)
    await asker.send(asker.token(request, code))
    await north.trust.suspend(lake.peer_id)
    with pytest.raises(PeerNotTrusted):
        await north.inbox.release(request.request_id, by=ACTOR)
    with pytest.raises(PeerNotTrusted):
        await asker.ask(code)  # one that was being read when the trust ended
    assert (await north.share_codes.page())[0].used == 0
    await north.trust.resume(lake.peer_id)
    assert await north.inbox.release(request.request_id, by=ACTOR) == (UID,)


async def test_what_a_revoked_peer_was_promised_is_over_though_it_be_trusted_again(
    north: SharingNode, lake: SharingNode, asker: Asker
) -> None:
    code = await north.code_for(STUDY, uses=9)
    released, waiting = asker.request(), asker.request(subject=SOMEBODY_ELSE)
    await asker.send(asker.token(released, code))
    assert (await asker.send(asker.token(waiting, code))).verdict is Verdict.REVIEW
    await north.trust.revoke(lake.peer_id, actor=ACTOR)
    transfer = await north.requests.transfer(released.request_id)
    assert (transfer.state, transfer.code) == (TransferState.FAILED, "peer_not_trusted")
    assert await north.inbox.page() == []
    ended = (await north.events(AuditType.TRANSFER_STATE))[-1]
    assert (ended.actor, ended.request, ended.code) == (ACTOR, released.request_id, "peer_not_trusted")
    refused = (await north.events(AuditType.REQUEST_DECIDED))[-1]
    assert (refused.actor, refused.request, refused.code) == (ACTOR, waiting.request_id, "refused_by_operator")

    await befriend(north, lake)
    with pytest.raises(ReleaseExpired):
        await north.holder.manifest(lake.peer_id, released.request_id)
    with pytest.raises(ReleaseExpired):
        async with north.objects.open(lake.peer_id, released.request_id, [0]):
            pass
    assert (await asker.send(asker.token(waiting, code))).code == "refused_by_operator"
    with pytest.raises(RequestNotPending):
        await north.inbox.release(waiting.request_id, by=ACTOR)
    assert await asker.ask(code) == "permit", "it may ask anew"


async def test_nobody_else_loses_anything_when_a_peer_is_revoked(
    north: SharingNode, asker: Asker, tmp_path: Path
) -> None:
    request, code = asker.request(), await north.code_for(STUDY, uses=9)
    await asker.send(asker.token(request, code))
    waiting = asker.request(subject=SOMEBODY_ELSE)
    await asker.send(asker.token(waiting, code))
    async with sharing_node("third", tmp_path, engine=False) as third:
        await befriend(north, third)
        await north.trust.revoke(third.peer_id)
    assert (await north.requests.transfer(request.request_id)).state is TransferState.AUTHORIZED
    assert [entry.request_id for entry in await north.inbox.page()] == [waiting.request_id]


async def test_a_requester_that_gave_up_is_not_in_the_inbox(north: SharingNode, asker: Asker) -> None:
    request = asker.request(subject=SOMEBODY_ELSE)
    await asker.send(asker.token(request, await north.code_for(STUDY)))
    await north.holder.cancelled(asker.me.peer_id, request.request_id)
    assert await north.inbox.page() == []


# The requester's side of it


async def test_a_reviewed_request_begins_by_itself(tmp_path: Path, north: SharingNode) -> None:
    async with sharing_node("hill", tmp_path) as hill:
        await befriend(north, hill)
        order = hill.order(north, STUDY, await north.code_for(STUDY), subject=SOMEBODY_ELSE)
        request_id = await hill.requests.ask(order, by=ACTOR)
        assert (await hill.requests.wait(request_id)).state == "REVIEW"
        await north.inbox.release(request_id, by=ACTOR)
        async with asyncio.timeout(20):
            while (await hill.requests.view(request_id)).state == "REVIEW":
                await asyncio.wait((hill.engine.changed(),), timeout=1)
            assert (await hill.requests.wait(request_id)).state == "COMPLETED"


async def test_a_refused_request_says_why(tmp_path: Path, north: SharingNode) -> None:
    async with sharing_node("hill", tmp_path) as hill:
        await befriend(north, hill)
        code = await north.code_for(STUDY)
        order = hill.order(north, STUDY, code, targets=(StudyInstanceUID(OTHER.study_uid),))
        view = await hill.requests.wait(await hill.requests.ask(order, by=ACTOR))
        assert (view.state, view.code) == ("REFUSED", "share_code_other_study")
        async with hill.db.read() as rx:
            row = await requests.get_sent(rx, view.request_id)
        assert row is not None
        assert row.proof is None, "an answered request keeps no proof"


async def test_what_cannot_be_right_is_not_sent(north: SharingNode, lake: SharingNode) -> None:
    code = await north.code_for(STUDY)
    mistyped = code[:-1] + ("A" if code[-1] != "A" else "B")
    with pytest.raises(ShareCodeMistyped):
        await lake.requests.ask(lake.order(north, STUDY, mistyped), by=ACTOR)
    with pytest.raises(ShareCodeMalformed):
        await lake.requests.ask(lake.order(north, STUDY, "hello"), by=ACTOR)
    with pytest.raises(InvalidRequest):
        await lake.requests.ask(lake.order(north, STUDY, code, targets=()), by=ACTOR)
    with pytest.raises(UnknownPeer):
        await lake.requests.ask(lake.order(north, STUDY, code, peer=PeerId(bytes(32))), by=ACTOR)
    with pytest.raises(NoSuchRequest):
        await lake.requests.view(RequestId.new())
    assert await lake.requests.transfers() == []
