"""Metadata of an instance whose patient was corrected: the bytes stay, the JSON says who it is and what it said before.

What is replaced goes into the Original Attributes Sequence (0400,0561), as PS3.3 C.12.1.1.9 and PS3.18 section 10.5.2
ask of whoever coerces. The JSON comes from a worker process, which made it of somebody's file: it is decoded strictly.
"""

import time
from dataclasses import dataclass
from typing import Any

import msgspec

from node.errors.dicom import HeaderRefused
from node.model.withdrawal import CorrectedIdentity

MODIFYING_SYSTEM = "LEVERET"

Element = dict[str, Any]
_decode = msgspec.json.Decoder(dict[str, Element]).decode

_PN, _ID, _ISSUER, _BIRTH_DATE, _SEX = "00100010", "00100020", "00100021", "00100030", "00100040"
_ORIGINAL, _MODIFIED, _AT, _SYSTEM, _SOURCE, _REASON = (
    "04000561", "04000550", "04000562", "04000563", "04000564", "04000565",
)  # fmt: skip
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")  # PS3.5 section 6.2, PS3.18 annex F.2.2


@dataclass(frozen=True, slots=True)
class Corrected:
    """Who it is, and since when it is known (seconds since the epoch)."""

    identity: CorrectedIdentity
    at: int


def with_identity(document: bytes, corrected: Corrected) -> bytes:
    """One instance's DICOM JSON under the corrected identity; the same bytes where it says that already.

    Raises:
        HeaderRefused: the worker made no such document.
    """
    try:
        instance = _decode(document)
    except msgspec.MsgspecError as exc:
        raise HeaderRefused from exc
    before = {}
    for tag, element in _elements(corrected.identity).items():
        old = instance.get(tag)
        if old == element or (old is None and "Value" not in element):
            continue
        if tag == _ISSUER and old is None:
            instance[tag] = element  # a facility's own issuer is stamped, not corrected
            continue
        before[tag] = old if old is not None else {"vr": element["vr"]}
        instance[tag] = element
    if not before:
        return document
    earlier = instance.get(_ORIGINAL, {}).get("Value", [])
    kept = earlier if isinstance(earlier, list) else []
    instance[_ORIGINAL] = {"vr": "SQ", "Value": [*kept, _original(before, corrected.at)]}
    return msgspec.json.encode(dict(sorted(instance.items())))


def _original(before: dict[str, Element], at: int) -> dict[str, Element]:
    """One item of the Original Attributes Sequence."""
    return {
        _MODIFIED: {"vr": "SQ", "Value": [before]},
        _AT: {"vr": "DT", "Value": [time.strftime("%Y%m%d%H%M%S+0000", time.gmtime(at))]},
        _SYSTEM: {"vr": "LO", "Value": [MODIFYING_SYSTEM]},
        _SOURCE: {"vr": "LO"},  # whoever made the instance
        _REASON: {"vr": "CS", "Value": ["CORRECT"]},
    }


def _elements(identity: CorrectedIdentity) -> dict[str, Element]:
    said = identity.demographics
    groups = {group: part for group, part in zip(_GROUPS, said.name.split("="), strict=False) if part}
    return {
        _PN: {"vr": "PN", "Value": [groups]} if groups else {"vr": "PN"},
        _ID: _text("LO", identity.patient.patient_id),
        _ISSUER: _text("LO", identity.patient.issuer),
        _BIRTH_DATE: _text("DA", said.birth_date),
        _SEX: _text("CS", said.sex),
    }


def _text(vr: str, value: str) -> Element:
    return {"vr": vr, "Value": [value]} if value else {"vr": vr}
