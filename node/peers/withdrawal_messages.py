"""The payloads of withdrawals and their acknowledgements (docs/protocol/withdrawal.md): JSON, decoded strictly."""

from typing import Annotated

import msgspec

from node.errors.base import LeveretError
from node.errors.sharing import RequestMalformed
from node.model.ids import Digest, PatientKey, PeerId, RequestId, SOPInstanceUID, StudyInstanceUID
from node.model.instance import Demographics
from node.model.lifecycle import HiddenReason
from node.model.withdrawal import (
    MAX_INSTANCES,
    MAX_RELEASES,
    MAX_WORDS,
    Acknowledgement,
    Buried,
    CorrectedIdentity,
    Notice,
    NoticeId,
    NoticeOutcome,
    WithdrawalKind,
)
from node.peers.strict import b64, decode_json, unb64

MAX_WITHDRAWAL_BYTES = 192 * 1024  # 1000 instances at 120 bytes, in base64
MAX_ACK_BYTES = 4096  # about 500

_Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
_Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Peer = Annotated[str, msgspec.Meta(min_length=56, max_length=56)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
_Uid = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Text = Annotated[str, msgspec.Meta(max_length=128)]
_One = Annotated[int, msgspec.Meta(ge=1, le=1)]


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class _Patient(_Message, frozen=True):
    issuer: _Text
    id: _Text


class _Identity(_Message, frozen=True):
    patient: _Patient
    name: Annotated[str, msgspec.Meta(max_length=1024)]
    birth_date: Annotated[str, msgspec.Meta(max_length=8)]
    sex: Annotated[str, msgspec.Meta(max_length=16)]
    formerly: Annotated[list[_Patient], msgspec.Meta(max_length=64)] = []


class _Buried(_Message, frozen=True):
    uid: _Uid
    digest: Annotated[str, msgspec.Meta(min_length=43, max_length=43)] | None = None


class _Notice(_Message, frozen=True):
    v: _One
    id: _Id
    holder: _Peer
    recipient: _Peer
    at: _Time
    kind: WithdrawalKind
    study: _Uid
    revision: Annotated[int, msgspec.Meta(ge=0, le=2**31)]
    releases: Annotated[list[_Id], msgspec.Meta(min_length=1, max_length=MAX_RELEASES)]
    words: Annotated[str, msgspec.Meta(max_length=MAX_WORDS)] = ""
    reason: HiddenReason | None = None
    instances: Annotated[list[_Buried], msgspec.Meta(max_length=MAX_INSTANCES)] = []
    identity: _Identity | None = None


class _Ack(_Message, frozen=True):
    v: _One
    id: _Id
    holder: _Peer
    recipient: _Peer
    at: _Time
    notice: _Hash
    outcome: NoticeOutcome


def encode_notice(n: Notice) -> bytes:
    """The payload of a withdrawal."""
    return msgspec.json.encode(
        _Notice(
            v=1,
            id=str(n.notice_id),
            holder=n.holder.compact,
            recipient=n.recipient.compact,
            at=n.at,
            kind=n.kind,
            study=str(n.study),
            revision=n.revision,
            releases=[str(release) for release in n.releases],
            words=n.words,
            reason=n.reason,
            instances=[_Buried(str(b.instance), b64(b.digest.value) if b.digest else None) for b in n.instances],
            identity=None if n.identity is None else _shown(n.identity),
        )
    )


def decode_notice(payload: bytes) -> Notice:
    """Read what :func:`encode_notice` made; raises RequestMalformed, also for one that contradicts itself."""
    n = decode_json(payload, _Notice)
    try:
        notice = Notice(
            NoticeId.parse(n.id),
            PeerId.parse(n.holder),
            PeerId.parse(n.recipient),
            n.at,
            n.kind,
            StudyInstanceUID.parse(n.study),
            tuple(RequestId.parse(release) for release in n.releases),
            n.revision,
            n.reason,
            n.words,
            tuple(
                Buried(SOPInstanceUID.parse(b.uid), Digest(unb64(b.digest)) if b.digest is not None else None)
                for b in n.instances
            ),
            None if n.identity is None else _identity(n.identity),
        )
    except (LeveretError, ValueError) as exc:
        raise RequestMalformed from exc
    if not notice.is_consistent:
        raise RequestMalformed
    return notice


def encode_ack(a: Acknowledgement) -> bytes:
    """The payload of an acknowledgement."""
    ids = (str(a.notice_id), a.holder.compact, a.recipient.compact)
    return msgspec.json.encode(_Ack(1, *ids, a.at, a.notice_digest.hex(), a.outcome))


def decode_ack(payload: bytes) -> Acknowledgement:
    """Read what :func:`encode_ack` made; raises RequestMalformed."""
    a = decode_json(payload, _Ack)
    try:
        ids = NoticeId.parse(a.id), PeerId.parse(a.holder), PeerId.parse(a.recipient)
    except (LeveretError, ValueError) as exc:
        raise RequestMalformed from exc
    return Acknowledgement(*ids, a.at, bytes.fromhex(a.notice), a.outcome)


def _shown(i: CorrectedIdentity) -> _Identity:
    d = i.demographics
    former = [_Patient(p.issuer, p.patient_id) for p in i.formerly]
    return _Identity(_Patient(i.patient.issuer, i.patient.patient_id), d.name, d.birth_date, d.sex, former)


def _identity(i: _Identity) -> CorrectedIdentity:
    return CorrectedIdentity(
        PatientKey(i.patient.issuer, i.patient.id),
        Demographics(i.name, i.birth_date, i.sex),
        tuple(PatientKey(p.issuer, p.id) for p in i.formerly),
    )
