"""Linkage tokens, rule set 1: the same patient at two facilities, spelt differently, gives the same bytes.

Three kinds: (a) an identifier that both facilities share, (b) FAMILY|GIVEN|SEX|BIRTHDATE, (c) the same with the given
name's first letter. Only (a) is a match; (b) and (c) make candidates, which the holder confirms against the full
demographics. A token is an input to the VOPRF and never leaves the node in clear.

A token is ``leveret/linkage/1``, the kind and the fields, separated by NUL bytes (no field can hold one), so two
different patients never share the bytes of a token by accident of concatenation. The rules stand, with vectors, in
docs/protocol/announcements.md; a changed rule is a new rule set, for both sides must compute the same bytes.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final

from node.model.ids import PatientKey
from node.model.instance import Demographics

MAX_TOKENS: Final = 3  # one of each kind; a question is padded to this many, whoever the patient is
MAX_FIELD: Final = 256  # characters of a name component or an identifier that are looked at; longer ones give no token

_PREFIX: Final = "leveret/linkage/1"
_TRANSLITERATION: Final = str.maketrans({
    "Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "Ø": "O", "ø": "o", "ß": "ss", "ẞ": "SS", "Þ": "TH", "þ": "th",
    "Ð": "D", "ð": "d", "Đ": "D", "đ": "d", "Ł": "L", "ł": "l", "Ħ": "H", "ħ": "h", "Ŧ": "T", "ŧ": "t", "Ŋ": "NG",
    "ŋ": "ng", "\u0131": "i", "ĸ": "k", "Ə": "E", "ə": "e",
})  # fmt: skip
_TITLES: Final = frozenset({
    "MR", "MRS", "MS", "MISS", "DR", "PROF", "CAPT", "SIR", "COL", "GEN", "CMDR", "LT", "RABBI", "FATHER",
    "BROTHER", "SISTER", "HON", "REV", "DOCTOR", "HERR", "FRAU", "MME",
})  # fmt: skip
_SUFFIXES: Final = frozenset({
    "JR", "JUNIOR", "SR", "SENIOR", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "1ST", "2ND",
    "3RD", "4TH", "5TH",
})  # fmt: skip
_PLACEHOLDERS: Final = frozenset({
    "UNKNOWN", "NA", "NONE", "NULL", "NIL", "TEST", "TESTPATIENT", "SAMPLE", "DONOR", "PATIENT", "MASKED",
    "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "ANON", "MISSING", "UNAVAILABLE", "NONAME", "NOTGIVEN",
    "UNIDENTIFIED", "UNNAMED", "DECEASED", "BABY", "BABYBOY", "BABYGIRL", "NEWBORN", "MALE", "FEMALE",
    "JANEDOE", "JOHNDOE", "EMERGENCY", "TRAUMA", "PHANTOM", "QC", "XX", "XXX", "XXXX", "UNBEKANNT", "INCONNU",
    "DESCONOCIDO", "SCONOSCIUTO",
})  # fmt: skip
_SHORTEST_FAMILY: Final = 2  # letters: a single one is an initial that many share
_PLACEHOLDER_DATES: Final = frozenset({date(1900, 1, 1)})
_BIRTH_YEARS: Final = range(1900, 2100)
_DATE: Final = re.compile(r"([0-9]{4})([-.]?)([0-9]{2})\2([0-9]{2})")  # DA, the older YYYY.MM.DD, and ISO 8601


class TokenKind(StrEnum):
    """What a token is made of."""

    IDENTIFIER = "identifier"  # (a)
    NAME = "name"  # (b)
    INITIAL = "initial"  # (c)


@dataclass(frozen=True, slots=True)
class LinkageToken:
    """One input to the VOPRF. ``repr`` shows nothing of the patient."""

    kind: TokenKind
    value: bytes = field(repr=False)


def linkage_tokens(
    demographics: Demographics, patient: PatientKey, shared_issuers: Collection[str]
) -> tuple[LinkageToken, ...]:
    """The tokens of one patient, at most MAX_TOKENS, in the order of their kinds; none where nothing can be relied on.

    ``shared_issuers`` are the issuers whose identifiers mean the same patient at every facility.
    """
    tokens = []
    if identifier := _identifier(patient, shared_issuers):
        tokens.append(_token(TokenKind.IDENTIFIER, *identifier))
    family, given = _names(demographics.name)
    born = normalise_birth_date(demographics.birth_date)
    if family and given and born:
        sex = normalise_sex(demographics.sex)
        tokens.append(_token(TokenKind.NAME, family, given, sex, born))
        tokens.append(_token(TokenKind.INITIAL, family, given[0], sex, born))
    return tuple(tokens)


def normalise_name(component: str, *, given: bool = False) -> str:
    """One component of a PN in the letters A to Z: transliterated, without marks, titles and suffixes.

    A given name also loses a middle initial. Empty where nothing is left.
    """
    if len(component) > MAX_FIELD:
        return ""
    text = unicodedata.normalize("NFKC", component).translate(_TRANSLITERATION)
    text = unicodedata.normalize("NFD", text)
    text = "".join(char for char in text if not unicodedata.category(char).startswith("M")).upper()
    words = [word for raw in text.split() if (word := re.sub(r"[^A-Z0-9]", "", raw))]
    while len(words) > 1 and words[0] in _TITLES:
        del words[0]
    while len(words) > 1 and words[-1] in _SUFFIXES:
        del words[-1]
    if given and len(words) > 1 and len(words[-1]) == 1:
        del words[-1]
    return re.sub(r"[^A-Z]", "", "".join(words))


def is_placeholder_name(name: str) -> bool:
    """Whether a PN names nobody: a component is missing, an initial or a word that stands for "unknown"."""
    family, given = _names(name)
    return not (family and given)


def normalise_birth_date(text: str) -> str:
    """YYYY-MM-DD, or empty for what is no date, not from 1900 to 2099, or a known placeholder."""
    parts = _DATE.fullmatch(text.strip())
    if not parts:
        return ""
    try:
        born = date(int(parts[1]), int(parts[3]), int(parts[4]))
    except ValueError:
        return ""
    return born.isoformat() if born.year in _BIRTH_YEARS and born not in _PLACEHOLDER_DATES else ""


def normalise_sex(text: str) -> str:
    """M or F; empty for anything else, which facilities write in too many ways (O, U, nothing) to compare."""
    sex = text.strip().upper()
    return sex if sex in ("M", "F") else ""


def _names(name: str) -> tuple[str, str]:
    """Family and given name of the alphabetic group; both empty where either is missing or a placeholder."""
    group = name.split("=", 1)[0]
    if "^" not in group and group.count(",") == 1:  # "Family, Given", as people and some devices write it
        group = group.replace(",", "^")
    components = [*group.split("^"), ""]
    family, given = normalise_name(components[0]), normalise_name(components[1], given=True)
    if len(family) < _SHORTEST_FAMILY or not given or {family, given, given + family, family + given} & _PLACEHOLDERS:
        return "", ""
    return family, given


def _identifier(patient: PatientKey, shared_issuers: Collection[str]) -> tuple[str, str] | None:
    """Issuer and identifier, both in capitals, the identifier without punctuation; None where they prove nothing."""
    issuer = _issuer(patient.issuer)
    if not issuer or issuer not in {_issuer(shared) for shared in shared_issuers}:
        return None
    if len(patient.patient_id) > MAX_FIELD:
        return None
    text = re.sub(r"[\s./_-]", "", unicodedata.normalize("NFKC", patient.patient_id)).upper()
    worthless = text in _PLACEHOLDERS or not re.search(r"[1-9A-Z]", text) or re.fullmatch(r"9{4,}", text)
    if worthless or not re.fullmatch(r"[0-9A-Z]+", text):
        return None
    return issuer, text


def _issuer(text: str) -> str:
    name = " ".join(unicodedata.normalize("NFKC", text).upper().split())
    return name if len(name) <= MAX_FIELD and name.isprintable() else ""


def _token(kind: TokenKind, *fields: str) -> LinkageToken:
    return LinkageToken(kind, "\0".join((_PREFIX, kind, *fields)).encode())
