"""A deflated data set (PS3.5 section A.5) read forward, inflating no more than is asked for and never past a limit."""

import zlib

from node.dicom.structure import Source
from node.errors.dicom import HeaderTooLarge, InvalidHeader

MAX_INFLATED = 64 << 20  # bytes kept: everything before the pixel data
MAX_CHECKED = (
    64 << 20
)  # bytes of a large value inflated only to see that they are there; beyond, they are taken for granted
_STEP = 64 << 10


class InflatedSource:
    """The inflated view of ``compressed``. A few hundred kilobytes can inflate to gigabytes: memory stays bounded."""

    one_way = True

    def __init__(self, compressed: Source) -> None:
        self._compressed = compressed
        self._at = 0
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._plain = bytearray()

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer only at the end.

        Raises:
            HeaderTooLarge: that lies beyond what is inflated for a header.
            InvalidHeader: the deflated stream is damaged.
        """
        end = offset + length
        while len(self._plain) < end:
            if len(self._plain) >= MAX_INFLATED:
                raise HeaderTooLarge("inflation")
            piece = self._inflate()
            if not piece:
                break
            self._plain += piece
        return bytes(self._plain[offset:end])

    def reaches(self, end: int) -> bool:
        """Whether there are at least ``end`` bytes; what is inflated to find out is not kept past the limit."""
        while len(self._plain) < min(end, MAX_INFLATED):
            piece = self._inflate()
            if not piece:
                return False
            self._plain += piece
        count = len(self._plain)
        while count < end:
            if count > MAX_INFLATED + MAX_CHECKED:
                return True
            piece = self._inflate()
            if not piece:
                return False
            count += len(piece)
        return True

    def after_fragments(self, offset: int) -> int | None:  # noqa: ARG002  # part of Source
        """None: deflated data is never encapsulated."""
        return None

    def _inflate(self) -> bytes:
        while not self._inflater.eof:
            fresh = self._inflater.unconsumed_tail
            if not fresh:
                fresh = self._compressed.read(self._at, _STEP)
                self._at += len(fresh)
                if not fresh:
                    return b""
            try:
                piece = self._inflater.decompress(fresh, _STEP)
            except zlib.error as exc:
                raise InvalidHeader("the deflated data set is damaged") from exc
            if piece:
                return piece
        return b""
