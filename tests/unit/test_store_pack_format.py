"""The bytes of packs: what is written is read again, and nothing else is."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.store import header

from node.crypto.objects import HEADER_BYTES
from node.errors.crypto_keys import IntegrityError
from node.errors.storage import PackUnreadable
from node.model.ids import Digest, PatientKey, PeerId, RequestId
from node.model.instance import Demographics
from node.store.buffers import Buffers
from node.store.pack_format import (
    PACK_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    QuarantineReason,
    RecordBuilder,
    RecordHeader,
    RecordMeta,
    SpaceKey,
    open_body,
    open_meta,
    pack_header,
    space_of_pack,
)

VECTORS = Path(__file__).parents[1] / "data" / "pack_vectors.json"
KEY = SpaceKey(bytes(range(16)), 1, bytes(range(32)))
META = RecordMeta(header(), Digest(bytes(32)), 5, b"meta", 17, "test", None, None, None)


def build(dataset: bytes = b"PIXEL", meta: RecordMeta = META) -> bytearray:
    buffer, length = RecordBuilder(KEY).whole(meta, dataset, Buffers())
    return buffer[:length]


def read(record: bytes | bytearray, key: SpaceKey = KEY) -> tuple[RecordMeta, bytes]:
    found = RecordHeader.decode(record)
    if found is None or found.length != len(record):
        raise IntegrityError
    data_key = found.unwrap(key)
    meta = open_meta(found, data_key, record[RECORD_HEADER_BYTES : found.body_offset])
    body = record[found.body_offset :]
    decryptor = open_body(found, data_key, bytes(body[:HEADER_BYTES]))
    chunks = []
    for index in range(decryptor.chunks):
        at, size = decryptor.span(index)
        chunks.append(decryptor.chunk(index, body[at : at + size]))
    return meta, b"".join(chunks)


METAS = st.builds(
    RecordMeta,
    header=st.builds(
        lambda name, raw, patient: header(
            patient=PatientKey(*patient), demographics=Demographics(name, "19700131", "O"), patient_name_raw=raw
        ),
        st.text(max_size=200),
        st.binary(max_size=200),
        st.tuples(st.text(max_size=64), st.text(max_size=64)),
    ),
    digest=st.binary(min_size=32, max_size=32).map(Digest),
    size=st.integers(0, 2**50),
    file_meta=st.binary(max_size=500),
    received_at=st.integers(0, 2**40),
    source=st.text(max_size=20),
    origin=st.none() | st.binary(min_size=32, max_size=32).map(PeerId),
    transfer=st.none() | st.binary(min_size=16, max_size=16).map(RequestId),
    quarantine=st.none() | st.sampled_from(QuarantineReason),
)


@given(dataset=st.binary(max_size=1000), meta=METAS)
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read(dataset: bytes, meta: RecordMeta) -> None:
    assert read(build(dataset, meta)) == (meta, dataset)


def test_packs_of_the_first_version_stay_readable() -> None:
    vector = json.loads(VECTORS.read_text(encoding="utf-8"))
    name, pack = bytes.fromhex(vector["pack_name"]), bytes.fromhex("".join(vector["pack"]))
    key = SpaceKey(bytes.fromhex(vector["space"]), 1, bytes.fromhex(vector["study_key"]))
    assert space_of_pack(pack, name) == key.space
    offset = PACK_HEADER_BYTES
    for expected in vector["records"]:
        found = RecordHeader.decode(pack[offset:])
        assert found is not None
        meta, body = read(pack[offset : offset + found.length], key)
        offset += found.length
        assert {
            "object_id": str(found.object_id),
            "sop_instance_uid": meta.header.sop_instance_uid,
            "patient_id": meta.header.patient.patient_id,
            "patient_name": meta.header.demographics.name,
            "digest": meta.digest.value.hex(),
            "received_at": meta.received_at,
            "source": meta.source,
            "file_meta": meta.file_meta.hex(),
            "origin": meta.origin.digest.hex() if meta.origin else None,
            "transfer": str(meta.transfer) if meta.transfer else None,
            "quarantine": meta.quarantine,
            "body": body.hex(),
        } == expected
    assert offset == len(pack)


def test_no_flipped_bit_passes() -> None:
    record = build()
    for position in range(len(record)):
        for bit in (0, 7):
            damaged = bytearray(record)
            damaged[position] ^= 1 << bit
            with pytest.raises(IntegrityError):
                read(damaged)


def test_no_cut_passes() -> None:
    record = build()
    for length in range(len(record)):
        with pytest.raises(IntegrityError):
            read(record[:length])
    with pytest.raises(IntegrityError):
        read(record + b"\0")


def test_bodies_cannot_be_exchanged() -> None:
    one, two = build(), build()
    cut = len(one) - 56 - 16 - 5
    with pytest.raises(IntegrityError):
        read(one[:cut] + two[cut:])


@pytest.mark.parametrize(
    "key",
    [
        SpaceKey(KEY.space, 1, bytes(32)),
        SpaceKey(bytes(16), 1, KEY.key),
    ],
)
def test_another_key_does_not_open_it(key: SpaceKey) -> None:
    record = build()
    found = RecordHeader.decode(record)
    assert found is not None
    with pytest.raises(IntegrityError):
        replace(found, space=key.space).unwrap(key)


def test_nothing_of_the_patient_is_in_a_record() -> None:
    dataset = os.urandom(1000)
    record = build(dataset)
    for secret in (b"PAT-0042", b"LEVERET-TEST", b"ller", b"1.2.826", dataset[:16], b"CHEST"):
        assert secret not in record


def test_records_of_patients_with_longer_names_are_as_long() -> None:
    longer = replace(META, header=header(demographics=Demographics("Abcdefghij^Klm", "19700131", "F")))
    assert len(build()) == len(build(meta=longer))


def test_the_head_of_a_streamed_record_fits_its_room() -> None:
    builder = RecordBuilder(KEY)
    room = builder.head_room(META)
    full = replace(META, size=2**45, digest=Digest(os.urandom(32)), quarantine=QuarantineReason.CONTENT_DIFFERS)
    head = builder.head(full, 12345, pad_to=room)
    assert len(head) == room
    found = RecordHeader.decode(head)
    assert found is not None
    assert (found.body_offset, found.body_length) == (room, 12345)
    assert open_meta(found, found.unwrap(KEY), head[RECORD_HEADER_BYTES:]) == full


def test_a_pack_says_whose_it_is() -> None:
    name = os.urandom(16)
    whole = pack_header(name, KEY.space)
    assert space_of_pack(whole, name) == KEY.space
    for wrong in (whole[:-1], b"x" + whole[1:], whole[:7] + b"\2" + whole[8:], pack_header(os.urandom(16), KEY.space)):
        with pytest.raises(PackUnreadable):
            space_of_pack(wrong, name)


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_are_no_record(data: bytes) -> None:
    found = RecordHeader.decode(b"LVTR" + data)
    assert found is None or found.length > RECORD_HEADER_BYTES - 1


def test_keys_do_not_show_in_a_traceback() -> None:
    assert KEY.key.hex() not in repr(KEY)
    assert repr(KEY.key) not in repr(KEY)
