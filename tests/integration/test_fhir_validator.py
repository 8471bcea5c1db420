"""Consents that leave as FHIR are what an independent FHIR validator (npm ``fhir``) takes for FHIR R4."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.peers import NODE_MODULES

from node.model.consent import ConsentId, PurposeOfUse
from node.model.directive import Directive, Effect, Scope
from node.model.ids import PatientKey, PeerId, StudyInstanceUID
from node.sharing.fhir_consent import to_fhir

if not (NODE_MODULES / "fhir").is_dir():
    if os.environ.get("CI") == "true":
        pytest.fail("CI must have the FHIR validator (run deploy/install-peers)")
    pytest.skip("needs real programs that are not installed: npm fhir", allow_module_level=True)
SCRIPT = Path(__file__).parents[1] / "support" / "fhir.js"
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


def errors_of(*resources: Any) -> list[list[str]]:
    """What is wrong with each; warnings are about codes outside of FHIR's own (extensible) value sets."""
    done = subprocess.run(
        ["node", str(SCRIPT)], input=json.dumps(resources), capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
    )  # fmt: skip
    found: list[list[str]] = json.loads(done.stdout)
    return [[line for line in lines if line.startswith(("error", "fatal"))] for lines in found]


def test_what_leaves_is_valid() -> None:
    broken = {**to_fhir(PLAIN, HOLDER), "status": "perhaps", "colour": "red"}
    plain, full, wrong = errors_of(to_fhir(PLAIN, HOLDER), to_fhir(FULL, HOLDER), broken)
    assert (plain, full) == ([], [])
    assert len(wrong) == 2, "the validator looks"
