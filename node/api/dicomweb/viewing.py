"""How a picture is wanted: the query parameters of rendered resources (PS3.18 section 8.3.5). Pure."""

import math

import msgspec

from node.api.routing import Call
from node.errors.access import InvalidInput

DEFAULT_QUALITY = 90
_FUNCTIONS = {"": "LINEAR", "linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
_MAX_QUALITY = 100
_MAX_DIGITS = 4  # of a quality; more are not worth reading
_MAX_SIDE = 16_384  # pixels of what is answered
_MAX_COORDINATE = 1 << 20
_WINDOW_PARTS = (2, 3)  # centre, width and perhaps a function
_VIEWPORT_PARTS = range(2, 7)  # width and height of the picture; x, y, width and height of the region


class Viewing(msgspec.Struct, frozen=True):
    """Window, viewport and quality as a worker takes them (``node.dicom.pixels.Picture``)."""

    window: tuple[float, float, str] | None = None
    viewport: tuple[int, int, int, int, int, int] | None = None
    quality: int = DEFAULT_QUALITY


def viewing(call: Call) -> Viewing:
    """The parameters of a request; raises InvalidInput. ``annotation`` is accepted: nothing is ever burnt in."""
    return parse_viewing(call.query("window"), call.query("viewport"), call.query("quality"))


def parse_viewing(window: str, viewport: str, quality: str) -> Viewing:
    """``centre,width,function`` and ``width,height,x,y,width,height`` and 1 to 100; empty where nothing is said.

    Raises:
        InvalidInput: one of them is something else.
    """
    return Viewing(
        _window(window) if window else None,
        _viewport(viewport) if viewport else None,
        _quality(quality) if quality else DEFAULT_QUALITY,
    )


def _window(text: str) -> tuple[float, float, str]:
    parts = text.split(",")
    if len(parts) not in _WINDOW_PARTS:
        raise InvalidInput("window")
    function = _FUNCTIONS.get("".join(parts[2:]).strip().lower())
    try:
        center, width = float(parts[0]), float(parts[1])
    except ValueError as exc:
        raise InvalidInput("window") from exc
    is_wide = width >= 1 if function == "LINEAR" else width > 0  # PS3.3 section C.11.2.1.2
    if function is None or not (math.isfinite(center) and math.isfinite(width) and is_wide):
        raise InvalidInput("window")
    return center, width, function


def _viewport(text: str) -> tuple[int, int, int, int, int, int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in _VIEWPORT_PARTS:
        raise InvalidInput("viewport")
    try:
        numbers = [round(float(part)) if part else 0 for part in parts]
    except (ValueError, OverflowError) as exc:
        raise InvalidInput("viewport") from exc
    numbers += [0] * (max(_VIEWPORT_PARTS) - len(numbers))
    if any(abs(n) > _MAX_COORDINATE for n in numbers):
        raise InvalidInput("viewport")
    width, height, x, y, across, down = numbers
    if not (0 <= width <= _MAX_SIDE and 0 <= height <= _MAX_SIDE and x >= 0 and y >= 0):
        raise InvalidInput("viewport")
    return width, height, x, y, across, down


def _quality(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    if not (is_number and 1 <= int(text) <= _MAX_QUALITY):
        raise InvalidInput("quality")
    return int(text)
