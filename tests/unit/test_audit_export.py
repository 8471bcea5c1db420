"""The log in other words: each line stands for one event, is well formed, and hides and invents nothing."""

import base64
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.crypto.tlog import leaf_hash
from node.model.audit import AuditEvent, AuditType, Outcome
from node.model.ids import PatientKey, PeerId, RequestId, StudyInstanceUID
from node.sharing.export import ExportFormat, Source, exporter
from node.sharing.export.codes import CODED, coded
from node.store.audit import AuditRow, encode

HERE, THERE = PeerId(b"h" * 32), PeerId(b"t" * 32)
SOURCE = Source(HERE, 'Lake "General" & Söhne')
FULL = AuditEvent(
    AuditType.RELEASED,
    1_764_000_000,
    f"peer:{THERE.compact}",
    Outcome.SUCCESS,
    THERE,
    PatientKey("LAKE", "4711"),
    StudyInstanceUID("1.2.840.1"),
    RequestId(bytes(16)),
    "TREAT",
    detail={"user": "dr.who", "instances": 3, "role": ""},
)


def row_of(event: AuditEvent, position: int = 7) -> AuditRow:
    body = encode(event, bytes(16))
    return AuditRow(position, event, body, leaf_hash(body))


def test_a_json_line_can_be_proved() -> None:
    line = exporter(ExportFormat.JSON_LINES, SOURCE)(row_of(FULL))
    start = line.index(b'"event":') + len(b'"event":')
    assert leaf_hash(line[start:-1]).hex() == json.loads(line)["leaf"]
    assert json.loads(line)["position"] == 7


def test_fhir_says_who_what_why() -> None:
    resource = json.loads(exporter(ExportFormat.FHIR, SOURCE)(row_of(FULL)))
    assert resource["resourceType"] == "AuditEvent"
    assert resource["type"]["code"] == "110104"
    assert resource["action"] == "R"
    assert resource["recorded"] == "2025-11-24T16:00:00+00:00"
    assert resource["outcome"] == "0"
    assert resource["purposeOfEvent"][0]["coding"][0]["code"] == "TREAT"
    assert {agent.get("name") for agent in resource["agent"]} == {None, "dr.who"}
    assert sum(agent["requestor"] for agent in resource["agent"]) == 1
    identifiers = [entity["what"]["identifier"]["value"] for entity in resource["entity"] if "what" in entity]
    assert identifiers == ["4711", "urn:oid:1.2.840.1", "00" * 16]
    assert {"type": "instances", "valueString": "3"} in resource["entity"][-1]["detail"]


def test_a_dicom_message_says_who_what_why() -> None:
    message = ET.fromstring(exporter(ExportFormat.DICOM, SOURCE)(row_of(FULL)))
    assert message.tag == "AuditMessage"
    assert [child.tag for child in message] == [
        "EventIdentification",
        "ActiveParticipant",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
        "ParticipantObjectIdentification",
    ]
    identification = message[0]
    assert identification.attrib == {
        "EventActionCode": "R",
        "EventDateTime": "2025-11-24T16:00:00+00:00",
        "EventOutcomeIndicator": "0",
    }
    assert [child.tag for child in identification] == ["EventID", "EventTypeCode", "PurposeOfUse"]
    requestors = [p for p in message.iter("ActiveParticipant") if p.get("UserIsRequestor") == "true"]
    assert [p.get("UserID") for p in requestors] == [THERE.full]
    assert requestors[0].get("UserName") == "dr.who"
    assert message.find("AuditSourceIdentification").get("AuditEnterpriseSiteID") == SOURCE.name  # type: ignore[union-attr]  # it is there
    patient, study = message.findall("ParticipantObjectIdentification")
    assert patient.get("ParticipantObjectID") == "4711^^^LAKE"
    assert study.get("ParticipantObjectID") == "1.2.840.1"
    details = {d.get("type"): base64.b64decode(d.get("value") or "") for d in study.iter("ParticipantObjectDetail")}
    assert details == {"position": b"7", "request": b"00" * 16, "user": b"dr.who", "instances": b"3"}


@pytest.mark.parametrize("form", ExportFormat)
@pytest.mark.parametrize("kind", AuditType)
def test_every_kind_of_event_has_words(kind: AuditType, form: ExportFormat) -> None:
    line = exporter(form, SOURCE)(row_of(replace(FULL, type=kind, actor="node", outcome=Outcome.FAILURE, code="x_y")))
    assert b"\n" not in line
    assert kind.value.encode() in line
    assert b"x_y" in line


def test_what_touches_images_is_never_a_patient_record_update() -> None:
    images = {
        t for t in AuditType if t.value.startswith(("study_", "transfer_", "instance_")) and "link" not in t.value
    }
    assert images <= CODED.keys()
    assert coded(AuditType.CONSENT_RECORDED).event.value == "110110"


texts = st.text(max_size=30)


@given(texts, texts, texts, st.dictionaries(st.sampled_from(["user", "reason", "ae"]), texts))
def test_nothing_that_was_typed_breaks_a_line(actor: str, issuer: str, number: str, detail: dict[str, str]) -> None:
    event = replace(FULL, actor=f"user:{actor}", patient=PatientKey(issuer, number), detail=detail)
    for form in ExportFormat:
        line = exporter(form, SOURCE)(row_of(event))
        assert b"\n" not in line
        if form is ExportFormat.DICOM:
            message = ET.fromstring(line)
            assert len(message.findall("ParticipantObjectIdentification")) == 2
        else:
            json.loads(line)
