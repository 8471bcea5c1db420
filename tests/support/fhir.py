"""An independent FHIR R4 validator (npm ``fhir``, put there by deploy/install-peers)."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.peers import NODE_MODULES

_SCRIPT = Path(__file__).with_name("fhir.js")


def require_validator() -> None:
    """Skip the module without it; CI must have it."""
    if (NODE_MODULES / "fhir").is_dir():
        return
    if os.environ.get("CI") == "true":
        pytest.fail("CI must have the FHIR validator (run deploy/install-peers)")
    pytest.skip("needs real programs that are not installed: npm fhir", allow_module_level=True)


def errors_of(*resources: Any) -> list[list[str]]:
    """What is wrong with each; warnings are about codes outside of FHIR's own (extensible) value sets."""
    done = subprocess.run(
        ["node", str(_SCRIPT)], input=json.dumps(resources), capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
    )  # fmt: skip
    found: list[list[str]] = json.loads(done.stdout)
    return [[line for line in lines if line.startswith(("error", "fatal"))] for lines in found]
