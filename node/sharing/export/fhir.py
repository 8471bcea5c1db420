"""An audit event as FHIR R4 AuditEvent, in the patterns of IHE BALP: agents, entities, and who keeps the log."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from node.model.audit import AuditEvent
from node.sharing.export.codes import OUTCOMES, Code, coded
from node.sharing.export.source import Source
from node.store.audit import AuditRow

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_OWN = "urn:leveret:audit"  # event types, actors and details in this node's own words
_PURPOSE = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_PERSON, _OBJECT = ("1", "Person"), ("2", "System Object")
_PATIENT_ROLE, _REPORT_ROLE, _JOB_ROLE = ("1", "Patient"), ("3", "Report"), ("20", "Job")


def fhir_audit_event(row: AuditRow, source: Source) -> bytes:
    """The resource as one line of JSON."""
    event, how = row.event, coded(row.event.type)
    resource: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": f"event-{row.position}",
        "type": _dcm(how.event),
        "subtype": [*([_dcm(how.kind)] if how.kind else []), {"system": _OWN, "code": event.type.value}],
        "action": how.action.value,
        "recorded": datetime.fromtimestamp(event.at, UTC).isoformat(),
        "outcome": OUTCOMES[event.outcome],
    }
    if event.code:
        resource["outcomeDesc"] = event.code
    if event.purpose:
        resource["purposeOfEvent"] = [{"coding": [{"system": _PURPOSE, "code": event.purpose}]}]
    resource["agent"] = _agents(event, source)
    site = {"site": source.name} if source.name else {}
    resource["source"] = {**site, "observer": _named(source.peer.full)}
    if entities := _entities(event):
        resource["entity"] = entities
    return msgspec.json.encode(resource)


def _agents(event: AuditEvent, source: Source) -> list[dict[str, Any]]:
    who = source.peer.full if event.actor == "node" else event.actor
    agents: list[dict[str, Any]] = [{"who": _named(who), "requestor": True}]
    said_user = event.detail.get("user")
    if said_user and event.actor.startswith("peer:"):
        agents.append({"name": str(said_user), "requestor": False})
    if event.peer is not None and event.actor != f"peer:{event.peer.compact}":
        agents.append({"who": _named(event.peer.full), "requestor": False})
    return agents


def _entities(event: AuditEvent) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = []
    if event.patient is not None:
        who = {"system": f"urn:leveret:issuer:{quote(event.patient.issuer)}", "value": event.patient.patient_id}
        entities.append(_entity({"identifier": who}, _PERSON, _PATIENT_ROLE))
    if event.study is not None:
        study = {"system": "urn:dicom:uid", "value": f"urn:oid:{event.study}"}
        entities.append(_entity({"identifier": study}, _OBJECT, _REPORT_ROLE))
    if event.request is not None:
        request = {"system": "urn:leveret:request", "value": str(event.request)}
        entities.append(_entity({"identifier": request}, _OBJECT, _JOB_ROLE))
    details = [{"type": key, "valueString": str(value)} for key, value in event.detail.items() if str(value)]
    if details:
        entities.append({"description": event.type.value, "detail": details})
    return entities


def _entity(what: dict[str, Any], kind: tuple[str, str], role: tuple[str, str]) -> dict[str, Any]:
    return {
        "what": what,
        "type": {"system": _ENTITY_TYPE, "code": kind[0], "display": kind[1]},
        "role": {"system": _ROLE, "code": role[0], "display": role[1]},
    }


def _named(name: str) -> dict[str, Any]:
    return {"identifier": {"system": "urn:leveret:actor", "value": name}}


def _dcm(code: Code) -> dict[str, str]:
    return {"system": _DCM, "code": code.value, "display": code.meaning}
