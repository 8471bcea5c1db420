"""What the benchmarks share: the study, and a table at the end. They measure and compare; they assert no times."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ct import CtStudy
from support.table import Table, rows

INSTANCES = 1000


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture(scope="session", params=["smooth", "noise"])
def study(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, CtStudy, Path]]:
    """1000 slices of 512 x 512 as files: (kind, facts, folder)."""
    folder = tmp_path_factory.mktemp(f"ct-{request.param}")
    made = CtStudy(instances=INSTANCES, seed=5, smooth=request.param == "smooth")
    for path in made.write(folder):
        path.read_bytes()  # into the page cache, so that the first peer does not pay for the disk
    yield request.param, made, folder
    for path in folder.iterdir():
        path.unlink()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if rows:
        terminalreporter.section("benchmarks")
        for row in rows:
            terminalreporter.write_line(row)
