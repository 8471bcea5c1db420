"""Signed messages about requests: what is written is read, and nothing else is."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.crypto.identity import Identity
from node.crypto.jws import JwsType, sign_jws
from node.errors.sharing import RequestMalformed
from node.model.consent import PurposeOfUse
from node.model.ids import (
    Digest,
    PatientKey,
    PeerId,
    RequestId,
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    StudyRef,
    TransferSyntaxUID,
)
from node.model.instance import Demographics, ManifestEntry
from node.model.release import DecisionNotice, Receipt, ReleasedStudy, ReleaseManifest, Verdict
from node.model.request import MAX_TARGETS, CodeProof, ReleaseRequest, Subject
from node.peers.messages import (
    MAX_BODY_BYTES,
    MAX_REQUEST_BYTES,
    decode_body,
    decode_decision,
    decode_manifest,
    decode_receipt,
    decode_request,
    encode_body,
    encode_decision,
    encode_manifest,
    encode_receipt,
    encode_request,
)

HOLDER, RECIPIENT, ID = PeerId(b"h" * 32), PeerId(b"r" * 32), RequestId(b"i" * 16)
text = st.text(st.characters(codec="utf-8"), max_size=40)
demographics = st.builds(Demographics, text, st.text("0123456789", max_size=8), st.sampled_from(["", "M", "F", "O"]))
targets = st.integers(0, 10**30).map(lambda n: StudyInstanceUID(f"2.25.{n}")) | st.binary(min_size=16, max_size=16).map(
    StudyRef
)
requests = st.builds(
    ReleaseRequest,
    st.just(ID),
    st.just(HOLDER),
    st.just(RECIPIENT),
    text,
    text,
    st.sampled_from(PurposeOfUse),
    st.builds(Subject, st.none() | st.builds(PatientKey, text, text), demographics),
    st.lists(targets, min_size=1, max_size=4).map(tuple),
)


def entry(series: int, number: int, syntax: str = "1.2.840.10008.1.2.1") -> ManifestEntry:
    return ManifestEntry(
        SOPClassUID(f"1.2.840.10008.5.1.4.1.1.{number % 2 + 1}"),
        SOPInstanceUID(f"2.25.{series}.{number}"),
        SeriesInstanceUID(f"2.25.{series}"),
        TransferSyntaxUID(syntax),
        530_000 + number,
        Digest(bytes([number]) * 32),
    )


STUDY = ReleasedStudy(
    StudyInstanceUID("2.25.9"),
    2,
    PatientKey("ISSUER", "CT-1"),
    Demographics("Müller^Änne", "19700131", "F"),
    (entry(1, 1), entry(1, 2), entry(2, 3, "1.2.840.10008.1.2.4.90")),
)
MANIFEST = ReleaseManifest(
    ID, HOLDER, RECIPIENT, 1_000, 2_000, (STUDY, replace(STUDY, entries=(entry(3, 4),), ref=StudyRef(b"r" * 16)))
)


@given(requests)
def test_a_body_is_read_as_it_was_written(request: ReleaseRequest) -> None:
    assert decode_body(encode_body(request)) == request


@given(st.binary(max_size=200), st.none() | st.builds(CodeProof, st.just(b"c" * 16), st.just(b"m" * 32)))
def test_a_retry_repeats_the_body_byte_for_byte(body: bytes, proof: CodeProof | None) -> None:
    assert decode_request(encode_request(body, proof, 77)) == (77, body, proof)


def test_the_longest_request_fits_and_a_longer_body_is_refused() -> None:
    """Every text at its longest, of characters that take most room; and a body that somebody filled up."""
    worst = "\x01" * 128
    who = Subject(PatientKey(worst, worst), Demographics("\x01" * 1024, "\x01" * 8, "\x01" * 16))
    uids = tuple(StudyInstanceUID(f"2.25.{10**57 + n}") for n in range(MAX_TARGETS))
    body = encode_body(ReleaseRequest(ID, HOLDER, RECIPIENT, worst, worst, PurposeOfUse.TREAT, who, uids))
    assert decode_body(body).targets == uids
    proof = CodeProof(b"c" * 32, b"m" * 32)
    for data in (body, body.ljust(MAX_BODY_BYTES)):
        payload = encode_request(data, proof, 2**40)
        assert decode_request(payload) == (2**40, data, proof)
        assert len(sign_jws(Identity.generate(), JwsType.REQUEST, payload)) <= MAX_REQUEST_BYTES
    with pytest.raises(RequestMalformed):
        decode_request(encode_request(body.ljust(MAX_BODY_BYTES + 1), proof, 77))


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_decision_is_read_as_it_was_written(verdict: Verdict) -> None:
    notice = DecisionNotice(ID, HOLDER, RECIPIENT, 5, verdict, "not_released" if verdict is Verdict.REFUSE else "")
    assert decode_decision(encode_decision(notice)) == notice


def test_a_manifest_is_read_as_it_was_written() -> None:
    read = decode_manifest(encode_manifest(MANIFEST))
    assert read == MANIFEST
    assert [e.sop_instance_uid for _, e in read.instances] == [e.sop_instance_uid for _, e in MANIFEST.instances]


def test_a_receipt_is_read_as_it_was_written() -> None:
    receipt = Receipt(ID, HOLDER, RECIPIENT, 5, b"d" * 32, 1000, 530_000_000)
    assert decode_receipt(encode_receipt(receipt)) == receipt


def _changed(**members: object) -> bytes:
    document = json.loads(encode_manifest(MANIFEST))
    document.update(members)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"v":1}',
        encode_manifest(MANIFEST) + b" x",
        encode_manifest(MANIFEST)[:-1],
        encode_manifest(MANIFEST).replace(b'{"v":1,', b'{"v":1,"v":1,'),
        encode_manifest(MANIFEST).replace(b'{"v":1,', b'{"v":2,'),
        _changed(extra=1),
        _changed(id="ABC"),
        _changed(holder="A" * 55 + "B"),
        _changed(studies=[]),
        _changed(classes=["1.2.../../etc/passwd"]),
        _changed(syntaxes=[]),
        encode_manifest(MANIFEST).replace(b"2.25.1.1", b"2.25.01.1"),
        encode_manifest(MANIFEST).replace(b"530001", b"-1"),
        b'{"v":1,' * 3000,
    ],
)
def test_what_is_no_manifest_is_refused(payload: bytes) -> None:
    with pytest.raises(RequestMalformed):
        decode_manifest(payload)


@pytest.mark.parametrize("member", ["id", "manifest"])
def test_hexadecimal_digits_have_one_spelling(member: str) -> None:
    document = json.loads(encode_receipt(Receipt(ID, HOLDER, RECIPIENT, 5, b"d" * 32, 1, 1)))
    document[member] += "\n"  # which a pattern that ends in $ lets pass
    with pytest.raises(RequestMalformed):
        decode_receipt(json.dumps(document).encode())


@given(st.binary(max_size=100))
def test_bytes_are_no_message(data: bytes) -> None:
    for decode in (decode_body, decode_request, decode_decision, decode_manifest, decode_receipt):
        with pytest.raises(RequestMalformed):
            decode(data)


@pytest.mark.parametrize(
    "target", [{}, {"uid": "1.2", "ref": "0" * 32}, {"uid": "x"}, {"ref": "0" * 31}, {"uid": None, "ref": None}]
)
def test_a_target_is_either_a_uid_or_a_ref(target: dict[str, object]) -> None:
    request = ReleaseRequest(ID, HOLDER, RECIPIENT, "", "", PurposeOfUse.TREAT, Subject(), (StudyRef(bytes(16)),))
    document = json.loads(encode_body(request))
    document["studies"] = [target]
    with pytest.raises(RequestMalformed):
        decode_body(json.dumps(document).encode())
