"""Pictures for people, in a worker process: a frame with its window and viewport as JPEG or PNG (PS3.18 section 10.4).

What has no pixels gets a small tile with its modality where a thumbnail is wanted; a report becomes HTML or text
(``report``).
"""

import io
import json

import msgspec
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from node.dicom.decode import Image, Stored, as_explicit_little, decode, decode_whole
from node.dicom.frames import native_frame
from node.dicom.grayscale import to_grey
from node.dicom.heads import read_head
from node.dicom.inflate import InflatedSource
from node.dicom.metadata import metadata
from node.dicom.overlay import drawn
from node.dicom.pixels import Picture, PixelLayout, read_layout
from node.dicom.report import as_html, as_text
from node.dicom.structure import Source
from node.errors.dicom import HeaderTooLarge, NoSuchFrame, NotRenderable

MAX_FRAME_BYTES = 160 << 20  # of one frame as stored
MAX_SIDE = 16_384  # pixels of a viewport
READ = 8 << 20  # asked for at once
_TILE = 128
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}
_EIGHT, _SIXTEEN = 8, 16
_WHITE = 255
_MAX_ASPECT = 20.0  # of a pixel; what is said beyond is a mistake


def render(source: Source, syntax: str, argument: str) -> bytes:
    """The picture or document that ``argument``, a :class:`Picture`, asks for.

    Raises:
        NotRenderable, NotDecodable: it cannot be made.
        otherwise DicomRefused: the data set is damaged or beyond a limit.
    """
    wanted = msgspec.json.decode(argument, type=Picture)
    if wanted.form in {"text/html", "text/plain"}:
        tree = json.loads(metadata(source, syntax, ""))
        return (as_html(tree) if wanted.form == "text/html" else as_text(tree)).encode()
    layout, header = read_layout(source, syntax), read_head(source, syntax).dataset
    if layout.pixels is None:
        return _encode(_tile(str(header.get("Modality", "") or "")), wanted)
    stored = decode(_frame(source, layout, wanted), layout, syntax, header)
    try:
        shown = _eight_bits(stored, header, wanted)
        overlays = drawn(header, wanted.number, shown.shape[:2])
        if overlays is not None:
            shown[overlays] = _WHITE
        picture = Pillow.fromarray(shown)
        return _encode(_in_viewport(picture, header, wanted), wanted)
    except (NotRenderable, MemoryError):
        raise
    except Exception as exc:
        raise NotRenderable from exc


def transcode(source: Source, syntax: str, argument: str) -> bytes:
    """A frame as native pixels in little endian; of a deflated data set, as it is. Raises as :func:`render`."""
    wanted = msgspec.json.decode(argument, type=Picture)
    layout = read_layout(source, syntax)
    frame = _frame(source, layout, wanted)
    if not layout.encapsulated:
        return frame
    return as_explicit_little(decode(frame, layout, syntax, read_head(source, syntax).dataset), layout)


def native(source: Source, syntax: str, argument: str) -> bytes:
    """A compressed frame as native pixels in little endian, in its own colour space. Raises as :func:`render`."""
    wanted = msgspec.json.decode(argument, type=Picture)
    layout = read_layout(source, syntax)
    dataset = read_head(source, syntax).dataset
    return as_explicit_little(decode_whole(_frame(source, layout, wanted), layout, syntax, dataset), layout)


def _frame(source: Source, layout: PixelLayout, wanted: Picture) -> bytes:
    if sum(length for _, length in wanted.spans) > MAX_FRAME_BYTES:
        raise HeaderTooLarge("length")
    plain = InflatedSource(source) if layout.deflated else source
    pieces = [
        plain.read(at, min(READ, offset + length - at))
        for offset, length in wanted.spans
        for at in range(offset, offset + length, READ)
    ]
    raw = b"".join(pieces)
    if not layout.encapsulated:
        raw = native_frame(raw, layout, wanted.skip_bits)
        if len(raw) * _EIGHT < layout.frame_bits:
            raise NoSuchFrame("the pixel data is shorter than it should be")
    return raw


def _eight_bits(stored: Stored, header: Dataset, wanted: Picture) -> Image:
    if stored.photometric == "RGB":
        return _scaled(stored.values, stored.bits)
    if stored.photometric == "PALETTE COLOR":
        coloured: Image = apply_color_lut(stored.values, header)[..., :3]
        return _scaled(coloured, _SIXTEEN if coloured.dtype.itemsize > 1 and coloured.max() > _WHITE else _EIGHT)
    if stored.photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise NotRenderable("colour space")
    return to_grey(stored, header, wanted.number, wanted.window)


def _scaled(values: Image, bits: int) -> Image:
    return values.astype(np.uint8) if bits <= _EIGHT else (values >> (bits - _EIGHT)).astype(np.uint8)


def _in_viewport(picture: Pillow.Image, header: Dataset, wanted: Picture) -> Pillow.Image:
    """Crop, mirror and scale to the largest size that fits; pixels become square (PS3.3 section C.7.6.3.1.7)."""
    width, height, x, y, across, down = wanted.viewport or (0, 0, 0, 0, 0, 0)
    if x or y or across or down:
        right = min(picture.width, x + (abs(across) or picture.width))
        bottom = min(picture.height, y + (abs(down) or picture.height))
        if x >= right or y >= bottom:
            raise NotRenderable("the region is outside of the image")
        picture = picture.crop((x, y, right, bottom))
    if across < 0:
        picture = picture.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
    if down < 0:
        picture = picture.transpose(Pillow.Transpose.FLIP_TOP_BOTTOM)
    shape = (float(picture.width), picture.height * _aspect(header))
    scale = min((width or shape[0]) / shape[0], (height or shape[1]) / shape[1])
    size = (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale)))
    if max(size) > MAX_SIDE:
        raise NotRenderable("too large")
    if size == picture.size:
        return picture
    return picture.resize(size, Pillow.Resampling.LANCZOS, reducing_gap=3.0)


def _aspect(header: Dataset) -> float:
    """Height of a pixel in widths of one."""
    for keyword in ("PixelAspectRatio", "PixelSpacing"):
        value = header.get(keyword)
        try:
            vertical, horizontal = (float(part) for part in value) if value else (1.0, 1.0)
        except (TypeError, ValueError):
            continue
        if value and vertical > 0 and horizontal > 0 and 1 / _MAX_ASPECT < vertical / horizontal < _MAX_ASPECT:
            return vertical / horizontal
    return 1.0


def _tile(modality: str) -> Pillow.Image:
    tile = Pillow.new("L", (_TILE, _TILE), 32)
    text = "".join(char for char in modality[:8] if char.isascii() and char.isprintable()) or "DICOM"
    ImageDraw.Draw(tile).text((_TILE / 2, _TILE / 2), text, fill=208, anchor="mm", font_size=32)
    return tile


def _encode(picture: Pillow.Image, wanted: Picture) -> bytes:
    out = io.BytesIO()
    if wanted.form == "image/png":
        picture.save(out, "PNG", compress_level=3)
    else:
        picture.save(out, _FORMATS[wanted.form], quality=min(max(wanted.quality, 1), 100))
    return out.getvalue()
