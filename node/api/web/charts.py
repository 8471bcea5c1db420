"""Charts and the map of the federation, drawn on the server: SVG without scripts and style attributes.

Every chart has a title and a description for who cannot see it, and stands beside a table with the same figures
(``console/operator/macros.html``). Colours come from ``operator.css``; dashes tell apart what colours tell.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH, _HEIGHT = 640, 240  # user units; the SVG scales with the page
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 14, 12, 30
_GRID = 4  # lines
_LEAST_LABEL = 46  # user units that a label below the axis needs
_RING, _RING_WIDTH = 70.0, 26.0
_MAP_WIDTH, _MAP_HEIGHT = 480, 320
_FEW, _LOW = 2, 150  # so many facilities lie on a line: the map need not be high
_NEAR = 0.2  # radians: labels right above or below the middle are centred
MAX_SPOTS = 24  # facilities on one map; more are in the list
_MAX_NAME = 20  # characters of a facility's name on the map

Words = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Series:
    """One row of values; ``kind`` is its class (``a``, ``b``)."""

    label: str
    kind: str
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a whole; ``kind`` is its class."""

    label: str
    kind: str
    value: int


@dataclass(frozen=True, slots=True)
class Spot:
    """A facility on the map. ``state``: connected, away, pending, suspended or revoked, and ``words`` for it."""

    name: str
    state: str
    words: str
    href: str


def bars(name: str, title: str, labels: Sequence[str], series: Sequence[Series], words: Words) -> Markup:
    """Bars side by side for each of ``labels``; ``words`` writes a value, ``name`` is unique on the page."""
    top = _ceiling(max((value for one in series for value in one.values), default=0))
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    width = min(28.0, step * 0.8 / max(1, len(series)))
    body = [_axis(top, words), _below(labels, step)]
    for row, one in enumerate(series):
        for column, value in enumerate(one.values):
            height = _span(value, top)
            x = _LEFT + step * (column + 0.5) + width * (row - len(series) / 2)
            tip = f"{labels[column]}, {one.label}: {words(value)}"
            body.append(
                Markup('<rect class="lv-c-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1.5">').format(
                    one.kind, x, _HEIGHT - _BOTTOM - height, max(1.0, width - 1.5), height
                )
                + Markup("<title>{}</title></rect>").format(tip)
            )
    return _svg((name, title, _said(labels, series, words)), (_WIDTH, _HEIGHT), body)


def area(name: str, title: str, labels: Sequence[str], series: Series, words: Words) -> Markup:
    """A filled line through the values of ``series``."""
    top = _ceiling(max(series.values, default=0))
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    points = [(_LEFT + step * (n + 0.5), _HEIGHT - _BOTTOM - _span(v, top)) for n, v in enumerate(series.values)]
    body = [_axis(top, words), _below(labels, step)]
    if points:
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        ground = _HEIGHT - _BOTTOM
        around = f"{points[0][0]:.1f},{ground} {line} {points[-1][0]:.1f},{ground}"
        body.append(Markup('<polygon class="lv-c-{}-fill" points="{}"/>').format(series.kind, around))
        body.append(Markup('<polyline class="lv-c-{}-line" points="{}"/>').format(series.kind, line))
        body += [
            Markup('<circle class="lv-c-{}" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}</title></circle>').format(
                series.kind, x, y, f"{label}: {words(value)}"
            )
            for (x, y), label, value in zip(points, labels, series.values, strict=True)
        ]
    return _svg((name, title, _said(labels, [series], words)), (_WIDTH, _HEIGHT), body)


def ring(name: str, title: str, parts: Sequence[Part], words: Words, middle: str) -> Markup:
    """Parts of a whole as a ring, with ``middle`` written into it."""
    total, around = sum(part.value for part in parts), 2 * math.pi * _RING
    body = [
        Markup('<circle class="lv-c-track" cx="100" cy="100" r="{}" stroke-width="{}"/>').format(_RING, _RING_WIDTH)
    ]
    turned = 0.0
    for part in parts:
        length = around * part.value / total if total else 0.0
        body.append(
            Markup(
                '<circle class="lv-c-{}-arc" cx="100" cy="100" r="{}" stroke-width="{}"'
                ' stroke-dasharray="{:.2f} {:.2f}" stroke-dashoffset="{:.2f}"'
                ' transform="rotate(-90 100 100)"><title>{}</title></circle>'
            ).format(
                part.kind, _RING, _RING_WIDTH, length, around - length, -turned, f"{part.label}: {words(part.value)}"
            )
        )
        turned += length
    body.append(Markup('<text class="lv-c-middle" x="100" y="107" text-anchor="middle">{}</text>').format(middle))
    said = "; ".join(f"{part.label}: {words(part.value)}" for part in parts)
    return _svg((name, title, said), (200, 200), body)


def federation(name: str, title: str, me: str, spots: Sequence[Spot]) -> Markup:
    """This facility in the middle, its peers around it; each is a link. A dashed line is no connection."""
    shown = spots[:MAX_SPOTS]
    height = _LOW if len(shown) <= _FEW else _MAP_HEIGHT
    middle = (_MAP_WIDTH / 2, height / 2)
    places = list(_around(len(shown), middle))
    body = [
        Markup('<line class="lv-m-{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
            spot.state, *middle, x, y
        )
        for spot, (x, y, _) in zip(shown, places, strict=True)
    ]
    body += [_spot(spot, *place) for spot, place in zip(shown, places, strict=True)]
    body.append(
        Markup('<circle class="lv-m-me" cx="{0}" cy="{1}" r="26"/><text class="lv-m-name" x="{0}" y="{2}"').format(
            *middle, middle[1] + 46
        )
        + Markup(' text-anchor="middle">{}</text>').format(_cut(me))
    )
    said = "; ".join(f"{spot.name}: {spot.words}" for spot in spots) or "No other facilities yet."
    return _svg((name, title, said), (_MAP_WIDTH, height), body, role="group")


def _around(count: int, middle: tuple[float, float]) -> Iterator[tuple[float, float, float]]:
    """Places on an ellipse, and their angles; one alone stands to the right."""
    across, down = middle[0] - 118, middle[1] - 44
    for n in range(count):
        angle = 2 * math.pi * n / count
        yield middle[0] + across * math.cos(angle), middle[1] + down * math.sin(angle), angle


def _spot(spot: Spot, x: float, y: float, angle: float) -> Markup:
    across, down = math.cos(angle), math.sin(angle)
    is_centred = abs(across) < _NEAR or abs(down) > 1 - _NEAR / 2
    anchor = "middle" if is_centred else ("start" if across > 0 else "end")
    text_x = x if is_centred else x + (18 if across > 0 else -18)
    text_y = y + (30 if down > 0 else -20) if is_centred else y + 5
    return Markup('<a href="{}" aria-label="{}">').format(spot.href, f"{spot.name}: {spot.words}") + Markup(
        '<circle class="lv-m-{}" cx="{:.1f}" cy="{:.1f}" r="12"/>'
        '<text class="lv-m-name" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text></a>'
    ).format(spot.state, x, y, text_x, text_y, anchor, _cut(spot.name))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_NAME else text[: _MAX_NAME - 1] + "…"


def _ceiling(most: int) -> int:
    """A round number at or above ``most``, which the grid divides evenly."""
    if most <= 0:
        return _GRID
    scale = 10 ** max(0, len(str(most)) - 2)
    steps: list[int] = [step * scale for step in (*range(4, 100, 4), 100)]
    return next(step for step in steps if step >= most)


def _span(value: int, top: int) -> float:
    return (_HEIGHT - _TOP - _BOTTOM) * value / top


def _axis(top: int, words: Words) -> Markup:
    lines = []
    for n in range(_GRID + 1):
        y = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * n / _GRID
        lines.append(
            Markup(
                '<line class="lv-c-grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text class="lv-c-label" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(_LEFT, _WIDTH - _RIGHT, y, y, _LEFT - 8, y + 4, words(top * n // _GRID))
        )
    return Markup("").join(lines)


def _below(labels: Sequence[str], step: float) -> Markup:
    """Labels below the axis, as many as there is room for (on a phone a third), the last one always."""
    every = max(1, math.ceil(_LEAST_LABEL / step))
    return Markup("").join(
        Markup('<text class="lv-c-label{}" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            "" if (len(labels) - 1 - n) % (3 * every) == 0 else " lv-c-wide",
            _LEFT + step * (n + 0.5),
            _HEIGHT - 8,
            label,
        )
        for n, label in enumerate(labels)
        if (len(labels) - 1 - n) % every == 0
    )


def _said(labels: Sequence[str], series: Sequence[Series], words: Words) -> str:
    """The chart in a sentence; the table beside it has every figure."""
    sums = ", ".join(f"{one.label} {words(sum(one.values))}" for one in series)
    return f"{labels[0]} to {labels[-1]}: {sums} in all." if labels else "Nothing yet."


def _svg(names: tuple[str, str, str], size: tuple[int, int], body: Sequence[Markup], *, role: str = "img") -> Markup:
    """``names``: the chart's own, its title, and what it says in words."""
    name, title, said = names
    return Markup(
        '<svg class="lv-chart" viewBox="0 0 {w} {h}" role="{role}" aria-labelledby="{n}-title"'
        ' aria-describedby="{n}-said" xmlns="http://www.w3.org/2000/svg"><title id="{n}-title">{title}</title>'
        '<desc id="{n}-said">{said}</desc>{body}</svg>'
    ).format(w=size[0], h=size[1], role=role, n=name, title=title, said=said, body=Markup("").join(body))
