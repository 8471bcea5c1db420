"""From presentation data values to messages (PS3.7 section 6.3, PS3.8 annex E): a command set, then its data set."""

from collections.abc import Container
from dataclasses import dataclass
from typing import TypeAlias

from node.dicom.upper_layer.command import Message, decode_message
from node.dicom.upper_layer.errors import RemoteProtocolError
from node.dicom.upper_layer.framing import Piece
from node.dicom.upper_layer.limits import MAX_COMMAND_BYTES


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A command set is complete; pieces of the data set follow if ``message.has_dataset``."""

    context_id: int
    message: Message


Part: TypeAlias = MessageReceived | Piece


class MessageReader:
    """Puts messages together. ``contexts``: the ids of the accepted presentation contexts."""

    def __init__(self, contexts: Container[int]) -> None:
        self._contexts = contexts
        self._command = bytearray()
        self._context_id = 0  # of the message that has begun; 0 between messages
        self._in_dataset = False

    @property
    def in_message(self) -> bool:
        """Whether a message has begun and is not complete."""
        return self._context_id != 0

    def take(self, piece: Piece) -> Part | None:
        """A message when its command set is complete, the piece itself if it belongs to a data set, else None.

        Raises:
            RemoteProtocolError: the piece does not continue what has begun.
        """
        if not self._context_id:
            if piece.context_id not in self._contexts:
                raise RemoteProtocolError("presentation context")
            self._context_id = piece.context_id
        elif piece.context_id != self._context_id:
            raise RemoteProtocolError("interleaved messages")
        if piece.is_command is self._in_dataset:
            raise RemoteProtocolError("order of fragments")
        if self._in_dataset:
            if piece.is_last:
                self._context_id, self._in_dataset = 0, False
            return piece
        return self._take_command(piece)

    def _take_command(self, piece: Piece) -> MessageReceived | None:
        if len(self._command) + len(piece.data) > MAX_COMMAND_BYTES:
            raise RemoteProtocolError("command length")
        self._command += piece.data
        if not piece.is_last:
            return None
        message = decode_message(bytes(self._command))
        received = MessageReceived(self._context_id, message)
        self._command.clear()
        if message.has_dataset:
            self._in_dataset = True
        else:
            self._context_id = 0
        return received
