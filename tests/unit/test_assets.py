"""The vendored style sheet and scripts are those of the recipe in deploy/assets, and nothing else is in them."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, PackageLoader

ROOT = Path(__file__).parents[2]
WEB = ROOT / "node" / "api" / "web"
LOCK: dict[str, Any] = json.loads((WEB / "assets.lock").read_text())
FREE_LICENCES = {"MIT", "0BSD"}


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("entry", LOCK["files"], ids=lambda entry: str(entry["file"]))
def test_each_vendored_file_is_the_one_of_the_lock(entry: dict[str, str]) -> None:
    assert sha256(WEB / "static" / entry["file"]) == entry["sha256"]
    assert entry["licence"] in FREE_LICENCES
    assert entry["version"]
    assert entry["source"]


def test_the_files_were_built_from_the_recipe_as_it_stands() -> None:
    stale = [i["file"] for i in LOCK["inputs"] if sha256(ROOT / LOCK["recipe"] / i["file"]) != i["sha256"]]
    assert not stale, f"changed since the last build: {stale}; run `npm ci && npm run build` in deploy/assets"


def test_the_versions_are_those_of_the_recipe() -> None:
    wanted = json.loads((ROOT / LOCK["recipe"] / "package.json").read_text())["devDependencies"]
    assert {e["source"]: e["version"] for e in LOCK["files"]}.items() <= wanted.items()


def test_the_notice_names_every_source() -> None:
    notice = (ROOT / "NOTICE").read_text()
    for entry in LOCK["files"]:
        assert entry["file"] in notice
        assert entry["version"] in notice or entry["source"] in notice


def test_nothing_of_the_design_systems_owner_is_left_in_the_style_sheet() -> None:
    css = (WEB / "static" / "leveret.css").read_text()
    assert re.findall(r"nhs[a-z-]*", css) == ["nhsuk-frontend"]  # the notice that the licence asks for
    assert "frutiger" not in css.lower()
    for address in re.findall(r"url\(([^)]*)\)", css):
        assert address.strip("\"'").startswith("data:")
    for colour in ("#005eb8", "#003087", "#ffeb3b", "#007f3b"):
        assert colour not in css.lower()


def test_every_class_of_the_shared_macros_has_a_style() -> None:
    css = (WEB / "static" / "leveret.css").read_text()
    source = (WEB / "templates" / "macros.html").read_text()
    environment = Environment(loader=PackageLoader("node.api.web"), autoescape=True)
    assert environment.get_template("macros.html")
    unstyled = {"lv-fieldset", "lv-list", "lv-field"}  # hooks without a look of their own
    used = set(re.findall(r"lv-[a-z_-]*[a-z]", source)) - unstyled
    missing = {name for name in used if f".{name}" not in css}
    assert not missing
