"""node.example.toml documents every setting with its default."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from node.config import Compression, Settings, parse
from node.errors.setup import InvalidConfig

EXAMPLE = Path(__file__).parents[2] / "node.example.toml"


def test_it_is_the_defaults() -> None:
    assert parse(tomllib.loads(EXAMPLE.read_text()), {}) == Settings()


def test_it_has_every_key_and_a_word_on_each() -> None:
    raw = tomllib.loads(EXAMPLE.read_text())
    known = {section.name: {f.name for f in fields(getattr(Settings(), section.name))} for section in fields(Settings)}
    assert {section: set(values) for section, values in raw.items()} == known
    for line, following in zip(EXAMPLE.read_text().splitlines(), EXAMPLE.read_text().splitlines()[1:], strict=False):
        if re.match(r"[a-z_]+ = ", following):
            assert line.startswith("# "), following


@pytest.mark.parametrize("value", ["zip", True, 1, ""])
def test_a_choice_that_there_is_not_is_refused(value: object) -> None:
    assert parse({}, {"LEVERET_STORE_COMPRESSION": "off"}).store.compression is Compression.OFF
    assert parse({"store": {"compression": "off"}}, {}).store.compression is Compression.OFF
    with pytest.raises(InvalidConfig, match="auto, off"):
        parse({"store": {"compression": value}}, {})
