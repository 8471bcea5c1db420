import re
from pathlib import Path

import pytest

from node.model import feed, label
from node.model.linkage import _PLACEHOLDERS, _SUFFIXES, _TITLES

ROOT = Path(__file__).parents[2]
DOCS = {name: (ROOT / "docs" / name).read_text() for name in ("formats.md", "protocol/announcements.md")}
VECTORS = "".join(file.read_text() for file in sorted((ROOT / "tests" / "data").glob("*_vectors.json")))


@pytest.mark.parametrize("name", DOCS)
def test_every_vector_in_the_documents_stands_in_the_vector_files(name: str) -> None:
    shown = re.findall(r"\b[0-9a-f]{32,}\b", DOCS[name])
    assert len(shown) > 8
    assert [value for value in shown if value not in VECTORS] == []


@pytest.mark.parametrize("words", [_TITLES, _SUFFIXES, _PLACEHOLDERS], ids=["titles", "suffixes", "placeholders"])
def test_every_word_of_the_rules_stands_in_the_document(words: frozenset[str]) -> None:
    documented = set(re.findall(r"[0-9A-Z]+", DOCS["protocol/announcements.md"]))
    assert words <= documented


def test_sizes_in_the_document_are_those_of_the_code() -> None:
    text = DOCS["protocol/announcements.md"]
    assert f"{feed.MIN_BATCH_BYTES} to {feed.MAX_BATCH_BYTES} bytes" in text
    assert f"{feed.MIN_ENTRIES} to {feed.MAX_ENTRIES}" in text
    assert f"\n{feed.ENTRY_BYTES} bytes.\n" in text
    assert f"\n{label.LABEL_BYTES} bytes." in text
    for region in label.BodyRegion:
        assert f"{region.value} {str(region.name).lower().replace('_', ' ')}" in text
