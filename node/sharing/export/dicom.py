"""An audit event as a DICOM audit message (PS3.15 section A.5.1): XML without white space between elements."""

import base64
from datetime import UTC, datetime
from xml.sax.saxutils import escape, quoteattr

from node.model.audit import AuditEvent
from node.sharing.export.codes import APPLICATION_ROLE, DESTINATION_ROLE, OUTCOMES, SOURCE_ROLE, Code, coded
from node.sharing.export.source import Source
from node.store.audit import AuditRow

_DCM = "DCM"
_PATIENT_NUMBER = Code("2", "Patient Number")  # RFC 3881 section 5.5.4
_STUDY_UID = Code("110180", "Study Instance UID")
_RECEIVES = frozenset({"study_received", "receipt_received", "withdrawal_received"})


def audit_message(row: AuditRow, source: Source) -> bytes:
    """The message as one line of XML, in UTF-8."""
    event, how = row.event, coded(row.event.type)
    identification = _element(
        "EventIdentification",
        {
            "EventActionCode": how.action.value,
            "EventDateTime": datetime.fromtimestamp(event.at, UTC).isoformat(),
            "EventOutcomeIndicator": OUTCOMES[event.outcome],
        },
        _code("EventID", how.event)
        + (_code("EventTypeCode", how.kind) if how.kind else "")
        + _code("EventTypeCode", Code(event.type.value, event.type.value.replace("_", " ")), system="99LEVERET")
        + (_element("EventOutcomeDescription", {}, escape(event.code)) if event.code else "")
        + (_purpose(event.purpose) if event.purpose else ""),
    )
    body = identification + _participants(event, source) + _source(source) + _objects(row)
    return ('<?xml version="1.0" encoding="UTF-8"?>' + _element("AuditMessage", {}, body)).encode()


def _participants(event: AuditEvent, source: Source) -> str:
    """Who acted, this node, and the other facility: the one is the source of what moved, the other its destination."""
    receives = event.type.value in _RECEIVES
    here, there = (DESTINATION_ROLE, SOURCE_ROLE) if receives else (SOURCE_ROLE, DESTINATION_ROLE)
    by_node, by_peer = event.actor == "node", event.actor.startswith("peer:")
    found = ""
    if not (by_node or by_peer):
        found += _participant(event.actor, is_requestor=True)
    found += _participant(source.peer.full, is_requestor=by_node, role=here if event.peer else APPLICATION_ROLE)
    if event.peer is not None:
        user = str(event.detail.get("user", "")) if by_peer else ""
        found += _participant(event.peer.full, is_requestor=by_peer, role=there, name=user)
    return found


def _participant(user: str, *, is_requestor: bool, role: Code | None = None, name: str = "") -> str:
    attributes = {"UserID": user, "UserIsRequestor": "true" if is_requestor else "false"}
    if name:
        attributes["UserName"] = name
    return _element("ActiveParticipant", attributes, _code("RoleIDCode", role) if role else "")


def _source(source: Source) -> str:
    attributes = {"AuditSourceID": source.peer.full}
    if source.name:
        attributes["AuditEnterpriseSiteID"] = source.name
    return _element("AuditSourceIdentification", attributes, _element("AuditSourceTypeCode", {"csd-code": "4"}, ""))


def _objects(row: AuditRow) -> str:
    event, found = row.event, ""
    if event.patient is not None:
        attributes = {
            "ParticipantObjectID": f"{event.patient.patient_id}^^^{event.patient.issuer}",
            "ParticipantObjectTypeCode": "1",  # person
            "ParticipantObjectTypeCodeRole": "1",  # patient
        }
        kind = _code("ParticipantObjectIDTypeCode", _PATIENT_NUMBER, system="RFC-3881")
        found += _element("ParticipantObjectIdentification", attributes, kind)
    if event.study is not None:
        attributes = {
            "ParticipantObjectID": str(event.study),
            "ParticipantObjectTypeCode": "2",  # system object
            "ParticipantObjectTypeCodeRole": "3",  # report
        }
        kind = _code("ParticipantObjectIDTypeCode", _STUDY_UID)
        found += _element("ParticipantObjectIdentification", attributes, kind + _details(row))
    return found


def _details(row: AuditRow) -> str:
    """Name and value; the schema wants the value in base64."""
    facts = {"position": row.position, "request": row.event.request or "", **row.event.detail}
    return "".join(
        _element("ParticipantObjectDetail", {"type": key, "value": base64.b64encode(str(value).encode()).decode()}, "")
        for key, value in facts.items()
        if str(value)
    )


def _purpose(code: str) -> str:
    return _code("PurposeOfUse", Code(code, code), system="2.16.840.1.113883.5.8")


def _code(name: str, code: Code, *, system: str = _DCM) -> str:
    attributes = {"csd-code": code.value, "codeSystemName": system, "originalText": code.meaning}
    return _element(name, attributes, "")


def _element(name: str, attributes: dict[str, str], body: str) -> str:
    said = "".join(f" {key}={quoteattr(_legal(value))}" for key, value in attributes.items())
    return f"<{name}{said}>{body}</{name}>" if body else f"<{name}{said}/>"


def _legal(text: str) -> str:
    """Without the control characters that XML 1.0 cannot say."""
    return "".join(char if char.isprintable() else " " for char in text)
