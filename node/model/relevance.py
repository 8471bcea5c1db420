"""Which earlier studies matter for the one that is being read. Pure.

Weights (points): the same region 40; the same modality 25, a comparable one 15; the same side 10, the other side -15
(for mammography both sides count as the same); recency 20 at most, none after ten years; a report 5. The newest and the
oldest study that can be compared are always shown, however little they score: what changed lately, and since when.

Where a study looked is taken from Body Part Examined (0018,0015), which is often missing or wrong, and from the words
of its description (0008,1030).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.model.label import NO_REGION, BodyRegion, body_regions

REGION_POINTS = 40
SAME_MODALITY_POINTS = 25
COMPARABLE_POINTS = 15
SAME_SIDE_POINTS = 10
OTHER_SIDE_POINTS = -15
RECENCY_POINTS = 20
REPORT_POINTS = 5
RECENT_POINTS = 15  # from which on a study is called recent: two and a half years
RECENT_YEARS = 10

_COMPARABLE = (frozenset({"CT", "MR"}), frozenset({"CR", "DX"}), frozenset({"PT", "CT"}))
_MAMMOGRAPHY = "MG"
# Not images to compare: reports, annotations, presentation states and the like.
NOT_IMAGES = frozenset({"SR", "PR", "KO", "DOC", "AU", "SEG", "REG", "RTSTRUCT", "RTPLAN", "RTDOSE", "PLAN", "OT"})
_WORDS = {
    BodyRegion.HEAD: "CEREBRAL CRANIAL CRANIUM NEURO CEREBRUM FACIAL ORBITS SINUSES DENTAL",
    BodyRegion.NECK: "CERVICALS CAROTIDS",
    BodyRegion.CHEST: "CXR CARDIAC PULMONARY CORONARY LUNGS RIBS CHST",
    BodyRegion.BREAST: "MAMMO MAMMOGRAM MAMMOGRAPHY MAMMOGRAPHIC BREASTS MAMMA",
    BodyRegion.ABDOMEN: "ABD ABDOMINAL RENAL HEPATIC KUB KIDNEYS UROGRAM ENTEROGRAPHY",
    BodyRegion.PELVIS: "PELVIC HIPS PROSTATIC",
    BodyRegion.SPINE: "LUMBAR CERVICAL SPINAL VERTEBRA LUMBOSACRAL",
    BodyRegion.UPPER_LIMB: "SHOULDERS WRISTS HANDS FINGERS ELBOWS",
    BodyRegion.LOWER_LIMB: "KNEES ANKLES FEET LEGS TOES",
    BodyRegion.WHOLE_BODY: "PETCT",
}
_REGION_OF = {word: region for region, words in _WORDS.items() for word in words.split()}
_LIMBS_AND_BREAST = BodyRegion.UPPER_LIMB | BodyRegion.LOWER_LIMB | BodyRegion.BREAST
_DATE = re.compile(r"([0-9]{4})(?:([0-9]{2})([0-9]{2}))?")


class Side(StrEnum):
    """Which half of the body."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


_SIDES = {
    "LEFT": Side.LEFT, "LT": Side.LEFT, "RIGHT": Side.RIGHT, "RT": Side.RIGHT,
    "BILATERAL": Side.BOTH, "BILAT": Side.BOTH, "BOTH": Side.BOTH,
}  # fmt: skip


class Reason(StrEnum):
    """Why a study was ranked as it was, in words for people."""

    REGION = "same region"
    MODALITY = "same modality"
    COMPARABLE = "comparable modality"
    SIDE = "same side"
    OTHER_SIDE = "other side"
    RECENT = "recent"
    REPORT = "has a report"
    NEWEST = "newest comparable study"
    OLDEST = "oldest comparable study"


@dataclass(frozen=True, slots=True)
class Examination:
    """What is known of a study for comparing it. ``date`` is DA, or a year, or empty; ``report`` None: not told."""

    modalities: tuple[str, ...] = ()
    regions: BodyRegion = NO_REGION
    side: Side | None = None
    date: str = ""
    report: bool | None = None


@dataclass(frozen=True, slots=True)
class Rank:
    """Points and why."""

    score: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One of the studies that were given: its place in what was given, its rank, whether it must be shown."""

    index: int
    rank: Rank
    kept: bool


def examination(
    *, modalities: Iterable[str], body_parts: Iterable[str] = (), description: str = "", date: str = "",
    regions: BodyRegion = NO_REGION, report: bool | None = None,
) -> Examination:  # fmt: skip
    """What a study is for comparing it: body parts first, then the words of the description, then what MG implies."""
    kinds = tuple(modality.upper() for modality in modalities)
    words = re.findall(r"[A-Z]+", description.upper())
    found = regions or body_regions(body_parts) or regions_in_words(words)
    if not found and _MAMMOGRAPHY in kinds:
        found = BodyRegion.BREAST
    return Examination(kinds, found, _side(words, found), date, report)


def regions_in_words(words: Sequence[str]) -> BodyRegion:
    """The regions that upper-case words of a description name."""
    found = body_regions(words)
    for word in words:
        found |= _REGION_OF.get(word, NO_REGION)
    if "THORACIC" in words and not found & BodyRegion.SPINE:
        found |= BodyRegion.CHEST
    return found


def rank_one(study: Examination, current: Examination, today: str) -> Rank:
    """Points of ``study`` for whoever reads ``current``; ``today`` is DA."""
    score, reasons = 0, list[Reason]()

    def give(points: int, reason: Reason) -> None:
        nonlocal score
        score += points
        reasons.append(reason)

    if _same_region(study, current):
        give(REGION_POINTS, Reason.REGION)
    if _images(study) & _images(current):
        give(SAME_MODALITY_POINTS, Reason.MODALITY)
    elif _are_comparable(study, current):
        give(COMPARABLE_POINTS, Reason.COMPARABLE)
    if (side := _compare_sides(study, current)) is not None:
        give(*side)
    recency = _recency(study.date, today)
    score += recency
    if recency >= RECENT_POINTS:
        reasons.append(Reason.RECENT)
    if study.report:
        give(REPORT_POINTS, Reason.REPORT)
    return Rank(score, tuple(reasons))


def rank(studies: Sequence[Examination], current: Examination, today: str) -> list[Ranked]:
    """All of them, the most relevant first; equal ones newest first."""
    ranks = [rank_one(study, current, today) for study in studies]
    comparators = [i for i, study in enumerate(studies) if study.date and is_comparator(study, current)]
    dated = sorted(comparators, key=lambda i: studies[i].date)
    extra: dict[int, Reason] = {}
    if dated:
        extra = {dated[0]: Reason.OLDEST, dated[-1]: Reason.NEWEST} if len(dated) > 1 else {dated[0]: Reason.NEWEST}
    order = sorted(range(len(studies)), key=lambda i: (ranks[i].score, studies[i].date), reverse=True)
    return [
        Ranked(i, Rank(ranks[i].score, ranks[i].reasons + ((extra[i],) if i in extra else ())), i in extra)
        for i in order
    ]


def shortlist(ranked: Sequence[Ranked], most: int) -> tuple[list[Ranked], list[Ranked]]:
    """The first ``most``, among them the newest and the oldest comparator; and the others. Both in order."""
    kept = {one.index for one in ranked if one.kept}
    room = max(most - len(kept), 0)
    for one in ranked:
        if one.index not in kept and room > 0:
            kept.add(one.index)
            room -= 1
    return [one for one in ranked if one.index in kept], [one for one in ranked if one.index not in kept]


def is_comparator(study: Examination, current: Examination) -> bool:
    """Whether one would look at both side by side."""
    alike = bool(_images(study) & _images(current)) or _are_comparable(study, current)
    return _same_region(study, current) and alike


def _images(study: Examination) -> frozenset[str]:
    return frozenset(study.modalities) - NOT_IMAGES


def _same_region(study: Examination, current: Examination) -> bool:
    both = study.regions | current.regions
    named = bool(study.regions) and bool(current.regions)
    return bool(study.regions & current.regions) or (named and BodyRegion.WHOLE_BODY in both)


def _are_comparable(study: Examination, current: Examination) -> bool:
    mine, theirs = _images(study), _images(current)
    return any(mine & pair and theirs & pair for pair in _COMPARABLE)


def _compare_sides(study: Examination, current: Examination) -> tuple[int, Reason] | None:
    if study.side is None or current.side is None:
        return None
    mammography = _MAMMOGRAPHY in study.modalities and _MAMMOGRAPHY in current.modalities
    if mammography or study.side is current.side or Side.BOTH in {study.side, current.side}:
        return SAME_SIDE_POINTS, Reason.SIDE
    return OTHER_SIDE_POINTS, Reason.OTHER_SIDE


def _recency(date: str, today: str) -> int:
    """Points for how near it is to today, in full years and parts; a year alone counts from its middle."""
    then, now = _years(date), _years(today)
    if then is None or now is None:
        return 0
    age = max(now - then, 0.0)
    return round(RECENCY_POINTS * max(0.0, 1 - age / RECENT_YEARS))


def _years(date: str) -> float | None:
    match = _DATE.fullmatch(date)
    if match is None:
        return None
    if match[2] is None:
        return int(match[1]) + 0.5
    return int(match[1]) + (int(match[2]) - 1) / 12 + (int(match[3]) - 1) / 365


def _side(words: Sequence[str], regions: BodyRegion) -> Side | None:
    sides = {_SIDES[word] for word in words if word in _SIDES}
    if not sides and regions & _LIMBS_AND_BREAST and not regions & BodyRegion.SPINE:
        sides = {Side.LEFT for word in words if word == "L"} | {Side.RIGHT for word in words if word == "R"}
    if not sides:
        return None
    return sides.pop() if len(sides) == 1 else Side.BOTH
