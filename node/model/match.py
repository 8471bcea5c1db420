"""Whether what a requester says about the patient fits the patient whose images it asks for. Pure.

Only what both sides say is compared, in the normal form of the linkage rules, so that spelling is no conflict. What
does not fit never decides by itself: it makes a person look.
"""

from node.model.decide import ReviewReason
from node.model.ids import PatientKey
from node.model.instance import Demographics
from node.model.linkage import normalise_birth_date, normalise_name, normalise_sex
from node.model.request import Subject


def conflicts(said: Subject, patient: PatientKey, held: Demographics) -> frozenset[ReviewReason]:
    """What of ``said`` contradicts the holder's ``patient`` and ``held``.

    Identifiers are compared only under one issuer: another facility's number for the same person differs by nature.
    """
    found: set[ReviewReason] = set()
    if _names_differ(said.demographics.name, held.name):
        found.add(ReviewReason.NAME_CONFLICT)
    if _differ(_date(said.demographics.birth_date), _date(held.birth_date)):
        found.add(ReviewReason.BIRTH_DATE_CONFLICT)
    if _differ(normalise_sex(said.demographics.sex), normalise_sex(held.sex)):
        found.add(ReviewReason.SEX_CONFLICT)
    key = said.patient
    if key is not None and key.issuer == patient.issuer and key.patient_id != patient.patient_id:
        found.add(ReviewReason.PATIENT_ID_CONFLICT)
    return frozenset(found)


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
