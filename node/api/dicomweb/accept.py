"""What a WADO-RS request accepts (PS3.18 sections 8.7 and 10.4). Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from node.api.dicomweb.multipart import MediaType
from node.errors.access import NotAcceptable

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
OCTETS = "application/octet-stream"
RELATED = "multipart/related"
ANY = "*"


@dataclass(frozen=True, slots=True)
class Wanted:
    """In which form instances are wanted: all parts of one body or one alone, in which transfer syntaxes."""

    multipart: bool
    transfer_syntaxes: frozenset[str]

    def check(self, stored: Iterable[str]) -> None:
        """Raises NotAcceptable unless every stored transfer syntax is accepted: nothing is transcoded here."""
        if ANY not in self.transfer_syntaxes and not set(stored) <= self.transfer_syntaxes:
            raise NotAcceptable


def accepted(header: str, parameter: str = "") -> list[MediaType]:
    """The media types of an Accept header, best first; the query parameter ``accept`` stands for it if given."""
    text = parameter or header or "*/*"
    found = [MediaType.parse(part) for part in re.findall(r'(?:[^,"]|"(?:\\.|[^"\\])*")+', text)]
    return sorted((kind for kind in found if _quality(kind) > 0), key=_quality, reverse=True)


def wanted_instances(header: str, parameter: str = "") -> Wanted:
    """How ``application/dicom`` is wanted; the form of the best media type that means it.

    Without a transfer-syntax parameter the stored one is answered, as most servers do and most viewers expect.

    Raises:
        NotAcceptable: something else is wanted.
    """
    multipart: bool | None = None
    syntaxes: set[str] = set()
    for kind in accepted(header, parameter):
        is_single = kind.name == DICOM
        is_any = kind.name in {"*/*", "multipart/*"} or (kind.name == "application/*")
        is_related = kind.name == RELATED and _root_type(kind, DICOM) == DICOM
        if not (is_single or is_any or is_related):
            continue
        multipart = not is_single if multipart is None else multipart
        syntaxes.add(kind.parameters.get("transfer-syntax", ANY))
    if multipart is None:
        raise NotAcceptable
    return Wanted(multipart, frozenset(syntaxes))


def wants_multipart_octets(header: str, parameter: str = "") -> bool:
    """How bulk data are wanted: in a multipart body (True) or alone; raises NotAcceptable."""
    for kind in accepted(header, parameter):
        if kind.name in {"*/*", "application/*", OCTETS}:
            return False
        if kind.name == RELATED and _root_type(kind, OCTETS) == OCTETS:
            return True
    raise NotAcceptable


def require_json(header: str, parameter: str = "") -> None:
    """Raises NotAcceptable unless DICOM JSON is accepted."""
    fits = {"*/*", "application/*", "application/json", DICOM_JSON}
    if not any(kind.name in fits for kind in accepted(header, parameter)):
        raise NotAcceptable("only application/dicom+json")


def _root_type(kind: MediaType, default: str) -> str:
    """The type of the parts of a multipart body; left out or ``*/*`` it is what there is."""
    given = kind.parameters.get("type", default).lower()
    return default if given == "*/*" else given


def _quality(kind: MediaType) -> float:
    try:
        return float(kind.parameters.get("q", "1"))
    except ValueError:
        return 0.0
