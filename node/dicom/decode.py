"""Frames as arrays, in a worker process: native and compressed pixel data decoded to what their header says.

The decoders (imagecodecs: libjpeg-turbo, CharLS, OpenJPEG, OpenJPH) are C code that reads hostile bytes; they run only
here, where a crash costs one process. Why these: ``docs/decisions/0003-pixel-decoders.md``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space

from node.dicom.pixels import PixelLayout, native_photometric
from node.errors.dicom import HeaderTooLarge, NotDecodable

MAX_PIXELS = 1 << 26  # of one frame; a large mammogram has 2^24
Image = NDArray[Any]

_RLE = "1.2.840.10008.1.2.5"
_JPEG = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
_JPEG_LS = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (80, 81))
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 92, 93))
_HTJ2K = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203))
_LOSSLESS_JPEG = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (57, 70))
_COLOURS = 3
_MAX_INTEGER = 16  # bits


@dataclass(frozen=True, slots=True)
class Stored:
    """One frame's stored values: rows by columns, with red, green and blue in a third dimension."""

    values: Image
    photometric: str
    bits: int  # that a value uses


def decode(frame: bytes, layout: PixelLayout, syntax: str, dataset: Dataset) -> Stored:
    """Decode a frame: colour becomes RGB, grey values and palette indexes stay what they are, signed where they are.

    Args:
        frame: what :func:`node.dicom.frames.frame_bytes` gives.
        layout: how it is written.
        syntax: the transfer syntax.
        dataset: the header.

    Raises:
        NotDecodable: it cannot be.
        HeaderTooLarge: it is larger than any real frame.
    """
    return _decoded(frame, layout, syntax, lambda values: _coloured(values, layout, syntax, dataset))


def decode_whole(frame: bytes, layout: PixelLayout, syntax: str, dataset: Dataset) -> Stored:
    """Decode a compressed frame to every value that was encoded: colours stay in their colour space, no bit is cut off.

    What JPEG 2000 and lossy JPEG transform within the codestream comes back as RGB. Raises as :func:`decode`.
    """
    return _decoded(frame, layout, syntax, lambda values: _whole(values, layout, syntax, dataset))


def _decoded(frame: bytes, layout: PixelLayout, syntax: str, finish: Callable[[Image], Stored]) -> Stored:
    if not 0 < layout.rows * layout.columns <= MAX_PIXELS:
        raise HeaderTooLarge("pixels") if layout.rows * layout.columns else NotDecodable("it has no rows or columns")
    try:
        values = _compressed(frame, layout, syntax) if layout.encapsulated else _native(frame, layout)
        if values.shape[:2] != (layout.rows, layout.columns):
            raise NotDecodable("its size is not what the header says")
        return finish(values)
    except (NotDecodable, MemoryError):
        raise
    except Exception as exc:
        raise NotDecodable from exc


def _native(frame: bytes, layout: PixelLayout) -> Image:
    count = layout.rows * layout.columns * layout.samples
    if layout.bits == 1:
        flat: Image = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[:count]
    elif layout.vr in {"OF", "OD"}:
        flat = np.frombuffer(frame, f"<f{layout.bits // 8}", count)
    elif layout.photometric.endswith("_422"):
        return _upsampled(np.frombuffer(frame, np.uint8), layout)
    else:
        flat = np.frombuffer(frame, f"<u{layout.bits // 8}", count)
    return _shaped(flat, layout, planar=False)


def _shaped(flat: Image, layout: PixelLayout, *, planar: bool) -> Image:
    if layout.samples == 1:
        return flat.reshape(layout.rows, layout.columns)
    if planar:
        return flat.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
    return flat.reshape(layout.rows, layout.columns, layout.samples)


def _upsampled(flat: Image, layout: PixelLayout) -> Image:
    """YBR_FULL_422 (PS3.3 section C.7.6.3.1.2): two Y, one Cb, one Cr for two neighbours in a row."""
    pairs = flat.reshape(layout.rows, layout.columns // 2, 4)
    out = np.empty((layout.rows, layout.columns // 2, 2, _COLOURS), np.uint8)
    out[..., 0] = pairs[..., :2]
    out[..., 1] = pairs[..., 2:3]
    out[..., 2] = pairs[..., 3:4]
    return out.reshape(layout.rows, layout.columns, _COLOURS)


def _compressed(frame: bytes, layout: PixelLayout, syntax: str) -> Image:
    if syntax == _RLE:
        kind = f"<u{max(1, layout.bits // 8)}"
        size = layout.rows * layout.columns * layout.samples * max(1, layout.bits // 8)
        return _shaped(np.frombuffer(imagecodecs.dicomrle_decode(frame, kind, out=size), kind), layout, planar=True)
    if syntax in _JPEG:
        return _jpeg(frame, layout, lossless=syntax in _LOSSLESS_JPEG)
    decoder = _decoder(syntax)
    return decoder(frame)


def _decoder(syntax: str) -> Callable[[bytes], Image]:
    if syntax in _JPEG_LS:
        return imagecodecs.jpegls_decode
    if syntax in _JPEG_2000:
        return lambda frame: imagecodecs.jpeg2k_decode(frame, numthreads=1)
    if syntax in _HTJ2K:
        return imagecodecs.htj2k_decode
    raise NotDecodable


def _jpeg(frame: bytes, layout: PixelLayout, *, lossless: bool) -> Image:
    """Decode to RGB, unless lossless: then to what was encoded. The header decides where the codestream is silent."""
    if layout.samples != _COLOURS:
        return imagecodecs.jpeg8_decode(frame)
    if lossless:
        return imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB")
    if b"\xff\xee\x00\x0eAdobe" in frame[: 64 << 10]:
        return imagecodecs.jpeg8_decode(frame, outcolorspace="RGB")
    encoded = "YCBCR" if layout.photometric.startswith("YBR") else "RGB"
    return imagecodecs.jpeg8_decode(frame, colorspace=encoded, outcolorspace="RGB")


def _coloured(values: Image, layout: PixelLayout, syntax: str, dataset: Dataset) -> Stored:
    stored = int(dataset.get("BitsStored", None) or layout.bits)
    if layout.samples == 1:
        return Stored(_integers(values, layout, stored, dataset), layout.photometric, stored)
    if layout.samples != _COLOURS or values.ndim != _COLOURS or values.dtype.kind != "u":
        raise NotDecodable("neither grey nor colour")
    if not layout.encapsulated and int(dataset.get("PlanarConfiguration", 0) or 0) == 1:
        values = values.reshape(_COLOURS, layout.rows, layout.columns).transpose(1, 2, 0)
    done = syntax in _JPEG - _LOSSLESS_JPEG or layout.photometric in {"YBR_RCT", "YBR_ICT", "RGB"}
    if not done:
        if layout.photometric not in {"YBR_FULL", "YBR_FULL_422"}:
            raise NotDecodable("colour space")
        values = convert_color_space(values, "YBR_FULL", "RGB")
    return Stored(np.ascontiguousarray(values), "RGB", stored)


def _whole(values: Image, layout: PixelLayout, syntax: str, dataset: Dataset) -> Stored:
    bits = int(dataset.get("BitsStored", None) or layout.bits)
    if layout.bits not in {8, 16, 32} or values.dtype.kind not in "iu":
        raise NotDecodable("bits allocated")
    if layout.samples == 1 and values.ndim == _COLOURS - 1:
        cut = _integers(values, layout, bits, dataset)
        beyond = values.dtype.kind == "u" and bits < values.dtype.itemsize * 8 and bool((values >> bits).any())
        whole = values if beyond else cut  # an overlay may lie in the bits above those that are stored
    elif layout.samples == _COLOURS and values.ndim == _COLOURS and values.dtype.kind == "u":
        whole = values
    else:
        raise NotDecodable("neither grey nor colour")
    if whole.dtype.kind == "u" and int(whole.max()) >> layout.bits:
        raise NotDecodable("its values do not fit into the bits allocated")
    return Stored(np.ascontiguousarray(whole), native_photometric(layout, syntax), bits)


def _integers(values: Image, layout: PixelLayout, stored: int, dataset: Dataset) -> Image:
    """Cut a value to the bits that are stored (overlays may lie in the others), and give it its sign."""
    if values.dtype.kind == "f" or layout.bits == 1:
        return values
    signed = bool(dataset.get("PixelRepresentation", 0))
    width = values.dtype.itemsize * 8
    if values.dtype.kind == "i":
        return values if signed else values.view(f"<u{width // 8}")
    if layout.bits > _MAX_INTEGER or not 0 < stored < width:
        return values.view(f"<i{width // 8}") if signed else values
    shift = int(dataset.get("HighBit", stored - 1) or 0) + 1 - stored
    if not layout.encapsulated and 0 < shift <= width - stored:
        values = values >> shift
    cut = values << (width - stored)
    return cut.view(f"<i{width // 8}") >> (width - stored) if signed else cut >> (width - stored)


def as_explicit_little(stored: Stored, layout: PixelLayout) -> bytes:
    """A decoded frame as native pixel data in little endian, colours by pixel."""
    width = max(1, layout.bits // 8)
    kind = stored.values.dtype.kind
    return stored.values.astype(f"<{kind}{width}" if kind in "iu" else stored.values.dtype).tobytes()
