"""openapi.json is true: schemathesis asks a running daemon everything that it describes, and finds nothing.

Every operation gets requests that keep to the description and requests that break it in one place: nothing may end in
500, with a status, a media type or a body that is not described, and nothing that breaks the description may be taken.
That what keeps to it is accepted is not asked: a UID that is none, a weak password, two consents at once are refused
with 400 beyond what a schema says. ``make soak`` asks every role for more.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.facility import Facility

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
TESTS = Path(__file__).parents[1]
DICOMWEB = "^/dicom-web"
ELSE = "^/(?!dicom-web)"


@pytest.fixture(scope="module")
def facility(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    made = Facility.create("north", tmp_path_factory.mktemp("schemathesis"))
    made.start()
    yield made
    made.stop()


def ask(facility: Facility, role: str, paths: str, *options: str, seconds: int) -> None:
    token = facility.token(role, role)
    done = subprocess.run(
        [
            *(SCHEMATHESIS, "run", f"{facility.api}/api/v1/openapi.json", "-H", f"Authorization: Bearer {token}"),
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance", "--include-path-regex", paths),
            *("--continue-on-failure", "--no-shrink", "--suppress-health-check", "all", "--no-color"),
            *("--workers", "2", "--request-timeout", "30", *options),
        ],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        cwd=facility.directory.parent,
        env={**os.environ, "PYTHONPATH": str(TESTS), "SCHEMATHESIS_HOOKS": "support.schemathesis_hooks"},
    )
    found = [line[:300] for line in done.stdout.splitlines()]
    assert done.returncode == 0, "\n".join([*found[-200:], done.stderr[-2000:]])
    assert re.search(r"[1-9][0-9]* passed", done.stdout)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("role", "paths"), [("operator", ELSE), ("clinician", DICOMWEB)])
def test_the_description_is_true(facility: Facility, role: str, paths: str) -> None:
    ask(facility, role, paths, "--phases", "coverage,fuzzing", "--max-examples", "1", "--seed", "1", seconds=280)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("role", ["operator", "clinician", "auditor"])
def test_the_description_is_true_at_length(facility: Facility, role: str) -> None:
    ask(facility, role, "^/", "--phases", "coverage,fuzzing,stateful", "--max-examples", "200", seconds=7000)
