"""FHIR R4 Consent: what goes out is valid and comes back the same; what cannot be kept is refused, and says where."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors.consents import ConsentNotExpressible
from node.model.consent import ConsentId, PurposeOfUse
from node.model.directive import Directive, DirectiveOrder, Effect, Scope
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.sharing.fhir_consent import from_fhir, to_fhir

HOLDER, REQUESTER = PeerId(b"h" * 32), PeerId(b"r" * 32)
NOW = 1_700_000_000
FULL = Directive(
    consent_id=ConsentId(bytes(16)),
    patient=PatientKey("HERE", "4711"),
    effect=Effect.DENY,
    recipient=REQUESTER,
    scope=Scope(
        frozenset({StudyInstanceUID("1.2.3"), StudyInstanceUID("2.25.99")}),
        frozenset({"CT", "MR"}),
        frozenset({"CHEST"}),
        "20200101",
        "20201231",
    ),
    purposes=frozenset({PurposeOfUse.TREAT, PurposeOfUse.HRESCH}),
    starts_at=NOW,
    until=NOW + 86_400,
    created_at=NOW,
    recorded_by="Nurse Nora",
)

words = st.text("ABcdäéß^-'0123", min_size=1, max_size=20)
code_strings = st.frozensets(st.text("ABCXYZ019_", min_size=1, max_size=16), max_size=3)
days = st.dates().map(lambda day: f"{day.year:04}{day.month:02}{day.day:02}")
moments = st.integers(0, 2**35)
directives = st.builds(
    Directive,
    st.binary(min_size=16, max_size=16).map(ConsentId),
    st.builds(PatientKey, words, words),
    st.sampled_from(Effect),
    st.none() | st.binary(min_size=32, max_size=32).map(PeerId),
    st.builds(
        Scope,
        st.frozensets(st.integers(1, 2**64).map(lambda n: StudyInstanceUID(f"2.25.{n}")), max_size=3),
        code_strings,
        code_strings,
        st.just("") | days,
        st.just("") | days,
    ),
    st.frozensets(st.sampled_from(PurposeOfUse)),
    starts_at=moments,
    until=st.none() | st.integers(1, 2**35),
    created_at=moments,
    recorded_by=st.just("") | words,
)


@given(directives)
def test_what_is_written_is_read_the_same(directive: Directive) -> None:
    read = from_fhir(to_fhir(directive, HOLDER), issuer="OTHER")
    assert read == DirectiveOrder(
        directive.patient,
        directive.effect,
        directive.recipient,
        directive.scope,
        directive.purposes,
        directive.starts_at,
        directive.until,
        directive.recorded_by,
    )


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The full resource with one place changed; None takes it out."""
    resource: Any = copy.deepcopy(to_fhir(FULL, HOLDER))
    place = resource
    for step in path[:-1]:
        place = place[step]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return dict(resource)


LATER = [{"type": "permit"}]


@pytest.mark.parametrize(
    ("path", "to", "place"),
    [
        (("resourceType",), "Patient", "resourceType"),
        (("status",), "inactive", "status"),
        (("status",), "entered-in-error", "status"),
        (("implicitRules",), "http://example.org/rules", "Consent.implicitRules"),
        (("modifierExtension",), [{}], "Consent.modifierExtension"),
        (("extension",), [{}], "Consent.extension"),
        (("_status",), {}, "Consent._status"),
        (("scope", "coding", 0, "code"), "research", "scope"),
        (("patient",), None, "patient"),
        (("patient",), {"reference": "Patient/1"}, "patient.identifier"),
        (("patient", "identifier", "value"), " ", "patient.identifier"),
        (("policyRule", "coding", 0, "code"), "OPTIN", "policyRule"),
        (("verification", 0, "verified"), False, "verification.verified"),
        (("provision",), None, "provision"),
        (("provision", "type"), None, "provision.type"),
        (("provision", "type"), "maybe", "provision.type"),
        (("provision", "provision"), LATER, "provision.provision"),
        (("provision", "securityLabel"), [{}], "provision.securityLabel"),
        (("provision", "modifierExtension"), [{}], "provision.modifierExtension"),
        (("provision", "action"), [{"coding": [{"code": "use"}]}], "provision.action"),
        (("provision", "actor", 0, "role", "coding", 0, "code"), "AUT", "provision.actor.role"),
        (("provision", "actor", 0, "reference", "identifier", "system"), "urn:x", "provision.actor.reference"),
        (("provision", "actor", 0, "reference", "identifier", "value"), "nobody", "provision.actor.reference"),
        (("provision", "actor", 0, "reference"), {"reference": "Organization/1"}, "provision.actor.reference"),
        (("provision", "actor", 0, "extension"), [{}], "provision.actor.extension"),
        (("provision", "purpose", 0, "code"), "HMARKT", "provision.purpose"),
        (("provision", "purpose", 0, "system"), "urn:x", "provision.purpose"),
        (("provision", "class", 0, "system"), "urn:x", "provision.class"),
        (("provision", "code", 0), {"text": "chest"}, "provision.code"),
        (("provision", "data", 0, "meaning"), "related", "provision.data.meaning"),
        (("provision", "data", 0, "reference"), {"reference": "ImagingStudy/1"}, "provision.data.reference"),
        (("provision", "data", 0, "reference", "identifier", "value"), "urn:oid:x", "provision.data.reference"),
        (("provision", "dataPeriod", "start"), "2020", "provision.dataPeriod.start"),
        (("provision", "period", "end"), "soon", "provision.period.end"),
        (("provision", "period", "end"), "2023-13-01", "provision.period.end"),
        (("provision", "period"), [], "provision.period"),
        (("provision", "data"), {}, "provision.data"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_and_named(path: tuple[str | int, ...], to: Any, place: str) -> None:
    with pytest.raises(ConsentNotExpressible) as refused:
        from_fhir(changed(*path, to=to), issuer="HERE")
    assert str(refused.value.args[0]).startswith(place)


def test_two_recipients_are_two_consents() -> None:
    resource = to_fhir(FULL, HOLDER)
    resource["provision"]["actor"] *= 2
    with pytest.raises(ConsentNotExpressible, match=r"provision\.actor"):
        from_fhir(resource, issuer="HERE")


def test_days_include_their_last_second_and_an_assigner_may_be_missing() -> None:
    resource = changed("patient", "identifier", "assigner", to=None)
    resource["provision"]["period"] = {"end": "2023-11-14"}
    read = from_fhir(resource, issuer="HERE")
    assert (read.starts_at, read.until) == (None, 1_700_006_400)  # 2023-11-15T00:00:00Z
    assert read.patient == PatientKey("HERE", "4711")
    assert from_fhir(resource, issuer="HERE", patient=PatientKey("X", "1")).patient == PatientKey("X", "1")


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


@given(st.data())
def test_any_other_json_is_read_or_refused(data: st.DataObject) -> None:
    resource: Any = copy.deepcopy(to_fhir(FULL, HOLDER))
    place = resource
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = data.draw(json_values)
    try:
        read = from_fhir(resource, issuer="HERE")
    except ConsentNotExpressible:
        return
    assert read.effect is Effect.DENY
