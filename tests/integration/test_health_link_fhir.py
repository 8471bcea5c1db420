"""The bundles of health links, and the log of who opened them, are what an independent validator takes for FHIR R4."""

import base64
import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fhir import errors_of, require_validator
from support.health_link import FHIR, MINE, ask, linking
from support.viewer import PDF

from node.model.ids import PatientKey, SeriesInstanceUID, StudyInstanceUID
from node.model.instance import Demographics, SeriesSummary, StudySummary
from node.sharing.fhir_imaging import Record, ReportDocument, imaging_bundle

require_validator()
STUDY = StudySummary(
    StudyInstanceUID("1.2.3"), PatientKey("HERE", "4711"), Demographics("Nobody"), "20240102", "101112", "ACC 1", "S1",
    "CT <chest>", "", ("CT", "SR"), ("CHEST",), 2, 12, 1000, 1, False, None, True,
)  # fmt: skip
SERIES = SeriesSummary(
    STUDY.study_instance_uid, SeriesInstanceUID("1.2.3.1"), "CT", " 2 ", "Axial", "CHEST", "20240102", "", 12
)
REPORT = ReportDocument("1.2.3", "1.2.3.9", "Befund", "application/pdf", is_final=True, data=b"%PDF-1.4")
ELENA = Demographics("García Márquez^Elena^Q^Dr.^Jr.", "19610203", "F")
RECORD = Record(
    namespace=uuid.UUID(int=7),
    at=1_700_000_000,
    facility="Northern Hospital",
    patient=ELENA,
    patient_id="4711",
    issuer="HERE",
    studies=[STUDY],
    series={"1.2.3": [SERIES]},
    reports=[REPORT],
    dicomweb="https://node.example/dicom-web",
)


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def references(value: Any) -> set[str]:
    """Every reference in a resource, however deep."""
    if isinstance(value, dict):
        own = {value["reference"]} if isinstance(value.get("reference"), str) else set()
        return own.union(*(references(one) for one in value.values()))
    return set().union(*(references(one) for one in value)) if isinstance(value, list) else set()


async def test_what_a_link_gives_is_valid(tmp_path: Path) -> None:
    async with linking(tmp_path / "node") as links:
        link, _ = await links.make()
        bundle = (await link.files())[FHIR]
        direct, _ = await links.make(direct=True, studies=[MINE.study_uid])
        answer = await ask(direct.http, "GET", direct.payload["url"], params={"recipient": "Dr. Wong"})
        alone = direct.decrypt(answer.body.decode())[1]
        token = await links.node.token("auditor")
        exported = await links.get("/api/v1/audit/export?format=fhir", token)
    events = [json.loads(line) for line in exported.body.splitlines()]
    assert {"link_created", "link_opened"} <= {code["code"] for event in events for code in event["subtype"]}
    everything = [bundle, alone, *(entry["resource"] for entry in [*bundle["entry"], *alone["entry"]]), *events]
    assert [found for found in errors_of(*everything) if found] == []
    (patient,) = resources(bundle, "Patient")
    assert patient["name"] == [{"family": "García", "given": ["Elena"]}]
    assert (patient["birthDate"], patient["gender"]) == ("1961-02-03", "female")
    assert references(bundle) <= {entry["fullUrl"] for entry in bundle["entry"]}, "nothing leads out of it"
    binaries = {base64.b64decode(one["data"]) for one in resources(bundle, "Binary")}
    assert PDF in binaries, "the report byte for byte, without its padding"
    statuses = {one["presentedForm"][0]["contentType"]: one["status"] for one in resources(bundle, "DiagnosticReport")}
    assert statuses["application/pdf"] == "unknown", "a PDF does not say whether it is final"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"studies": [], "reports": [], "dicomweb": ""},
        {"patient": Demographics()},
        {"patient": Demographics("=山田^太郎", "19610231", "X")},
        {"patient": Demographics("^^^", "about 1961", "O"), "facility": ""},
        {"studies": [replace(STUDY, date="", modalities=(), description=" ", accession_number="")]},
        {"series": {"1.2.3": [replace(SERIES, modality="", number="two", description="", body_part="", date="x")]}},
        {"reports": [replace(REPORT, data=None, url="https://node.example/x", is_final=False, title="")]},
    ],
)
def test_whatever_the_index_says_the_bundle_is_valid(changes: dict[str, Any]) -> None:
    bundle = imaging_bundle(replace(RECORD, **changes))
    assert errors_of(bundle, *(entry["resource"] for entry in bundle["entry"])) == [[]] * (1 + len(bundle["entry"]))
    assert "" not in leaves(bundle), "FHIR knows no empty text"


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in leaves(one)]
    return [leaf for one in value for leaf in leaves(one)] if isinstance(value, list) else [value]


def test_two_links_to_one_study_share_no_id() -> None:
    one, other = (imaging_bundle(replace(RECORD, namespace=uuid.UUID(int=number))) for number in (1, 2))
    assert {e["fullUrl"] for e in one["entry"]}.isdisjoint(e["fullUrl"] for e in other["entry"])
