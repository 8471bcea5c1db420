"""Where the pixels of an instance lie and how they are written, found by a worker without decoding anything."""

from dataclasses import replace

import msgspec

from node.dicom.inflate import InflatedSource
from node.dicom.structure import PIXEL_DATA, UNDEFINED, Cursor, Encoding, Source, Unusual, walk

SOP_CLASS, SAMPLES, PHOTOMETRIC, PLANAR, FRAMES = 0x00080016, 0x00280002, 0x00280004, 0x00280006, 0x00280008
ROWS, COLUMNS, BITS_ALLOCATED, REPRESENTATIVE_FRAME = 0x00280010, 0x00280011, 0x00280100, 0x00286010
DOCUMENT, DOCUMENT_TYPE, DOCUMENT_LENGTH, CONTENT = 0x00420011, 0x00420012, 0x00420015, 0x0040A730
OFFSETS, LENGTHS = 0x7FE00001, 0x7FE00002  # Extended Offset Table (PS3.3 section C.7.6.3.1.8)
_TEXTS = frozenset({SOP_CLASS, PHOTOMETRIC, FRAMES, DOCUMENT_TYPE})
_NUMBERS = frozenset({SAMPLES, PLANAR, ROWS, COLUMNS, BITS_ALLOCATED, REPRESENTATIVE_FRAME, DOCUMENT_LENGTH})
_PLACES = frozenset({DOCUMENT, CONTENT, OFFSETS, LENGTHS})
_MAX_VALUE = 64  # bytes of a value that is wanted; the longest is a UID
_MAX_NUMBER = 4  # bytes: US, or UL for the length of a document
MAX_FRAMES = 2**31 - 1  # what an IS can hold
_MAX_OFFSET = 1 << 48

LOSSY_JPEG = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})

Place = tuple[int, int]  # offset and length in the data set


class PixelLayout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What an instance has to show, and where. Offsets are in the data set, inflated where it is deflated."""

    pixels: Place | None  # the value of Pixel Data; its length is UNDEFINED where it is encapsulated
    vr: str
    big: bool
    deflated: bool
    rows: int
    columns: int
    samples: int
    bits: int  # allocated
    frames: int
    representative: int  # number (from 1) of the frame that stands for all of them; 0 where none is named
    photometric: str
    offsets: Place | None
    lengths: Place | None
    document: Place | None  # the value of Encapsulated Document
    document_type: str
    document_length: int  # without padding; 0 where the data set does not say
    has_content: bool  # a tree of content items: a report, a note, a selection

    @property
    def plausible(self) -> bool:
        """Whether every number is one that a data set can hold: who made this read a hostile file."""
        places = (self.pixels, self.offsets, self.lengths, self.document)
        offsets = [n for place in places if place for n in place]
        counts = (self.rows, self.columns, self.samples, self.bits, self.frames, self.representative)
        return all(0 <= n < _MAX_OFFSET for n in offsets) and all(
            0 <= n <= MAX_FRAMES for n in (*counts, self.document_length)
        )

    @property
    def encapsulated(self) -> bool:
        """Whether the pixel data is a sequence of fragments."""
        return self.pixels is not None and self.pixels[1] == UNDEFINED

    @property
    def frame_bits(self) -> int:
        """Bits of a native frame (PS3.5 section 8.1.1); frames of one-bit pixels need not begin at a byte."""
        bits = self.rows * self.columns * self.samples * self.bits
        return bits // 3 * 2 if self.photometric.endswith("_422") and self.samples == 3 else bits  # noqa: PLR2004

    @property
    def word(self) -> int:
        """Bytes that a big endian data set has in the other order."""
        if not self.big:
            return 1
        return 2 if self.bits <= 8 and self.vr == "OW" else max(1, self.bits // 8)  # noqa: PLR2004  # PS3.5 annex A.3


def read_layout(source: Source, syntax: str) -> PixelLayout:
    """The layout of a data set, in whichever encoding it really is.

    Raises:
        DicomRefused: truncated, beyond a limit, or not to be read at all.
    """
    declared = Encoding.of(syntax)
    for encoding in (declared, replace(declared, explicit=not declared.explicit)):
        try:
            found = _read(source, encoding)
        except Unusual:
            continue
        if found is not None:
            return found
    from node.dicom.heads import read_head  # noqa: PLC0415  # imports pydicom, which few data sets need

    head = read_head(source, syntax)
    values: dict[int, bytes] = {}
    for tag in _TEXTS | _NUMBERS:
        values[tag] = head.raw(tag)
    place = (head.pixel_offset, head.pixel_length) if head.pixel_tag in PIXEL_DATA else None
    return _layout(values, {}, place, "OW", replace(declared, big=head.big), has_content=CONTENT in head.dataset)


def _read(source: Source, encoding: Encoding) -> PixelLayout | None:
    cursor = Cursor(InflatedSource(source) if encoding.deflated else source)
    values: dict[int, bytes] = {}
    places: dict[int, Place] = {}
    pixels, vr = None, ""
    for element in walk(cursor, encoding):
        if element.tag in PIXEL_DATA:
            pixels, vr = (element.offset, element.length), element.vr.decode("ascii") or "OW"
            break
        if element.tag in _PLACES:
            places[element.tag] = (element.offset, element.length)
        elif element.tag in _TEXTS or element.tag in _NUMBERS:
            values[element.tag] = cursor.bytes(element.offset, min(element.length, _MAX_VALUE))
    if not values.get(SOP_CLASS):
        return None
    return _layout(values, places, pixels, vr, encoding, has_content=CONTENT in places)


def _layout(
    values: dict[int, bytes],
    places: dict[int, Place],
    pixels: Place | None,
    vr: str,
    encoding: Encoding,
    *,
    has_content: bool,
) -> PixelLayout:
    def number(tag: int, default: int = 0) -> int:
        raw = values.get(tag, b"")[:_MAX_NUMBER]
        return int.from_bytes(raw, "big" if encoding.big else "little") if raw else default

    def text(tag: int) -> str:
        return values.get(tag, b"").decode("ascii", "replace").strip(" \0")

    count = text(FRAMES)
    frames = min(int(count), MAX_FRAMES) if count.isascii() and count.isdigit() and int(count) else 1
    return PixelLayout(
        pixels=pixels,
        vr=vr,
        big=encoding.big,
        deflated=encoding.deflated,
        rows=number(ROWS),
        columns=number(COLUMNS),
        samples=number(SAMPLES, 1),
        bits=number(BITS_ALLOCATED),
        frames=frames,
        representative=number(REPRESENTATIVE_FRAME) if number(REPRESENTATIVE_FRAME) <= frames else 0,
        photometric=text(PHOTOMETRIC),
        offsets=places.get(OFFSETS),
        lengths=places.get(LENGTHS),
        document=places.get(DOCUMENT),
        document_type=text(DOCUMENT_TYPE).lower(),
        document_length=number(DOCUMENT_LENGTH),
        has_content=has_content,
    )


def native_photometric(layout: PixelLayout, syntax: str) -> str:
    """Photometric Interpretation of decoded frames: that of the encoded ones, unless decoding undoes a transformation.

    JPEG 2000 and HTJ2K undo theirs (YBR_RCT without loss), and lossy JPEG is decoded to RGB. Lossless JPEG, JPEG-LS and
    RLE have none: what they keep as YBR_FULL stays that, for converting it to RGB would lose something.
    """
    if layout.samples == 1:
        return layout.photometric
    if syntax in LOSSY_JPEG or layout.photometric in {"YBR_RCT", "YBR_ICT"}:
        return "RGB"
    return "YBR_FULL" if layout.photometric == "YBR_FULL_422" else layout.photometric


class Picture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker is to make of one frame: the argument of the tasks FRAME and RENDER, as JSON.

    ``window`` is centre, width and VOI LUT Function; ``viewport`` width, height and, of the source, x, y, width,
    height (PS3.18 section 8.3.5.1), each 0 where nothing was said; a negative source size mirrors.
    """

    spans: tuple[Place, ...] = ()
    skip_bits: int = 0
    number: int = 1  # of the frame, for what is told frame by frame
    form: str = "image/jpeg"
    window: tuple[float, float, str] | None = None
    viewport: tuple[int, int, int, int, int, int] | None = None
    quality: int = 90
