import io
import struct

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.datasets import BIG, CT, EXPLICIT, INSTANCE, file_of, identity, implicit
from support.zoo import brain, zoo

from node.dicom.part10 import part10_header, read_part10, split_part10
from node.errors.dicom import DicomRefused, InvalidMetaHeader, MediaDirectory, NoMetaHeader, NotDicom, Truncated


def test_splits_where_pydicom_does() -> None:
    for path in zoo():
        data = path.read_bytes()
        try:
            part = read_part10(data)
        except DicomRefused:
            continue
        assert str(part.transfer_syntax) == pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
        assert b"DICM" + part.file_meta + data[part.dataset_offset :] == data[128:], path.name


def test_a_fresh_header_is_one_that_pydicom_reads() -> None:
    head = part10_header(b"", sop_class_uid=CT, sop_instance_uid=INSTANCE, transfer_syntax_uid=BIG)
    meta = pydicom.dcmread(io.BytesIO(head)).file_meta
    told = [meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID]
    assert list(map(str, told)) == [str(CT), str(INSTANCE), str(BIG)]
    assert split_part10(head).dataset_offset == len(head)


def test_the_received_preamble_is_never_sent_on() -> None:
    data = b"MZ" + bytes(126) + file_of(identity())[128:]
    part = split_part10(data)
    head = part10_header(part.file_meta, sop_class_uid=CT, sop_instance_uid=INSTANCE, transfer_syntax_uid=EXPLICIT)
    assert head == bytes(128) + data[128 : part.dataset_offset]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotDicom),
        (b"Dear colleague, " * 20, NotDicom),
        (b"PK\x03\x04" + bytes(200), NotDicom),
        (identity(), NoMetaHeader),
        (implicit(0x00080005, "ISO_IR 100") + identity(), NoMetaHeader),
        (struct.pack(">HH2sH", 8, 5, b"CS", 10) + b"ISO_IR 100", NoMetaHeader),
        (b"DICM" + identity(), NoMetaHeader),
        (bytes(128) + b"DICM" + identity(), NoMetaHeader),
        (file_of(b"")[:170], Truncated),
        (bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1", InvalidMetaHeader),
        (bytes(128) + b"DICM" + implicit(0x00020010, EXPLICIT), InvalidMetaHeader),
        (bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 0x10, b"UI", 8) + b"../../x\0", InvalidMetaHeader),
    ],
)
def test_refuses(data: bytes, error: type[DicomRefused]) -> None:
    with pytest.raises(error) as caught:
        split_part10(data)
    assert type(caught.value) is error


def test_a_media_directory_is_no_instance() -> None:
    directory = next(path for path in zoo() if path.name == "DICOMDIR")
    with pytest.raises(MediaDirectory):
        split_part10(directory.read_bytes())


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_a_damaged_head_is_refused_or_read(at: int, junk: bytes) -> None:
    data = bytearray(brain()[1][:1000])
    data[at : at + len(junk)] = junk
    try:
        part = split_part10(bytes(data))
    except DicomRefused:
        return
    assert 132 < part.dataset_offset <= len(data)


@pytest.mark.parametrize("said", [0, 1, 0xFFFFFFFF, None])
def test_a_wrong_or_missing_group_length_is_put_right_on_output(said: int | None) -> None:
    def made(file_meta: bytes) -> bytes:
        return part10_header(file_meta, sop_class_uid=CT, sop_instance_uid=INSTANCE, transfer_syntax_uid=EXPLICIT)

    fresh = made(b"")
    right = fresh[132:]
    assert made(right) == fresh, "what is right stays"
    wrong = right[12:] if said is None else right[:8] + said.to_bytes(4, "little") + right[12:]
    assert made(wrong) == fresh
    assert pydicom.dcmread(io.BytesIO(fresh)).file_meta.FileMetaInformationGroupLength == len(right) - 12
