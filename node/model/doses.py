"""Typical effective doses of examinations, each with its range and where the figures come from. Pure.

They describe populations, not a patient, and are shown as such; what a study's own dose report says goes before them
and is never converted. Doses are not added up into anything: no risk is computed from them anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from node.model.label import BodyRegion
from node.model.relevance import Examination

_MSD = "MSD Manual, after Mettler 2008 and ACR"
_WJR = "World J Radiol 2016;8:902"
_NONE = "no ionising radiation"


@dataclass(frozen=True, slots=True)
class TypicalDose:
    """An examination and its effective dose in mSv; ``low`` and ``high`` are the range that the source gives."""

    words: str
    low: float
    high: float
    source: str
    typical: float | None = None  # where the source gives one figure

    @property
    def text(self) -> str:
        """The dose in words, with its range."""
        if self.high == 0:
            return _NONE
        if self.typical is None or self.low == self.high:
            low = f"{self.low:g}" if self.low == self.high else f"{self.low:g} to {self.high:g}"
            return f"{low} mSv"
        return f"{self.typical:g} mSv ({self.low:g} to {self.high:g})"


def _one(words: str, value: float) -> TypicalDose:
    return TypicalDose(words, value, value, _MSD, value)


TYPICAL_DOSES: Mapping[str, TypicalDose] = {
    "ct_head": TypicalDose("CT of the head", 0.9, 4, _WJR, 2),
    "ct_chest": TypicalDose("CT of the chest", 4, 18, _WJR, 7),
    "ct_pulmonary": TypicalDose("CT angiography of the lungs", 13, 40, _WJR, 15),
    "ct_abdomen": TypicalDose("CT of the abdomen", 3.5, 25, _WJR, 8),
    "ct_pelvis": TypicalDose("CT of the pelvis", 3.3, 10, _WJR, 6),
    "ct_abdomen_pelvis": TypicalDose("CT of abdomen and pelvis", 7.7, 10, _MSD),
    "xray_chest": TypicalDose("X-ray of the chest, two views", 0.1, 0.1, _MSD, 0.1),
    "xray_chest_pa": _one("X-ray of the chest, one view", 0.02),
    "xray_abdomen": _one("X-ray of the abdomen", 0.7),
    "xray_spine": _one("X-ray of the lumbar spine", 1.5),
    "xray_limb": _one("X-ray of arm or leg", 0.001),
    "mammogram": TypicalDose("Mammogram", 0.21, 0.4, _MSD),
    "pet": _one("FDG PET without CT", 7),
    "bone_scan": TypicalDose("Bone scan", 4.2, 6.3, _MSD),
    "mr": TypicalDose("MR", 0, 0, _NONE),
    "ultrasound": TypicalDose("Ultrasound", 0, 0, _NONE),
    "other": TypicalDose("Another examination", 0, 0, ""),
}
OTHER = "other"

_CT = {
    BodyRegion.HEAD: "ct_head", BodyRegion.CHEST: "ct_chest", BodyRegion.ABDOMEN: "ct_abdomen",
    BodyRegion.PELVIS: "ct_pelvis",
}  # fmt: skip
_XRAY = {
    BodyRegion.CHEST: "xray_chest", BodyRegion.ABDOMEN: "xray_abdomen", BodyRegion.SPINE: "xray_spine",
    BodyRegion.UPPER_LIMB: "xray_limb", BodyRegion.LOWER_LIMB: "xray_limb",
}  # fmt: skip
_ALONE = {"MR": "mr", "US": "ultrasound", "MG": "mammogram", "PT": "pet"}


def likely(study: Examination) -> str:
    """Which of the examinations a study most probably is: a suggestion for whoever confirms."""
    kinds = set(study.modalities)
    if "CT" in kinds and "PT" not in kinds:
        if {BodyRegion.ABDOMEN, BodyRegion.PELVIS} <= set(study.regions):
            return "ct_abdomen_pelvis"
        return next((key for region, key in _CT.items() if region in study.regions), OTHER)
    if kinds & {"CR", "DX"}:
        return next((key for region, key in _XRAY.items() if region in study.regions), OTHER)
    return next((key for kind, key in _ALONE.items() if kind in kinds), OTHER)
