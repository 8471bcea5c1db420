"""The committed viewer is what its recipe makes of the published packages, whose hashes the recipe knows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "deploy" / "viewer" / "build.py"


@pytest.mark.timeout(300)  # fifty megabytes from npm's registry where it was never built before
def test_the_archive_is_built_anew_and_compared() -> None:
    is_ci = os.environ.get("CI") == "true"
    if shutil.which("npm") is None and not is_ci:
        pytest.skip("npm is not installed")
    done = subprocess.run([sys.executable, RECIPE, "--check"], capture_output=True, text=True, check=False)
    if "npm cannot fetch" in done.stderr and not is_ci:
        pytest.skip("npm's registry is not reachable")
    assert done.returncode == 0, done.stderr
