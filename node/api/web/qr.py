"""QR codes as SVG, without style attributes."""

from collections.abc import Sequence

import segno
from markupsafe import Markup

_BORDER = 4  # modules of quiet zone (ISO/IEC 18004)


def qr_svg(text: str, *, title: str, error: str = "l") -> Markup:
    """``text`` as a QR code, dark on light whatever surrounds it; ``title`` says what it is to who cannot see it.

    ``error`` is the level of error correction: l, m, q or h.
    """
    code = segno.make(text, error=error, micro=False)
    matrix = tuple(code.matrix)
    size = len(matrix) + 2 * _BORDER
    runs = "".join(
        f"M{start + _BORDER} {y + _BORDER + 0.5}h{length}"
        for y, row in enumerate(matrix)
        for start, length in _runs(row)
    )
    return Markup(
        '<svg class="lv-qr" viewBox="0 0 {s} {s}" role="img" aria-label="{t}" shape-rendering="crispEdges"'
        ' xmlns="http://www.w3.org/2000/svg"><rect width="{s}" height="{s}" fill="#fff"/>'
        '<path d="{d}" stroke="#000" fill="none"/></svg>'
    ).format(s=size, t=title, d=runs)


def _runs(row: Sequence[int]) -> list[tuple[int, int]]:
    """Where dark modules begin, and how many there are."""
    found: list[tuple[int, int]] = []
    for x, dark in enumerate(row):
        if not dark:
            continue
        if found and sum(found[-1]) == x:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((x, 1))
    return found
