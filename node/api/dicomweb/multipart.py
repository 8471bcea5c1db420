"""multipart/related (RFC 2046, RFC 2387) as STOW-RS uses it: a parser without sockets, and what a writer needs."""

import re
import secrets
from dataclasses import dataclass
from enum import Enum, auto

from node.errors.access import InvalidInput, TooLarge, UnsupportedMedia

MAX_HEADER_BYTES = 8 * 1024  # of one part; a content type and a location are below 300
MAX_PREAMBLE_BYTES = 1024  # text before the first part, which nobody needs
MAX_BOUNDARY = 200  # characters; RFC 2046 section 5.1.1 allows 70, and Orthanc's DICOMweb plugin writes 73
_LINE_END = b"\r\n"
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,199}[0-9A-Za-z'()+_,\-./:=?]")


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type and its parameters, names in lower case (RFC 9110 section 8.3)."""

    name: str
    parameters: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "MediaType":
        """Read ``type/subtype; name=value; name="value"``; what is no parameter is left out."""
        name, _, rest = text.partition(";")
        found = re.findall(r';\s*([A-Za-z0-9-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"\s]*))', ";" + rest)
        return cls(
            name.strip().lower(), {k.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for k, quoted, bare in found}
        )


@dataclass(frozen=True, slots=True)
class PartBegins:
    """The headers of a part are there; its bytes follow as ``bytes``, then PART_ENDS."""

    media_type: MediaType


class _End(Enum):
    PART = auto()


PART_ENDS = _End.PART
Event = PartBegins | bytes | _End


class _State(Enum):
    PREAMBLE = auto()
    DELIMITER = auto()
    HEADERS = auto()
    BODY = auto()
    DONE = auto()


class MultipartParser:
    """Feed it bytes as they come, get what they mean. No more of a body is kept than may be a delimiter's beginning."""

    def __init__(self, boundary: str) -> None:
        raw = boundary.encode("latin-1", "replace")
        if len(raw) > MAX_BOUNDARY or not _BOUNDARY.fullmatch(raw):
            raise UnsupportedMedia("boundary")
        self._delimiter = b"\r\n--" + raw
        self._buffer = bytearray(b"\r\n")  # so that a delimiter at the very beginning looks like every other
        self._state = _State.PREAMBLE
        self._skip = 0  # bytes of a line end before a body that are not part of it

    @property
    def done(self) -> bool:
        """Whether the closing delimiter has been seen."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes; returns what they complete.

        Raises:
            InvalidInput: this is not multipart.
            TooLarge: a preamble or the headers of a part are larger than is taken.
        """
        self._buffer += data
        events: list[Event] = []
        while self._step(events):
            pass
        return events

    def _step(self, events: list[Event]) -> bool:
        match self._state:
            case _State.PREAMBLE:
                return self._preamble()
            case _State.DELIMITER:
                return self._after_delimiter()
            case _State.HEADERS:
                return self._headers(events)
            case _State.BODY:
                return self._body(events)
            case _State.DONE:
                self._buffer.clear()  # an epilogue, which nobody needs
        return False

    def _preamble(self) -> bool:
        at = self._buffer.find(self._delimiter)
        if (len(self._buffer) if at < 0 else at) > MAX_PREAMBLE_BYTES + len(self._delimiter):
            raise TooLarge
        if at < 0:
            return False
        del self._buffer[: at + len(self._delimiter)]
        self._state = _State.DELIMITER
        return True

    def _body(self, events: list[Event]) -> bool:
        at = self._buffer.find(self._delimiter)
        # What is left for the next bytes: the beginning of a delimiter, perhaps.
        sure = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
        if sure > self._skip:
            events.append(bytes(memoryview(self._buffer)[self._skip : sure]))
        self._skip = max(0, self._skip - sure)
        del self._buffer[: sure if at < 0 else at + len(self._delimiter)]
        if at < 0:
            return False
        events.append(PART_ENDS)
        self._state = _State.DELIMITER
        return True

    def _after_delimiter(self) -> bool:
        if self._buffer.startswith(b"--"):
            self._state = _State.DONE
            return True
        end = self._buffer.find(b"\r\n")
        if end < 0 and len(self._buffer) > MAX_BOUNDARY:
            raise InvalidInput("multipart delimiter")
        if end < 0:
            return False
        if self._buffer[:end].strip(b" \t"):
            raise InvalidInput("multipart delimiter")
        del self._buffer[:end]  # the line end stays: a part without headers has an empty line right here
        self._state = _State.HEADERS
        return True

    def _headers(self, events: list[Event]) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if (len(self._buffer) if end < 0 else end) > MAX_HEADER_BYTES:
            raise TooLarge("headers of a part")
        if end < 0:
            return False
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        events.append(PartBegins(MediaType.parse(fields.get("content-type", ""))))
        # The second line end stays: it may begin the next delimiter, if there is no body.
        del self._buffer[: end + len(_LINE_END)]
        self._skip = len(_LINE_END)
        self._state = _State.BODY
        return True


def new_boundary() -> str:
    """A boundary that no image contains: 128 random bits."""
    return secrets.token_hex(16)
