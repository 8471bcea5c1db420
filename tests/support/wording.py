"""Every text that pages for patients say: collected from templates (``t("…")``) and from code (``say("…")``)."""

import ast
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, nodes

ROOT = Path(__file__).parents[2] / "node"
SAYERS = frozenset({"say", "t", "tongue"})


def said_in_code() -> dict[str, Path]:
    """Text and where it stands."""
    found: dict[str, Path] = {}
    for path in sorted(ROOT.rglob("*.py")):
        if not speaks(path):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _name(node.func) in SAYERS and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found[first.value] = path
    return found


def speaks(path: Path) -> bool:
    """Whether a module says something to patients."""
    return path.name == "plain_words.py" or "portal.plain_words import" in path.read_text()


def said_in_templates() -> dict[str, Path]:
    """The same of templates; a text that is not written out where it is said cannot be found, and is a defect."""
    environment = Environment(autoescape=True)
    found: dict[str, Path] = {}
    for path in sorted(ROOT.rglob("templates/**/*.html")):
        for call in environment.parse(path.read_text()).find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "t" and call.args:
                for text in _texts(call.args[0]):
                    found[text] = path
    return found


def _texts(node: nodes.Expr) -> Iterator[str]:
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, nodes.CondExpr):
        yield from _texts(node.expr1)
        if node.expr2 is not None:
            yield from _texts(node.expr2)


def _name(func: ast.expr) -> str:
    return func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
