"""Charts as SVG: well-formed whatever the texts say, true to their figures, without styles and scripts; QR codes."""

import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from node.api.web.charts import MAX_SPOTS, Part, Series, Spot, area, bars, federation, ring
from node.api.web.qr import qr_svg

SVG = "{http://www.w3.org/2000/svg}"
TEXTS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=30)
HOSTILE = '"/><script>alert(1)</script>'


def parsed(chart: Markup) -> ET.Element:
    assert not re.search(r"\sstyle=|\son[a-z]+=|<script", chart)
    root = ET.fromstring(chart)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    return root


def described(root: ET.Element) -> tuple[str, str]:
    title, said = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert said is not None
    assert root.get("aria-labelledby") == title.get("id")
    assert root.get("aria-describedby") == said.get("id")
    return title.text or "", said.text or ""


@given(st.lists(st.tuples(TEXTS, st.integers(0, 10**15), st.integers(0, 10**15)), max_size=40), TEXTS)
def test_bars_are_as_high_as_their_values(days: list[tuple[str, int, int]], title: str) -> None:
    series = [Series("in", "a", [d[1] for d in days]), Series("out", "b", [d[2] for d in days])]
    root = parsed(bars("x", title, [d[0] for d in days], series, str))
    found = list(root.iter(f"{SVG}rect"))
    assert len(found) == 2 * len(days)
    heights = [float(r.get("height", "")) for r in found]
    values = [d[1] for d in days] + [d[2] for d in days]
    top = max(values, default=0)
    for height, value in zip(heights, values, strict=True):
        assert 0 <= height <= 240
        if top:
            assert height == pytest.approx(max(heights) * value / top, abs=0.2)


def test_texts_are_texts() -> None:
    chart = bars("x", HOSTILE, [HOSTILE], [Series(HOSTILE, "a", [5])], lambda value: f"{HOSTILE}{value}")
    title, said = described(parsed(chart))
    assert title == HOSTILE
    assert HOSTILE in said
    assert described(parsed(federation("m", "t", HOSTILE, [Spot(HOSTILE, "away", HOSTILE, f"/x?{HOSTILE}")])))[1] == (
        f"{HOSTILE}: {HOSTILE}"
    )


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=5))
def test_a_ring_is_shared_out(values: list[int]) -> None:
    root = parsed(ring("r", "t", [Part(str(n), "a", v) for n, v in enumerate(values)], str, "all"))
    arcs = [c for c in root.iter(f"{SVG}circle") if c.get("stroke-dasharray")]
    lengths = [float(arc.get("stroke-dasharray", "").split()[0]) for arc in arcs]
    total, around = sum(values), 2 * math.pi * 70
    for length, value in zip(lengths, values, strict=True):
        assert length == pytest.approx(around * value / total if total else 0, abs=0.02)
    assert sum(lengths) <= around + 0.1


def test_an_area_of_nothing_and_of_one() -> None:
    assert described(parsed(area("a", "t", [], Series("s", "a", []), str)))[1] == "Nothing yet."
    assert len(list(parsed(area("a", "t", ["Nov"], Series("s", "a", [3]), str)).iter(f"{SVG}circle"))) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, MAX_SPOTS, MAX_SPOTS + 9])
def test_the_map_shows_who_fits_and_names_all(count: int) -> None:
    spots = [Spot(f"Facility {n} with a long name", "connected", "connected", f"/p/{n}") for n in range(count)]
    root = parsed(federation("m", "Facilities", "Here", spots))
    links = list(root.iter(f"{SVG}a"))
    assert [link.get("href") for link in links] == [spot.href for spot in spots[:MAX_SPOTS]]
    assert all(spot.name in described(root)[1] for spot in spots)
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    places = []
    for circle in root.iter(f"{SVG}circle"):
        x, y, r = (float(circle.get(key, "")) for key in ("cx", "cy", "r"))
        assert r <= x <= width - r
        assert r <= y <= height - r
        places.append((x, y))
    assert len(set(places)) == len(places), "nobody hides another"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=2000))
def test_a_qr_code_is_drawn_within_its_quiet_zone(text: str) -> None:
    root = ET.fromstring(qr_svg(text, title="t"))
    size = int((root.get("viewBox") or "").split()[2])
    path = root.find(f"{SVG}path")
    assert path is not None
    runs = re.findall(r"M(\d+) ([\d.]+)h(\d+)", path.get("d") or "")
    assert runs
    assert all(int(x) >= 4 and int(x) + int(length) <= size - 4 and 4 <= float(y) <= size - 4 for x, y, length in runs)
