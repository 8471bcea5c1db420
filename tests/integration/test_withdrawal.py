"""What turns out to be wrong disappears wherever it went: withdrawn, rejected, corrected, replaced; told and signed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.rejection import QUALITY, RETENTION, SAFETY, WORKLIST, note
from support.sharing_node import ACTOR, SharingNode, befriend, sharing_node
from support.tasks import until

from node.config import StoreSettings
from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws, verify_jws
from node.errors.crypto_identity import MalformedJws
from node.errors.lifecycle import NotOwnStudy, WithdrawalRefused
from node.errors.sharing import RequestIdReused, RequestStale, SignerMismatch, WrongHolder
from node.errors.storage import UnknownStudy
from node.model.audit import AuditType, Outcome
from node.model.correction import Changes
from node.model.directive import DirectiveOrder, Effect
from node.model.ids import PatientKey, PeerId, RequestId, SOPInstanceUID, StudyInstanceUID
from node.model.instance import Demographics
from node.model.lifecycle import HiddenReason
from node.model.request import Subject
from node.model.transfer import TransferState
from node.model.withdrawal import CorrectedIdentity, Notice, NoticeId, NoticeOutcome, NoticeState, WithdrawalKind
from node.peers.withdrawal_messages import MAX_ACK_BYTES, decode_ack, decode_notice, encode_notice
from node.sharing.ingest import Source
from node.store import directives, hiding, identity
from node.store import withdrawals as rows
from node.store.objects import PutOutcome
from node.store.withdrawals import QueuedNotice

Two = tuple[SharingNode, SharingNode]
STUDY = CtStudy(instances=4, rows=16)
OTHER = CtStudy(instances=2, rows=16, seed=2, patient_id="CT-0002", patient_name="Other^Olga", sex="M")
UID, OTHER_UID = StudyInstanceUID(STUDY.study_uid), StudyInstanceUID(OTHER.study_uid)
WEEK = 7 * 86_400


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    """A holder that released STUDY to a recipient which has it."""
    async with AsyncExitStack() as stack:
        north, lake = [await stack.enter_async_context(sharing_node(name, tmp_path)) for name in ("north", "lake")]
        await befriend(north, lake)
        await north.hold(STUDY, OTHER)
        await give(north, lake)
        yield north, lake


async def give(north: SharingNode, lake: SharingNode, study: CtStudy = STUDY) -> RequestId:
    code = await north.code_for(study)
    request_id = await lake.requests.ask(lake.order(north, study, code), by=ACTOR)
    assert (await lake.requests.wait(request_id)).state == "COMPLETED"
    return request_id


async def settled(north: SharingNode, count: int = 1) -> list[QueuedNotice]:
    """The notices of everything that was withdrawn, once all have an answer."""

    async def notices() -> list[QueuedNotice]:
        return [n for told in await north.withdrawals.page() for n in told.notices]

    async def all_settled() -> bool:
        found = await notices()
        return len(found) >= count and all(n.state is not NoticeState.QUEUED for n in found)

    await until(all_settled)
    return await notices()


async def studies(node: SharingNode) -> set[str]:
    return {str(s.study_instance_uid) for s in await node.store.studies()}


async def take(node: SharingNode, *files: bytes) -> list[PutOutcome]:
    taken = [await node.ingest.take_file(file, source=Source.STOW, actor=ACTOR) for file in files]
    await node.store.indexed()
    return [one.outcome for one in taken]


async def shown(node: SharingNode, study: CtStudy = STUDY) -> list[int]:
    """The numbers of the instances that can be seen."""
    numbers = range(1, study.instances + 1)
    found = await node.bytes_of([study.sop_uid(n) for n in numbers])
    return [n for n in numbers if study.sop_uid(n) in found]


async def test_a_retraction_reaches_who_has_the_study_and_both_sides_log_it(two: Two) -> None:
    north, lake = two
    told = await north.withdrawals.withdraw(UID, "wrong patient on the table", by=ACTOR)
    assert told.withdrawal.instances == 4
    assert UID not in await studies(north)
    (notice,) = await settled(north)
    assert (notice.peer, notice.state, notice.outcome) == (lake.peer_id, NoticeState.ACKNOWLEDGED, NoticeOutcome.DONE)
    assert await studies(lake) == set()
    assert await shown(lake) == []
    assert await lake.store.gone(UID)
    assert await lake.store.gone(UID, instance=SOPInstanceUID(STUDY.sop_uid(1)))
    async with lake.db.read() as rx:
        (gone,) = await hiding.withdrawn(rx)
    assert (gone.words, gone.reason, gone.origin) == (
        "wrong patient on the table", HiddenReason.RETRACTED, north.peer_id
    )  # fmt: skip
    async with north.db.read() as rx:
        ack = await rx.fetch_value("SELECT ack FROM withdrawal_notice")
    key = lake.identity.public_key
    signed = decode_ack(verify_jws(ack, JwsType.WITHDRAWAL_ACK, key, max_bytes=MAX_ACK_BYTES))
    assert signed.outcome is NoticeOutcome.DONE
    assert len(await north.events(AuditType.STUDY_WITHDRAWN)) == 1
    assert [e.peer for e in await north.events(AuditType.WITHDRAWAL_SENT)] == [lake.peer_id]
    (received,) = await lake.events(AuditType.WITHDRAWAL_RECEIVED)
    assert (received.outcome, received.peer, received.detail["instances"]) == (Outcome.SUCCESS, north.peer_id, 4)


async def test_neither_a_resend_nor_a_transfer_resurrects_it(two: Two) -> None:
    north, lake = two
    code = await north.code_for(STUDY)
    await north.withdrawals.withdraw(UID, "wrong", by=ACTOR)
    await settled(north)
    assert await take(north, *STUDY.files()) == [PutOutcome.SAME] * 4
    late = replace(STUDY, instances=5)
    assert await take(north, *list(late.files())[4:]) == [PutOutcome.STORED]
    assert UID not in await studies(north)
    request_id = await lake.requests.ask(lake.order(north, STUDY, code), by=ACTOR)
    assert (await lake.requests.wait(request_id)).state == "REFUSED"
    assert await studies(lake) == set()
    with pytest.raises(UnknownStudy):
        await north.withdrawals.withdraw(UID, "again", by=ACTOR)


async def test_only_one_s_own_can_be_withdrawn(two: Two) -> None:
    _, lake = two
    with pytest.raises(NotOwnStudy):
        await lake.withdrawals.withdraw(UID, "not mine", by=ACTOR)
    assert await shown(lake) == [1, 2, 3, 4]


async def test_a_recipient_that_was_away_for_a_week_is_told_after_restarts_of_both(tmp_path: Path) -> None:
    mine, yours = Identity.generate(), Identity.generate()
    async with sharing_node("north", tmp_path, identity=mine) as north:
        async with sharing_node("lake", tmp_path, identity=yours) as lake:
            await befriend(north, lake)
            await north.hold(STUDY)
            await give(north, lake)
            address = lake.server.address
        await north.withdrawals.withdraw(UID, "wrong", by=ACTOR)

        async def failed(times: int) -> bool:
            (told,) = await north.withdrawals.page()
            return told.notices[0].attempts >= times

        await until(lambda: failed(1))
        for attempt in range(2, 4):  # an hour at most between attempts: the calendar moves, the node tries again
            north.clock.offset += 3600
            await until(partial(failed, attempt))
        (told,) = await north.withdrawals.page()
        assert told.notices[0].code == "peer_unreachable"
    async with sharing_node("north", tmp_path, identity=mine) as north:
        north.clock.offset = WEEK
        async with sharing_node("lake", tmp_path, identity=yours, port=address.port) as lake:
            lake.clock.offset = WEEK
            assert await shown(lake) == [1, 2, 3, 4]
            north.withdrawals.peer_seen(lake.peer_id)  # as its sign of life says: not only when its time has come
            (notice,) = await settled(north)
            assert (notice.state, notice.attempts) == (NoticeState.ACKNOWLEDGED, 0)
            assert await studies(lake) == set()


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        (SAFETY, HiddenReason.REJECTED_SAFETY),
        (WORKLIST, HiddenReason.WRONG_WORKLIST_ENTRY),
        (QUALITY, HiddenReason.REJECTED_QUALITY),
    ],
)
async def test_a_rejection_note_hides_here_and_there(two: Two, title: str, reason: HiddenReason) -> None:
    north, lake = two
    assert await take(north, note(STUDY, [2, 3], title)) == [PutOutcome.STORED]
    assert await shown(north) == [1, 4]
    (notice,) = await settled(north)
    assert notice.outcome is NoticeOutcome.DONE
    assert await shown(lake) == [1, 4]
    (study,) = await lake.store.studies()
    assert (study.instances, study.series) == (2, 1)
    async with north.db.read() as rx:
        assert await hiding.hidden_counts(rx, UID) == {HiddenReason.REJECTION_NOTE: 1, reason: 2}
    assert await take(north, *STUDY.files()) == [PutOutcome.SAME] * 4
    assert await shown(north) == [1, 4]
    again = await north.code_for(STUDY)
    request_id = await lake.requests.ask(lake.order(north, STUDY, again), by=ACTOR)
    assert (await lake.requests.wait(request_id)).state == "COMPLETED"
    assert await shown(lake) == [1, 4]


async def test_a_note_that_comes_before_its_objects(two: Two) -> None:
    north, _ = two
    late = CtStudy(instances=3, rows=16, seed=9)
    assert await take(north, note(late, [1, 3])) == [PutOutcome.STORED]
    assert await take(north, *late.files()) == [PutOutcome.STORED] * 3
    assert await shown(north, late) == [2]
    (event,) = await north.events(AuditType.REJECTION_NOTE_APPLIED)
    assert (event.detail["instances"], event.detail["hidden"]) == (2, 0)


async def test_what_is_no_rejection_hides_nothing(two: Two) -> None:
    north, lake = two
    await take(north, note(STUDY, [1], RETENTION), note(STUDY, [2], "113000"), note(STUDY, [3], scheme="99LOCAL"))
    assert await shown(north) == [1, 2, 3, 4]
    assert await north.withdrawals.page() == []
    await take(lake, note(STUDY, [1]))  # about another facility's study: not this one's to reject
    assert await shown(lake) == [1, 2, 3, 4]
    async with north.db.read() as rx:
        assert await hiding.hidden_counts(rx, UID) == {HiddenReason.REJECTION_NOTE: 1}


async def test_a_note_that_a_stop_left_unread_is_read_at_the_next_start(tmp_path: Path) -> None:
    mine = Identity.generate()
    async with sharing_node("north", tmp_path, identity=mine) as north:
        north.ingest.on_key_object = _nothing
        await north.hold(STUDY)
        await take(north, note(STUDY, [1]))
        assert await shown(north) == [1, 2, 3, 4]
    async with sharing_node("north", tmp_path, identity=mine) as north:
        await north.rejections.read_new()
        assert await shown(north) == [2, 3, 4]


async def _nothing() -> None:
    """What a crash leaves undone."""


async def test_a_corrected_identity_reaches_the_recipient_and_whoever_asks_later(two: Two) -> None:
    north, lake = two
    old = north.patient(STUDY)
    new = PatientKey(north.issuer, "CT-7777")
    changes = Changes(patient_id="CT-7777", name="Testperson^Conrad", sex="M")
    done = await north.corrections.correct(old, changes, "wrong sex", by=ACTOR)
    assert [s.study for s in done.studies] == [UID]
    await settled(north)
    for node in (north, lake):
        (study,) = [s for s in await node.store.studies() if s.study_instance_uid == UID]
        assert (study.patient, study.demographics.name, study.demographics.sex) == (new, "Testperson^Conrad", "M")
        assert (study.revision, study.instances) == (2, 4)
        assert await shown(node) == [1, 2, 3, 4]
    late = list(replace(STUDY, instances=5).files())[4:]
    assert await take(north, *late) == [PutOutcome.STORED], "its bytes still say the old id"
    code = (await north.share_codes.create(new, by=ACTOR)).code.text
    request_id = await lake.requests.ask(lake.order(north, STUDY, code), by=ACTOR)
    assert (await lake.requests.wait(request_id)).state == "COMPLETED"
    (study,) = await lake.store.studies()
    assert (study.patient, study.demographics.name, study.instances) == (new, "Testperson^Conrad", 5)
    undone = await north.corrections.undo(done.correction_id, by=ACTOR)
    assert undone.undone_at is not None
    await settled(north, 2)
    (study,) = await lake.store.studies()
    assert (study.patient, study.demographics.name, study.demographics.sex) == (old, "Testperson^Conny", "F")


async def test_a_merge_moves_every_study_and_later_ones_and_no_permission(two: Two) -> None:
    north, _ = two
    old, into = north.patient(STUDY), north.patient(OTHER)
    code = await north.code_for(STUDY)
    async with north.db.write() as tx:
        await tx.execute("INSERT INTO opt_out VALUES (?, ?, 1)", (old.issuer, old.patient_id))
    await north.corrections.merge(old, into, "same person", by=ACTOR)
    late = CtStudy(instances=1, rows=16, seed=5)
    await take(north, *late.files())
    found = {s.study_instance_uid: s for s in await north.store.studies()}
    assert len(found) == 3
    assert {s.patient for s in found.values()} == {into}
    assert {s.demographics.name for s in found.values()} == {"Other^Olga"}
    async with north.db.read() as rx:
        assert await rx.fetch_value("SELECT count(*) FROM opt_out WHERE patient_id = ?", (into.patient_id,)) == 1
        assert await identity.formerly(rx, UID) == [old]
    lake = two[1]
    request_id = await lake.requests.ask(lake.order(north, STUDY, code), by=ACTOR)
    assert (await lake.requests.wait(request_id)).state in {"REFUSED", "REVIEW"}, "the code was given to another id"


async def test_a_merge_that_is_taken_back_leaves_what_was_forbidden_forbidden(two: Two) -> None:
    north, _ = two
    old, into = north.patient(STUDY), north.patient(OTHER)
    await north.consents.add(DirectiveOrder(old, Effect.DENY), by=ACTOR)
    merged = await north.corrections.merge(old, into, "same person", by=ACTOR)
    await north.corrections.undo(merged.correction_id, by=ACTOR)
    async with north.db.read() as rx:
        found = await directives.of_patients(rx, {old, into})
    assert {one.patient for one in found} == {old, into}, "nobody knows any more whose it was"
    assert all(one.effect is Effect.DENY and one.revoked_at is None for one in found)


async def test_an_accepted_contradiction_replaces_and_the_recipient_hears_of_it(two: Two) -> None:
    north, lake = two
    fixed = replace(STUDY, smooth=True)
    assert await take(north, next(iter(fixed.files()))) == [PutOutcome.QUARANTINED]
    (one,) = await north.quarantine.page()
    seen = await north.quarantine.inspect(one.number, by=ACTOR)
    assert seen.held is not None
    assert seen.held.digest != one.meta.digest
    assert await north.quarantine.accept(one.number, by=ACTOR) == UID
    assert await north.quarantine.page() == []
    (notice,) = await settled(north)
    assert notice.outcome is NoticeOutcome.DONE
    assert await shown(north) == [1, 2, 3, 4]
    assert await shown(lake) == [2, 3, 4]
    await give(north, lake)
    assert await shown(lake) == [1, 2, 3, 4]
    assert await lake.bytes_of([STUDY.sop_uid(1)]) == await north.bytes_of([STUDY.sop_uid(1)])


# A foreign node's notices


class Forger:
    """Makes notices as lake would have to believe them, or not."""

    def __init__(self, north: SharingNode, lake: SharingNode, release: RequestId) -> None:
        self.north, self.lake, self.release = north, lake, release

    def notice(self, **changes: object) -> Notice:
        made = Notice(
            NoticeId.new(), self.north.peer_id, self.lake.peer_id, self.north.clock.now(), WithdrawalKind.RETRACTION,
            UID, (self.release,), 0, HiddenReason.RETRACTED, "why",
        )  # fmt: skip
        return replace(made, **changes)  # type: ignore[arg-type]

    def token(self, notice: Notice, signer: Identity | None = None) -> str:
        return sign_jws(signer or self.north.identity, JwsType.WITHDRAWAL, encode_notice(notice))


@pytest.fixture
async def forger(two: Two) -> Forger:
    north, lake = two
    (transfer,) = await lake.requests.transfers()
    return Forger(north, lake, transfer.request_id)


async def refused(forger: Forger, token: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await forger.lake.desk.receive(forger.north.peer_id, token)
    assert await shown(forger.lake) == [1, 2, 3, 4]


async def test_notices_that_are_not_believed(forger: Forger) -> None:
    stranger = Identity.generate()
    notice = forger.notice()
    await refused(forger, forger.token(notice, stranger), SignerMismatch)
    await refused(forger, forger.token(forger.notice(holder=stranger.peer_id)), SignerMismatch)
    await refused(forger, forger.token(forger.notice(recipient=stranger.peer_id)), WrongHolder)
    await refused(forger, forger.token(forger.notice(at=forger.north.clock.now() + 86_400)), RequestStale)
    as_request = sign_jws(forger.north.identity, JwsType.REQUEST, encode_notice(notice))
    await refused(forger, as_request, MalformedJws)


async def test_nobody_withdraws_what_came_from_another_and_it_sounds_alike(forger: Forger, tmp_path: Path) -> None:
    lake = forger.lake
    own = CtStudy(instances=1, rows=16, seed=77)
    await lake.hold(own)
    for study, release in (
        (StudyInstanceUID(own.study_uid), forger.release),  # lake's own
        (StudyInstanceUID("1.2.3.4"), forger.release),  # nobody's
        (UID, RequestId.new()),  # by a release that never was
    ):
        await refused(forger, forger.token(forger.notice(study=study, releases=(release,))), WithdrawalRefused)
    async with sharing_node("east", tmp_path, engine=False) as east:
        await befriend(east, lake)
        evil = forger.notice(holder=east.peer_id)
        with pytest.raises(WithdrawalRefused):
            await lake.desk.receive(east.peer_id, forger.token(evil, east.identity))
    assert await shown(lake) == [1, 2, 3, 4]
    assert await shown(lake, own) == [1]
    events = await lake.events(AuditType.WITHDRAWAL_RECEIVED)
    assert {(e.outcome, e.code) for e in events} == {(Outcome.REFUSED, "withdrawal_refused")}
    assert len(events) == 4


async def test_nobody_corrects_what_another_facility_withdrew_itself(forger: Forger) -> None:
    """A request that came to nothing names no study and counts for every one; what is hidden is somebody's still."""
    lake, own = forger.lake, CtStudy(instances=1, rows=16, seed=77)
    await lake.hold(own)
    study, patient = StudyInstanceUID(own.study_uid), lake.patient(own)
    await lake.withdrawals.withdraw(study, "a mistake", by=ACTOR)
    nothing = await lake.requests.ask(lake.order(forger.north, OTHER, None), by=ACTOR)
    assert (await lake.requests.wait(nothing)).state == "REFUSED"
    stolen = CorrectedIdentity(PatientKey(forger.north.issuer, "X"), Demographics("Else^Somebody", "", ""))
    notice = forger.notice(
        study=study, releases=(nothing,), kind=WithdrawalKind.CORRECTION, reason=None, identity=stolen
    )
    await refused(forger, forger.token(notice), WithdrawalRefused)
    async with lake.db.read() as rx:
        (gone,) = await hiding.withdrawn(rx)
    assert gone.patient == patient


async def test_a_correction_files_nothing_under_the_recipients_own_patients(forger: Forger) -> None:
    lake, own = forger.lake, CtStudy(instances=1, rows=16, seed=77)
    await lake.hold(own)
    theirs = CorrectedIdentity(lake.patient(own), Demographics(own.patient_name, own.birth_date, own.sex))
    padded = replace(theirs, patient=PatientKey(f" {lake.issuer.lower()}", own.patient_id))
    for identity_ in (theirs, padded):
        notice = forger.notice(kind=WithdrawalKind.CORRECTION, reason=None, identity=identity_, revision=2)
        await refused(forger, forger.token(notice), WithdrawalRefused)
    (study,) = [s for s in await lake.store.studies() if s.study_instance_uid == UID]
    assert study.patient == forger.north.patient(STUDY)


async def test_a_correction_may_name_the_patient_that_was_asked_for(two: Two) -> None:
    north, lake = two
    asked = PatientKey(lake.issuer, "LAKE-1")
    order = lake.order(north, STUDY, await north.code_for(STUDY), subject=Subject(asked))
    request_id = await lake.requests.ask(order, by=ACTOR)
    assert (await lake.requests.wait(request_id)).state == "COMPLETED"
    said = CorrectedIdentity(asked, Demographics(STUDY.patient_name, STUDY.birth_date, STUDY.sex))
    forger = Forger(north, lake, request_id)
    notice = forger.notice(kind=WithdrawalKind.CORRECTION, reason=None, identity=said, revision=2)
    await lake.desk.receive(north.peer_id, forger.token(notice))
    (study,) = await lake.store.studies()
    assert study.patient == asked


async def test_the_same_notice_gets_the_same_word_and_its_id_serves_no_other(forger: Forger) -> None:
    lake, peer = forger.lake, forger.north.peer_id
    notice = forger.notice()
    token = forger.token(notice)
    first = await lake.desk.receive(peer, token)
    assert await lake.desk.receive(peer, token) == first
    with pytest.raises(RequestIdReused):
        await lake.desk.receive(peer, forger.token(replace(notice, words="other")))
    assert len(await lake.events(AuditType.WITHDRAWAL_RECEIVED)) == 1


async def test_what_is_released_again_by_an_origin_that_forgot_stays_hidden(forger: Forger) -> None:
    north, lake = forger.north, forger.lake
    await lake.desk.receive(north.peer_id, forger.token(forger.notice()))  # as if north's index were an older one
    assert await shown(lake) == []
    await give(north, lake)
    assert await lake.store.studies() == []


async def test_poor_images_are_shown_where_that_is_configured(tmp_path: Path) -> None:
    async with sharing_node("north", tmp_path, settings=StoreSettings(hide_poor_quality=False)) as north:
        await north.hold(STUDY)
        await take(north, note(STUDY, [1], QUALITY), note(STUDY, [2], SAFETY))
        assert await shown(north) == [1, 3, 4]


async def test_what_is_withdrawn_while_it_travels_does_not_arrive(tmp_path: Path) -> None:
    large = CtStudy(instances=6, rows=512)
    async with AsyncExitStack() as stack:
        north, lake = [await stack.enter_async_context(sharing_node(name, tmp_path)) for name in ("north", "lake")]
        await befriend(north, lake)
        await north.hold(large)
        await north.trust.set_policy(lake.peer_id, {"max_rate": "400000"})
        code = await north.code_for(large)
        request_id = await lake.requests.ask(lake.order(north, large, code), by=ACTOR)

        async def moving() -> bool:
            return (await lake.requests.transfer(request_id)).instances_done >= 1

        await until(moving)
        await north.withdrawals.withdraw(StudyInstanceUID(large.study_uid), "wrong", by=ACTOR)
        view = await lake.requests.wait(request_id)
        assert (view.state, view.code) == ("FAILED", "study_changed")
        (notice,) = await settled(north)
        assert notice.outcome is NoticeOutcome.NOT_HELD
        assert (await north.requests.transfer(request_id)).state is TransferState.FAILED
        assert await lake.store.studies() == []
        assert await lake.store.staged(request_id) == {}


async def test_a_notice_reads_back_as_it_was_said(forger: Forger) -> None:
    notice = forger.notice()
    assert decode_notice(encode_notice(notice)) == notice
    async with forger.lake.db.read() as rx:
        known = await rows.what_is_known(rx, notice)
    assert (known.was_released, known.is_held, known.origin) == (True, True, forger.north.peer_id)
    assert isinstance(known.origin, PeerId)
