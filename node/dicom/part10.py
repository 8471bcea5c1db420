"""The DICOM file format around a data set (PS3.10 section 7): preamble, prefix, file meta information."""

import struct
from dataclasses import dataclass

from node.errors.dicom import InvalidMetaHeader, MediaDirectory, NoMetaHeader, NotDicom, Truncated
from node.errors.identifiers import InvalidUid
from node.model.ids import SOPClassUID, SOPInstanceUID, TransferSyntaxUID

Buffer = bytes | bytearray | memoryview

PREAMBLE_BYTES = 128
PREFIX = b"DICM"
MEDIA_DIRECTORY = SOPClassUID("1.2.840.10008.1.3.10")  # Media Storage Directory Storage: a DICOMDIR
IMPLEMENTATION_CLASS_UID = "2.25.267407633668099665363350987451518974793"
IMPLEMENTATION_VERSION_NAME = "LEVERET"

# Group 0002 of real files is a few hundred bytes; private information (0002,0102) may add some kilobytes.
MAX_FILE_META_BYTES = 1 << 20

_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010  # elements of group 0002
_SHORT_HEADER, _LONG_HEADER = 8, 12  # bytes before an element's value (PS3.5 section 7.1.2)
_LENGTH_BEGINS = struct.pack("<HH2sH", 2, 0, b"UL", 4)  # of (0002,0000), whose value is an unsigned long
_LENGTH_ELEMENT = len(_LENGTH_BEGINS) + 4
_MAX_FIRST_VALUE = 1024  # bytes of the first value of a data set: a UID or a few codes
_EARLY_ELEMENT = 0x0100


@dataclass(frozen=True, slots=True)
class Part10:
    """Where the parts of a file are. ``file_meta`` is group 0002 as received, without preamble and prefix."""

    file_meta: bytes
    transfer_syntax: TransferSyntaxUID
    dataset_offset: int
    media_sop_class_uid: str  # as it stands in the file, empty if it does not
    media_sop_instance_uid: str = ""


def split_part10(data: Buffer) -> Part10:
    """As :func:`read_part10`, for a file that should be an instance.

    Raises:
        MediaDirectory: it is a DICOMDIR.
        otherwise as :func:`read_part10`.
    """
    part = read_part10(data)
    if part.media_sop_class_uid == MEDIA_DIRECTORY:
        raise MediaDirectory
    return part


def read_part10(data: Buffer) -> Part10:
    """Find file meta information and data set in a file; looks at nothing but group 0002.

    The group is walked element by element: its group length (0002,0000) is often wrong and is not relied on.

    Raises:
        NotDicom: nothing like DICOM.
        NoMetaHeader: a bare data set, or a prefix without group 0002.
        InvalidMetaHeader: group 0002 cannot be read or names no transfer syntax.
        Truncated: the file ends inside group 0002.
    """
    head = bytes(data[: PREAMBLE_BYTES + len(PREFIX)])
    if head[PREAMBLE_BYTES:] != PREFIX:
        raise NoMetaHeader if _looks_like_dataset(head) else NotDicom
    start = PREAMBLE_BYTES + len(PREFIX)
    window = bytes(data[start : start + MAX_FILE_META_BYTES])
    length, values = _walk_meta(window, is_whole=len(data) <= start + MAX_FILE_META_BYTES)
    if length == 0:
        raise NoMetaHeader
    try:
        syntax = TransferSyntaxUID.parse(values.get(_TRANSFER_SYNTAX, b"").decode("ascii"))
    except (InvalidUid, UnicodeDecodeError) as exc:
        raise InvalidMetaHeader("no transfer syntax") from exc
    sop_class, instance = (
        values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace") for element in (_SOP_CLASS, _SOP_INSTANCE)
    )
    return Part10(window[:length], syntax, start + length, sop_class, instance)


def part10_header(
    file_meta: bytes,
    *,
    sop_class_uid: SOPClassUID,
    sop_instance_uid: SOPInstanceUID,
    transfer_syntax_uid: TransferSyntaxUID,
) -> bytes:
    """Everything that stands before the data set in a file: preamble of zeros, prefix, group 0002.

    ``file_meta`` is used as it was received, but for its group length (0002,0000), which real files get wrong and which
    readers rely on; empty (the instance came over the network) makes a fresh one. The preamble is never the received
    one: it can make the file a program at the same time.
    """
    made = _with_length(file_meta) if file_meta else _make_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
    return bytes(PREAMBLE_BYTES) + PREFIX + made


def _with_length(file_meta: bytes) -> bytes:
    """Group 0002 that begins with its right length; the same bytes where it does so already."""
    begins = file_meta.startswith(_LENGTH_BEGINS)
    rest = file_meta[_LENGTH_ELEMENT:] if begins else file_meta
    right = _LENGTH_BEGINS + struct.pack("<I", len(rest))
    return file_meta if begins and file_meta.startswith(right) else right + rest


def _make_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    body = b"".join((
        struct.pack("<HH2sHI", 2, 0x0001, b"OB", 0, 2) + b"\0\1",
        _short_element(0x0002, b"UI", sop_class),
        _short_element(0x0003, b"UI", sop_instance),
        _short_element(_TRANSFER_SYNTAX, b"UI", transfer_syntax),
        _short_element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
        _short_element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
    ))  # fmt: skip
    return _with_length(body)


def _short_element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _walk_meta(window: bytes, *, is_whole: bool) -> tuple[int, dict[int, bytes]]:
    """Length of group 0002 (always explicit little endian) at the start of ``window``, and its short values."""
    values: dict[int, bytes] = {}
    at = 0
    while len(window) - at >= _SHORT_HEADER and window[at : at + 2] == b"\x02\x00":
        element, vr, length = struct.unpack_from("<H2sH", window, at + 2)
        body = at + _SHORT_HEADER
        if vr in _LONG_VRS:
            if len(window) - at < _LONG_HEADER:
                raise Truncated("file meta information")
            length, body = int.from_bytes(window[at + 8 : at + 12], "little"), at + _LONG_HEADER
        elif not (vr.isalpha() and vr.isupper()):
            raise InvalidMetaHeader("not in explicit little endian")
        if body + length > len(window):
            raise Truncated("file meta information") if is_whole else InvalidMetaHeader("too long")
        values[element] = window[body : body + length]
        at = body + length
    return at, values


def _looks_like_dataset(head: bytes) -> bool:
    """Whether bytes without prefix at 128 begin like a data set in any transfer syntax, or like group 0002."""
    if head[:4] == PREFIX:  # a prefix without preamble
        return True
    if len(head) < _SHORT_HEADER:
        return False
    for order in "<>":
        group, element, implicit_length = struct.unpack_from(f"{order}HHI", head)
        vr = head[4:6]
        if group in {0x0002, 0x0008} and element <= _EARLY_ELEMENT:
            return (vr.isalpha() and vr.isupper()) or int(implicit_length) <= _MAX_FIRST_VALUE
    return False
