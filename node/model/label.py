"""What one announcement tells of a study: a structure of fixed size (docs/protocol/announcements.md).

By default the year, never the date; a coarse region, never free text. ``detail`` (date, description, Study Instance
UID) is put in only where a consent for the recipient is on file or the facility's policy says so. Under token kind
(c), an initial instead of a given name, :meth:`Label.existence` tells that something exists and nothing else.

::

    offset  bytes
         0      1  version, 1
         1      1  flags: 1 report present, 2 withdrawn, 4 detail follows, 8 existence only, 16 consent on file
         2      2  body regions, one bit each (BodyRegion)
         4      2  year of the study, 0 unknown
         6      2  zero
         8      4  revision
        12      4  number of instances
        16     16  ref
        32     32  modalities (0008,0060), joined by backslashes, NUL-padded
        64      8  detail: study date (0008,0020) YYYYMMDD, or NULs
        72     64  detail: Study Instance UID (0020,000D), NUL-padded
       136     64  detail: study description (0008,1030) in UTF-8, NUL-padded
"""

import re
import struct
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag
from typing import Final, Self

from node.errors.feeds import EntryMalformed
from node.errors.identifiers import InvalidUid
from node.model.ids import StudyInstanceUID, StudyRef
from node.model.instance import StudySummary

_LAYOUT: Final = struct.Struct(">BBHHHII16s32s8s64s64s")
LABEL_BYTES: Final = _LAYOUT.size  # 200
MODALITIES_BYTES: Final = 32
DESCRIPTION_BYTES: Final = 64  # the LO of (0008,1030) has 64 characters at most; longer UTF-8 is cut at a character

_VERSION: Final = 1
_MAX_COUNT: Final = 2**32 - 1
_MODALITY: Final = re.compile(r"[A-Z0-9_]{1,16}")  # CS without blanks (PS3.5 section 6.2)
_DATE: Final = re.compile(r"[0-9]{8}")
_YEARS: Final = range(1895, 2100)  # radiography begins in 1895


class _Flag(IntFlag):
    REPORT = 1
    WITHDRAWN = 2
    DETAIL = 4
    EXISTENCE = 8
    CONSENT = 16


_ALL_FLAGS: Final = 31


class BodyRegion(IntFlag):
    """Where the study looked, coarsely. No bit: not known."""

    HEAD = 1
    NECK = 2
    CHEST = 4
    BREAST = 8
    ABDOMEN = 16
    PELVIS = 32
    SPINE = 64
    UPPER_LIMB = 128
    LOWER_LIMB = 256
    WHOLE_BODY = 512


NO_REGION: Final = BodyRegion(0)
_ALL_REGIONS: Final = 1023
_TERMS: Final = {
    BodyRegion.HEAD: "HEAD BRAIN SKULL FACE ORBIT EYE SINUS JAW MANDIBLE MAXILLA TMJ EAR IAC PITUITARY NOSE TOOTH",
    BodyRegion.NECK: "NECK HEADNECK THYROID LARYNX PHARYNX CAROTID THROAT",
    BodyRegion.CHEST: "CHEST THORAX LUNG HEART CORONARYARTERY RIB STERNUM AORTA MEDIASTINUM CHESTABDOMEN "
    "CHESTABDPELVIS",
    BodyRegion.BREAST: "BREAST",
    BodyRegion.ABDOMEN: "ABDOMEN LIVER KIDNEY SPLEEN PANCREAS STOMACH COLON GALLBLADDER ABDOMENPELVIS CHESTABDOMEN "
    "CHESTABDPELVIS BOWEL BILEDUCT ADRENAL",
    BodyRegion.PELVIS: "PELVIS HIP BLADDER PROSTATE UTERUS RECTUM ABDOMENPELVIS CHESTABDPELVIS SACRUM SIJOINT",
    BodyRegion.SPINE: "SPINE CSPINE TSPINE LSPINE SSPINE LSSPINE CTSPINE TLSPINE COCCYX SACRUM WHOLESPINE",
    BodyRegion.UPPER_LIMB: "SHOULDER ARM HUMERUS ELBOW FOREARM WRIST HAND FINGER THUMB CLAVICLE SCAPULA RADIUS ULNA "
    "UPPERLIMB UPPEREXTREMITY",
    BodyRegion.LOWER_LIMB: "LEG FEMUR THIGH KNEE PATELLA CALF ANKLE FOOT TOE HEEL CALCANEUS TIBIA FIBULA TIBFIB "
    "LOWERLIMB LOWEREXTREMITY",
    BodyRegion.WHOLE_BODY: "WHOLEBODY BODY",
}


def body_regions(body_parts: Iterable[str]) -> BodyRegion:
    """The regions that Body Part Examined values (0018,0015) name (terms of PS3.16 Annex L); others add nothing."""
    words = {re.sub(r"[^A-Z]", "", part.upper()) for part in body_parts}
    found = NO_REGION
    for region, terms in _TERMS.items():
        if words & set(terms.split()):
            found |= region
    return found


@dataclass(frozen=True, slots=True)
class LabelDetail:
    """What only a recipient with consent is told; empty strings where the study does not say it."""

    study_instance_uid: StudyInstanceUID
    study_date: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """One study as announced. ``ref`` is random and the holder's own; it names the study in a request."""

    ref: StudyRef
    withdrawn: bool = False
    existence_only: bool = False
    report: bool = False
    modalities: tuple[str, ...] = ()
    regions: BodyRegion = NO_REGION
    year: int = 0  # 0: not known
    instances: int = 0
    revision: int = 0
    consent: bool = False  # a consent for the recipient is on file
    detail: LabelDetail | None = None

    @classmethod
    def of_study(
        cls, study: StudySummary, ref: StudyRef, *, detail: bool, consent: bool = False, withdrawn: bool = False
    ) -> Self:
        """What to announce of ``study``; values that a label cannot hold are left out or cut, never refused."""
        year = int(study.date[:4]) if _DATE.fullmatch(study.date) else 0
        return cls(
            ref=ref,
            withdrawn=withdrawn,
            report=study.has_report,
            modalities=_fitting(study.modalities),
            regions=body_regions(study.body_parts),
            year=year if year in _YEARS else 0,
            instances=min(study.instances, _MAX_COUNT),
            revision=min(study.revision, _MAX_COUNT),
            consent=consent,
            detail=LabelDetail(
                study.study_instance_uid,
                study.date if _DATE.fullmatch(study.date) else "",
                _short(study.description),
            )
            if detail
            else None,
        )

    def existence(self) -> "Label":
        """The same announcement for token kind (c): that something exists, and its ref."""
        return Label(ref=self.ref, withdrawn=self.withdrawn, existence_only=True)

    def encode(self) -> bytes:
        """LABEL_BYTES bytes. ValueError for a label that :meth:`decode` would refuse."""
        flags = (
            self.report * _Flag.REPORT
            | self.withdrawn * _Flag.WITHDRAWN
            | (self.detail is not None) * _Flag.DETAIL
            | self.existence_only * _Flag.EXISTENCE
            | self.consent * _Flag.CONSENT
        )
        detail = self.detail
        data = _LAYOUT.pack(
            _VERSION,
            flags,
            self.regions,
            self.year,
            0,
            self.revision,
            self.instances,
            self.ref.value,
            "\\".join(self.modalities).encode(),
            detail.study_date.encode() if detail else b"",
            detail.study_instance_uid.encode() if detail else b"",
            detail.description.encode() if detail else b"",
        )
        try:
            same = self.decode(data) == self
        except EntryMalformed as exc:
            raise ValueError(exc.fact) from exc
        if not same:
            raise ValueError("a field is too long")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a label that was opened; each label has exactly one spelling.

        Raises:
            EntryMalformed: naming the rule that was broken.
        """
        if len(data) != LABEL_BYTES:
            raise EntryMalformed("length of the label")
        version, flags, regions, year, zero, revision, instances, ref, modalities, *rest = _LAYOUT.unpack(data)
        if version != _VERSION or flags > _ALL_FLAGS or regions > _ALL_REGIONS or zero:
            raise EntryMalformed("not a label of version 1")
        if year and year not in _YEARS:
            raise EntryMalformed("year")
        has_detail, existence = bool(flags & _Flag.DETAIL), bool(flags & _Flag.EXISTENCE)
        if not has_detail and any(b"".join(rest)):
            raise EntryMalformed("detail without its flag")
        if existence and (flags & ~(_Flag.EXISTENCE | _Flag.WITHDRAWN) or any(data[2:16]) or any(data[32:])):
            raise EntryMalformed("more than existence")
        return cls(
            ref=StudyRef(ref),
            withdrawn=bool(flags & _Flag.WITHDRAWN),
            existence_only=existence,
            report=bool(flags & _Flag.REPORT),
            modalities=_decode_modalities(modalities),
            regions=BodyRegion(regions),
            year=year,
            instances=instances,
            revision=revision,
            consent=bool(flags & _Flag.CONSENT),
            detail=_decode_detail(*rest) if has_detail else None,
        )


def _fitting(modalities: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    for modality in modalities:
        name = modality.strip()
        if _MODALITY.fullmatch(name) and name not in kept and len("\\".join([*kept, name])) <= MODALITIES_BYTES:
            kept.append(name)
    return tuple(kept)


def _short(description: str) -> str:
    """At most DESCRIPTION_BYTES of UTF-8, control characters as blanks."""
    clean = "".join(" " if unicodedata.category(char) in _UNPRINTABLE else char for char in description).strip()
    return clean.encode()[:DESCRIPTION_BYTES].decode(errors="ignore").rstrip()


_UNPRINTABLE: Final = ("Cc", "Cs", "Zl", "Zp")


def _text(field: bytes) -> str:
    """A NUL-padded field: no NUL before the padding, no control characters."""
    try:
        text = field.rstrip(b"\0").decode()
    except UnicodeDecodeError as exc:
        raise EntryMalformed("text") from exc
    if any(unicodedata.category(char) in _UNPRINTABLE for char in text):
        raise EntryMalformed("text")
    return text


def _decode_modalities(field: bytes) -> tuple[str, ...]:
    text = _text(field)
    names = tuple(text.split("\\")) if text else ()
    if len(set(names)) != len(names) or not all(_MODALITY.fullmatch(name) for name in names):
        raise EntryMalformed("modalities")
    return names


def _decode_detail(date: bytes, uid: bytes, description: bytes) -> LabelDetail:
    text = _text(date)
    if text and not _DATE.fullmatch(text):
        raise EntryMalformed("study date")
    bare = _text(uid)
    try:
        parsed = StudyInstanceUID.parse(bare)
    except InvalidUid as exc:
        raise EntryMalformed("study instance uid") from exc
    if parsed != bare:  # UID padding is NUL; a blank would be a second spelling
        raise EntryMalformed("study instance uid")
    return LabelDetail(parsed, text, _text(description))
