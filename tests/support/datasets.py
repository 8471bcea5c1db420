"""Data sets and files written byte by byte, so that they can be wrong in exactly one way."""

import struct
import zlib

from node.dicom.part10 import part10_header
from node.model.ids import SOPClassUID, SOPInstanceUID, TransferSyntaxUID

EXPLICIT = TransferSyntaxUID("1.2.840.10008.1.2.1")
IMPLICIT = TransferSyntaxUID("1.2.840.10008.1.2")
BIG = TransferSyntaxUID("1.2.840.10008.1.2.2")
DEFLATED = TransferSyntaxUID("1.2.840.10008.1.2.1.99")
JPEG = TransferSyntaxUID("1.2.840.10008.1.2.4.50")

CT = SOPClassUID("1.2.840.10008.5.1.4.1.1.2")
INSTANCE = SOPInstanceUID("1.2.3.4")
UNDEFINED = 0xFFFFFFFF
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")

ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
DELIMITED_ITEM = ITEM + b"\xff\xff\xff\xff"


def element(tag: int, vr: str, value: bytes | str, length: int | None = None, order: str = "<") -> bytes:
    """An explicit element; ``length`` may lie."""
    raw = value.encode() if isinstance(value, str) else value
    if len(raw) % 2 and length is None:
        raw += b"\0" if vr == "UI" else b" "
    count = len(raw) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    size = b"\0\0" + struct.pack(order + "I", count) if vr.encode() in _LONG else struct.pack(order + "H", count)
    return head + size + raw


def implicit(tag: int, value: bytes | str, length: int | None = None) -> bytes:
    """An implicit little endian element."""
    raw = value.encode() if isinstance(value, str) else value
    raw += b"\0" * (len(raw) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw) if length is None else length) + raw


def identity(instance: str = INSTANCE, study: str = "1.2.3", series: str = "1.2.3.1", order: str = "<") -> bytes:
    """The elements that every instance must have, and a patient."""
    return b"".join((
        element(0x00080016, "UI", CT, order=order),
        element(0x00080018, "UI", instance, order=order),
        element(0x00100010, "PN", "Doe^Jane", order=order),
        element(0x00100020, "LO", "P1", order=order),
        element(0x0020000D, "UI", study, order=order),
        element(0x0020000E, "UI", series, order=order),
    ))  # fmt: skip


def pixels(count: int = 8, order: str = "<") -> bytes:
    return element(0x7FE00010, "OW", bytes(count), order=order)


def fragments(*parts: bytes) -> bytes:
    """Encapsulated pixel data with an empty offset table."""
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED)
    items = b"".join(ITEM + struct.pack("<I", len(part)) + part for part in (b"", *parts))
    return head + items + SEQUENCE_END


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def bomb(head: bytes, tag: int, mebibytes: int) -> bytes:
    """A deflated data set whose last element is ``mebibytes`` of zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    out = [packer.compress(head + struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"OB", 0, mebibytes << 20))]
    out += [packer.compress(bytes(1 << 20)) for _ in range(mebibytes)]
    return b"".join(out) + packer.flush()


def nested(depth: int) -> bytes:
    """Sequences of undefined length inside each other, never closed."""
    return (struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, UNDEFINED) + DELIMITED_ITEM) * depth


def file_of(dataset: bytes, syntax: TransferSyntaxUID = EXPLICIT) -> bytes:
    head = part10_header(b"", sop_class_uid=CT, sop_instance_uid=INSTANCE, transfer_syntax_uid=syntax)
    return head + dataset
