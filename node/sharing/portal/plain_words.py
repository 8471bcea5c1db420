"""Words for patients: a sentence is its English text, which is the key of its translations, and what goes into it.

Use cases say what they have to say by :func:`say`; the edge that knows the reader's language puts it into words
(``api.web.languages``). A test holds every text that is said against the catalogues.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from node.model.directive import ACCOMPANYING
from node.model.instance import StudySummary


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar day as DICOM writes it (DA, YYYYMMDD)."""

    da: str


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time, in seconds since the epoch."""

    at: int


@dataclass(frozen=True, slots=True)
class Person:
    """A person's name as DICOM writes it (PN)."""

    pn: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Words:
    """A sentence. ``{n}`` in its text is a count by which its form is chosen."""

    text: str
    values: Mapping[str, "Value"] = field(default_factory=dict, repr=False, hash=False)


Value: TypeAlias = "str | int | Day | Moment | Person | Words"


def say(text: str, **values: Value) -> Words:
    """``text`` in English, with the names of ``values`` in braces."""
    return Words(text, values)


# Modality (0008,0060), defined terms of PS3.3 section C.7.3.1.1.1, as people call what was done.
_MODALITIES: Mapping[str, Words] = {
    "CT": say("CT scan"),
    "MR": say("MRI scan"),
    "CR": say("X-ray"),
    "DX": say("X-ray"),
    "DR": say("X-ray"),
    "RG": say("X-ray"),
    "MG": say("Mammogram"),
    "US": say("Ultrasound"),
    "IVUS": say("Ultrasound"),
    "PT": say("PET scan"),
    "NM": say("Nuclear medicine scan"),
    "XA": say("X-ray of blood vessels"),
    "RF": say("X-ray video"),
    "BMD": say("Bone density scan"),
    "ES": say("Endoscopy"),
    "OP": say("Eye photograph"),
    "OPT": say("Eye scan"),
    "OCT": say("Eye scan"),
    "IO": say("Dental X-ray"),
    "PX": say("Dental X-ray"),
    "XC": say("Photograph"),
    "GM": say("Microscope image"),
    "SM": say("Microscope image"),
    "ECG": say("Heart tracing (ECG)"),
    "RTIMAGE": say("Radiotherapy image"),
    "RTDOSE": say("Radiotherapy plan"),
    "RTPLAN": say("Radiotherapy plan"),
    "RTSTRUCT": say("Radiotherapy plan"),
    "SEG": say("Measurements"),
    "SR": say("Report"),
    "DOC": say("Document"),
    "KO": say("Selected images"),
    "PR": say("Marked images"),
}
_ANY_MODALITY = say("Images")

# Body Part Examined (0018,0015), defined terms of PS3.16 annex L, as people say them after "of".
_BODY_PARTS: Mapping[str, Words] = {
    "ABDOMEN": say("the abdomen"),
    "ABDOMENPELVIS": say("the abdomen and pelvis"),
    "ANKLE": say("the ankle"),
    "ARM": say("the arm"),
    "BRAIN": say("the brain"),
    "BREAST": say("the breast"),
    "CHEST": say("the chest"),
    "CHESTABDOMEN": say("the chest and abdomen"),
    "CHESTABDPELVIS": say("the chest, abdomen and pelvis"),
    "CSPINE": say("the neck part of the spine"),
    "ELBOW": say("the elbow"),
    "EYE": say("the eye"),
    "FACE": say("the face"),
    "FINGER": say("the finger"),
    "FOOT": say("the foot"),
    "FOREARM": say("the forearm"),
    "HAND": say("the hand"),
    "HEAD": say("the head"),
    "HEART": say("the heart"),
    "HIP": say("the hip"),
    "JAW": say("the jaw"),
    "KIDNEY": say("the kidney"),
    "KNEE": say("the knee"),
    "LEG": say("the leg"),
    "LIVER": say("the liver"),
    "LSPINE": say("the lower spine"),
    "LUNG": say("the lung"),
    "NECK": say("the neck"),
    "PELVIS": say("the pelvis"),
    "SHOULDER": say("the shoulder"),
    "SKULL": say("the skull"),
    "SPINE": say("the spine"),
    "TSPINE": say("the middle spine"),
    "TOE": say("the toe"),
    "WHOLEBODY": say("the whole body"),
    "WRIST": say("the wrist"),
}
_SYNONYMS = {
    "THORAX": "CHEST",
    "LUMBAR SPINE": "LSPINE",
    "LUMBARSPINE": "LSPINE",
    "CERVICAL SPINE": "CSPINE",
    "CERVICALSPINE": "CSPINE",
    "THORACIC SPINE": "TSPINE",
    "THORACICSPINE": "TSPINE",
    "EXTREMITY": "",
    "WHOLE BODY": "WHOLEBODY",
    "WHOLE_BODY": "WHOLEBODY",  # the last three as announcements name regions (``model.label.BodyRegion``)
    "UPPER_LIMB": "ARM",
    "LOWER_LIMB": "LEG",
    "CARDIAC": "HEART",
    "HEADNECK": "HEAD",
}
_MAX_PARTS = 2  # more in one name is a list, not a name


def modality_name(code: str) -> Words:
    """What people call images of a modality."""
    return _MODALITIES.get(code.strip().upper(), _ANY_MODALITY)


def body_part_name(code: str) -> Words | None:
    """How people call a body part; None for a term that is not in common use."""
    term = code.strip().upper()
    return _BODY_PARTS.get(_SYNONYMS.get(term, term))


def study_name(modalities: Sequence[str], body_parts: Sequence[str]) -> Words:
    """A name for a study without a word of the trade: ``CT scan of the chest``."""
    main = [code for code in modalities if code.upper() not in ACCOMPANYING] or list(modalities)
    kinds = list(dict.fromkeys(modality_name(code) for code in main)) or [_ANY_MODALITY]
    parts = list(dict.fromkeys(part for code in body_parts if (part := body_part_name(code)) is not None))
    kind = kinds[0] if len(kinds) == 1 else say("{first} and {second}", first=kinds[0], second=kinds[1])
    if not parts or len(parts) > _MAX_PARTS:
        return kind
    part = parts[0] if len(parts) == 1 else say("{first} and {second}", first=parts[0], second=parts[1])
    return say("{kind} of {part}", kind=kind, part=part)


def name_of(study: StudySummary) -> Words:
    """The name of a study that is held."""
    return study_name(study.modalities, study.body_parts)
