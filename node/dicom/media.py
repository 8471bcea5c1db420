"""A media set (PS3.10, PS3.3 annex F, PS3.12): file names, and the DICOMDIR that says what the files are.

The directory is made from what the index knows, so it can stand at the beginning of what is written. Only reports,
presentation states and other instances without pixels need more (:func:`record_facts`), which a worker reads. What fits
no directory record stays on the medium and is not referenced (PS3.10 section 8.6 allows that).
"""

import itertools
import re
import struct
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from node.dicom.part10 import MEDIA_DIRECTORY, part10_header
from node.dicom.structure import EXPLICIT_LITTLE, LONG_VRS
from node.model.ids import SOPInstanceUID, TransferSyntaxUID
from node.model.instance import StoredInstance, StudySummary

DIRECTORY_NAME = "DICOMDIR"
MAX_FILES = 999_999  # that six digits can name
FILE_SET_ID = "LEVERET"  # CS, at most 16 characters
_MAX_PN = 64  # characters of one group of a name
_UNDATED, _TIMELESS = "19000101", "000000"  # type 1 in a record where the instance says nothing
_IN_USE = 0xFFFF
_ITEM, _RECORDS = 0xFFFEE000, 0x00041220
_ITEM_HEAD, _SEQUENCE_HEAD, _SHORT_HEAD = 8, 12, 8
_NEXT_AT = _ITEM_HEAD + _SHORT_HEAD  # of the offset of the next record, from the item's beginning
_LOWER_AT = _NEXT_AT + 4 + (_SHORT_HEAD + 2) + _SHORT_HEAD

_CHARACTER_SET, _SOP_CLASS, _STUDY_DATE, _STUDY_TIME = 0x00080005, 0x00080016, 0x00080020, 0x00080030
_CONTENT_DATE, _CONTENT_TIME, _ACCESSION, _MODALITY = 0x00080023, 0x00080033, 0x00080050, 0x00080060
_STUDY_DESCRIPTION, _SERIES_DESCRIPTION = 0x00081030, 0x0008103E
_NAME, _ID, _BIRTH_DATE, _SEX = 0x00100010, 0x00100020, 0x00100030, 0x00100040
_STUDY, _SERIES, _STUDY_ID, _SERIES_NUMBER, _NUMBER = 0x0020000D, 0x0020000E, 0x00200010, 0x00200011, 0x00200013
_ROWS, _COLUMNS, _CONCEPT, _MEANING = 0x00280010, 0x00280011, 0x0040A043, 0x00080104
_COMPLETION, _VERIFICATION, _VERIFIED_AT, _VERIFIERS = 0x0040A491, 0x0040A493, 0x0040A030, 0x0040A073
_CODE_VALUE, _CODING_SCHEME = 0x00080100, 0x00080102
_DOCUMENT_TITLE, _DOCUMENT_TYPE = 0x00420010, 0x00420012
_LABEL, _DESCRIPTION, _MADE_ON, _MADE_AT, _MADE_BY = 0x00700080, 0x00700081, 0x00700082, 0x00700083, 0x00700084

_VRS: Mapping[int, str] = {
    0x00041130: "CS", 0x00041200: "UL", 0x00041202: "UL", 0x00041212: "US", _RECORDS: "SQ",
    0x00041400: "UL", 0x00041410: "US", 0x00041420: "UL", 0x00041430: "CS", 0x00041500: "CS", 0x00041510: "UI",
    0x00041511: "UI", 0x00041512: "UI",
    _CHARACTER_SET: "CS", _SOP_CLASS: "UI", _STUDY_DATE: "DA", _STUDY_TIME: "TM", _CONTENT_DATE: "DA",
    _CONTENT_TIME: "TM", _ACCESSION: "SH", _MODALITY: "CS", _STUDY_DESCRIPTION: "LO", _SERIES_DESCRIPTION: "LO",
    _NAME: "PN", _ID: "LO", _BIRTH_DATE: "DA", _SEX: "CS", _STUDY: "UI", _SERIES: "UI", _STUDY_ID: "SH",
    _SERIES_NUMBER: "IS", _NUMBER: "IS", _ROWS: "US", _COLUMNS: "US", _CONCEPT: "SQ", _MEANING: "LO",
    _COMPLETION: "CS", _VERIFICATION: "CS", _VERIFIED_AT: "DT", _CODE_VALUE: "SH", _CODING_SCHEME: "SH",
    _DOCUMENT_TITLE: "ST", _DOCUMENT_TYPE: "LO", _LABEL: "CS", _DESCRIPTION: "LO", _MADE_ON: "DA", _MADE_AT: "TM",
    _MADE_BY: "PN",
}  # fmt: skip
_MOST = {"CS": 16, "SH": 16, "LO": 64, "ST": 1024}  # characters; the others are bounded by their form
_FORMS = {
    "DA": re.compile(r"[0-9]{8}"),
    "TM": re.compile(r"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?"),
    "DT": re.compile(r"[0-9]{4,14}(\.[0-9]{1,6})?([+-][0-9]{4})?"),
    "IS": re.compile(r"[+-]?[0-9]{1,10}"),
}
_NO_CODE = re.compile(r"[^A-Z0-9_ ]")
_DEFAULTS = {  # of what must not be empty in a record (type 1) and may be in an instance
    _ID: "UNKNOWN", _STUDY_DATE: _UNDATED, _STUDY_TIME: _TIMELESS, _STUDY_ID: "1", _MODALITY: "OT",
    _SERIES_NUMBER: "0", _NUMBER: "0", _CONTENT_DATE: _UNDATED, _CONTENT_TIME: _TIMELESS, _LABEL: "UNNAMED",
    _MADE_ON: _UNDATED, _MADE_AT: _TIMELESS, _COMPLETION: "PARTIAL", _VERIFICATION: "UNVERIFIED",
    _DOCUMENT_TYPE: "application/octet-stream",
}  # fmt: skip

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Directory Record Type (0004,1430) by SOP class, where it is not IMAGE (PS3.3 table F.4-1).
_TYPES: Mapping[str, str] = {
    **{
        f"{_STORAGE}88.{n}": "SR DOCUMENT" for n in (11, 22, 33, 34, 35, 40, 50, 65, 67, 68, 69, 70, 71, 72, 73, 74, 75)
    },
    f"{_STORAGE}88.59": "KEY OBJECT DOC",
    **{f"{_STORAGE}11.{n}": "PRESENTATION" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)},
    **{f"{_STORAGE}104.{n}": "ENCAP DOC" for n in (1, 2, 3, 4, 5)},
    **{f"{_STORAGE}9.{n}": "WAVEFORM" for n in ("1.1", "1.2", "1.3", "1.4", "2.1", "3.1", "4.1", "4.2", "5.1", "6.1")},
}

Facts: TypeAlias = Mapping[str, Mapping[str, Any]]  # an instance in the DICOM JSON model
Value: TypeAlias = "str | int | Sequence[Mapping[int, Value]]"
Keys: TypeAlias = dict[int, Value]

_UNTITLED: Mapping[int, Value] = {_CODE_VALUE: "121181", _CODING_SCHEME: "DCM", _MEANING: "DICOM Object Catalog"}


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One instance on the medium. ``name``: the parts of its path, at most 8 characters of A to Z, 0 to 9 and _."""

    name: tuple[str, ...]
    instance: StoredInstance
    syntax: TransferSyntaxUID  # in which it is written


@dataclass(slots=True)
class _Record:
    """A directory record and what is below it."""

    kind: str
    keys: Keys
    file: MediaFile | None = None
    below: list["_Record"] = field(default_factory=list)
    at: int = 0  # offset of its item in the file


def name_files(
    instances: Sequence[StoredInstance], syntax_of: Mapping[SOPInstanceUID, TransferSyntaxUID]
) -> list[MediaFile]:
    """Names for the instances, a folder a study and a folder a series, in their order.

    Raises:
        ValueError: more than MAX_FILES.
    """
    if len(instances) > MAX_FILES:
        raise ValueError(len(instances))
    studies: dict[str, int] = {}
    series: dict[str, dict[str, int]] = {}
    named = []
    for number, instance in enumerate(instances, 1):
        header = instance.header
        study = studies.setdefault(header.study_instance_uid, len(studies) + 1)
        of_study = series.setdefault(header.study_instance_uid, {})
        folder = of_study.setdefault(header.series_instance_uid, len(of_study) + 1)
        syntax = syntax_of.get(header.sop_instance_uid, header.transfer_syntax_uid)
        name = ("DICOM", f"ST{study:06}", f"SE{folder:06}", f"IM{number:06}")
        named.append(MediaFile(name, instance, syntax))
    return named


def needs_facts(instance: StoredInstance) -> bool:
    """Whether its directory record says more than the index knows."""
    return record_type(instance) not in {"IMAGE", ""}


def record_type(instance: StoredInstance) -> str:
    """The type of its directory record; empty: there is none for it."""
    found = _TYPES.get(instance.header.sop_class_uid)
    if found is not None:
        return found
    return "IMAGE" if instance.header.rows and instance.header.columns else ""


def write_directory(
    studies: Iterable[StudySummary], files: Sequence[MediaFile], facts: Mapping[SOPInstanceUID, Facts]
) -> bytes:
    """The DICOMDIR for ``files``, which are of ``studies``."""
    roots = _tree(studies, files, facts)
    header = part10_header(
        b"",
        sop_class_uid=MEDIA_DIRECTORY,
        sop_instance_uid=SOPInstanceUID(f"2.25.{uuid.uuid4().int}"),
        transfer_syntax_uid=TransferSyntaxUID(EXPLICIT_LITTLE),
    )
    group = _encode({0x00041130: FILE_SET_ID})
    offsets = _SHORT_HEAD * 3 + 4 + 4 + 2  # of the two UL and the US that stand before the records
    begin = len(header) + len(group) + offsets + _SEQUENCE_HEAD
    body = bytearray()
    ordered = list(_flat(roots))
    for record in ordered:
        record.at = begin + len(body)
        body += _encode_record(record)
    for above in (roots, *(record.below for record in ordered)):
        _link(body, begin, above)
    for record in ordered:
        if record.below:
            _patch(body, record.at - begin + _LOWER_AT, record.below[0].at)
    first, last = (roots[0].at, roots[-1].at) if roots else (0, 0)
    group += _encode({0x00041200: first, 0x00041202: last, 0x00041212: 0})
    return header + group + _head(_RECORDS, "SQ", len(body)) + bytes(body)


def _tree(
    studies: Iterable[StudySummary], files: Sequence[MediaFile], facts: Mapping[SOPInstanceUID, Facts]
) -> list[_Record]:
    patients: dict[tuple[str, str], _Record] = {}
    by_study: dict[str, _Record] = {}
    for study in studies:
        key = (study.patient.issuer, study.patient.patient_id)
        patient = patients.setdefault(key, _Record("PATIENT", _patient(study)))
        record = by_study[study.study_instance_uid] = _Record("STUDY", _study(study))
        patient.below.append(record)
    by_series: dict[str, _Record] = {}
    for file in files:
        header, kind = file.instance.header, record_type(file.instance)
        if not kind:
            continue
        series = by_series.get(header.series_instance_uid)
        if series is None:
            series = by_series[header.series_instance_uid] = _Record("SERIES", _series(file.instance))
            by_study[header.study_instance_uid].below.append(series)
        keys = _instance(file.instance, kind, facts.get(header.sop_instance_uid, {}))
        series.below.append(_Record(kind, keys, file))
    for patient in patients.values():
        patient.below = [study for study in patient.below if study.below]
    return [patient for patient in patients.values() if patient.below]


def _patient(study: StudySummary) -> Keys:
    who = study.demographics
    return {_NAME: who.name, _ID: study.patient.patient_id, _BIRTH_DATE: who.birth_date, _SEX: who.sex}


def _study(study: StudySummary) -> Keys:
    return {
        _STUDY_DATE: study.date,
        _STUDY_TIME: study.time,
        _ACCESSION: study.accession_number,
        _STUDY_DESCRIPTION: study.description,
        _STUDY: study.study_instance_uid,
        _STUDY_ID: study.study_id,
    }


def _series(instance: StoredInstance) -> Keys:
    header = instance.header
    return {
        _MODALITY: header.modality,
        _SERIES_DESCRIPTION: header.series_description,
        _SERIES: header.series_instance_uid,
        _SERIES_NUMBER: header.series_number,
    }


def _instance(instance: StoredInstance, kind: str, facts: Facts) -> Keys:
    number = instance.header.instance_number
    header = instance.header
    if kind == "IMAGE":
        return {_NUMBER: number, _ROWS: min(header.rows, _IN_USE), _COLUMNS: min(header.columns, _IN_USE)}
    when: Keys = {
        _CONTENT_DATE: _text(facts, _CONTENT_DATE) or header.study_date,
        _CONTENT_TIME: _text(facts, _CONTENT_TIME) or header.study_time,
        _NUMBER: number,
    }
    if kind == "WAVEFORM":
        return when
    if kind == "PRESENTATION":
        return {
            _NUMBER: number,
            _LABEL: _text(facts, _LABEL),
            _DESCRIPTION: _text(facts, _DESCRIPTION),
            _MADE_ON: _text(facts, _MADE_ON),
            _MADE_AT: _text(facts, _MADE_AT),
            _MADE_BY: _text(facts, _MADE_BY),
        }
    if kind == "ENCAP DOC":
        document: Keys = {_DOCUMENT_TITLE: _text(facts, _DOCUMENT_TITLE), _CONCEPT: _concept(facts)}
        return {**when, **document, _DOCUMENT_TYPE: _text(facts, _DOCUMENT_TYPE)}
    when[_CONCEPT] = _concept(facts) or [
        {_CODE_VALUE: "121181", _CODING_SCHEME: "DCM", _MEANING: "DICOM Object Catalog"}
    ]
    if kind == "SR DOCUMENT":
        when[_COMPLETION] = _text(facts, _COMPLETION)
        when[_VERIFICATION] = _text(facts, _VERIFICATION)
        verified = [_text(item, _VERIFIED_AT) for item in _items(facts, _VERIFIERS)]
        if when[_VERIFICATION] == "VERIFIED" and any(verified):
            when[_VERIFIED_AT] = max(verified)
    return when


def _concept(facts: Facts) -> list[Mapping[int, Value]]:
    for item in _items(facts, _CONCEPT)[:1]:
        found = {tag: _text(item, tag) for tag in (_CODE_VALUE, _CODING_SCHEME, _MEANING)}
        if all(found.values()):
            return [{tag: _clean(tag, text) for tag, text in found.items()}]
    return []


def _items(facts: Facts, tag: int) -> list[Facts]:
    return [item for item in facts.get(f"{tag:08X}", {}).get("Value", []) if isinstance(item, dict)]


def _text(facts: Facts, tag: int) -> str:
    values = facts.get(f"{tag:08X}", {}).get("Value") or [""]
    value = values[0]
    if isinstance(value, dict):
        value = value.get("Alphabetic", "")
    return "" if value is None else str(value)


def _flat(records: Iterable[_Record]) -> Iterator[_Record]:
    """Depth first: a reader that goes through the file meets a series before its images."""
    for record in records:
        yield record
        yield from _flat(record.below)


def _encode_record(record: _Record) -> bytes:
    fixed: Keys = {0x00041400: 0, 0x00041410: _IN_USE, 0x00041420: 0, 0x00041430: record.kind}
    if record.file is not None:
        header = record.file.instance.header
        fixed |= {
            0x00041500: "\\".join(record.file.name),
            0x00041510: header.sop_class_uid,
            0x00041511: header.sop_instance_uid,
            0x00041512: record.file.syntax,
        }
    keys = {tag: _clean(tag, value) if isinstance(value, str) else value for tag, value in record.keys.items()}
    if not _is_ascii(keys):
        keys[_CHARACTER_SET] = "ISO_IR 192"
    body = _encode(fixed) + _encode(keys)
    return struct.pack("<HHI", _ITEM >> 16, _ITEM & 0xFFFF, len(body)) + body


def _is_ascii(keys: Mapping[int, Value]) -> bool:
    for value in keys.values():
        if isinstance(value, str):
            if not value.isascii():
                return False
        elif not isinstance(value, int) and not all(_is_ascii(item) for item in value):
            return False
    return True


def _clean(tag: int, text: str) -> str:
    """What may stand in a value of this element: one value, valid for its VR; else what stands for none."""
    vr = _VRS[tag]
    if vr == "UI":
        return text
    plain = "".join(char if char.isprintable() else " " for char in text.split("\\", 1)[0]).strip()
    if vr == "PN":
        plain = "=".join(group[:_MAX_PN] for group in plain.split("=")[:3])
    elif vr == "CS":
        plain = _NO_CODE.sub("_", plain.upper())
    elif vr in _FORMS and not _FORMS[vr].fullmatch(plain):
        plain = ""
    return plain[: _MOST.get(vr)] or _DEFAULTS.get(tag, "")


def _encode(keys: Mapping[int, Value]) -> bytes:
    return b"".join(_element(tag, keys[tag]) for tag in sorted(keys))


def _element(tag: int, value: Value) -> bytes:
    vr = _VRS[tag]
    if isinstance(value, int):
        raw = value.to_bytes(4 if vr == "UL" else 2, "little")
    elif isinstance(value, str):
        raw = value.encode("utf-8", "replace")
        raw += (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
    else:
        items = (_encode(item) for item in value)
        raw = b"".join(struct.pack("<HHI", _ITEM >> 16, _ITEM & 0xFFFF, len(item)) + item for item in items)
    return _head(tag, vr, len(raw)) + raw


def _head(tag: int, vr: str, length: int) -> bytes:
    where = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return where + (bytes(2) + struct.pack("<I", length) if vr.encode() in LONG_VRS else struct.pack("<H", length))


def _link(body: bytearray, begin: int, records: Sequence[_Record]) -> None:
    for one, following in itertools.pairwise(records):
        _patch(body, one.at - begin + _NEXT_AT, following.at)


def _patch(body: bytearray, at: int, offset: int) -> None:
    struct.pack_into("<I", body, at, offset)
