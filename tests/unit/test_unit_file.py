"""The systemd unit that is handed out: systemd understands all of it, and calls the service well confined."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "leveret.service"
EXPOSURE = 25  # tenths, of 100: what systemd calls OK ends at 4.0; this unit has 1.8 with systemd 252


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with what this machine need not have: the program, the user."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = UNIT.read_text().replace("/opt/leveret/bin/leveret", "/bin/true")
    path = tmp_path / UNIT.name
    path.write_text(text.replace("User=leveret", "User=root").replace("Group=leveret", "Group=root"))
    return path


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )


def test_systemd_understands_every_line(unit: Path) -> None:
    done = analyze("verify", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_is_confined(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", unit)
    assert done.returncode == 0, done.stdout[-2000:]
