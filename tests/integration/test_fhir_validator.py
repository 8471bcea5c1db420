"""What leaves as FHIR, consents and the audit log, an independent validator (npm ``fhir``) takes for FHIR R4."""

import json

import pytest
from support.fhir import errors_of, require_validator

from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.consent import ConsentId, PurposeOfUse
from node.model.directive import Directive, Effect, Scope
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.sharing.export import ExportFormat, Source, exporter
from node.sharing.fhir_consent import to_fhir
from node.store.audit import AuditRow

require_validator()
HOLDER = PeerId(b"h" * 32)
PLAIN = Directive(ConsentId(bytes(16)), PatientKey("HERE", "4711"), Effect.PERMIT, created_at=1, starts_at=1)
FULL = Directive(
    ConsentId(bytes(16)),
    PatientKey("HERE", "4711"),
    Effect.DENY,
    PeerId(b"r" * 32),
    Scope(frozenset({StudyInstanceUID("1.2.3")}), frozenset({"CT"}), frozenset({"CHEST"}), "20200101", "20201231"),
    frozenset(PurposeOfUse),
    starts_at=1_700_000_000,
    until=1_800_000_000,
    created_at=1_700_000_000,
    recorded_by="Nurse Nora",
    revoked_at=1_700_000_001,
)


def test_what_leaves_is_valid() -> None:
    broken = {**to_fhir(PLAIN, HOLDER), "status": "perhaps", "colour": "red"}
    plain, full, wrong = errors_of(to_fhir(PLAIN, HOLDER), to_fhir(FULL, HOLDER), broken)
    assert (plain, full) == ([], [])
    assert len(wrong) == 2, "the validator looks"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_kind_of_audit_event_is_valid(outcome: Outcome) -> None:
    line = exporter(ExportFormat.FHIR, Source(HOLDER, "North"))
    full = {
        "peer": PeerId(b"p" * 32),
        "patient": PatientKey("An issuer / with blänks", "47 11"),
        "study": StudyInstanceUID("1.2.3"),
        "request": RequestId(bytes(16)),
        "purpose": "TREAT",
        "code": "wrong_passcode",
        "detail": {"user": "dr.who", "count": 3, "recipient": '<b>"Dr" Who</b>'},
    }
    events = [AuditEvent(kind, 1_700_000_000, "user:clin", outcome, **full) for kind in AuditType]  # type: ignore[arg-type]  # by name
    bare = [AuditEvent(kind, 0) for kind in AuditType]
    resources = [json.loads(line(AuditRow(n, event, b"", b""))) for n, event in enumerate([*events, *bare])]
    assert [found for found in errors_of(*resources) if found] == []
    systems = {
        entity["what"]["identifier"]["system"]
        for one in resources
        for entity in one.get("entity", [])
        if "what" in entity
    }
    assert not any(" " in system for system in systems), "a system is a URI"
