"""What a radiation dose report says in sum (PS3.16 TID 10001, 10011: X-Ray Radiation Dose SR). Pure.

Only the totals that the report itself states are read, in its own unit; nothing is converted to an effective dose.
"""

from dataclasses import dataclass
from typing import Any

Tree = dict[str, dict[str, Any]]

# SOP classes: X-Ray and Enhanced X-Ray Radiation Dose SR Storage (PS3.4 annex B)
DOSE_REPORTS = ("1.2.840.10008.5.1.4.1.1.88.67", "1.2.840.10008.5.1.4.1.1.88.76")
MAX_DEPTH = 16
_CONTENT, _CONCEPT, _MEASURED, _NUMERIC, _UNIT = "0040A730", "0040A043", "0040A300", "0040A30A", "004008EA"
_CODE, _SCHEME = "00080100", "00080102"
_TOTALS = {  # DCM codes, the surest first
    "113813": "dose length product",
    "113722": "dose area product",
    "111637": "average glandular dose",
}
_UNITS = {"mGy.cm": "mGy·cm", "Gy.m2": "Gy·m²", "mGy": "mGy", "dGy.cm2": "dGy·cm²", "uGy.m2": "µGy·m²"}  # UCUM


@dataclass(frozen=True, slots=True)
class ReportedDose:
    """A total as the report states it: of both planes together where there are two."""

    name: str
    value: float
    unit: str

    @property
    def text(self) -> str:
        """In words."""
        return f"{self.name} {self.value:.4g} {self.unit}"


def read_dose(tree: Tree) -> ReportedDose | None:
    """The first total of a report (DICOM JSON model); None if it states none that is known here."""
    found: dict[str, list[tuple[float, str]]] = {}
    _collect(tree, found, 0)
    for code, name in _TOTALS.items():
        if stated := found.get(code):
            unit = stated[0][1]
            return ReportedDose(name, sum(value for value, one in stated if one == unit), _UNITS[unit])
    return None


def _collect(item: Tree, found: dict[str, list[tuple[float, str]]], depth: int) -> None:
    code = _code(item, _CONCEPT)
    if code in _TOTALS:
        measured = _first(item, _MEASURED)
        value, unit = _number(measured), _code(measured, _UNIT, scheme="UCUM")
        if value is not None and value >= 0 and unit in _UNITS:
            found.setdefault(code, []).append((value, unit))
    if depth < MAX_DEPTH:
        for child in item.get(_CONTENT, {}).get("Value", []):
            if isinstance(child, dict):
                _collect(child, found, depth + 1)


def _first(item: Tree, tag: str) -> Tree:
    values = item.get(tag, {}).get("Value", [])
    return values[0] if values and isinstance(values[0], dict) else {}


def _code(item: Tree, tag: str, *, scheme: str = "DCM") -> str:
    """The code value of a coded entry of this scheme, else nothing."""
    entry = _first(item, tag)
    values = entry.get(_CODE, {}).get("Value", [""])
    schemes = entry.get(_SCHEME, {}).get("Value", [""])
    return str(values[0]) if values and schemes and schemes[0] == scheme else ""


def _number(measured: Tree) -> float | None:
    values = measured.get(_NUMERIC, {}).get("Value", [])
    try:
        return float(values[0]) if values else None
    except (TypeError, ValueError):
        return None
