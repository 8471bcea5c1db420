"""In which form frames are answered: media types of transfer syntaxes (PS3.18 section 8.7.3) and negotiation. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from node.api.dicomweb.accept import ANY, OCTETS, RELATED, accepted
from node.api.dicomweb.multipart import MediaType
from node.dicom.structure import EXPLICIT_LITTLE
from node.errors.access import NotAcceptable

_UID = "1.2.840.10008.1.2."
VIDEO = {f"{_UID}4.{n}": "video/mpeg2" for n in (100, 101)} | {
    f"{_UID}4.{n}": "video/mp4" for n in (102, 103, 104, 105, 106)
}
_TYPES = {
    f"{_UID}5": ("image/dicom-rle", "image/x-dicom-rle"),
    **{f"{_UID}4.{n}": ("image/jpeg",) for n in (50, 51, 57, 70)},
    **{f"{_UID}4.{n}": ("image/jls", "image/x-jls") for n in (80, 81)},
    **{f"{_UID}4.{n}": ("image/jp2",) for n in (90, 91)},
    **{f"{_UID}4.{n}": ("image/jpx",) for n in (92, 93)},
    **{f"{_UID}4.{n}": ("image/jphc",) for n in (201, 202, 203)},
    **{syntax: (kind,) for syntax, kind in VIDEO.items()},
}
_MULTIPLE = frozenset({RELATED, "multipart/*", "*/*"})


@dataclass(frozen=True, slots=True)
class FrameForm:
    """How frames are answered; ``decoded`` ones as native pixels."""

    multipart: bool
    media_type: str
    transfer_syntax: str
    decoded: bool = False

    @property
    def part_type(self) -> str:
        """The Content-Type of one frame."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"


def frame_form(header: str, parameter: str, stored: str, *, encapsulated: bool, count: int) -> FrameForm:
    """The best form that is accepted.

    Native pixel data are told as Explicit VR Little Endian however they lie in the data set: their bytes are the same.
    Octets without a transfer syntax mean that one too (PS3.18 table 8.7.3-4); ``transfer-syntax=*`` means as stored.

    Raises:
        NotAcceptable: there is none; several frames need multipart/related.
    """
    syntax = stored if encapsulated else str(EXPLICIT_LITTLE)
    own = _TYPES.get(syntax, (OCTETS,)) if encapsulated else (OCTETS,)
    for kind in accepted(header, parameter):
        form = _form(kind, syntax, own)
        if form is not None and (form.multipart or count == 1):
            return form
    raise NotAcceptable


def _form(kind: MediaType, syntax: str, own: Sequence[str]) -> FrameForm | None:
    multipart = kind.name in _MULTIPLE
    root = kind.parameters.get("type", "*/*").lower() if multipart else kind.name
    wanted = kind.parameters.get("transfer-syntax", "")
    if root in own or root in {"*/*", f"{own[0].partition('/')[0]}/*"}:
        is_silent = wanted == "" and (root != OCTETS or syntax == EXPLICIT_LITTLE)
        if is_silent or wanted in {ANY, syntax}:
            return FrameForm(multipart, root if root in own else own[0], syntax)
    if root == OCTETS and wanted in {ANY, syntax}:
        return FrameForm(multipart, OCTETS, syntax)
    if root in {OCTETS, "*/*", "application/*"} and wanted in {"", EXPLICIT_LITTLE}:
        return FrameForm(multipart, OCTETS, str(EXPLICIT_LITTLE), decoded=True)
    return None


def choose(header: str, parameter: str, available: Sequence[str]) -> tuple[str, bool]:
    """Which of the ``available`` media types (best first) is wanted, and whether in a multipart body.

    Raises:
        NotAcceptable: none of them.
    """
    for kind in accepted(header, parameter):
        multipart = kind.name in {RELATED, "multipart/*"}
        root = kind.parameters.get("type", "*/*").lower() if multipart else kind.name
        for found in _matching(root, available):
            return found, multipart
    raise NotAcceptable(f"only {' or '.join(available)}")


def _matching(pattern: str, available: Sequence[str]) -> Iterator[str]:
    family = pattern.removesuffix("*") if pattern.endswith("/*") else None
    for name in available:
        if pattern in {name, "*/*"} or (family and name.startswith(family)):
            yield name
