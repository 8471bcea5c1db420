"""Consents through the command line of two daemons: recorded, announced, used, reviewed, carried as FHIR, revoked."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.ct import CtStudy
from support.facility import Facility, pair, peer_id, wait_for

pytestmark = pytest.mark.timeout(180)
STUDY = CtStudy(instances=3, rows=16)
WHO = ("--name", STUDY.patient_name, "--birth-date", STUDY.birth_date, "--sex", STUDY.sex)


@dataclass
class Two:
    """A holder of one study, and a facility that asks for it."""

    north: Facility
    lake: Facility
    folder: Path

    def ask(self, *consent: str) -> dict[str, Any]:
        asked = ("request", "--from", peer_id(self.north), "--study", STUDY.study_uid, *WHO, "--wait")
        done = self.lake.call(*asked, *consent, "--json")
        answer: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if answer["state"] == "COMPLETED" else 1), done.stderr
        return answer

    def priors(self) -> list[dict[str, Any]]:
        found = self.lake.run("priors", *WHO)
        return [s for p in found["peers"] if p["peer_id"] == peer_id(self.north) for s in p["studies"]]

    def copies_named(self, consent_id: str) -> str:
        """What revoking (again) says, once the recipient's receipt has come."""
        said = self.north.call("consent", "revoke", consent_id).stdout
        return said if "cop" in said else ""


def test_what_a_patient_decides_is_what_happens(facility: Callable[..., Facility], tmp_path: Path) -> None:
    two = Two(facility("north", LEVERET_CONSENT_EMERGENCY_DAILY="1"), facility("lake"), tmp_path)
    STUDY.write(tmp_path / "media")
    two.north.run("import", str(tmp_path / "media"))
    pair(two.north, two.lake)
    assert two.ask("--on-file")["code"] == "not_released"

    denial = a_directive_is_announced_used_and_carried_as_fhir(two)
    a_patients_key_opens_unless_denied(two, denial)
    words_of_others_count_where_they_may(two)
    opting_out_closes(two)

    kinds = {c["kind"] for c in two.north.run("consent", "list", "--patient-id", STUDY.patient_id)["consents"]}
    assert kinds == {"directive", "patient_key", "attested", "emergency"}
    decided = two.north.run("audit", "list", "--limit", "200", "--type", "request_decided")["events"]
    wanted = {"no_consent", "consent_revoked", "consent_denied", "patient_opted_out", "emergency_limit"}
    assert wanted <= {event["code"] for event in decided}
    assert two.north.run("audit", "verify")["ok"]


def a_directive_is_announced_used_and_carried_as_fhir(two: Two) -> str:
    """Returns the id of a denial, read from FHIR, that then stands."""
    north, lake = two.north, two.lake
    limits = ("--modality", "ct", "--purpose", "TREAT", "--until", "2099-12-31", "--recorded-by", "Nurse Nora")
    given = north.run("consent", "add", "--patient-id", STUDY.patient_id, "--permit", "--to", "lake", *limits)
    assert given["studies_held"] == 1
    (entry,) = north.run("consent", "list", "--patient-id", STUDY.patient_id)["consents"]
    assert {k: entry[k] for k in ("consent_id", "patient_id", "effect", "to", "purpose", "until", "revoked_at")} == {
        "consent_id": given["consent_id"], "patient_id": STUDY.patient_id, "effect": "PERMIT", "to": peer_id(lake),
        "purpose": "TREAT", "until": 4_102_444_800, "revoked_at": None,
    }  # fmt: skip
    assert entry["scope"]["modalities"] == ["CT"]
    north.run("announce")
    (prior,) = wait_for(lambda: [s for s in two.priors() if s["consent_on_file"]])
    assert prior["study_instance_uid"] == STUDY.study_uid, "a consent is on file: the label tells more"
    assert two.ask("--on-file")["state"] == "COMPLETED"
    said = wait_for(lambda: two.copies_named(given["consent_id"]))
    assert "1 facility has a copy that cannot be called back" in said

    north.run("announce")
    wait_for(lambda: not any(s["consent_on_file"] for s in two.priors()))
    assert two.ask("--on-file")["code"] == "not_released"
    exported = two.folder / "consent.json"
    north.run("consent", "export", given["consent_id"], "--out", str(exported))
    assert "[consent_not_expressible]" in north.refused("consent", "import", str(exported)), "it is revoked"
    resource = json.loads(exported.read_text()) | {"status": "active"}
    resource["provision"]["type"], resource["policyRule"]["coding"][0]["code"] = "deny", "OPTOUT"
    denial = north.run("consent", "import", "-", stdin=json.dumps(resource))
    assert north.run("consent", "list")["consents"][0]["effect"] == "DENY"

    return str(denial["consent_id"])


def a_patients_key_opens_unless_denied(two: Two, denial: str) -> None:
    north, lake = two.north, two.lake
    key, grant = two.folder / "patient.key", two.folder / "grant"
    public = lake.run("consent", "new-key", str(key))["public_key"]
    assert key.stat().st_mode & 0o777 == 0o600
    north.run("consent", "bind-key", "--patient-id", STUDY.patient_id, public)
    both = ("--holder", peer_id(north), "--to", peer_id(lake))
    grant.write_text(lake.run("consent", "sign", "--key-file", str(key), *both)["grant"])
    assert two.ask("--grant", str(grant))["code"] == "consent_denied", (
        "a denial wins, and who proved something hears so"
    )
    north.run("consent", "revoke", denial)
    assert two.ask("--grant", str(grant))["state"] == "COMPLETED"
    north.run("consent", "revoke-key", public)
    assert two.ask("--grant", str(grant))["code"] == "consent_revoked"
    (bound,) = north.run("consent", "keys", "--patient-id", STUDY.patient_id)["keys"]
    assert bound["revoked_at"]


def words_of_others_count_where_they_may(two: Two) -> None:
    north, form = two.north, two.folder / "form.pdf"
    form.write_bytes(b"%PDF signed")
    assert two.ask("--attest", str(form), "--staff", "nurse.n")["code"] == "not_released"
    north.run("peers", "policy", "lake", "accept_attested=true", "accept_emergency=true")
    assert two.ask("--attest", str(form), "--staff", "nurse.n")["state"] == "COMPLETED"
    assert north.run("status")["emergencies"] == 0
    assert two.ask("--emergency", "unconscious")["state"] == "COMPLETED"
    assert two.ask("--emergency", "again")["code"] == "not_released", "one a day"
    assert "by break-glass to review" in north.call("status").stdout
    (glass,) = north.run("consent", "emergencies", "list")["emergencies"]
    assert (glass["reason"], glass["studies"]) == ("unconscious", [STUDY.study_uid])
    judged = ("--justified", "--note", "seen", "--patient-told")
    north.run("consent", "emergencies", "review", glass["request_id"], *judged)
    assert "[emergency_reviewed]" in north.refused("consent", "emergencies", "review", glass["request_id"], *judged)
    assert north.run("status")["emergencies"] == 0


def opting_out_closes(two: Two) -> None:
    north, form = two.north, two.folder / "form.pdf"
    north.run("consent", "opt-out", "--patient-id", STUDY.patient_id)
    assert two.ask("--attest", str(form), "--staff", "nurse.n")["code"] == "not_released"
    north.run("announce")
    wait_for(lambda: not two.priors())
    north.run("consent", "opt-in", "--patient-id", STUDY.patient_id)
