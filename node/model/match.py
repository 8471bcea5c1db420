"""Whether what a requester says about the patient fits the patient whose images it asks for. Pure.

Only what both sides say is compared, in the normal form of the linkage rules, so that spelling is no conflict. What
does not fit never decides by itself: it makes a person look. **Confirmed** takes two things that agree and none that
contradicts: an identifier of one issuer with the birth date or the whole name, or the whole name with birth date and
sex if nobody else here fits them. Twins differ in the given name, a John Doe has no name, a bride has another one: none
of them is ever confirmed by demographics alone.
"""

from node.model.decide import Identification, MatchGrade, ReviewReason
from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.model.linkage import is_placeholder_name, normalise_birth_date, normalise_name, normalise_sex
from node.model.request import Subject

_ISO_DATE_LENGTH = 10


def identify(said: Subject, patient: PatientKey, held: Demographics, *, namesakes: int) -> Identification:
    """How sure it is that ``said`` means the holder's ``patient``.

    ``namesakes`` is how many patients of the holder share the held name, birth date and sex, this one included.
    """
    against = conflicts(said, patient, held)
    if against:
        return Identification(MatchGrade.CONFLICT, against)
    born = bool(_both(_date(said.demographics.birth_date), _date(held.birth_date)))
    named = _whole_names_agree(said.demographics.name, held.name)
    sexed = bool(_both(normalise_sex(said.demographics.sex), normalise_sex(held.sex)))
    if _same_identifier(said.patient, patient) and (born or named):
        return Identification(MatchGrade.CONFIRMED)
    if named and born and sexed:
        if namesakes > 1:
            return Identification(MatchGrade.CANDIDATE, frozenset({ReviewReason.NAMESAKES}))
        return Identification(MatchGrade.CONFIRMED)
    return Identification(MatchGrade.CANDIDATE, frozenset({ReviewReason.NOT_IDENTIFIED}))


def same_person(one: Demographics, other: Demographics) -> bool:
    """Whether two records of one facility cannot be told apart by name, birth date and sex; an unknown sex fits any."""
    born = normalise_birth_date(one.birth_date)
    if not born or born != normalise_birth_date(other.birth_date):
        return False
    return _parts(one.name) == _parts(other.name) and not _differ(normalise_sex(one.sex), normalise_sex(other.sex))


def conflicts(said: Subject, patient: PatientKey, held: Demographics) -> frozenset[ReviewReason]:
    """What of ``said`` contradicts the holder's ``patient`` and ``held``.

    Identifiers are compared only under one issuer: another facility's number for the same person differs by nature.
    """
    found: set[ReviewReason] = set()
    if _names_differ(said.demographics.name, held.name):
        found.add(ReviewReason.NAME_CONFLICT)
    said_date, held_date = _date(said.demographics.birth_date), _date(held.birth_date)
    if _differ(said_date, held_date):
        found.add(ReviewReason.BIRTH_DATE_CONFLICT)
        if _swapped(said_date) == held_date:
            found.add(ReviewReason.BIRTH_DATE_SWAPPED)
    if _differ(normalise_sex(said.demographics.sex), normalise_sex(held.sex)):
        found.add(ReviewReason.SEX_CONFLICT)
    key = said.patient
    if key is not None and _issuer(key) == _issuer(patient) and _id(key) != _id(patient):
        found.add(ReviewReason.PATIENT_ID_CONFLICT)
    return frozenset(found)


def _same_identifier(said: PatientKey | None, patient: PatientKey) -> bool:
    if said is None or not _issuer(patient) or not _id(patient):
        return False
    return (_issuer(said), _id(said)) == (_issuer(patient), _id(patient))


def _issuer(key: PatientKey) -> str:
    return key.issuer.strip().casefold()


def _id(key: PatientKey) -> str:
    return key.patient_id.strip()


def _both(said: str, held: str) -> str:
    return said if said and said == held else ""


def _whole_names_agree(said: str, held: str) -> bool:
    """Family and given name equal letter by letter in normal form, and real: an initial or a placeholder is no name."""
    if is_placeholder_name(said) or is_placeholder_name(held):
        return False
    family, given = _parts(said)
    return bool(family) and len(given) > 1 and (family, given) == _parts(held)


def _swapped(date: str) -> str:
    """The ISO date with day and month exchanged."""
    if len(date) != _ISO_DATE_LENGTH:
        return ""
    return f"{date[:4]}-{date[8:10]}-{date[5:7]}"


def _date(text: str) -> str:
    """The normal form; a date that has none is compared as it stands, so that garbage never agrees by being dropped."""
    return normalise_birth_date(text) or text.strip()


def _differ(said: str, held: str) -> bool:
    return bool(said and held) and said != held


def _names_differ(said: str, held: str) -> bool:
    """Family names must be equal; of the given names one may begin the other (an initial, a middle name left out)."""
    said_parts, held_parts = _parts(said), _parts(held)
    if not any(said_parts) or not any(held_parts):
        return False
    said_given, held_given = said_parts[1], held_parts[1]
    given_fits = said_given.startswith(held_given) or held_given.startswith(said_given)
    return said_parts[0] != held_parts[0] or not given_fits


def _parts(name: str) -> tuple[str, str]:
    """Family and given name of the alphabetic group in normal form; what A to Z cannot say is compared as it stands."""
    group = name.split("=", 1)[0]
    if "^" not in group and group.count(",") == 1:
        group = group.replace(",", "^")
    family, given = [*group.split("^"), ""][:2]
    return (
        normalise_name(family) or family.strip().casefold(),
        normalise_name(given, given=True) or given.strip().casefold(),
    )
