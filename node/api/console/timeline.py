"""The years of a patient as a picture: where each study lies in time, and who holds it. SVG by a template."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from node.api.console.priors import Prior

WIDTH = 960
LEFT, RIGHT = 150, 24  # room for the names of the lanes, and for half a dot
TOP, LANE = 30, 30
_MOST_LANES = 6  # facilities; what there is of more shares the last lane
_MOST_TICKS = 12


@dataclass(frozen=True, slots=True)
class Dot:
    """One study. ``number`` is its place in the list, whose entry has the id ``study-NUMBER``."""

    x: float
    y: float
    number: int
    words: str
    held: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    """The picture: years along the top, a lane for each holder, a dot for each study."""

    width: int
    height: int
    ticks: list[tuple[float, int]]
    lanes: list[tuple[float, str]]
    dots: list[Dot]


def timeline(priors: Sequence[Prior], *, today: str) -> Timeline | None:
    """The picture of dated studies; None where there are fewer than two."""
    dated = [(number, prior, _years(prior.date)) for number, prior in enumerate(priors, 1)]
    placed = [(number, prior, years) for number, prior, years in dated if years is not None]
    if len(placed) < 2:  # noqa: PLR2004 - one point is no line
        return None
    begin = int(min(years for _, _, years in placed))
    end = max(_years(today) or 0.0, *(years for _, _, years in placed)) + 0.1
    scale = (WIDTH - LEFT - RIGHT) / max(end - begin, 1.0)
    names = ["Here", *sorted({prior.facility for _, prior, _ in placed if prior.local is None})]
    lanes = names if len(names) <= _MOST_LANES else [*names[: _MOST_LANES - 1], "Others"]

    def lane(prior: Prior) -> int:
        name = "Here" if prior.local is not None else prior.facility
        return lanes.index(name) if name in lanes else len(lanes) - 1

    dots = [
        Dot(
            round(LEFT + (years - begin) * scale, 1),
            TOP + lane(prior) * LANE + LANE / 2,
            number,
            prior.title,
            prior.local is not None,
        )
        for number, prior, years in placed
    ]
    return Timeline(
        WIDTH,
        TOP + LANE * len(lanes) + 8,
        _ticks(begin, end, scale),
        [(TOP + i * LANE + LANE / 2, name) for i, name in enumerate(lanes)],
        _apart(dots),
    )


def _ticks(begin: int, end: float, scale: float) -> list[tuple[float, int]]:
    years = range(begin, int(end) + 1)
    every = max(1, -(-len(years) // _MOST_TICKS))
    return [(round(LEFT + (year - begin) * scale, 1), year) for year in years[::every]]


def _apart(dots: list[Dot]) -> list[Dot]:
    """Dots of one day and lane side by side, not on top of each other."""
    ordered = sorted(dots, key=lambda dot: (dot.y, dot.x))
    moved = ordered[:1]
    for before, dot in pairwise(ordered):
        last = moved[-1]
        x = max(dot.x, last.x + 9) if before.y == dot.y and dot.x - last.x < 9 else dot.x  # noqa: PLR2004 - a dot's width
        moved.append(Dot(min(x, WIDTH - RIGHT / 2), dot.y, dot.number, dot.words, dot.held))
    return moved


def _years(date: str) -> float | None:
    if len(date) not in {4, 8} or not date.isdigit():
        return None
    months = (int(date[4:6]) - 1) / 12 + (int(date[6:8]) - 1) / 365 if len(date) > len("YYYY") else 0.5
    return int(date[:4]) + months
