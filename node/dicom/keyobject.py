"""What a rejection note says: the document title and the instances that it names (PS3.3 A.35.4, IHE RAD TF-3 4.66).

Runs in a worker process: the note is somebody's file like any other.
"""

from node.dicom.elements import Node
from node.dicom.keynote import MAX_REFERENCES, NoteFacts
from node.dicom.metadata import tree
from node.dicom.structure import Source
from node.errors.dicom import HeaderTooLarge

_CONCEPT_NAME, _CODE_VALUE, _SCHEME = 0x0040A043, 0x00080100, 0x00080102
_EVIDENCE, _OTHER_EVIDENCE = 0x0040A375, 0x0040A385
_STUDY, _SERIES_SEQUENCE, _SOP_SEQUENCE, _SOP_INSTANCE = 0x0020000D, 0x00081115, 0x00081199, 0x00081155
_DCM = "DCM"
_MAX_TEXT = 64


def read_note(source: Source, syntax: str) -> NoteFacts:
    """Title and references of a Key Object Selection document.

    Raises:
        DicomRefused: truncated, beyond a limit, or not to be read at all.
    """
    data, nodes = tree(source, syntax)
    return NoteFacts(_title(nodes, data), _references(nodes, data))


def _title(nodes: tuple[Node, ...], data: bytes) -> str:
    for item in _items(nodes, _CONCEPT_NAME):
        if _text(item, _SCHEME, data) == _DCM:
            return _text(item, _CODE_VALUE, data)
    return ""


def _references(nodes: tuple[Node, ...], data: bytes) -> list[tuple[str, str]]:
    found = [
        (_text(study, _STUDY, data), _text(one, _SOP_INSTANCE, data))
        for sequence in (_EVIDENCE, _OTHER_EVIDENCE)
        for study in _items(nodes, sequence)
        for series in _items(study, _SERIES_SEQUENCE)
        for one in _items(series, _SOP_SEQUENCE)
    ]
    if len(found) > MAX_REFERENCES:
        raise HeaderTooLarge("references")
    return found


def _items(nodes: tuple[Node, ...], tag: int) -> tuple[tuple[Node, ...], ...]:
    return next((node.items or () for node in nodes if node.tag == tag), ())


def _text(nodes: tuple[Node, ...], tag: int, data: bytes) -> str:
    node = next((node for node in nodes if node.tag == tag and node.items is None), None)
    if node is None or not 0 <= node.length <= _MAX_TEXT:
        return ""
    return data[node.offset : node.offset + node.length].decode("ascii", "replace").strip("\0 ")
