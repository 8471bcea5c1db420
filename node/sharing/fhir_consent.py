"""Directives as FHIR R4 Consent resources, and back (https://hl7.org/fhir/R4/consent.html; IHE PCF). Pure.

One directive is one Consent with one provision:

| FHIR | here |
|---|---|
| ``scope`` patient-privacy, ``category`` LOINC 59284-0, ``policyRule`` OPTIN or OPTOUT | that it is a directive |
| ``patient.identifier`` (value, assigner.display) | Patient ID and its issuer |
| ``provision.type`` | PERMIT, DENY |
| ``provision.period`` | from when until when it says something; FHIR's end is the last moment in it |
| ``provision.actor`` (IRCP) | the one recipient; none: any trusted peer |
| ``provision.purpose`` (v3-ActReason) | purposes of use; none: every one |
| ``provision.class`` (DCM) | modalities |
| ``provision.code`` | body parts examined (0018,0015) |
| ``provision.data`` (instance, urn:dicom:uid) | named studies |
| ``provision.dataPeriod`` | study dates, both inclusive |
| ``verification.verifiedWith`` | who saw the patient decide |

What a Consent says beyond that would be lost here, and a lost exception releases what the patient withheld: it is
refused, with the place named (:class:`ConsentNotExpressible`). A place is a path of FHIR element names, never a value.
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any

from node.errors.base import LeveretError
from node.errors.consents import ConsentNotExpressible
from node.model.consent import PurposeOfUse
from node.model.directive import Directive, DirectiveOrder, Effect, Scope
from node.model.ids import PatientKey, PeerId, StudyInstanceUID

SCOPES = "http://terminology.hl7.org/CodeSystem/consentscope"
LOINC = "http://loinc.org"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
DICOM_UID = "urn:dicom:uid"
BODY_PARTS = "urn:leveret:dicom:body-part-examined"  # defined terms of PS3.16 annex L have no FHIR code system
PEERS = "urn:leveret:peer-id"

PRIVACY_DIRECTIVE = "59284-0"  # LOINC: Consent Document
_POLICY = {Effect.PERMIT: "OPTIN", Effect.DENY: "OPTOUT"}
_TYPES = {Effect.PERMIT: "permit", Effect.DENY: "deny"}

Json = Mapping[str, Any]


def to_fhir(directive: Directive, holder: PeerId) -> dict[str, Any]:
    """The Consent resource; a revoked directive is an inactive one."""
    return {
        "resourceType": "Consent",
        "id": str(directive.consent_id),
        "status": "active" if directive.revoked_at is None else "inactive",
        "scope": _concept(SCOPES, "patient-privacy"),
        "category": [_concept(LOINC, PRIVACY_DIRECTIVE)],
        "patient": {
            "identifier": {
                "type": _concept(IDENTIFIER_TYPES, "MR"),
                "value": directive.patient.patient_id,
                "assigner": {"display": directive.patient.issuer},
            }
        },
        "dateTime": _moment(directive.created_at),
        "organization": [_peer(holder)],
        "policyRule": _concept(ACT_CODE, _POLICY[directive.effect]),
        **_verification(directive),
        "provision": _provision(directive),
    }


def _verification(directive: Directive) -> dict[str, Any]:
    if not directive.recorded_by:
        return {}
    seen = {"verified": True, "verifiedWith": {"display": directive.recorded_by}}
    return {"verification": [{**seen, "verificationDate": _moment(directive.created_at)}]}


def _provision(directive: Directive) -> dict[str, Any]:
    scope = directive.scope
    period = {"start": _moment(directive.starts_at)}
    if directive.until is not None:
        period["end"] = _moment(directive.until - 1)  # FHIR's end is inclusive
    made: dict[str, Any] = {"type": _TYPES[directive.effect], "period": period}
    if directive.recipient is not None:
        made["actor"] = [{"role": _concept(PARTICIPATION, "IRCP"), "reference": _peer(directive.recipient)}]
    if directive.purposes:
        made["purpose"] = [{"system": ACT_REASON, "code": code.value} for code in sorted(directive.purposes)]
    if scope.modalities:
        made["class"] = [{"system": DCM, "code": code} for code in sorted(scope.modalities)]
    if scope.body_parts:
        made["code"] = [_concept(BODY_PARTS, code) for code in sorted(scope.body_parts)]
    dates = {"start": _iso(scope.from_date), "end": _iso(scope.to_date)}
    if scope.from_date or scope.to_date:
        made["dataPeriod"] = {key: text for key, text in dates.items() if text}
    if scope.studies:
        made["data"] = [_study(uid) for uid in sorted(scope.studies)]
    return made


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def _peer(peer: PeerId) -> dict[str, Any]:
    return {"type": "Organization", "identifier": {"system": PEERS, "value": peer.full}}


def _study(uid: StudyInstanceUID) -> dict[str, Any]:
    reference = {"type": "ImagingStudy", "identifier": {"system": DICOM_UID, "value": f"urn:oid:{uid}"}}
    return {"meaning": "instance", "reference": reference}


def _moment(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _iso(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if date else ""


# Reading

_ROOT = frozenset({
    "resourceType", "id", "meta", "text", "language", "identifier", "status", "scope", "category", "patient",
    "dateTime", "performer", "organization", "sourceAttachment", "sourceReference", "policy", "policyRule",
    "verification", "provision",
})  # fmt: skip
_PROVISION = frozenset({
    "id", "type", "period", "actor", "action", "purpose", "class", "code", "dataPeriod", "data",
})  # fmt: skip
_DISCLOSING = frozenset({"access", "disclose"})  # consentaction: what a release is


def from_fhir(resource: Json, *, issuer: str, patient: PatientKey | None = None) -> DirectiveOrder:
    """What a Consent wants recorded. ``issuer`` is meant where its identifier names no assigner.

    ``patient`` says whose it is, over what the resource says.

    Raises:
        ConsentNotExpressible: it is no active privacy consent, or says what a directive cannot say.
    """
    _only(resource, _ROOT, "Consent")
    if resource.get("resourceType") != "Consent":
        raise ConsentNotExpressible("resourceType")
    if resource.get("status") != "active":
        raise ConsentNotExpressible("status: only an active one is recorded")
    if "patient-privacy" not in _codes(resource.get("scope"), SCOPES, "scope"):
        raise ConsentNotExpressible("scope: patient-privacy is wanted")
    provision = _object(resource.get("provision"), "provision")
    _only(provision, _PROVISION, "provision")
    effect = _effect(resource, provision)
    _check_action(provision)
    starts_at, until = _period(provision)
    return DirectiveOrder(
        patient=patient or _patient(resource, issuer),
        effect=effect,
        recipient=_recipient(provision),
        scope=_scope(provision),
        purposes=_purposes(provision),
        starts_at=starts_at,
        until=until,
        recorded_by=_recorded_by(resource),
    )


def _effect(resource: Json, provision: Json) -> Effect:
    """The provision says it; a policy rule that says the contrary leaves open what is meant."""
    for effect, name in _TYPES.items():
        if provision.get("type") == name:
            rules = _codes(resource.get("policyRule"), ACT_CODE, "policyRule") if "policyRule" in resource else ()
            contrary = _POLICY[Effect.DENY if effect is Effect.PERMIT else Effect.PERMIT]
            if contrary in rules:
                raise ConsentNotExpressible("policyRule: contradicts provision.type")
            return effect
    raise ConsentNotExpressible("provision.type")


def _check_action(provision: Json) -> None:
    for action in _list(provision, "action", "provision"):
        for coding in _list(_object(action, "provision.action"), "coding", "provision.action"):
            if _object(coding, "provision.action").get("code") not in _DISCLOSING:
                raise ConsentNotExpressible("provision.action")


def _patient(resource: Json, issuer: str) -> PatientKey:
    identifier = _object(_object(resource.get("patient"), "patient").get("identifier"), "patient.identifier")
    assigner = identifier.get("assigner", {})
    named = _object(assigner, "patient.identifier.assigner").get("display", issuer)
    return PatientKey(_text(named, "patient.identifier.assigner"), _text(identifier.get("value"), "patient.identifier"))


def _recipient(provision: Json) -> PeerId | None:
    actors = _list(provision, "actor", "provision")
    if not actors:
        return None
    if len(actors) > 1:
        raise ConsentNotExpressible("provision.actor: one recipient a Consent")
    actor = _object(actors[0], "provision.actor")
    _only(actor, frozenset({"id", "role", "reference"}), "provision.actor")
    if "IRCP" not in _codes(actor.get("role"), PARTICIPATION, "provision.actor.role"):
        raise ConsentNotExpressible("provision.actor.role: IRCP is wanted")
    reference = _object(actor.get("reference"), "provision.actor.reference")
    identifier = _object(reference.get("identifier"), "provision.actor.reference.identifier")
    if identifier.get("system") != PEERS:
        raise ConsentNotExpressible("provision.actor.reference.identifier.system")
    try:
        return PeerId.parse(_text(identifier.get("value"), "provision.actor.reference.identifier"))
    except (LeveretError, ValueError) as exc:
        raise ConsentNotExpressible("provision.actor.reference.identifier.value") from exc


def _scope(provision: Json) -> Scope:
    modalities = frozenset(
        code for one in _list(provision, "class", "provision") for code in (_coded(one, DCM, "provision.class"),)
    )
    parts: set[str] = set()
    for concept in _list(provision, "code", "provision"):
        found = _codes(concept, BODY_PARTS, "provision.code")
        if len(found) != 1:
            raise ConsentNotExpressible("provision.code")
        parts |= set(found)
    dates = _object(provision.get("dataPeriod", {}), "provision.dataPeriod")
    _only(dates, frozenset({"id", "start", "end"}), "provision.dataPeriod")
    studies = frozenset(_study_of(one) for one in _list(provision, "data", "provision"))
    start, end = (_date(dates.get(key), f"provision.dataPeriod.{key}") for key in ("start", "end"))
    return Scope(studies, modalities, frozenset(parts), start, end)


def _study_of(data: object) -> StudyInstanceUID:
    one = _object(data, "provision.data")
    _only(one, frozenset({"id", "meaning", "reference"}), "provision.data")
    if one.get("meaning") != "instance":
        raise ConsentNotExpressible("provision.data.meaning: instance is wanted")
    reference = _object(one.get("reference"), "provision.data.reference")
    identifier = _object(reference.get("identifier"), "provision.data.reference.identifier")
    value = _text(identifier.get("value"), "provision.data.reference.identifier")
    if identifier.get("system") != DICOM_UID or not value.startswith("urn:oid:"):
        raise ConsentNotExpressible("provision.data.reference.identifier")
    try:
        return StudyInstanceUID.parse(value.removeprefix("urn:oid:"))
    except (LeveretError, ValueError) as exc:
        raise ConsentNotExpressible("provision.data.reference.identifier.value") from exc


def _purposes(provision: Json) -> frozenset[PurposeOfUse]:
    try:
        return frozenset(
            PurposeOfUse(_coded(one, ACT_REASON, "provision.purpose"))
            for one in _list(provision, "purpose", "provision")
        )
    except ValueError as exc:
        raise ConsentNotExpressible("provision.purpose") from exc


def _period(provision: Json) -> tuple[int | None, int | None]:
    period = _object(provision.get("period", {}), "provision.period")
    _only(period, frozenset({"id", "start", "end"}), "provision.period")
    start, end = period.get("start"), period.get("end")
    first = None if start is None else _instant(start, "provision.period.start")[0]
    return first, None if end is None else _instant(end, "provision.period.end")[1]


def _recorded_by(resource: Json) -> str:
    for one in _list(resource, "verification", "Consent"):
        verified = _object(one, "verification")
        if verified.get("verified") is not True:
            raise ConsentNotExpressible("verification.verified")
        if isinstance(
            who := _object(verified.get("verifiedWith", {}), "verification.verifiedWith").get("display"), str
        ):
            return who
    return ""


_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(_DATE.pattern + r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")


def _instant(value: object, place: str) -> tuple[int, int]:
    """First second of a FHIR dateTime, and the first one after it; a date is that day in UTC."""
    text = _text(value, place)
    try:
        if _DATE.fullmatch(text):
            day = int(dt.datetime.fromisoformat(f"{text}T00:00:00+00:00").timestamp())
            return day, day + 86_400
        if _TIME.fullmatch(text):
            second = int(dt.datetime.fromisoformat(text).timestamp() // 1)
            return second, second + 1
    except (ValueError, OverflowError) as exc:
        raise ConsentNotExpressible(place) from exc
    raise ConsentNotExpressible(f"{place}: a day or a moment is wanted")


def _date(value: object, place: str) -> str:
    if value is None:
        return ""
    found = _DATE.fullmatch(_text(value, place))
    if found is None:
        raise ConsentNotExpressible(f"{place}: a day is wanted")
    return "".join(found.groups())


def _codes(concept: object, system: str, place: str) -> list[str]:
    """The codes of one system in a CodeableConcept."""
    found = [_object(coding, place) for coding in _list(_object(concept, place), "coding", place)]
    return [_text(coding.get("code"), place) for coding in found if coding.get("system") == system]


def _coded(coding: object, system: str, place: str) -> str:
    """The code of a Coding, which must be of that system."""
    one = _object(coding, place)
    if one.get("system") != system:
        raise ConsentNotExpressible(f"{place}.system")
    return _text(one.get("code"), place)


def _object(value: object, place: str) -> Json:
    if not isinstance(value, dict):
        raise ConsentNotExpressible(place)
    if "modifierExtension" in value:
        raise ConsentNotExpressible(f"{place}.modifierExtension")
    return value


def _list(value: Json, key: str, place: str) -> Sequence[object]:
    found = value.get(key, [])
    if not isinstance(found, list):
        raise ConsentNotExpressible(f"{place}.{key}")
    return found


def _text(value: object, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConsentNotExpressible(place)
    return value


def _only(value: Json, known: frozenset[str], place: str) -> None:
    """Refuse elements that would be lost; ``_name`` beside a primitive (extensions of it) and extensions are such."""
    strange = sorted(set(value) - known)
    if strange:
        named = strange[0] if re.fullmatch(r"_?[A-Za-z]{1,40}", strange[0]) else "an unknown element"
        raise ConsentNotExpressible(f"{place}.{named}")
