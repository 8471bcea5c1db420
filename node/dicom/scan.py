"""The few elements that the index needs, picked out of a data set without decoding the rest.

An order of magnitude faster than building a data set; what is not plainly in its declared encoding goes to pydicom
(``heads``), and both end in :func:`facts_of`, so that they cannot disagree about what a value means.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from node.dicom.charset import character_sets, decode, decode_text
from node.dicom.inflate import InflatedSource
from node.dicom.structure import PIXEL_DATA, Cursor, Encoding, Source, Unusual, walk
from node.errors.dicom import InvalidHeader
from node.errors.identifiers import InvalidUid
from node.model.ids import (
    PatientKey,
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
    Uid,
)
from node.model.instance import Demographics, InstanceHeader

_U = TypeVar("_U", bound=Uid)

MAX_VALUE = 4096  # bytes of a text or UID; the standard's longest (PN, three groups) is below 1 KiB

CHARACTER_SET, SOP_CLASS, SOP_INSTANCE = 0x00080005, 0x00080016, 0x00080018
STUDY_DATE, SERIES_DATE, STUDY_TIME, SERIES_TIME = 0x00080020, 0x00080021, 0x00080030, 0x00080031
ACCESSION, MODALITY, REFERRING = 0x00080050, 0x00080060, 0x00080090
STUDY_DESCRIPTION, SERIES_DESCRIPTION = 0x00081030, 0x0008103E
PATIENT_NAME, PATIENT_ID, ISSUER, BIRTH_DATE, SEX = 0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100040
BODY_PART = 0x00180015
STUDY_UID, SERIES_UID, STUDY_ID, SERIES_NUMBER, INSTANCE_NUMBER = (
    0x0020000D, 0x0020000E, 0x00200010, 0x00200011, 0x00200013,
)  # fmt: skip
FRAMES, ROWS, COLUMNS, BITS_ALLOCATED = 0x00280008, 0x00280010, 0x00280011, 0x00280100

WANTED = frozenset({
    CHARACTER_SET, SOP_CLASS, SOP_INSTANCE, STUDY_DATE, SERIES_DATE, STUDY_TIME, SERIES_TIME, ACCESSION, MODALITY,
    REFERRING, STUDY_DESCRIPTION, SERIES_DESCRIPTION, PATIENT_NAME, PATIENT_ID, ISSUER, BIRTH_DATE, SEX, BODY_PART,
    STUDY_UID, SERIES_UID, STUDY_ID, SERIES_NUMBER, INSTANCE_NUMBER, FRAMES, ROWS, COLUMNS, BITS_ALLOCATED,
})  # fmt: skip
_REQUIRED = frozenset({SOP_CLASS, SOP_INSTANCE, STUDY_UID, SERIES_UID})

_DATE = re.compile(r"([0-9]{4})[.-]?([0-9]{2})[.-]?([0-9]{2})", re.ASCII)  # dots: ACR-NEMA; dashes: a common mistake
_TIME = re.compile(r"([0-9]{2}):?([0-9]{2})?:?([0-9]{2})?(\.[0-9]{1,6})?", re.ASCII)
_UNSIGNED_SHORT = 2  # bytes


class HeaderFacts(msgspec.Struct, forbid_unknown_fields=True, frozen=True, array_like=True):
    """What a worker tells of a data set: an :class:`InstanceHeader` before its identifiers have been checked."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    issuer: str
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


@dataclass(frozen=True, slots=True)
class RawHeader:
    """The raw values of the WANTED elements that are there, and whether there are pixels."""

    values: Mapping[int, bytes]
    has_pixels: bool
    big_endian: bool


def scan(source: Source, syntax: str, *, to_end: bool = True) -> HeaderFacts:
    """Pick the facts out of a data set. ``to_end``: check its structure to the end; else stop when all is found.

    A data set in the other VR encoding than its transfer syntax says (a frequent mistake) is read as what it is.

    Raises:
        Unusual: let pydicom have a look.
        DicomRefused: truncated, beyond a limit, or without what every instance needs.
    """
    encoding = Encoding.of(syntax)
    try:
        return _scan(source, encoding, to_end=to_end)
    except Unusual:
        facts = _scan(source, replace(encoding, explicit=not encoding.explicit), to_end=to_end)
        if not (facts.sop_class_uid and facts.sop_instance_uid):
            raise
        return facts


def _scan(source: Source, encoding: Encoding, *, to_end: bool) -> HeaderFacts:
    cursor = Cursor(InflatedSource(source) if encoding.deflated else source)
    values: dict[int, bytes] = {}
    has_pixels = False
    for element in walk(cursor, encoding):
        if element.tag in WANTED:
            if element.length > MAX_VALUE:
                raise InvalidHeader(f"{_tag_text(element.tag)} is too long")
            values[element.tag] = cursor.bytes(element.offset, element.length)
        elif element.tag in PIXEL_DATA:
            has_pixels = True
        if not to_end and element.tag > BITS_ALLOCATED and values.keys() >= _REQUIRED:
            has_pixels = has_pixels or ROWS in values
            break
    return facts_of(RawHeader(values, has_pixels, encoding.big))


def facts_of(raw: RawHeader) -> HeaderFacts:
    """Decode raw values; nothing but the four UIDs is required, and nothing else is refused."""
    values = raw.values
    codecs = character_sets(values.get(CHARACTER_SET, b""))

    def text(tag: int) -> str:
        return decode_text(values.get(tag, b""), codecs)

    def person(tag: int) -> str:
        return text(tag).rstrip("=")  # empty groups at the end may be left out (PS3.5 section 6.2)

    def plain(tag: int) -> str:
        return decode_text(values.get(tag, b""), ("ascii",))

    def unsigned(tag: int) -> int:
        value = values.get(tag, b"")[:_UNSIGNED_SHORT]
        return int.from_bytes(value, "big" if raw.big_endian else "little") if raw.has_pixels else 0

    return HeaderFacts(
        sop_class_uid=plain(SOP_CLASS),
        sop_instance_uid=plain(SOP_INSTANCE),
        study_instance_uid=plain(STUDY_UID),
        series_instance_uid=plain(SERIES_UID),
        patient_id=text(PATIENT_ID),
        issuer=text(ISSUER),
        patient_name=person(PATIENT_NAME),
        birth_date=as_date(plain(BIRTH_DATE)),
        sex=plain(SEX),
        study_date=as_date(plain(STUDY_DATE)),
        study_time=as_time(plain(STUDY_TIME)),
        accession_number=text(ACCESSION),
        study_id=text(STUDY_ID),
        study_description=text(STUDY_DESCRIPTION),
        referring_physician=person(REFERRING),
        series_date=as_date(plain(SERIES_DATE)),
        series_time=as_time(plain(SERIES_TIME)),
        series_description=text(SERIES_DESCRIPTION),
        series_number=plain(SERIES_NUMBER),
        modality=plain(MODALITY),
        body_part=plain(BODY_PART),
        instance_number=plain(INSTANCE_NUMBER),
        rows=unsigned(ROWS),
        columns=unsigned(COLUMNS),
        frames=_frames(plain(FRAMES)) if raw.has_pixels else 0,
        bits_allocated=unsigned(BITS_ALLOCATED),
        specific_character_set=decode(values.get(CHARACTER_SET, b"").rstrip(b"\0 "), ("ascii",)),
        patient_name_raw=values.get(PATIENT_NAME, b""),
    )


def as_date(text: str) -> str:
    """A DA value as YYYYMMDD, or nothing where it is no date."""
    match = _DATE.fullmatch(text)
    return "".join(match.groups()) if match else ""


def as_time(text: str) -> str:
    """A TM value as HH[MM[SS[.FFFFFF]]], or nothing where it is no time."""
    match = _TIME.fullmatch(text)
    return "".join(part or "" for part in match.groups()) if match else ""


def _frames(text: str) -> int:
    return min(int(text), 2**31 - 1) if text.isascii() and text.isdigit() and int(text) > 0 else 1


def header_of(facts: HeaderFacts, syntax: TransferSyntaxUID) -> InstanceHeader:
    """The header, once its identifiers have passed the grammar of PS3.5 section 9.1.

    Raises:
        InvalidHeader: one is missing or is not a UID.
    """
    return InstanceHeader(
        sop_class_uid=_uid(SOPClassUID, facts.sop_class_uid, "SOP Class UID"),
        sop_instance_uid=_uid(SOPInstanceUID, facts.sop_instance_uid, "SOP Instance UID"),
        study_instance_uid=_uid(StudyInstanceUID, facts.study_instance_uid, "Study Instance UID"),
        series_instance_uid=_uid(SeriesInstanceUID, facts.series_instance_uid, "Series Instance UID"),
        transfer_syntax_uid=syntax,
        patient=PatientKey(facts.issuer, facts.patient_id),
        demographics=Demographics(facts.patient_name, facts.birth_date, facts.sex),
        study_date=facts.study_date,
        study_time=facts.study_time,
        accession_number=facts.accession_number,
        study_id=facts.study_id,
        study_description=facts.study_description,
        referring_physician=facts.referring_physician,
        series_date=facts.series_date,
        series_time=facts.series_time,
        series_description=facts.series_description,
        series_number=facts.series_number,
        modality=facts.modality,
        body_part=facts.body_part,
        instance_number=facts.instance_number,
        rows=facts.rows,
        columns=facts.columns,
        frames=facts.frames,
        bits_allocated=facts.bits_allocated,
        specific_character_set=facts.specific_character_set,
        patient_name_raw=facts.patient_name_raw,
    )


def _uid(kind: type[_U], text: str, name: str) -> _U:
    if not text:
        raise InvalidHeader(f"{name} is missing")
    try:
        return kind.parse(text)
    except InvalidUid as exc:
        raise InvalidHeader(f"{name} is not a UID") from exc


def _tag_text(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
