"""Text of data sets as Unicode (PS3.3 section C.12.1.1.2, PS3.5 section 6.1), without ever failing.

A Specific Character Set may be absent, misspelt or a lie. The declared one is tried strictly, then UTF-8, then
Latin-1, which always succeeds: the index shows something legible, and the raw bytes of the name are kept beside it.
"""

import contextlib
import re

_CODECS = {
    6: "ascii", 13: "shift_jis", 100: "latin_1", 101: "iso8859_2", 109: "iso8859_3", 110: "iso8859_4",
    126: "iso8859_7", 127: "iso8859_6", 138: "iso8859_8", 144: "iso8859_5", 148: "iso8859_9", 149: "euc_kr",
    58: "gb2312", 87: "iso2022_jp", 159: "iso2022_jp_2", 166: "iso8859_11", 192: "utf_8", 203: "iso8859_15",
}  # fmt: skip
# Misspellings seen in the wild: ISO-IR 100, ISO IR 100, ISO_IR_100, ISO_IR100, ISO2022-IR 87.
_TERM = re.compile(r"ISO[ _-]*(?:2022[ _-]*)?IR[ _-]*([0-9]{1,3})", re.ASCII | re.IGNORECASE)

# Escape sequences of PS3.3 tables C.12-3 and C.12-4. G0 ones change what low bytes mean, G1 ones what high bytes mean.
_G0_ASCII = b"\x1b(B"
_G0 = {_G0_ASCII: "ascii", b"\x1b(J": "ascii", b"\x1b$B": "iso2022_jp", b"\x1b$(D": "iso2022_jp_2"}
_G1 = {
    b"\x1b)I": "shift_jis", b"\x1b-A": "latin_1", b"\x1b-B": "iso8859_2", b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4", b"\x1b-F": "iso8859_7", b"\x1b-G": "iso8859_6", b"\x1b-H": "iso8859_8",
    b"\x1b-L": "iso8859_5", b"\x1b-M": "iso8859_9", b"\x1b-T": "iso8859_11", b"\x1b-b": "iso8859_15",
    b"\x1b$)C": "euc_kr", b"\x1b$)A": "gb2312",
}  # fmt: skip
_ESCAPE = re.compile(b"(" + b"|".join(re.escape(e) for e in (*_G0, *_G1)) + b")")

# What text may carry of controls (PS3.5 section 6.1.3): the rest could drive a terminal or break a line of a list.
_CONTROLS = {**dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\N{REPLACEMENT CHARACTER}")}


def character_sets(raw: bytes) -> tuple[str, ...]:
    """The codecs that a Specific Character Set (0008,0005) names, by its raw value; unknown terms read as ASCII."""
    return tuple(_codec(term) for term in raw.decode("ascii", "replace").split("\\"))


def _codec(term: str) -> str:
    bare = term.strip(" \0").upper()
    if bare in {"GB18030", "GBK"}:
        return bare.lower()
    match = _TERM.fullmatch(bare)
    return _CODECS.get(int(match[1]), "ascii") if match else "ascii"


def decode(raw: bytes, codecs: tuple[str, ...]) -> str:
    """``raw`` as Unicode, control characters replaced; never raises."""
    text = decode_all(raw, codecs)
    return text if text.isprintable() else text.translate(_CONTROLS)


def decode_all(raw: bytes, codecs: tuple[str, ...]) -> str:
    """As :func:`decode`, with its control characters: for writing it down in another encoding."""
    try:
        return _decode_declared(raw, codecs)
    except UnicodeDecodeError:
        try:
            return raw.decode("utf_8")
        except UnicodeDecodeError:
            return raw.decode("latin_1")


def decode_text(raw: bytes, codecs: tuple[str, ...]) -> str:
    """A value of LO, SH, CS or PN: decoded, without the padding that is not significant (PS3.5 section 6.2)."""
    return decode(raw.rstrip(b"\0"), codecs).strip()


def _decode_declared(raw: bytes, codecs: tuple[str, ...]) -> str:
    first = codecs[0] if codecs else "ascii"
    if b"\x1b" in raw:
        return _decode_iso2022(raw, codecs)
    if raw.isascii():
        return raw.decode("ascii")
    if first in {"ascii", "iso2022_jp", "iso2022_jp_2"} and len(codecs) > 1:
        first = codecs[1]  # high bytes without an escape sequence: the one extension there is must be meant
    if first == "latin_1":
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode("utf_8")  # no text in Latin-1 reads as UTF-8: the label is a lie
    return raw.decode(first)


def _decode_iso2022(raw: bytes, codecs: tuple[str, ...]) -> str:
    """Code extensions. Designations persist until changed: real senders forget to repeat them after ^ and =."""
    low, high = "ascii", codecs[0] if codecs else "ascii"
    escape = b""
    out = []
    for piece in _ESCAPE.split(raw):
        if piece in _G0:
            low, escape = _G0[piece], piece
        elif piece in _G1:
            high = _G1[piece]
        elif low != "ascii":
            out.append((escape + piece).decode(low))
        else:
            out.append(piece.decode("ascii" if piece.isascii() else high))
    return "".join(out)
