"""What leaves for a PACS of one stored instance: its own bytes, a reconciled copy, or one in another transfer syntax.

The head is looked at in a worker (``reconcile``), which answers with splices; the pixels stream from the store, so that
an object of any size costs no memory here. Only what has to be decoded or inflated is held, up to a limit. Before any
copy leaves, another worker task reads it as its receiver will, and it must be the same instance of the right patient.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from node.dicom.frames import FrameIndex, FrameSource, swap
from node.dicom.pixels import LOSSY_JPEG, Picture, PixelLayout, native_photometric
from node.dicom.pool import ParserPool
from node.dicom.reconcile import Identity, NativePixels, Rewrite, Rewritten
from node.dicom.structure import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding
from node.errors.dicom import HeaderRefused, HeaderTooLarge, NotConvertible
from node.model.delivery import Converted
from node.model.ids import PatientKey, TransferSyntaxUID
from node.model.instance import InstanceHeader

MAX_HELD = 64 << 20  # bytes inflated, or decoded before the first byte leaves
MAX_INSERTED = 64 << 20  # bytes that a worker may put in
MAX_PIXELS = 0xFFFFFFFE  # bytes that native pixel data can have
PIECE = 256 << 10  # what stored objects are encrypted in, so that reading on begins at a chunk

DEFLATED_LITTLE = TransferSyntaxUID("1.2.840.10008.1.2.1.99")
_NATIVE = frozenset({IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE})
_JPEG_FAMILY = "1.2.840.10008.1.2.4."
_DECODABLE = frozenset(
    {"1.2.840.10008.1.2.5", *(f"{_JPEG_FAMILY}{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 92, 93, 201, 202, 203))}
)
_MAY_HAVE_LOSS = LOSSY_JPEG | {f"{_JPEG_FAMILY}{n}" for n in (81, 91, 93, 203)}
_METHODS = {  # Lossy Image Compression Method (0028,2114), where the codestream certainly had loss
    **dict.fromkeys(LOSSY_JPEG, "ISO_10918_1"),
    **{f"{_JPEG_FAMILY}{n}": "ISO_15444_1" for n in (90, 91, 92, 93)},
    **{f"{_JPEG_FAMILY}{n}": "ISO_15444_15" for n in (201, 202, 203)},
}
_COLOURS = 3


def may_convert(stored: TransferSyntaxUID, target: TransferSyntaxUID) -> bool:
    """Whether there is a way from one transfer syntax to the other; a data set may still be damaged."""
    return stored == target or (target in {EXPLICIT_LITTLE, IMPLICIT_LITTLE} and stored in _NATIVE | _DECODABLE)


@dataclass(frozen=True, slots=True)
class _Range:
    """Bytes of the source as they are, or with the bytes of each word reversed."""

    start: int
    end: int
    word: int = 1

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class _Frames:
    """Decoded frames, those that are still to be decoded, and padding."""

    decoded: tuple[bytes, ...]
    shown: "_Decoder"
    size: int


_Segment: TypeAlias = bytes | _Range | _Frames


class _Held:
    """A data set in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    async def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    async def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        for at in range(start, end, PIECE):
            yield self.data[at : min(at + PIECE, end)]


class _Buffered:
    """A stored data set whose beginning is read once: both worker tasks and the copy itself need it."""

    def __init__(self, source: FrameSource) -> None:
        self.size = source.size
        self._source = source
        self._head: bytes | None = None

    async def read(self, offset: int, length: int) -> bytes:
        head = await self._beginning()
        if offset + length <= len(head) or len(head) == self.size:
            return head[offset : offset + length]
        return await self._source.read(offset, length)

    async def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        head = await self._beginning()
        if start < len(head):
            yield head[start:end]
        if end > len(head):
            async for piece in self._source.chunks(max(start, len(head)), end):
                yield piece

    async def _beginning(self) -> bytes:
        if self._head is None:
            self._head = await self._source.read(0, min(PIECE, self.size))
        return self._head


class _Decoder:
    """The frames of a compressed instance as native pixels."""

    def __init__(self, pool: ParserPool, source: FrameSource, syntax: TransferSyntaxUID, layout: PixelLayout) -> None:
        self.layout = layout
        self.frame_bytes = layout.rows * layout.columns * layout.samples * (layout.bits // 8)
        self._pool = pool
        self._source = source
        self._syntax = syntax
        self._index = FrameIndex(layout)

    async def frame(self, number: int) -> bytes:
        """Frame ``number`` (from 1); raises NotDecodable and other DicomRefused."""
        place = await self._index.place(self._source, number)
        picture = Picture(spans=place.spans, number=number)
        frame = await self._pool.native(self._source, self._syntax, picture)
        if len(frame) != self.frame_bytes:
            raise NotConvertible("a frame of another size")
        return frame


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A data set (without group 0002) ready to leave; ``size`` is its length in bytes."""

    syntax: TransferSyntaxUID
    converted: Converted
    size: int
    _source: FrameSource = field(repr=False)
    _segments: tuple[_Segment, ...] = field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes in pieces; as often as wanted.

        Raises:
            DicomRefused: a later frame cannot be decoded. ObjectDamaged: the disk does not give back what was stored.
        """
        for segment in self._segments:
            if isinstance(segment, bytes):
                yield segment
            elif isinstance(segment, _Frames):
                async for piece in _decoded(segment):
                    yield piece
            else:
                async for piece in _swapped(self._source.chunks(segment.start, segment.end), segment.word):
                    yield piece

    async def read(self, offset: int, length: int) -> bytes:
        """A range for reading the head: decoded and swapped pixels stand there as zeros."""
        pieces: list[bytes] = []
        at = 0
        for segment in self._segments:
            size = len(segment) if isinstance(segment, bytes) else segment.size
            first, last = max(offset, at) - at, min(offset + length, at + size) - at
            if first < last:
                pieces.append(await self._part(segment, first, last))
            at += size
        return b"".join(pieces)

    async def _part(self, segment: _Segment, first: int, last: int) -> bytes:
        if isinstance(segment, bytes):
            return segment[first:last]
        if isinstance(segment, _Range) and segment.word == 1:
            return await self._source.read(segment.start + first, last - first)
        return bytes(last - first)


class Copies:
    """Makes what leaves."""

    def __init__(self, parsers: ParserPool, decoders: ParserPool) -> None:
        self._parsers = parsers
        self._decoders = decoders

    async def prepare(
        self, source: FrameSource, header: InstanceHeader, target: TransferSyntaxUID, identity: Identity | None
    ) -> Outgoing:
        """The instance of ``header``, whose data set ``source`` is, in the transfer syntax ``target``.

        ``identity``: reconciled to this local patient.

        Raises:
            NotConvertible, NotDecodable: it cannot be brought into ``target`` without losing something.
            otherwise DicomRefused: its data set cannot be read.
        """
        stored = header.transfer_syntax_uid
        if identity is None and target == stored:
            return Outgoing(stored, Converted.NOTHING, source.size, source, (_Range(0, source.size),))
        source = _Buffered(source)
        if Encoding.of(stored).deflated:
            outgoing = await self._of_deflated(source, header, target, identity)
        elif target == stored:
            rewritten = await self._parsers.rewrite(source, stored, Rewrite(identity))
            outgoing = _outgoing(stored, Converted.NOTHING, source, _segments(source.size, rewritten))
        else:
            outgoing = await self._converted(source, stored, target, identity)
        if not Encoding.of(outgoing.syntax).deflated:  # that one was checked before it was deflated
            await self._check(outgoing, header, identity)
        return outgoing

    async def _of_deflated(
        self, source: FrameSource, header: InstanceHeader, target: TransferSyntaxUID, identity: Identity | None
    ) -> Outgoing:
        stored = header.transfer_syntax_uid
        if source.size > MAX_HELD or stored not in {target, DEFLATED_LITTLE}:
            raise NotConvertible
        plain = _Held(await asyncio.to_thread(_inflated, await source.read(0, source.size)))
        if target not in {stored, EXPLICIT_LITTLE}:
            return await self._converted(plain, EXPLICIT_LITTLE, target, identity)
        rewritten = await self._parsers.rewrite(plain, EXPLICIT_LITTLE, Rewrite(identity))
        converted = Converted.NOTHING if target == stored else Converted.LOSSLESS
        outgoing = _outgoing(EXPLICIT_LITTLE, converted, plain, _segments(plain.size, rewritten))
        if target != stored:
            return outgoing
        await self._check(outgoing, header, identity)
        whole = b"".join([piece async for piece in outgoing.chunks()])
        again = _Held(await asyncio.to_thread(_deflated, whole))
        return _outgoing(stored, converted, again, [_Range(0, again.size)])

    async def _converted(
        self, source: FrameSource, stored: TransferSyntaxUID, target: TransferSyntaxUID, identity: Identity | None
    ) -> Outgoing:
        if not may_convert(stored, target):
            raise NotConvertible
        layout = await self._parsers.layout(source, stored)
        if layout.pixels is None or (stored in _NATIVE and not layout.encapsulated):
            rewritten = await self._parsers.rewrite(source, stored, Rewrite(identity, str(target)))
            segments = _segments(source.size, rewritten, word=layout.word)
            return _outgoing(target, Converted.LOSSLESS, source, segments)
        if stored in _NATIVE or not layout.encapsulated:
            raise NotConvertible("its pixel data is not in its transfer syntax")
        return await self._of_compressed(source, stored, target, identity, layout)

    async def _of_compressed(
        self,
        source: FrameSource,
        stored: TransferSyntaxUID,
        target: TransferSyntaxUID,
        identity: Identity | None,
        layout: PixelLayout,
    ) -> Outgoing:
        decoder = _Decoder(self._decoders, source, stored, layout)
        length = decoder.frame_bytes * layout.frames
        if not 0 < length <= MAX_PIXELS or layout.bits % 8:
            raise NotConvertible("more pixels than uncompressed pixel data can have" if length else "bits allocated")
        native = NativePixels(
            length=length + length % 2,
            vr="OB" if layout.bits <= 8 else "OW",  # noqa: PLR2004  # PS3.5 section A.2
            photometric=native_photometric(layout, stored),
            by_pixel=layout.samples == _COLOURS,
            lossy_method=_METHODS.get(stored, "") if stored in LOSSY_JPEG or layout.photometric == "YBR_ICT" else "",
        )
        held = layout.frames if length <= MAX_HELD else 1
        decoded = tuple([await decoder.frame(number) for number in range(1, held + 1)])
        rewritten = await self._parsers.rewrite(source, stored, Rewrite(identity, str(target), native))
        frames = _Frames(decoded, decoder, native.length)
        has_loss = stored in _MAY_HAVE_LOSS and layout.photometric != "YBR_RCT"
        converted = Converted.LOSSY_DECODED if has_loss else Converted.LOSSLESS
        return _outgoing(target, converted, source, _segments(source.size, rewritten, frames=frames))

    async def _check(self, outgoing: Outgoing, header: InstanceHeader, identity: Identity | None) -> None:
        """Read the copy as its receiver will: whoever made it had read a stranger's bytes."""
        copy = await self._parsers.parse_header(outgoing, outgoing.syntax)
        same = (
            copy.sop_instance_uid == header.sop_instance_uid
            and copy.sop_class_uid == header.sop_class_uid
            and copy.study_instance_uid == header.study_instance_uid
            and copy.series_instance_uid == header.series_instance_uid
        )
        if not same or (identity and copy.patient != PatientKey(identity.issuer, identity.patient_id)):
            raise NotConvertible("the copy would not be read as it should")


def _outgoing(
    syntax: TransferSyntaxUID, converted: Converted, source: FrameSource, segments: Sequence[_Segment]
) -> Outgoing:
    size = sum(len(one) if isinstance(one, bytes) else one.size for one in segments)
    return Outgoing(syntax, converted, size, source, tuple(segments))


def _segments(size: int, rewritten: Rewritten, *, word: int = 1, frames: _Frames | None = None) -> list[_Segment]:
    """The source with its splices, the pixels swapped or replaced; raises HeaderRefused for nonsense."""
    if sum(len(data) for _, _, data in rewritten.splices) > MAX_INSERTED:
        raise HeaderTooLarge("length")
    found: list[_Segment] = []
    at = 0
    for offset, length, data in (*rewritten.splices, (size, 0, b"")):
        if not (at <= offset and length >= 0 and offset + length <= size):
            raise HeaderRefused
        if at < offset:
            found.append(_Range(at, offset))
        if data:
            found.append(data)
        at = offset + length
    if word == 1 and frames is None:
        return found
    return [piece for one in found for piece in _with_pixels(one, rewritten.pixels, word, frames)]


def _with_pixels(
    segment: _Segment, pixels: tuple[int, int] | None, word: int, frames: _Frames | None
) -> Sequence[_Segment]:
    if pixels is None or not isinstance(segment, _Range) or not segment.start <= pixels[0] < segment.end:
        return (segment,)
    if pixels[0] != segment.start or pixels[1] > segment.end:
        raise HeaderRefused
    changed: _Segment = frames or _Range(*pixels, word)
    rest = _Range(pixels[1], segment.end)
    return (changed, rest) if rest.size else (changed,)


async def _swapped(pieces: AsyncIterator[bytes], word: int) -> AsyncIterator[bytes]:
    left = b""
    async for piece in pieces:
        if word == 1:
            yield piece
            continue
        data = left + piece
        whole = len(data) - len(data) % word
        left = data[whole:]
        yield swap(data[:whole], word)
    if left:
        yield left


async def _decoded(frames: _Frames) -> AsyncIterator[bytes]:
    sent = 0
    for number in range(1, frames.shown.layout.frames + 1):
        known = frames.decoded[number - 1] if number <= len(frames.decoded) else None
        frame = known or await frames.shown.frame(number)
        sent += len(frame)
        yield frame
    if sent < frames.size:
        yield bytes(frames.size - sent)


def _inflated(data: bytes) -> bytes:
    try:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        plain = inflater.decompress(data, MAX_HELD)
        if inflater.unconsumed_tail:
            raise HeaderTooLarge("inflation")
    except zlib.error as exc:
        raise NotConvertible("the deflated data set is damaged") from exc
    return plain


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)  # PS3.5 section A.5
