"""The bytes of a pack (docs/formats.md, "Packs"): pure, no files.

::

    pack    = header ‖ record ‖ record ‖ …
    header  = "LVTPACK" ‖ version u8 = 1 ‖ pack name 16 ‖ space 16                                          (40 bytes)
    record  = fixed ‖ wrapped data key 104 ‖ meta ‖ body
    fixed   = "LVTR" ‖ codec u8 ‖ 0 u8 ‖ 0 u16 ‖ key version u32 ‖ meta length u32 ‖ body length u64
              ‖ object id 16 ‖ space 16                                                                     (56 bytes)
    meta    = encrypted object of: length u32 ‖ msgpack(RecordMeta) ‖ zero bytes
    body    = encrypted object of: the data set without group 0002, exactly as received (codec 0), or packed (codec 1)

All integers are big-endian. Names and spaces are random; lengths are the only thing a reader without keys learns. The
contexts under which meta and body are encrypted name the object, its space, codec and key version, so a record that is
moved to another object's place, or whose header is changed, does not open.
"""

import os
import struct
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self

import msgspec

from node.crypto import objects
from node.crypto.seal import KEY_BYTES, WRAPPED_KEY_BYTES, unwrap_object_key, wrap_object_key
from node.errors.storage import ObjectDamaged, PackUnreadable
from node.model.ids import (
    Digest,
    ObjectId,
    PatientKey,
    PeerId,
    RequestId,
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)
from node.model.instance import Demographics, InstanceHeader
from node.store.buffers import Buffers
from node.store.codec import CODEC_IDENTITY, CODEC_SHUFFLE_ZSTD, CODECS, Packed, packed_limit, tail_size

PACK_VERSION = 1
MAX_META_BYTES = 1024 * 1024  # group 0002 and the index's elements; real ones stay below 4 KiB

_PACK_MAGIC = b"LVTPACK"
_PACK_HEADER = struct.Struct(">7sB16s16s")
_RECORD_MAGIC = b"LVTR"
_FIXED = struct.Struct(">4sBBHIIQ16s16s")
_META_LENGTH = struct.Struct(">I")
_META_GRAIN = 256  # meta is padded to a multiple, so that its size says little

PACK_HEADER_BYTES = _PACK_HEADER.size
RECORD_HEADER_BYTES = _FIXED.size + WRAPPED_KEY_BYTES
KEY_OFFSET = _FIXED.size  # of the wrapped data key, from the record's start

Buffer = bytes | bytearray | memoryview


class QuarantineReason(StrEnum):
    """Why an instance was put aside."""

    CONTENT_DIFFERS = "content_differs"  # its SOP Instance UID is held with other bytes
    PATIENT_DIFFERS = "patient_differs"  # its study is held under another patient
    SERIES_DIFFERS = "series_differs"  # its Series Instance UID is held in another study
    ORIGIN_DIFFERS = "origin_differs"  # its study is held as another facility's, or as one's own


class _HeaderMeta(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """InstanceHeader for msgpack; the order is part of the format."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    issuer: str
    patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    study_date: str
    study_time: str
    accession_number: str
    study_id: str
    study_description: str
    referring_physician: str
    series_date: str
    series_time: str
    series_description: str
    series_number: str
    modality: str
    body_part: str
    instance_number: str
    rows: int
    columns: int
    frames: int
    bits_allocated: int
    specific_character_set: str
    patient_name_raw: bytes


class _Meta(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    header: _HeaderMeta
    digest: bytes
    size: int
    file_meta: bytes
    received_at: int
    source: str
    origin: bytes | None
    transfer: bytes | None
    quarantine: QuarantineReason | None


_PLAIN_FIELDS = tuple(
    f.name for f in fields(InstanceHeader) if f.name not in {"patient", "demographics"} and not f.name.endswith("_uid")
)


@dataclass(frozen=True, slots=True)
class RecordMeta:
    """Everything the index needs of one object; it can be rebuilt from the packs and the study keys alone."""

    header: InstanceHeader
    digest: Digest
    size: int  # bytes of the data set
    file_meta: bytes
    received_at: int
    source: str
    origin: PeerId | None
    transfer: RequestId | None
    quarantine: QuarantineReason | None

    def encode(self) -> bytes:
        """As msgpack."""
        h = self.header
        header = _HeaderMeta(
            sop_class_uid=str(h.sop_class_uid),
            sop_instance_uid=str(h.sop_instance_uid),
            study_instance_uid=str(h.study_instance_uid),
            series_instance_uid=str(h.series_instance_uid),
            transfer_syntax_uid=str(h.transfer_syntax_uid),
            issuer=h.patient.issuer,
            patient_id=h.patient.patient_id,
            patient_name=h.demographics.name,
            birth_date=h.demographics.birth_date,
            sex=h.demographics.sex,
            **{name: getattr(h, name) for name in _PLAIN_FIELDS},
        )
        return msgspec.msgpack.encode(
            _Meta(
                header=header,
                digest=self.digest.value,
                size=self.size,
                file_meta=self.file_meta,
                received_at=self.received_at,
                source=self.source,
                origin=self.origin.digest if self.origin else None,
                transfer=self.transfer.value if self.transfer else None,
                quarantine=self.quarantine,
            )
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """From msgpack that ``encode`` made (it was authenticated, so anything else is an error of ours)."""
        m = msgspec.msgpack.decode(data, type=_Meta)
        h = m.header
        header = InstanceHeader(
            sop_class_uid=SOPClassUID(h.sop_class_uid),
            sop_instance_uid=SOPInstanceUID(h.sop_instance_uid),
            study_instance_uid=StudyInstanceUID(h.study_instance_uid),
            series_instance_uid=SeriesInstanceUID(h.series_instance_uid),
            transfer_syntax_uid=TransferSyntaxUID(h.transfer_syntax_uid),
            patient=PatientKey(h.issuer, h.patient_id),
            demographics=Demographics(h.patient_name, h.birth_date, h.sex),
            **{name: getattr(h, name) for name in _PLAIN_FIELDS},
        )
        return cls(
            header=header,
            digest=Digest(m.digest),
            size=m.size,
            file_meta=m.file_meta,
            received_at=m.received_at,
            source=m.source,
            origin=PeerId(m.origin) if m.origin else None,
            transfer=RequestId(m.transfer) if m.transfer else None,
            quarantine=m.quarantine,
        )


@dataclass(frozen=True, slots=True)
class SpaceKey:
    """The key under which the data keys of one study's objects are wrapped."""

    space: bytes
    version: int
    key: bytes

    def __repr__(self) -> str:  # never a key in a traceback
        return f"SpaceKey({self.space.hex()}, version={self.version})"


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """The part of a record that can be read without keys."""

    codec: int
    key_version: int
    meta_length: int
    body_length: int
    object_id: ObjectId
    space: bytes
    wrapped_key: bytes

    @property
    def length(self) -> int:
        """Bytes of the whole record."""
        return RECORD_HEADER_BYTES + self.meta_length + self.body_length

    @property
    def body_offset(self) -> int:
        """Where the body begins, from the record's start."""
        return RECORD_HEADER_BYTES + self.meta_length

    def encode(self) -> bytes:
        """The record's first RECORD_HEADER_BYTES."""
        fixed = _FIXED.pack(
            _RECORD_MAGIC, self.codec, 0, 0, self.key_version, self.meta_length, self.body_length,
            self.object_id.value, self.space,
        )  # fmt: skip
        return fixed + self.wrapped_key

    @classmethod
    def decode(cls, data: Buffer) -> Self | None:
        """From the first RECORD_HEADER_BYTES of a record; None if no record begins like this.

        One with a codec of a later version is a record: a start must not cut it off as if it were torn.
        """
        if len(data) < RECORD_HEADER_BYTES:
            return None
        magic, codec, zero, zeros, version, meta, body, object_id, space = _FIXED.unpack_from(data)
        if magic != _RECORD_MAGIC or zero or zeros or meta > MAX_META_BYTES:
            return None
        wrapped = bytes(data[_FIXED.size : RECORD_HEADER_BYTES])
        return cls(codec, version, meta, body, ObjectId(object_id), space, wrapped)

    def unwrap(self, key: SpaceKey) -> bytes:
        """The object's data key. Raises one of ``errors.crypto_keys`` if header or key are not what they were."""
        return unwrap_object_key(
            key.key, self.wrapped_key, object_id=self.object_id.value, study=self.space, version=self.key_version
        )

    def context(self, part: bytes) -> bytes:
        """What binds ``part`` (meta or body) to this object and place."""
        return (
            b"leveret/record/v1\0"
            + part
            + struct.pack(">BI", self.codec, self.key_version)
            + self.object_id.value
            + self.space
        )


def pack_header(name: bytes, space: bytes) -> bytes:
    """A pack's first PACK_HEADER_BYTES."""
    return _PACK_HEADER.pack(_PACK_MAGIC, PACK_VERSION, name, space)


def space_of_pack(data: Buffer, name: bytes) -> bytes:
    """The space whose objects the pack ``name`` holds, from its header.

    Raises:
        PackUnreadable: not a pack, another version's, or a file that bears another pack's name.
    """
    if len(data) < PACK_HEADER_BYTES:
        raise PackUnreadable(name.hex())
    magic, version, own_name, space = _PACK_HEADER.unpack_from(data)
    if magic != _PACK_MAGIC or version != PACK_VERSION or own_name != name:
        raise PackUnreadable(name.hex())
    return bytes(space)


class RecordBuilder:
    """Makes one record: fresh data key, fresh object id."""

    def __init__(self, key: SpaceKey, codec: int = CODEC_IDENTITY) -> None:
        self.object_id = ObjectId.new()
        self._codec = codec
        self._key = key
        self._data_key = os.urandom(KEY_BYTES)
        self._wrapped = wrap_object_key(
            key.key, self._data_key, object_id=self.object_id.value, study=key.space, version=key.version
        )

    @classmethod
    def for_packed(cls, key: SpaceKey, packed: Packed | None) -> Self:
        """For a body in packed form, or (None) as it is."""
        return cls(key, CODEC_IDENTITY if packed is None else CODEC_SHUFFLE_ZSTD)

    def whole(
        self, meta: RecordMeta, dataset: Buffer, buffers: Buffers, packed: Packed | None = None
    ) -> tuple[bytearray, int]:
        """The record in a buffer of the pool, and its length. Runs in a thread."""
        if packed is None:
            return self._whole(meta, dataset, buffers)
        gathered, end = buffers.take(packed.layout.packed_size), 0
        for part in (*packed.blocks, packed.layout.encode()):
            start, end = end, end + len(part)
            gathered[start:end] = part
        try:
            return self._whole(meta, memoryview(gathered)[:end], buffers)
        finally:
            buffers.give_back(gathered)

    def _whole(self, meta: RecordMeta, body_plain: Buffer, buffers: Buffers) -> tuple[bytearray, int]:
        body_length = objects.encrypted_size(len(body_plain))
        head = self.head(meta, body_length)
        length = len(head) + body_length
        buffer = buffers.take(length)
        out = memoryview(buffer)
        encryptor = self.body_encryptor()
        body = len(head) + len(encryptor.header)
        out[: len(head)] = head
        out[len(head) : body] = encryptor.header
        encryptor.encrypt_into(body_plain, out[body:length])
        return buffer, length

    def body_encryptor(self) -> objects.Encryptor:
        """For the body, its header first."""
        return objects.Encryptor(self._data_key, self._header(0, 0).context(b"body"))

    def head(self, meta: RecordMeta, body_length: int, *, pad_to: int = 0) -> bytes:
        """What stands before the body; ``pad_to``: the length it must have (see ``head_room``)."""
        encoded = meta.encode()
        plain = _META_LENGTH.pack(len(encoded)) + encoded
        size = -(-len(plain) // _META_GRAIN) * _META_GRAIN
        if pad_to:
            size = objects.plain_size(pad_to - RECORD_HEADER_BYTES)
        header = self._header(objects.encrypted_size(size), body_length)
        if size < len(plain) or header.meta_length > MAX_META_BYTES:
            raise ValueError(size)
        return header.encode() + objects.encrypt(self._data_key, plain.ljust(size, b"\0"), header.context(b"meta"))

    @staticmethod
    def head_room(meta: RecordMeta) -> int:
        """The length of ``head`` for this meta or one that differs in digest, size and quarantine only."""
        size = -(-(_META_LENGTH.size + len(meta.encode()) + 64) // _META_GRAIN) * _META_GRAIN
        return RECORD_HEADER_BYTES + objects.encrypted_size(size)

    def _header(self, meta_length: int, body_length: int) -> RecordHeader:
        return RecordHeader(
            self._codec, self._key.version, meta_length, body_length, self.object_id, self._key.space, self._wrapped
        )


def open_meta(header: RecordHeader, data_key: bytes, encrypted: Buffer) -> RecordMeta:
    """The meta data of a record. Raises an IntegrityError if it is not what was written."""
    plain = objects.decrypt(data_key, encrypted, header.context(b"meta"))
    (length,) = _META_LENGTH.unpack_from(plain)
    try:
        return RecordMeta.decode(memoryview(plain)[_META_LENGTH.size : _META_LENGTH.size + length])
    except (msgspec.MsgspecError, ValueError) as exc:
        raise ObjectDamaged(str(header.object_id)) from exc


def open_body(header: RecordHeader, data_key: bytes, object_header: bytes) -> objects.Decryptor:
    """A decryptor for the body, from its first 56 bytes. Raises one of ``errors.crypto_keys``."""
    return objects.Decryptor(data_key, header.context(b"body"), object_header, header.body_length)


def body_fits(header: RecordHeader, plain: int, size: int) -> bool:
    """Whether a body of ``plain`` bytes can hold a data set of ``size`` bytes; True if a later version must tell."""
    if header.codec == CODEC_IDENTITY:
        return plain == size
    return header.codec not in CODECS or tail_size(size) <= plain <= packed_limit(size)
