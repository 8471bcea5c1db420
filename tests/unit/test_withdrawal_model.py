"""Who may withdraw what, what a notice must say, what may leave quarantine, and metadata that tell both identities."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.corrected import Corrected, with_identity
from node.errors.dicom import HeaderRefused
from node.errors.sharing import RequestMalformed
from node.model.correction import Changes
from node.model.ids import Digest, PatientKey, PeerId, RequestId, SOPInstanceUID, StudyInstanceUID
from node.model.instance import Demographics
from node.model.lifecycle import REJECTION_TITLES, HiddenReason
from node.model.messenger import LAST_RETRY_SECONDS, retry_in
from node.model.quarantine import Acceptance, Circumstances, acceptance
from node.model.withdrawal import (
    Acknowledgement,
    Buried,
    CorrectedIdentity,
    Held,
    Notice,
    NoticeId,
    NoticeOutcome,
    WithdrawalKind,
    may_withdraw,
)
from node.peers.withdrawal_messages import decode_ack, decode_notice, encode_ack, encode_notice
from node.sharing.quarantine import differences

SIGNER, OTHER = PeerId(bytes(32)), PeerId(bytes([1]) * 32)
UID = StudyInstanceUID("1.2.3")
texts = st.text(max_size=40)
patients = st.builds(PatientKey, texts, texts)
uids = st.integers(1, 10**12).map(lambda n: SOPInstanceUID(f"1.2.{n}"))
digests = st.binary(min_size=32, max_size=32).map(Digest)
identities = st.builds(
    CorrectedIdentity, patients, st.builds(Demographics, texts, st.just("19700101"), st.just("F")),
    st.lists(patients, max_size=3).map(tuple),
)  # fmt: skip


@st.composite
def notices(draw: st.DrawFn) -> Notice:
    kind = draw(st.sampled_from(WithdrawalKind))
    reason: HiddenReason | None = None
    instances: tuple[Buried, ...] = ()
    identity: CorrectedIdentity | None = None
    if kind is WithdrawalKind.RETRACTION:
        reason = HiddenReason.RETRACTED
    elif kind is WithdrawalKind.REJECTION:
        reason = draw(st.sampled_from(sorted(REJECTION_TITLES.values())))
        instances = tuple(Buried(uid) for uid in draw(st.lists(uids, min_size=1, max_size=4)))
    elif kind is WithdrawalKind.REPLACEMENT:
        reason = HiddenReason.SUPERSEDED
        instances = tuple(Buried(uid, draw(digests)) for uid in draw(st.lists(uids, min_size=1, max_size=4)))
    elif kind is WithdrawalKind.CORRECTION:
        identity = draw(identities)
    return Notice(
        NoticeId.new(), SIGNER, OTHER, draw(st.integers(0, 2**40)), kind, UID, (RequestId.new(),),
        draw(st.integers(0, 2**31)), reason, draw(texts), instances, identity,
    )  # fmt: skip


@given(notices())
def test_every_notice_reads_back(notice: Notice) -> None:
    assert notice.is_consistent
    assert decode_notice(encode_notice(notice)) == notice


@given(notices(), st.sampled_from(WithdrawalKind))
def test_a_notice_that_contradicts_itself_is_refused(notice: Notice, kind: WithdrawalKind) -> None:
    document = json.loads(encode_notice(notice)) | {"kind": kind.value}
    if kind is notice.kind:
        return
    with pytest.raises(RequestMalformed):
        decode_notice(json.dumps(document).encode())


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"holder": "A"}, {"study": "1.02"}, {"releases": []}, {"reason": "because"}, {"more": 1}, {"id": ""}],
)
def test_strictly(change: dict[str, object]) -> None:
    notice = Notice(
        NoticeId.new(), SIGNER, OTHER, 1, WithdrawalKind.RETRACTION, UID, (RequestId.new(),), 0, HiddenReason.RETRACTED
    )
    with pytest.raises(RequestMalformed):
        decode_notice(json.dumps(json.loads(encode_notice(notice)) | change).encode())


def test_an_acknowledgement_reads_back() -> None:
    ack = Acknowledgement(NoticeId.new(), SIGNER, OTHER, 5, bytes(32), NoticeOutcome.DONE)
    assert decode_ack(encode_ack(ack)) == ack


@given(st.booleans(), st.booleans(), st.sampled_from([None, SIGNER, OTHER]))
def test_nobody_withdraws_what_is_not_its_own(released: bool, held: bool, origin: PeerId | None) -> None:  # noqa: FBT001 - drawn
    allowed = may_withdraw(SIGNER, Held(released, held, origin))
    if allowed:
        assert released
        assert not held or origin == SIGNER
    if released and held and origin == SIGNER:
        assert allowed


@given(st.integers(0, 10_000))
def test_patience_grows_to_an_hour(attempts: int) -> None:
    assert retry_in(attempts) <= retry_in(attempts + 1) <= LAST_RETRY_SECONDS


@given(st.builds(Circumstances, *[st.booleans()] * 5))
def test_what_contradicts_more_than_its_bytes_is_never_accepted(facts: Circumstances) -> None:
    done = acceptance(facts)
    if facts.is_withdrawn or facts.study_is_foreign or facts.series_is_elsewhere:
        assert done is Acceptance.IMPOSSIBLE
    if done is Acceptance.REPLACE:
        assert facts.uid_is_held
        assert facts.held_is_own


@given(st.builds(Changes, *[st.none() | texts] * 5), patients)
def test_what_is_left_out_stays(changes: Changes, patient: PatientKey) -> None:
    said = Demographics("A^B", "19700101", "F")
    key, told = changes.key_of(patient), changes.said_of(said)
    assert key.issuer == (patient.issuer if changes.issuer is None else changes.issuer)
    assert told.sex == ("F" if changes.sex is None else changes.sex)
    assert Changes().key_of(key) == key


WHO = Corrected(
    CorrectedIdentity(PatientKey("ISS", "NEW"), Demographics("Neu^Nora=新", "19800202", "F")), 1_700_000_000
)
BEFORE = {
    "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Alt^Anna"}]},
    "00100020": {"vr": "LO", "Value": ["OLD"]},
    "00100030": {"vr": "DA", "Value": ["19800202"]},
}


def test_metadata_say_who_it_is_and_what_the_bytes_say() -> None:
    told = json.loads(with_identity(json.dumps(BEFORE).encode(), WHO))
    assert told["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Neu^Nora", "Ideographic": "新"}]}
    assert told["00100020"]["Value"] == ["NEW"]
    assert told["00100021"]["Value"] == ["ISS"]
    (item,) = told["04000561"]["Value"]
    (old,) = item["04000550"]["Value"]
    assert old == {"00100010": BEFORE["00100010"], "00100020": BEFORE["00100020"], "00100040": {"vr": "CS"}}
    assert item["04000562"]["Value"] == ["20231114221320+0000"]
    assert list(told) == sorted(told)


def test_metadata_keep_what_others_coerced_and_change_nothing_twice() -> None:
    earlier = {"04000563": {"vr": "LO", "Value": ["PACS"]}}
    document = BEFORE | {"04000561": {"vr": "SQ", "Value": [earlier]}}
    told = with_identity(json.dumps(document).encode(), WHO)
    assert json.loads(told)["04000561"]["Value"][0] == earlier
    assert with_identity(told, WHO) == told
    with pytest.raises(HeaderRefused):
        with_identity(b"[]", WHO)


def test_differences_are_told_by_tag() -> None:
    held: dict[str, dict[str, Any]] = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A"}]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
    }
    aside: dict[str, dict[str, Any]] = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "B"}]},
        "00280030": {"vr": "DS", "Value": [1.0, 2.0]},
    }
    found = differences(held, aside)
    assert [(d.tag, d.held, d.aside) for d in found] == [
        ("00080060", "CT", ""), ("00100010", "A", "B"), ("00280030", "", "1.0\\2.0")
    ]  # fmt: skip
