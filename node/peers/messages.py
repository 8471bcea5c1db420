"""The payloads of the signed messages about a request (docs/protocol/transfer.md): JSON, decoded strictly.

Encoding and decoding only; who may say what is checked by ``sharing``. A payload has exactly the members that the
document names, none twice, each within its limit; anything else raises :class:`RequestMalformed`.
"""

from typing import Annotated

import msgspec

from node.errors.base import LeveretError
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
from node.model.release import (
    MAX_INSTANCES,
    DecisionNotice,
    Receipt,
    ReleasedStudy,
    ReleaseManifest,
    Verdict,
)
from node.model.request import (
    MAX_TARGETS,
    Proof,
    ReleaseRequest,
    StudyTarget,
    Subject,
)
from node.peers.proofs import AnyProof, read_proof, shown_proof
from node.peers.strict import b64, decode_json, unb64

MAX_BODY_BYTES = 16 * 1024  # of a request; it is kept. 32 targets and every text at its longest, escaped, are 12 KiB
MAX_REQUEST_BYTES = 32 * 1024  # such a body in base64 twice is 30,000 bytes with proof and signature
MAX_NOTICE_BYTES = 4096  # decisions and receipts are about 500 bytes
MAX_FORMERLY = 64  # patients under whom the bytes of one study may stand after corrections
MAX_MANIFEST_BYTES = 48 * 1024 * 1024  # 200,000 instances at about 170 bytes, in base64

_Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Peer = Annotated[str, msgspec.Meta(min_length=56, max_length=56)]
_Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Time = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Text = Annotated[str, msgspec.Meta(max_length=128)]
_Name = Annotated[str, msgspec.Meta(max_length=1024)]  # PN: three groups of five components, 64 characters each
_UidText = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Code = Annotated[str, msgspec.Meta(pattern=r"^([a-z][a-z0-9_]{0,63})?\Z")]


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _Patient(_Message, frozen=True):
    issuer: _Text
    id: _Text


class _Person(_Message, frozen=True):
    name: _Name
    birth_date: Annotated[str, msgspec.Meta(max_length=8)]
    sex: Annotated[str, msgspec.Meta(max_length=16)]


class _Target(_Message, frozen=True, omit_defaults=True):
    uid: _UidText | None = None
    ref: _Id | None = None


class _Body(_Message, frozen=True):
    id: _Id
    holder: _Peer
    requester: _Peer
    user: _Text
    role: _Text
    purpose: PurposeOfUse
    patient: _Patient | None
    person: _Person | None
    studies: Annotated[list[_Target], msgspec.Meta(min_length=1, max_length=MAX_TARGETS)]


class _Request(_Message, frozen=True):
    v: Annotated[int, msgspec.Meta(ge=1, le=1)]
    at: _Time
    request: Annotated[str, msgspec.Meta(max_length=(MAX_BODY_BYTES * 4 + 2) // 3)]  # in base64
    proof: AnyProof | None


class _Decision(_Message, frozen=True):
    v: Annotated[int, msgspec.Meta(ge=1, le=1)]
    id: _Id
    holder: _Peer
    recipient: _Peer
    at: _Time
    verdict: Verdict
    code: _Code


# [SOP Instance UID, number of its class, number of its syntax, size, SHA-256 in base64url without padding]
_Instance = tuple[_UidText, _Count, _Count, _Count, Annotated[str, msgspec.Meta(min_length=43, max_length=43)]]


class _Series(_Message, frozen=True):
    uid: _UidText
    instances: Annotated[list[_Instance], msgspec.Meta(min_length=1, max_length=MAX_INSTANCES)]


class _Study(_Message, frozen=True, omit_defaults=True):
    uid: _UidText
    revision: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    patient: _Patient
    person: _Person
    series: Annotated[list[_Series], msgspec.Meta(min_length=1, max_length=MAX_INSTANCES)]
    formerly: Annotated[list[_Patient], msgspec.Meta(max_length=MAX_FORMERLY)] = []
    ref: _Id | None = None


class _Manifest(_Message, frozen=True):
    v: Annotated[int, msgspec.Meta(ge=1, le=1)]
    id: _Id
    holder: _Peer
    recipient: _Peer
    released_at: _Time
    expires_at: _Time
    classes: Annotated[list[_UidText], msgspec.Meta(max_length=1000)]
    syntaxes: Annotated[list[_UidText], msgspec.Meta(max_length=100)]
    studies: Annotated[list[_Study], msgspec.Meta(min_length=1, max_length=MAX_TARGETS)]


class _Receipt(_Message, frozen=True):
    v: Annotated[int, msgspec.Meta(ge=1, le=1)]
    id: _Id
    holder: _Peer
    recipient: _Peer
    at: _Time
    manifest: _Hash
    instances: _Count
    bytes: _Count


def encode_body(request: ReleaseRequest) -> bytes:
    """The part of a request that each retry repeats byte for byte, and that the proof covers."""
    who = request.subject
    return msgspec.json.encode(
        _Body(
            str(request.request_id),
            request.holder.compact,
            request.requester.compact,
            request.user,
            request.role,
            request.purpose,
            None if who.patient is None else _Patient(who.patient.issuer, who.patient.patient_id),
            None if who.demographics == Demographics() else _person(who.demographics),
            [_Target(ref=str(t)) if isinstance(t, StudyRef) else _Target(uid=str(t)) for t in request.targets],
        )
    )


def decode_body(body: bytes) -> ReleaseRequest:
    """Read what :func:`encode_body` made."""
    b = decode_json(body, _Body)
    try:
        return ReleaseRequest(
            RequestId.parse(b.id),
            PeerId.parse(b.holder),
            PeerId.parse(b.requester),
            b.user,
            b.role,
            b.purpose,
            Subject(
                None if b.patient is None else PatientKey(b.patient.issuer, b.patient.id),
                Demographics() if b.person is None else _demographics(b.person),
            ),
            tuple(_target(t) for t in b.studies),
        )
    except (LeveretError, ValueError) as exc:
        raise RequestMalformed from exc


def encode_request(body: bytes, proof: Proof | None, signed_at: int) -> bytes:
    """The payload of a request: a body, the proof, and when it is signed."""
    return msgspec.json.encode(_Request(1, signed_at, b64(body), None if proof is None else shown_proof(proof)))


def decode_request(payload: bytes) -> tuple[int, bytes, Proof | None]:
    """(signed at, body, proof) of a request's payload."""
    r = decode_json(payload, _Request)
    return r.at, unb64(r.request), None if r.proof is None else read_proof(r.proof)


def encode_decision(notice: DecisionNotice) -> bytes:
    """The payload of a decision."""
    n = notice
    ids = (str(n.request_id), n.holder.compact, n.recipient.compact)
    return msgspec.json.encode(_Decision(1, *ids, n.at, n.verdict, n.code))


def decode_decision(payload: bytes) -> DecisionNotice:
    """Read what :func:`encode_decision` made."""
    d = decode_json(payload, _Decision)
    return DecisionNotice(*_ids(d), d.at, d.verdict, d.code)


def encode_manifest(manifest: ReleaseManifest) -> bytes:
    """The payload of a manifest. Within a study, entries of one series stand together (as ``manifest`` has them)."""
    entries = [entry for _, entry in manifest.instances]
    classes = list(dict.fromkeys(str(entry.sop_class_uid) for entry in entries))
    syntaxes = list(dict.fromkeys(str(entry.transfer_syntax_uid) for entry in entries))
    class_number = {uid: number for number, uid in enumerate(classes)}
    syntax_number = {uid: number for number, uid in enumerate(syntaxes)}

    def study(released: ReleasedStudy) -> _Study:
        series: dict[str, list[_Instance]] = {}
        for e in released.entries:
            row = (str(e.sop_instance_uid), class_number[e.sop_class_uid], syntax_number[e.transfer_syntax_uid])
            series.setdefault(str(e.series_instance_uid), []).append((*row, e.size, b64(e.digest.value)))
        return _Study(
            str(released.study_instance_uid),
            released.revision,
            _Patient(released.patient.issuer, released.patient.patient_id),
            _person(released.demographics),
            [_Series(uid, instances) for uid, instances in series.items()],
            [_Patient(p.issuer, p.patient_id) for p in released.formerly],
            None if released.ref is None else str(released.ref),
        )

    ids = (str(manifest.request_id), manifest.holder.compact, manifest.recipient.compact)
    times = (manifest.released_at, manifest.expires_at)
    return msgspec.json.encode(_Manifest(1, *ids, *times, classes, syntaxes, [study(s) for s in manifest.studies]))


def decode_manifest(payload: bytes) -> ReleaseManifest:
    """Read what :func:`encode_manifest` made; refuses more instances than one release may have."""
    m = decode_json(payload, _Manifest)
    if sum(len(series.instances) for study in m.studies for series in study.series) > MAX_INSTANCES:
        raise RequestMalformed
    try:
        classes = [SOPClassUID.parse(uid) for uid in m.classes]
        syntaxes = [TransferSyntaxUID.parse(uid) for uid in m.syntaxes]
        studies = tuple(_study(study, classes, syntaxes) for study in m.studies)
    except (LeveretError, ValueError, IndexError) as exc:
        raise RequestMalformed from exc
    return ReleaseManifest(*_ids(m), m.released_at, m.expires_at, studies)


def encode_receipt(receipt: Receipt) -> bytes:
    """The payload of a receipt."""
    r = receipt
    ids = (str(r.request_id), r.holder.compact, r.recipient.compact)
    return msgspec.json.encode(_Receipt(1, *ids, r.at, r.manifest.hex(), r.instances, r.total_bytes))


def decode_receipt(payload: bytes) -> Receipt:
    """Read what :func:`encode_receipt` made."""
    r = decode_json(payload, _Receipt)
    return Receipt(*_ids(r), r.at, bytes.fromhex(r.manifest), r.instances, r.bytes)


def _ids(message: _Decision | _Manifest | _Receipt) -> tuple[RequestId, PeerId, PeerId]:
    try:
        return RequestId.parse(message.id), PeerId.parse(message.holder), PeerId.parse(message.recipient)
    except (LeveretError, ValueError) as exc:
        raise RequestMalformed from exc


def _study(study: _Study, classes: list[SOPClassUID], syntaxes: list[TransferSyntaxUID]) -> ReleasedStudy:
    entries = tuple(
        ManifestEntry(
            classes[class_number],
            SOPInstanceUID.parse(uid),
            series_uid,
            syntaxes[syntax_number],
            size,
            Digest(unb64(digest)),
        )
        for series in study.series
        for series_uid in (SeriesInstanceUID.parse(series.uid),)
        for uid, class_number, syntax_number, size, digest in series.instances
    )
    return ReleasedStudy(
        StudyInstanceUID.parse(study.uid),
        study.revision,
        PatientKey(study.patient.issuer, study.patient.id),
        _demographics(study.person),
        entries,
        tuple(PatientKey(p.issuer, p.id) for p in study.formerly),
        None if study.ref is None else StudyRef.parse(study.ref),
    )


def _person(d: Demographics) -> _Person:
    return _Person(d.name, d.birth_date, d.sex)


def _demographics(person: _Person) -> Demographics:
    return Demographics(person.name, person.birth_date, person.sex)


def _target(target: _Target) -> StudyTarget:
    if target.uid is not None and target.ref is None:
        return StudyInstanceUID.parse(target.uid)
    if target.ref is not None and target.uid is None:
        return StudyRef.parse(target.ref)
    raise RequestMalformed
