"""A daemon whose n-th write or fsync fails, or is its last: the library of ``failing_io.c`` and its plan."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True, slots=True)
class FailingIo:
    """The library, and the file that tells it what to do at which operation below ``under``."""

    library: Path
    plan: Path
    under: Path

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs in its environment."""
        return {"LD_PRELOAD": str(self.library), "FAIL_UNDER": f"{self.under}/", "FAIL_AT": str(self.plan)}

    def fail(self, number: int, what: str) -> None:
        """At the ``number``-th operation from now on: ``ENOSPC``, ``EIO`` or ``KILL``; 0: nothing."""
        new = self.plan.with_suffix(".new")
        new.write_text(f"{number} {what}\n")
        new.rename(self.plan)


def failing_io(folder: Path, under: Path) -> FailingIo:
    """Compile the library into ``folder``; it looks at what happens below ``under``. Skips without a compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = folder / "failing_io.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl", "-lpthread"], check=True)
    made = FailingIo(library, folder / "plan", under)
    made.fail(0, "EIO")
    return made
