"""multipart/related (RFC 2046, RFC 2387) as STOW-RS uses it: a parser without sockets, and what a writer needs."""

import re
import secrets
from dataclasses import dataclass
from enum import Enum, auto

from node.errors.access import InvalidInput, TooLarge, UnsupportedMedia

MAX_HEADER_BYTES = 8 * 1024  # of one part; a content type and a location are below 300
MAX_PREAMBLE_BYTES = 1024  # text before the first part, which nobody needs
MAX_BOUNDARY = 70  # RFC 2046 section 5.1.1
_LINE_END = b"\r\n"
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


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
class Part:
    """One part: its media type and its bytes."""

    media_type: MediaType
    body: bytes


class _State(Enum):
    PREAMBLE = auto()
    DELIMITER = auto()
    HEADERS = auto()
    BODY = auto()
    DONE = auto()


class MultipartParser:
    """Feed it bytes as they come, get whole parts."""

    def __init__(self, boundary: str, *, max_part_bytes: int) -> None:
        raw = boundary.encode("latin-1", "replace")
        if len(raw) > MAX_BOUNDARY or not _BOUNDARY.fullmatch(raw):
            raise UnsupportedMedia("boundary")
        self._delimiter = b"\r\n--" + raw
        self._max_part = max_part_bytes
        self._buffer = bytearray(b"\r\n")  # so that a delimiter at the very beginning looks like every other
        self._searched = 0  # no delimiter begins before here
        self._state = _State.PREAMBLE
        self._media_type = MediaType("", {})

    @property
    def done(self) -> bool:
        """Whether the closing delimiter has been seen."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> list[Part]:
        """Take the next bytes; returns the parts that they completed.

        Raises:
            InvalidInput: this is not multipart.
            TooLarge: a part or its headers are larger than is taken.
        """
        self._buffer += data
        parts: list[Part] = []
        while self._step(parts):
            pass
        return parts

    def _step(self, parts: list[Part]) -> bool:
        match self._state:
            case _State.PREAMBLE:
                return self._up_to_delimiter(MAX_PREAMBLE_BYTES) is not None
            case _State.DELIMITER:
                return self._after_delimiter()
            case _State.HEADERS:
                return self._headers()
            case _State.BODY:
                body = self._up_to_delimiter(self._max_part)
                if body is None:
                    return False
                parts.append(Part(self._media_type, body[len(_LINE_END) :]))
                return True
            case _State.DONE:
                self._buffer.clear()  # an epilogue, which nobody needs
        return False

    def _up_to_delimiter(self, limit: int) -> bytes | None:
        at = self._buffer.find(self._delimiter, self._searched)
        if (len(self._buffer) if at < 0 else at) > limit + len(self._delimiter):
            raise TooLarge
        if at < 0:
            self._searched = max(0, len(self._buffer) - len(self._delimiter) + 1)
            return None
        content = bytes(memoryview(self._buffer)[:at])
        self._drop(at + len(self._delimiter))
        self._state = _State.DELIMITER
        return content

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

    def _headers(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if (len(self._buffer) if end < 0 else end) > MAX_HEADER_BYTES:
            raise TooLarge("headers of a part")
        if end < 0:
            return False
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._media_type = MediaType.parse(fields.get("content-type", ""))
        self._drop(
            end + len(_LINE_END)
        )  # the second line end stays: it may begin the next delimiter, if there is no body
        self._state = _State.BODY
        return True

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._searched = 0


def new_boundary() -> str:
    """A boundary that no image contains: 128 random bits."""
    return secrets.token_hex(16)
