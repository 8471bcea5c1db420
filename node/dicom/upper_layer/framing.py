"""From the byte stream to PDUs, in one buffer that is reused: nothing is copied, no more is kept than the limits say.

The network writes into ``space()`` and says how much by ``filled()``. ``next()`` then gives frames whose data are views
of the buffer, valid until ``space()`` is called again. A control PDU is given whole; of a P-DATA-TF every presentation
data value is given in pieces, as they arrive, so that its length costs no memory.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from node.dicom.upper_layer.codes import AbortReason, PduType
from node.dicom.upper_layer.errors import LocalProtocolError, RemoteProtocolError
from node.dicom.upper_layer.limits import (
    MAX_ASSOCIATE_BYTES,
    PDU_HEADER_BYTES,
    PDV_HEADER_BYTES,
    RECEIVE_BUFFER_BYTES,
    SHORT_PDU_BYTES,
)
from node.dicom.upper_layer.pdu import IS_COMMAND, IS_LAST

# Some toolkits do not count the PDV header into the maximum length (PS3.8 section D.1.1 says to count it).
LENGTH_SLACK = 64


@dataclass(frozen=True, slots=True)
class Control:
    """A whole PDU that is not P-DATA-TF; ``body`` comes after the header."""

    kind: PduType
    body: memoryview = field(repr=False)


@dataclass(slots=True)
class Piece:
    """A piece of a presentation data value. ``is_last``: with it, the command or data set is complete."""

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview = field(repr=False)


Frame: TypeAlias = Control | Piece


class Framer:
    """Cuts the stream. ``max_pdu``: the longest P-DATA-TF that the peer was offered; 0 for any length."""

    def __init__(self, *, max_pdu: int, capacity: int = RECEIVE_BUFFER_BYTES) -> None:
        if capacity < PDU_HEADER_BYTES + MAX_ASSOCIATE_BYTES:
            raise LocalProtocolError("capacity")
        self._max_data = max_pdu + LENGTH_SLACK if max_pdu else 0xFFFFFFFF
        self._view = memoryview(bytearray(capacity))
        self._start = self._end = 0
        self._pdu_left = 0  # of the P-DATA-TF that is being read
        self._pdv_left = 0  # of the data of its present PDV
        self._in_pdv = False
        self._context_id = self._control = 0
        self._broken = False

    @property
    def in_pdu(self) -> bool:
        """Whether a PDU has begun and is not complete."""
        return self._end > self._start or self._pdu_left > 0

    def space(self) -> memoryview:
        """Where to receive into; never empty. Ends the validity of every view given so far."""
        waiting = self._end - self._start
        if self._start:
            self._view[:waiting] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, waiting
        return self._view[self._end :]

    def filled(self, count: int) -> None:
        """``count`` bytes of the space now hold what the peer sent."""
        if not 0 <= count <= len(self._view) - self._end:
            raise LocalProtocolError("more than there was space for")
        self._end += count
        if self._broken:
            self._start = self._end

    def give_up(self) -> None:
        """The stream's structure is lost, or of no interest any more: drop what there is and what comes."""
        self._broken = True
        self._start = self._end
        self._pdu_left = self._pdv_left = 0
        self._in_pdv = False

    def next(self) -> Frame | None:
        """The next frame, or None if more bytes are needed.

        Raises:
            RemoteProtocolError: what the peer sent is no PDU, or a longer one than allowed.
        """
        if self._in_pdv:
            return self._piece()
        if self._pdu_left:
            return self._begin_pdv()
        return self._begin_pdu()

    def _begin_pdu(self) -> Frame | None:
        if self._end - self._start < PDU_HEADER_BYTES:
            return None
        try:
            kind = PduType(self._view[self._start])
        except ValueError as exc:
            raise RemoteProtocolError("pdu type", AbortReason.UNRECOGNISED_PDU) from exc
        length = int.from_bytes(self._view[self._start + 2 : self._start + PDU_HEADER_BYTES], "big")
        if kind is PduType.P_DATA_TF:
            if not PDV_HEADER_BYTES <= length <= self._max_data:
                raise RemoteProtocolError("pdu length")
            self._start += PDU_HEADER_BYTES
            self._pdu_left = length
            return self._begin_pdv()
        is_associate = kind in (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC)
        if length > MAX_ASSOCIATE_BYTES or (not is_associate and length != SHORT_PDU_BYTES):
            raise RemoteProtocolError("pdu length")
        end = self._start + PDU_HEADER_BYTES + length
        if end > self._end:
            return None
        body = self._view[self._start + PDU_HEADER_BYTES : end]
        self._start = end
        return Control(kind, body)

    def _begin_pdv(self) -> Piece | None:
        if self._pdu_left < PDV_HEADER_BYTES:
            raise RemoteProtocolError("pdv length")
        if self._end - self._start < PDV_HEADER_BYTES:
            return None
        at = self._start
        length = int.from_bytes(self._view[at : at + 4], "big") - 2
        if not 0 <= length <= self._pdu_left - PDV_HEADER_BYTES:
            raise RemoteProtocolError("pdv length")
        self._context_id, self._control = self._view[at + 4], self._view[at + 5]
        self._start += PDV_HEADER_BYTES
        self._pdu_left -= PDV_HEADER_BYTES
        self._pdv_left = length
        self._in_pdv = True
        return self._piece()

    def _piece(self) -> Piece | None:
        count = min(self._pdv_left, self._end - self._start)
        if not count and self._pdv_left:
            return None
        data = self._view[self._start : self._start + count]
        self._start += count
        self._pdu_left -= count
        self._pdv_left -= count
        self._in_pdv = self._pdv_left > 0
        is_last = not self._in_pdv and bool(self._control & IS_LAST)
        return Piece(self._context_id, bool(self._control & IS_COMMAND), is_last, data)
