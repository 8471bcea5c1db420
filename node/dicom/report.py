"""A tree of content items (PS3.3 section C.17.3) for people: HTML without script, or plain text. Pure.

Works on the DICOM JSON model, in which text is decoded already. Everything from the data set is escaped.
"""

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Tree = dict[str, dict[str, Any]]

MAX_DEPTH = 32
_CONTENT, _TYPE, _NAME, _RELATION = "0040A730", "0040A040", "0040A043", "0040A010"
_MEANING = "00080104"
_CONTENT_DATE, _VERIFICATION = "00080023", "0040A493"
_TITLE = "Report"
_VALUES = {
    "TEXT": "0040A160", "DATE": "0040A121", "TIME": "0040A122", "DATETIME": "0040A120", "UIDREF": "0040A124",
    "PNAME": "0040A123",
}  # fmt: skip
_HEADER = (
    ("Patient", "00100010"), ("Patient ID", "00100020"), ("Born", "00100030"), ("Sex", "00100040"),
    ("Study", "00081030"), ("Study date", "00080020"), ("Accession number", "00080050"),
    ("Institution", "00080080"), ("Content date", "00080023"), ("Completion", "0040A491"),
    ("Verification", "0040A493"),
)  # fmt: skip
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48em;margin:2em auto;padding:0 1em;color:#111;background:#fff}"
    "table{border-collapse:collapse;margin:0 0 1.5em}"
    "th{text-align:left;font-weight:normal;color:#555;padding:0 1.5em 0 0}"
    "ul{list-style:none;padding-left:1.25em;margin:.25em 0}b{font-weight:600}p{white-space:pre-wrap;margin:.25em 0}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One content item: how deep it is, what it is called, and what it says."""

    depth: int
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says, for a page of one's own. ``date`` is DA; ``is_final`` that somebody answers for it."""

    title: str
    date: str
    is_final: bool
    lines: tuple[Line, ...]


def read_report(tree: Tree) -> Report:
    """The report in a data set; empty of lines if there is none."""
    is_final = _first(tree, _VERIFICATION) == "VERIFIED"
    date = tree.get(_CONTENT_DATE, {}).get("Value") or [""]
    return Report(_code(tree, _NAME), str(date[0] or ""), is_final, tuple(_lines(tree, 0)))


def as_html(tree: Tree) -> str:
    """A page of its own; needs ``style-src 'unsafe-inline'`` and nothing else."""
    title = html.escape(_title(tree))
    facts = "".join(f"<tr><th>{html.escape(n)}</th><td>{html.escape(v)}</td></tr>" for n, v in _facts(tree))
    body, depth = [], 0
    for line in _lines(tree, 0):
        body.append("<ul>" * (line.depth + 1 - depth) + "</ul>" * (depth - line.depth - 1))
        depth = line.depth + 1
        name = f"<b>{html.escape(line.name)}</b>" if line.name else ""
        value = f"<p>{html.escape(line.value)}</p>" if line.value else ""
        body.append(f"<li>{name}{value}</li>")
    body.append("</ul>" * depth)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    content = "".join(body)
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{title}</h1><table>{facts}</table>{content}'


def as_text(tree: Tree) -> str:
    """Lines, indented by two spaces a level."""
    lines = [_title(tree), *(f"{name}: {value}" for name, value in _facts(tree)), ""]
    for line in _lines(tree, 0):
        said = f"{line.name}: {line.value}" if line.name and line.value else line.name or line.value
        indent = "  " * line.depth
        lines.append(indent + said.replace("\n", "\n" + indent))
    return "\n".join(lines) + "\n"


def _title(tree: Tree) -> str:
    return _code(tree, _NAME) or _TITLE


def _facts(tree: Tree) -> Iterator[tuple[str, str]]:
    for name, tag in _HEADER:
        value = _first(tree, tag)
        if value:
            yield name, value


def _lines(tree: Tree, depth: int) -> Iterator[Line]:
    for item in tree.get(_CONTENT, {}).get("Value", []):
        if not isinstance(item, dict):
            continue
        name, value = _code(item, _NAME), _value(item)
        if name or value:
            yield Line(depth, name, value)
        if depth < MAX_DEPTH:
            yield from _lines(item, depth + 1)


def _value(item: Tree) -> str:
    kind = _first(item, _TYPE)
    if kind == "CODE":
        return _code(item, "0040A168")
    if kind == "NUM":
        measured = _items(item, "0040A300")
        if not measured:
            return _code(item, "0040A301")
        unit = _code(measured[0], "004008EA")
        return f"{_first(measured[0], '0040A30A')} {'' if unit == 'no units' else unit}".strip()
    if kind in {"IMAGE", "COMPOSITE", "WAVEFORM"}:
        return f"[{kind.lower()}]" if _items(item, "00081199") else ""
    if kind in {"SCOORD", "SCOORD3D", "TCOORD"}:
        return f"[{_first(item, '00700023').lower() or 'coordinates'}]"
    return _first(item, _VALUES.get(kind, ""))


def _items(tree: Tree, tag: str) -> list[Tree]:
    return [item for item in tree.get(tag, {}).get("Value", []) if isinstance(item, dict)]


def _code(tree: Tree, tag: str) -> str:
    items = _items(tree, tag)
    return (_first(items[0], _MEANING) or _first(items[0], "00080100")) if items else ""


def _first(tree: Tree, tag: str) -> str:
    """The first value as people write it."""
    values = tree.get(tag, {}).get("Value") or [""]
    value = values[0]
    if isinstance(value, dict):
        value = value.get("Alphabetic") or value.get("Ideographic") or value.get("Phonetic") or ""
        return " ".join(str(value).replace("^", " ").split())
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None else str(value)
    is_date = tree.get(tag, {}).get("vr") == "DA" and len(text) == len("YYYYMMDD")
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if is_date else text
