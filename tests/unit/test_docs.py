"""The documents name only what is there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TEST = re.compile(r"`((?:unit|integration|e2e|browser)/[\w*]+\.py)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        path, _, heading = link.partition("#")
        if link.startswith("https://"):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not heading or heading in _anchors(target), link


def _anchors(page: Path) -> set[str]:
    """What headings are called in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def test_the_tests_that_play_an_attack_are_there() -> None:
    named = _TEST.findall((DOCS / "threat-model.md").read_text())
    assert len(named) > 10
    assert [name for name in named if not list((ROOT / "tests").glob(name))] == []


def test_every_dependency_was_decided_on() -> None:
    decided = (DOCS / "decisions" / "0001-dependencies.md").read_text().lower()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[>=\[<~ ]", requirement)[0] for requirement in project["dependencies"]]
    assert [name for name in names if not re.search(rf"\b{re.escape(name)}\b", decided)] == []


def test_every_benchmark_is_listed() -> None:
    listed = (DOCS / "performance.md").read_text()
    for module in (ROOT / "tests" / "bench").glob("test_bench_*.py"):
        assert f'"-k {module.stem.removeprefix("test_bench_")}"' in listed
