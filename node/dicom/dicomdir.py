"""The media directory of a CD, DVD or memory stick (PS3.3 annex F, PS3.10 section 8)."""

from node.dicom.charset import decode_text
from node.dicom.elements import Node, TreeReader
from node.dicom.part10 import MEDIA_DIRECTORY, read_part10
from node.dicom.structure import Encoding, Unusual
from node.errors.dicom import InvalidHeader, NotDicom

MAX_DIRECTORY_BYTES = 64 << 20  # a directory of 100,000 images has about 40 MB
_MAX_NODES = 2_000_000

_DIRECTORY_RECORDS, _FILE_ID = 0x00041220, 0x00041500


def referenced_files(data: bytes) -> list[tuple[str, ...]]:
    """The Referenced File IDs (0004,1500) of a DICOMDIR in the order they stand in, each as the parts of a path.

    Parts that could lead out of the medium do not occur in a valid ID; the caller must not join them to a path anyway.

    Raises:
        DicomRefused: it is not a DICOMDIR, or cannot be read.
    """
    part = read_part10(data)
    if part.media_sop_class_uid != MEDIA_DIRECTORY:
        raise NotDicom("not a media directory")
    dataset = data[part.dataset_offset :]
    try:
        nodes = TreeReader(dataset, Encoding.of(part.transfer_syntax), max_nodes=_MAX_NODES).read()
    except Unusual as exc:
        raise InvalidHeader("the media directory cannot be read") from exc
    records = next((node.items for node in nodes if node.tag == _DIRECTORY_RECORDS and node.items), ())
    ids = (_file_id(dataset, record) for record in records)
    return [parts for parts in ids if parts]


def _file_id(dataset: bytes, record: tuple[Node, ...]) -> tuple[str, ...]:
    node = next((node for node in record if node.tag == _FILE_ID), None)
    if node is None:
        return ()
    text = decode_text(dataset[node.offset : node.offset + node.length], ("ascii",))
    return tuple(part.strip() for part in text.split("\\") if part.strip())
